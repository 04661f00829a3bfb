//! Thousands of damaged messages to every method: refused by name or accepted, never our mistake, never half done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::ADMIN;
use contract::{MethodPolicy, POLICIES};
use ctx::Role;
use futures::StreamExt as _;
use futures::stream::iter;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tonic::Code;

use super::grpc::{Answer, Caller};
use super::mutator::{Random, damage};
use super::rest::{self, input};
use super::samples::sample;
use super::world::{Who, World};

const SEED: u64 = 0x0de5_2026_1121;
/// Damaged messages per method.
const MUTANTS: usize = 250;
/// Of these, how many of a method whose refusal costs a password's hash.
const HASHING: usize = 40;
/// Damaged messages per method that also go through REST.
const THROUGH_REST: usize = 25;
/// Refused messages per method that are sent again to see that they change nothing.
const AGAIN: usize = 40;
const ABREAST: usize = 8;
/// How often a message is sent again that found the machine busy.
const PATIENCE: usize = 2;
/// Longest wait for the orders among the accepted messages to be delivered.
const CALM: Duration = Duration::from_secs(300);
/// Looks, a second apart, in which no table grows while something is left that nobody works on.
const STILL: usize = 12;

fn unary() -> impl Iterator<Item = &'static MethodPolicy> {
    // Last of all what changes how the others behave.
    let later = |policy: &&MethodPolicy| ["UpdatePolicy", "RotateSigningKey"].contains(&policy.method);
    let all = || POLICIES.iter().filter(|policy| !policy.server_streaming);
    all().filter(move |policy| !later(policy)).chain(all().filter(later))
}

fn mutants(world: &World, policy: &MethodPolicy, seed: u64) -> Vec<Bytes> {
    let mut random = Random::new(policy.path.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte)));
    let hashes = ["Login", "CreateUser", "CreateTenant"].contains(&policy.method);
    let count = if hashes { HASHING } else { MUTANTS };
    let one = |_| {
        let right = sample(policy.path, &world.mutants);
        let mut message = DynamicMessage::decode(input(policy), right).expect("a sample is a message");
        damage(&mut message, &mut random);
        Bytes::from(message.encode_to_vec())
    };
    (0..count).map(one).filter(|message| message.len() < policy.max_request_bytes as usize).collect()
}

/// What is wrong with an answer to a damaged message.
fn mistake(policy: &MethodPolicy, answer: &Answer) -> Option<String> {
    let ours = [
        Code::Internal,
        Code::Unknown,
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::DataLoss,
        Code::Cancelled,
        Code::Unimplemented,
        Code::OutOfRange,
        Code::ResourceExhausted,
    ];
    if ours.contains(&answer.code) {
        return Some(format!("{:?} {} {:?}", answer.code, answer.reason, answer.message));
    }
    if answer.code != Code::Ok && answer.reason.is_empty() {
        return Some(format!("{:?} without a reason: {:?}", answer.code, answer.message));
    }
    if answer.code == Code::InvalidArgument {
        let fields = answer.fields();
        let own = |field: &str| {
            let first = field.split(['.', '[']).next().unwrap_or_default();
            input(policy).get_field_by_name(first).is_some() || ["idempotency_key", "request"].contains(&first)
        };
        if fields.is_empty() {
            return Some(format!("{} names no field: {:?}", answer.reason, answer.message));
        }
        if let Some(other) = fields.iter().find(|field| !own(field)) {
            return Some(format!("{} names {other:?}, which the request does not have", answer.reason));
        }
    }
    None
}

/// Sends a message; again when the machine was too busy, for what is wrong with a message is wrong every time.
async fn send(world: &World, caller: &Caller, policy: &MethodPolicy, message: Bytes) -> Answer {
    for _ in 0..PATIENCE {
        let answer = send_once(world, caller, policy, message.clone()).await;
        if ![Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted].contains(&answer.code) {
            return answer;
        }
    }
    send_once(world, caller, policy, message).await
}

