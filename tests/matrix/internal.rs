//! Orders that services of the mesh place.

use contract::order::v1 as order;
use prost::Message;
use tonic::Code;

use super::samples::sample;
use super::world::{Who, World};

#[tokio::test(flavor = "multi_thread")]
async fn ord_45_a_service_places_an_order_over_grpc_and_its_channel_says_so() {
    let world = World::get().await;
    let (caller, path) = (world.grpc(), "/ordermesh.order.v1.OrderService/CreateOrder");
    let call = async |service: &'static str| {
        let token = world.bearer(Who::Service(service), &world.alpha);
        let key = ids::EventId::new().to_string();
        let headers =
            [("authorization", token.as_str()), ("x-tenant-id", &world.alpha.tenant), ("idempotency-key", &key)];
        caller.call(path, &headers, sample(path, &world.alpha)).await
    };
    let placed = call("order").await;
    assert_eq!(placed.code, Code::Ok, "{placed:?}");
    let placed = order::Order::decode(placed.bodies[0].clone()).expect("an order");
    assert_eq!((placed.channel(), placed.state()), (order::OrderChannel::Internal, order::OrderState::Pending));
    assert_eq!(placed.customer_id, world.alpha.customer);
    assert_eq!(call("inventory").await.reason, "CALLER_NOT_ALLOWED");
}
