//! Idempotency, size, cause, retries, overload.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use contract::identity::v1::policy_service_client::PolicyServiceClient;
use contract::identity::v1::{CreateUserRequest, GetPolicyRequest};
use ctx::{Cause, Ctx, Role};
use fault::{Fault, Kind};
use jiff::Timestamp;
use prost_message::encode;
use serve::Limits;
use tonic::Code;

use crate::house::{House, bearer};

const CREATE_USER: &str = "/ordermesh.identity.v1.IdentityService/CreateUser";
const GET_POLICY: &str = "/ordermesh.identity.v1.PolicyService/GetPolicy";
const CREATE_ORDER: &str = "/ordermesh.order.v1.OrderService/CreateOrder";

mod prost_message {
    use bytes::Bytes;
    use contract::identity::v1::{CreateUserRequest, User};

    /// Field 2 (password) and field 1 (user) of CreateUserRequest, written by hand: serve does not know prost.
    pub fn encode(request: &CreateUserRequest) -> Bytes {
        let user = request.user.as_ref().map_or("", |User { email, .. }| email);
        let email = field(2, user.as_bytes());
        [field(1, &email), field(2, request.password.as_bytes())].concat().into()
    }

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("short");
        [&[number << 3 | 2, length], value].concat()
    }
}

fn user(password: &str) -> Bytes {
    let user = contract::identity::v1::User { email: "a@b.c".into(), ..Default::default() };
    encode(&CreateUserRequest { user: Some(user), password: password.into() })
}

#[tokio::test]
async fn the_same_request_has_the_same_fingerprint_and_another_has_not() {
    let house = House::new();
    let (admin, both) =
        (bearer(&house.token(&[Role::TenantAdmin])), bearer(&house.token(&[Role::TenantAdmin, Role::Csr])));
    let mut seen = Vec::new();
    for (token, key, body) in [
        (&admin, "k1", user("one")),
        (&both, "k1", user("one")),
        (&admin, "k1", user("two")),
        (&admin, "k2", user("one")),
    ] {
        let said = house.call_with(CREATE_USER, &[("authorization", token), ("idempotency-key", key)], body).await;
        assert_eq!(said.code, Code::Ok, "{said:?}");
        seen.push(house.log.last().idempotency.expect("a key"));
    }
    assert_eq!(seen[0], seen[1], "another token of the same person is the same caller");
    assert_ne!(seen[0].fingerprint, seen[2].fingerprint);
    assert_eq!((&seen[0].key, &seen[0].scope), (&seen[2].key, &seen[2].scope));
    assert_eq!((seen[3].key.as_str(), seen[3].fingerprint), ("k2", seen[0].fingerprint));
    assert_eq!(seen[0].scope, format!("user:{}:{CREATE_USER}", house.user));
}

#[tokio::test]
async fn a_required_key_must_be_there() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Customer]));
    let said = house.call(CREATE_ORDER, &[("authorization", &token)]).await;
    assert_eq!((said.code, said.reason.as_str()), (Code::InvalidArgument, "IDEMPOTENCY_KEY_MISSING"));
    assert_eq!(said.fields, ["idempotency_key"]);
    let admin = bearer(&house.token(&[Role::TenantAdmin]));
    assert_eq!(house.call_with(CREATE_USER, &[("authorization", &admin)], user("x")).await.code, Code::Ok);
    assert_eq!(house.log.last().idempotency, None, "where it is not required it may be missing");
}

#[tokio::test]
async fn a_key_is_one_to_255_visible_ascii_characters() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Customer]));
    let (longest, longer) = ("k".repeat(255), "k".repeat(256));
    for good in ["k", &longest, "~!\"'{}"] {
        let said = house.call(CREATE_ORDER, &[("authorization", &token), ("idempotency-key", good)]).await;
        assert_eq!(said.code, Code::Ok, "{good}");
        assert_eq!(house.log.last().idempotency.expect("a key").key, good);
    }
    for bad in ["", &longer, "a b", "a\tb", "schlüssel"] {
        let said = house.call(CREATE_ORDER, &[("authorization", &token), ("idempotency-key", bad)]).await;
        assert_eq!((said.code, said.reason.as_str()), (Code::InvalidArgument, "IDEMPOTENCY_KEY_INVALID"), "{bad}");
    }
    let twice = [("authorization", token.as_str()), ("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(house.call(CREATE_ORDER, &twice).await.reason, "IDEMPOTENCY_KEY_INVALID");
}

#[tokio::test]
async fn a_request_larger_than_its_policy_is_refused() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Customer]));
    let limit = contract::policy(CREATE_ORDER).expect("a policy").max_request_bytes as usize;
    let headers = [("authorization", token.as_str()), ("idempotency-key", "k")];
    assert_eq!(house.call_with(CREATE_ORDER, &headers, vec![0; limit].into()).await.code, Code::Ok);
    let said = house.call_with(CREATE_ORDER, &headers, vec![0; limit + 1].into()).await;
    assert_eq!((said.code, said.reason.as_str()), (Code::InvalidArgument, "REQUEST_TOO_LARGE"));
    assert_eq!(house.log.reached(), 1);
}