async fn send_once(world: &World, caller: &Caller, policy: &MethodPolicy, message: Bytes) -> Answer {
    let who = Who::allowed(policy)[0];
    let token = world.bearer(who, &world.mutants);
    let key = ids::EventId::new().to_string();
    let headers = [
        ("authorization", token.as_str()),
        ("x-tenant-id", world.mutants.tenant.as_str()),
        ("idempotency-key", key.as_str()),
    ];
    caller.call(policy.path, &headers, message).await
}

fn show(policy: &MethodPolicy, message: &Bytes) -> String {
    let message = DynamicMessage::decode(input(policy), message.clone()).expect("it was one before");
    let mut text = serde_json::to_string(&message).unwrap_or_default();
    let end = (0..=600).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.truncate(end.min(text.len()));
    text
}

/// Mistakes by what they say, each with how often and one message that makes it.
#[derive(Default)]
struct Mistakes(BTreeMap<String, (usize, String)>);

impl Mistakes {
    fn note(&mut self, mistake: String, example: impl FnOnce() -> String) {
        self.0.entry(mistake).or_insert_with(|| (0, example())).0 += 1;
    }

    fn end(self, name: &str) {
        let lines = self.0.iter().map(|(mistake, (times, example))| format!("{times} × {mistake}\n    {example}"));
        assert!(self.0.is_empty(), "{name}, seed {SEED:#x}:\n{}", lines.collect::<Vec<_>>().join("\n"));
    }
}

/// Sends all mutants of a method; those that were refused come back.
async fn try_method(
    world: &World,
    caller: &Caller,
    policy: &MethodPolicy,
    mistakes: &mut Mistakes,
    codes: &mut BTreeMap<String, usize>,
) -> Vec<Bytes> {
    let answers = iter(mutants(world, policy, SEED)).map(|message| async {
        let answer = send(world, caller, policy, message.clone()).await;
        (message, answer)
    });
    let answers: Vec<(Bytes, Answer)> = answers.buffer_unordered(ABREAST).collect().await;
    let mut refused = Vec::new();
    for (message, answer) in answers {
        if let Some(mistake) = mistake(policy, &answer) {
            mistakes.note(format!("{}: {mistake}", policy.path), || show(policy, &message));
        }
        *codes.entry(format!("{:?}", answer.code)).or_default() += 1;
        if answer.code != Code::Ok {
            refused.push(message);
        }
    }
    refused.truncate(AGAIN);
    refused
}

/// Waits until what was accepted has gone all its way: no saga is due, no parcel under way, no table grows.
///
/// What waits for a person or a far day may stay; then the tables have to be still for long.
async fn calm(world: &World) {
    const LOOK: Duration = Duration::from_secs(1);
    let admin = world.sql(ADMIN).await;
    let tenant: ids::TenantId = world.mutants.tenant.parse().expect("a tenant's id");
    let tenant = tenant.uuid().to_string();
    let due = "tenant_id = $1::text::uuid AND status IN ('running', 'waiting') AND wake_at < now() + interval '1 s'";
    let under_way = format!(
        "SELECT (SELECT count(*) FROM om_order.sagas WHERE {due}) + (SELECT count(*) FROM om_shipping.sagas WHERE {due}) \
         + (SELECT count(*) FROM om_fulfillment.fulfillments WHERE tenant_id = $1::text::uuid AND state IN (1, 2, 3)) \
         + (SELECT count(*) FROM om_shipping.shipments WHERE tenant_id = $1::text::uuid AND state < 6)"
    );
    let ends = Instant::now() + CALM;
    let (mut before, mut still) = (Vec::new(), 0);
    loop {
        let busy: i64 = admin.query_one(&under_way, &[&tenant]).await.expect("the superuser may count").get(0);
        let rows = world.rows(&world.mutants).await;
        still = if rows == before { still + 1 } else { 0 };
        // Once is enough when nothing is left to do.
        if still >= if busy == 0 { 1 } else { STILL } {
            return;
        }
        let grew = rows.iter().filter(|row| !before.contains(row)).collect::<Vec<_>>();
        assert!(Instant::now() < ends, "after {CALM:?} {busy} sagas and parcels are under way, {grew:?} grew");
        before = rows;
        tokio::time::sleep(LOOK).await;
    }
}

