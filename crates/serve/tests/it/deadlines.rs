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
    let house = House::new();
    let token = bearer(&house.token(&[Role::Csr]));
    let started = Instant::now();
    let said = house.call(GET_ORDER, &[("authorization", &token), ("grpc-timeout", "300m")]).await;
    assert_eq!(said.code, Code::Ok, "{said:?}");
    let opens = house.log.opens.lock().expect("not poisoned");
    let [order, identity] = [&opens[0], &opens[1]].map(|open| open.deadline.expect("always there"));
    assert!(order <= started + Duration::from_millis(310), "the caller's time rules");
    // The hop's own budget is a second; relative time-outs cannot say less than the way between two clocks' looks.
    assert!(identity < order + Duration::from_millis(100), "and the hop has no more");
    assert_eq!(opens[0].cause.correlation_id, opens[1].cause.correlation_id);
    assert_eq!(opens[0].tenant, opens[1].tenant);
}

#[tokio::test]
async fn a_caller_who_has_gone_is_not_worked_for() {
    let house = House::new();
    house.log.policy_silent.store(1, Ordering::SeqCst);
    let token = bearer(&house.token(&[Role::Csr]));
    let started = Instant::now();
    let said = house.call(GET_ORDER, &[("authorization", &token), ("grpc-timeout", "50m")]).await;
    assert_eq!((said.code, said.reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(started.elapsed() < Duration::from_millis(390), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_malformed_timeout_leaves_the_budget_of_the_policy() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Csr]));
    for bad in ["", "abc", "-1S", "999999999S", "1.5S"] {
        let started = Instant::now();
        let said = house.call(GET_POLICY, &[("authorization", &token), ("grpc-timeout", bad)]).await;
        assert_eq!(said.code, Code::Ok, "{bad:?}");
        let left = house.log.last().deadline.expect("always there").duration_since(started);
        assert!(left <= Duration::from_millis(1010) && left > Duration::from_millis(100), "{bad:?}: {left:?}");
    }
    house.log.policy_silent.store(1, Ordering::SeqCst);
    let started = Instant::now();
    let said = house.call(GET_POLICY, &[("authorization", &token), ("grpc-timeout", "99999999H")]).await;
    assert_eq!(said.code, Code::DeadlineExceeded);
    assert!(started.elapsed() < Duration::from_millis(1500), "two tries of 400 ms: {:?}", started.elapsed());
}

#[tokio::test]
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