#[tokio::test]
async fn the_cause_travels_and_junk_does_not() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Csr]));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let caused = [
        ("authorization", token.as_str()),
        ("x-correlation-id", "c-1"),
        ("x-causation-id", "evt_1"),
        ("traceparent", parent),
    ];
    assert_eq!(house.call(GET_POLICY, &caused).await.code, Code::Ok);
    let cause = house.log.last().cause;
    assert_eq!((cause.correlation_id.as_str(), cause.causation_id.as_str()), ("c-1", "evt_1"));
    let traceparent = cause.traceparent.expect("made by the stack");
    assert_eq!(telemetry::trace::trace_id(&traceparent), telemetry::trace::trace_id(parent));

    let long = "x".repeat(129);
    for junk in ["", "a b", "x\ty", "<script>", &long] {
        let headers = [("authorization", token.as_str()), ("x-correlation-id", junk), ("traceparent", "junk")];
        assert_eq!(house.call(GET_POLICY, &headers).await.code, Code::Ok);
        let cause = house.log.last().cause;
        assert!(cause.correlation_id.parse::<uuid::Uuid>().is_ok(), "a new one instead of {junk:?}: {cause:?}");
        assert!(telemetry::trace::trace_id(&cause.traceparent.expect("always there")).is_some());
    }
}

fn order_ctx(house: &House) -> Ctx {
    let cause = Cause { correlation_id: "c".into(), causation_id: "d".into(), traceparent: None };
    Ctx::service("order", house.tenant, cause, Timestamp::now())
}

#[tokio::test]
async fn a_service_that_is_away_for_a_moment_is_called_again() {
    let house = House::new();
    let (peers, ctx) = (house.mesh.peers("order"), order_ctx(&house));
    house.log.policy_away.store(1, Ordering::SeqCst);
    let mut client = PolicyServiceClient::new(peers.to("identity"));
    client.get_policy(peers.request(&ctx, GetPolicyRequest {})).await.expect("the second try succeeds");
    assert_eq!(house.log.policy_calls.load(Ordering::SeqCst), 2);
    assert_eq!(house.log.last().cause.correlation_id, "c");

    house.log.policy_calls.store(0, Ordering::SeqCst);
    house.log.policy_away.store(9, Ordering::SeqCst);
    let status = client.get_policy(peers.request(&ctx, GetPolicyRequest {})).await.expect_err("away for longer");
    assert_eq!(Fault::from(status).reason(), "AWAY");
    assert_eq!(house.log.policy_calls.load(Ordering::SeqCst), 2, "the contract allows one retry");
}

#[tokio::test]
async fn what_the_contract_does_not_allow_is_never_called_again() {
    let house = House::new();
    let peers = house.mesh.peers("stranger");
    let mut client = PolicyServiceClient::new(peers.to("identity"));
    let status = client.get_policy(peers.request(&order_ctx(&house), GetPolicyRequest {})).await.expect_err("refused");
    assert_eq!(Fault::from(status).reason(), "CALLER_NOT_ALLOWED");
    let mut nowhere = PolicyServiceClient::new(peers.to("nowhere"));
    let status = nowhere.get_policy(peers.request(&order_ctx(&house), GetPolicyRequest {})).await.expect_err("nobody");
    let fault = Fault::from(status);
    assert_eq!((fault.kind(), fault.reason()), (Kind::Unavailable, "PEER_UNKNOWN"));
}

#[tokio::test]
async fn a_keyed_request_carries_its_key() {
    let house = House::new();
    let request = house.mesh.peers("order").request_keyed(&order_ctx(&house), "saga-7:authorize", ());
    assert_eq!(request.metadata().get("idempotency-key").expect("a key"), "saga-7:authorize");
    assert_eq!(request.metadata().get("x-tenant-id").expect("a tenant"), house.tenant.to_string().as_str());
}

#[tokio::test]
async fn more_than_can_be_served_is_refused_at_once() {
    let house = Arc::new(House::with_limits(Limits { in_flight: 2 }));
    house.log.policy_silent.store(1, Ordering::SeqCst);
    let token = bearer(&house.service_token("order"));
    let tenant = house.tenant.to_string();
    let headers =
        move |token: &str| [("authorization".to_owned(), token.to_owned()), ("x-tenant-id".into(), tenant.clone())];
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let (house, headers) = (Arc::clone(&house), headers(&token));
        stuck.push(tokio::spawn(async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            house.call(GET_POLICY, &headers).await
        }));
    }
    while house.log.reached() < 2 {
        tokio::task::yield_now().await;
    }
    let said = house.call("/ordermesh.identity.v1.IdentityService/Login", &[]).await;
    assert_eq!((said.code, said.reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert!(stuck.iter().all(|call| !call.is_finished()), "it did not wait for the others");
    for call in stuck {
        assert_eq!(call.await.expect("no panic").code, Code::DeadlineExceeded);
    }
    assert_eq!(house.call("/ordermesh.identity.v1.IdentityService/Login", &[]).await.code, Code::Ok, "room again");
}