/// Sagas of orders that wait for a person.
async fn stuck(world: &World) -> i64 {
    let tenant: ids::TenantId = world.mutants.tenant.parse().expect("a tenant's id");
    let stuck = "SELECT count(*) FROM om_order.sagas WHERE tenant_id = $1::text::uuid AND status = 'attention'";
    let row = world.sql(ADMIN).await.query_one(stuck, &[&tenant.uuid().to_string()]).await;
    row.expect("the superuser may count").get(0)
}

/// Rows of what services own; what sagas, bus and jobs move by themselves is not part of it.
async fn domain(world: &World) -> Vec<(String, i64)> {
    let own = ["sagas", "saga_log", "events", "inbox", "parked", "snapshots"];
    let mut rows = world.rows(&world.mutants).await;
    rows.retain(|(table, _)| !own.iter().any(|name| table.ends_with(&format!(".{name}"))));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_no_damaged_message_is_our_mistake_and_what_is_refused_changes_nothing() {
    let world = World::get().await;
    let caller = world.grpc();
    let (mut mistakes, mut refused, mut codes) = (Mistakes::default(), Vec::new(), BTreeMap::new());
    for policy in unary() {
        let messages = try_method(world, &caller, policy, &mut mistakes, &mut codes).await;
        let has_fields = input(policy).fields().len() > 0;
        assert!(!has_fields || !messages.is_empty(), "{}: no damage was refused", policy.path);
        refused.push((policy, messages));
    }
    let count: usize = codes.values().sum();
    println!("mutants over gRPC: {count} messages to {} methods: {codes:?}", refused.len());
    mistakes.end("damaged messages over gRPC");
    calm(world).await;
    assert_eq!(stuck(world).await, 0, "orders that were accepted with damage, and whose sagas got stuck");
    for (policy, messages) in &refused {
        // A job may come in between once; a refusal that changes something does so every time.
        let mut difference = Vec::new();
        for attempt in 0..3 {
            if attempt > 0 {
                calm(world).await;
            }
            let before = domain(world).await;
            let answers = iter(messages.clone()).map(|message| send(world, &caller, policy, message));
            let answers: Vec<Answer> = answers.buffer_unordered(ABREAST).collect().await;
            if answers.iter().any(|answer| answer.code == Code::Ok) {
                break;
            }
            let after = domain(world).await;
            difference = after.into_iter().zip(before).filter(|(after, before)| after != before).collect();
            if difference.is_empty() {
                break;
            }
        }
        assert!(difference.is_empty(), "{}: refused, and yet {difference:?}", policy.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_no_damaged_message_is_a_5xx_over_rest() {
    let world = World::get().await;
    let (mut mistakes, mut count) = (Mistakes::default(), 0);
    for policy in unary().filter(|policy| policy.method != "RotateSigningKey") {
        let roles = Role::ALL.into_iter().filter(|role| Who::Person(*role).may(policy));
        let Some(role) = roles.max() else { continue };
        let rest = world.rest(Some((role, &world.mutants)));
        for rule in policy.http {
            let messages = mutants(world, policy, SEED + 1).into_iter().take(THROUGH_REST);
            let calls = messages.filter_map(|message| rest::call(policy, rule, &message));
            // What no client can send as an address is not a case.
            let calls: Vec<_> = calls.filter(|call| call.path.len() < 60_000).collect();
            count += calls.len();
            let answers = iter(calls).map(|call| async {
                let request = call.by(&rest).header("idempotency-key", ids::EventId::new().to_string());
                (call, rest::ask(request).await)
            });
            let answers: Vec<_> = answers.buffer_unordered(ABREAST).collect().await;
            for (call, said) in answers {
                let refused = said.status >= 400;
                let nameless = said.status == 400 && said.errors().is_empty() && said.reason.is_empty();
                if said.status >= 500 || nameless || (refused && !said.is_problem()) {
                    let what = format!("{} {}: {} {}", rule.verb, rule.path, said.status, said.reason);
                    mistakes.note(what, || {
                        format!("{} {:.600}", call.path, String::from_utf8_lossy(&call.body.unwrap_or_default().1))
                    });
                }
            }
        }
    }
    println!("mutants over REST: {count} calls, {} kinds of mistakes", mistakes.0.len());
    mistakes.end("damaged messages over REST");
}
