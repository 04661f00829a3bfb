//! Bytes that are no message, over gRPC: refused as the caller's mistake, whatever the method.

use bytes::Bytes;
use contract::{MethodPolicy, POLICIES};
use tonic::Code;

use super::rest::input;
use super::samples::sample;
use super::world::{Who, World};

fn unary() -> impl Iterator<Item = &'static MethodPolicy> {
    POLICIES.iter().filter(|policy| !policy.server_streaming)
}

/// A field with a length and bytes: number, then wire type 2.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    [&[u8::try_from(number << 3 | 2).expect("a low number"), length], bytes].concat()
}

/// Bytes that nobody can read as the method's request, with what is wrong about them.
fn unreadable(policy: &MethodPolicy) -> Vec<(&'static str, Vec<u8>)> {
    let mut cases = vec![
        ("a tag and nothing", vec![0x0a]),
        ("a length beyond the end", vec![0x0a, 0x7f, b'x']),
        ("a varint without end", vec![0xff; 12]),
        ("field number zero", vec![0x02, 0x01, b'x']),
        ("a group that never ends", vec![0x0b]),
        ("a group that never began", vec![0x0c]),
        ("wire type 7", vec![0x0f, 0x01]),
    ];
    let text = input(policy).fields().find(|field| field.kind() == prost_reflect::Kind::String && field.number() < 16);
    if let Some(text) = text {
        cases.push(("text that is not UTF-8", field(text.number(), &[b'x', 0xff, 0xfe])));
        cases.push(("a number where text belongs", vec![u8::try_from(text.number() << 3).expect("low"), 0x07]));
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_bytes_that_are_no_message_are_the_callers_mistake() {
    let world = World::get().await;
    let caller = world.grpc();
    let before = world.rows(&world.victim).await;
    let (mut cells, mut wrong) = (0, Vec::new());
    for policy in unary() {
        let token = world.bearer(Who::allowed(policy)[0], &world.victim);
        let key = ids::EventId::new().to_string();
        let headers = [
            ("authorization", token.as_str()),
            ("x-tenant-id", world.victim.tenant.as_str()),
            ("idempotency-key", key.as_str()),
        ];
        for (what, bytes) in unreadable(policy) {
            cells += 1;
            let answer = caller.call(policy.path, &headers, Bytes::from(bytes)).await;
            if answer.code != Code::InvalidArgument || answer.reason.is_empty() {
                wrong.push(format!("{} {what}: {:?} {:?}", policy.path, answer.code, answer.message));
            }
        }
        let large = vec![b' '; policy.max_request_bytes as usize + 1];
        let answer = caller.call(policy.path, &headers, Bytes::from(large)).await;
        cells += 1;
        if answer.code != Code::InvalidArgument || answer.reason != "REQUEST_TOO_LARGE" {
            wrong.push(format!("{} too large: {:?} {:?}", policy.path, answer.code, answer.message));
        }
    }
    println!("bytes that are no message: {cells} cells, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(world.rows(&world.victim).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_headers_that_are_not_text_are_the_callers_mistake() {
    let world = World::get().await;
    let caller = world.grpc();
    let mut wrong = Vec::new();
    for policy in unary() {
        let token = world.bearer(Who::allowed(policy)[0], &world.alpha);
        let (token, tenant) = (token.as_bytes(), world.alpha.tenant.as_bytes());
        let message = sample(policy.path, &world.alpha);
        for (what, headers, expected) in [
            (
                "token",
                [("authorization", b"Bearer \xff\xfe".as_slice()), ("x-tenant-id", tenant)],
                Code::Unauthenticated,
            ),
            ("tenant", [("authorization", token), ("x-tenant-id", b"tnt_\xff".as_slice())], Code::InvalidArgument),
        ] {
            let answer = caller.call_bytes(policy.path, &headers, message.clone()).await;
            if answer.code != expected {
                wrong.push(format!("{} {what}: {:?} {}", policy.path, answer.code, answer.reason));
            }
        }
        if policy.idempotency.required {
            let base = [("authorization", token), ("x-tenant-id", tenant)];
            let bad = [b"k\xffy".to_vec(), Vec::new(), vec![b'k'; 256], b"with space".to_vec()];
            for key in bad {
                let headers = [base[0], base[1], ("idempotency-key", key.as_slice())];
                let answer = caller.call_bytes(policy.path, &headers, message.clone()).await;
                if answer.code != Code::InvalidArgument || answer.fields() != ["idempotency_key"] {
                    wrong.push(format!("{} key {key:?}: {:?} {}", policy.path, answer.code, answer.reason));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
