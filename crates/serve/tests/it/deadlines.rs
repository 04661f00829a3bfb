//! Time: the caller's, the policy's, and what is left after a hop.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use contract::order::v1::WatchOrderRequest;
use contract::order::v1::order_query_service_client::OrderQueryServiceClient;
use ctx::Role;
use fault::{Fault, Kind};
use tonic::Code;

use crate::house::{House, bearer};

const GET_POLICY: &str = "/ordermesh.identity.v1.PolicyService/GetPolicy";
const GET_ORDER: &str = "/ordermesh.order.v1.OrderQueryService/GetOrder";

#[tokio::test]
async fn the_deadline_shrinks_over_a_hop() {
    // A busy machine may hold up one call; a hop with 400 ms of its own would have them every time.
    let mut shrank = false;
    for _ in 0..10 {
        let house = House::new();
        let token = bearer(&house.token(&[Role::Csr]));
        let said = house.call(GET_ORDER, &[("authorization", &token), ("grpc-timeout", "300m")]).await;
        let ended = Instant::now();
        let opens = house.log.opens.lock().expect("not poisoned");
        let [order, identity] = &opens[..] else { continue };
        assert_eq!((&order.cause.correlation_id, order.tenant), (&identity.cause.correlation_id, identity.tenant));
        let [order, identity] = [order, identity].map(|open| open.deadline.expect("always there"));
        assert!(order <= ended + Duration::from_millis(300), "the caller's time rules");
        // Relative time-outs cannot say less than the way between two clocks' looks.
        shrank |= said.code == Code::Ok && identity < order + Duration::from_millis(90);
    }
    assert!(shrank, "the hop has no more than what is left");
}

#[tokio::test]
async fn a_caller_who_has_gone_is_not_worked_for() {
    let mut fastest = Duration::MAX;
    // A busy machine may hold up one call; that the hop waits its own 400 ms would hold up every one.
    for _ in 0..5 {
        let house = House::new();
        house.log.policy_silent.store(1, Ordering::SeqCst);
        let token = bearer(&house.token(&[Role::Csr]));
        let started = Instant::now();
        let said = house.call(GET_ORDER, &[("authorization", &token), ("grpc-timeout", "50m")]).await;
        assert_eq!((said.code, said.reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
        fastest = fastest.min(started.elapsed());
    }
    assert!(fastest < Duration::from_millis(390), "{fastest:?}");
}

#[tokio::test]
async fn a_malformed_timeout_leaves_the_budget_of_the_policy() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Csr]));
    for bad in ["", "abc", "-1S", "999999999S", "1.5S"] {
        let started = Instant::now();
        let said = house.call(GET_POLICY, &[("authorization", &token), ("grpc-timeout", bad)]).await;
        assert_eq!(said.code, Code::Ok, "{bad:?}");
        let deadline = house.log.last().deadline.expect("always there");
        assert!(deadline <= Instant::now() + Duration::from_secs(1), "{bad:?}");
        assert!(deadline > started + Duration::from_millis(100), "{bad:?}");
    }
    house.log.policy_silent.store(1, Ordering::SeqCst);
    let started = Instant::now();
    let said = house.call(GET_POLICY, &[("authorization", &token), ("grpc-timeout", "99999999H")]).await;
    assert_eq!(said.code, Code::DeadlineExceeded);
    assert!(started.elapsed() < Duration::from_secs(20), "two tries of 400 ms: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline() {
    let house = House::new();
    let mut client = OrderQueryServiceClient::new(house.mesh.plain("order"));
    let mut request = tonic::Request::new(WatchOrderRequest::default());
    let token = bearer(&house.token(&[Role::Customer]));
    request.metadata_mut().insert("authorization", token.parse().expect("ascii"));
    request.set_timeout(Duration::from_millis(150));
    let mut orders = client.watch_order(request).await.expect("a stream").into_inner();
    assert!(orders.message().await.expect("one order").is_some());
    let ended = Fault::from(orders.message().await.expect_err("its time is up"));
    assert_eq!((ended.kind(), ended.reason()), (Kind::Deadline, "DEADLINE_EXCEEDED"));
}
