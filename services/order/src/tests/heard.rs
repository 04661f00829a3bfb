//! News of other services, and what an order makes of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::Event;
use contract::fulfillment::v1::FulfillmentCancelled;
use contract::order::v1 as wire;
use contract::order::v1::{LineEdit, OrderChangeState as C, OrderPaymentFailed, OrderState as S};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::OrderId;
use jiff::SignedDuration;
use outbox::Delivery;
use pg::Conn;
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::world::{World, reason, subject};
use crate::app::order_change::RequestChange;
use crate::app::place_saga::REQUEST;
use crate::app::retry_payment::RetryPayment;
use crate::app::{lapse_saga, warehouse_cancelled};
use crate::domain::order::Order;
use crate::infra::store::{Store, wire_time};

type Handler = dyn for<'c> Fn(&'c mut Conn, Arc<Delivery>) -> BoxFuture<'c, Result<(), pg::Error>> + Send + Sync;

/// Tells a handler of an event.
async fn tell<E: Event>(world: &World, event: &E, handler: Arc<Handler>) -> Result<(), Fault> {
    let delivery = Arc::new(Delivery {
        ctx: world.csr(),
        event_id: Uuid::now_v7(),
        type_name: E::TYPE.to_owned(),
        stream: Uuid::now_v7(),
        version: 1,
        payload: event.encode_to_vec(),
    });
    let told = world.app.store.pg.tx("test.tell", world.tenant, move |conn: &mut Conn| {
        let (delivery, handler) = (Arc::clone(&delivery), Arc::clone(&handler));
        async move { handler(conn, delivery).await }.boxed()
    });
    Ok(told.await?)
}

/// The warehouse cancels what it was asked for under a revision.
async fn called_off(world: &World, order: &wire::Order, revision: i32) -> Result<(), Fault> {
    let (order_id, fulfillment_id) = (order.id.clone(), "ful_1".to_owned());
    let event = FulfillmentCancelled { order_id, fulfillment_id, by_warehouse: true, revision };
    let tables = [world.app.cancel.clone(), world.app.shortfall.clone()].map(Arc::new);
    tell(world, &event, Arc::new(move |conn, delivery| warehouse_cancelled::handle(conn, delivery, tables.clone())))
        .await
}

/// Writes down a decision on an order, as a saga would.
async fn decide(
    world: &World,
    ctx: Ctx,
    order: &wire::Order,
    decide: impl Fn(&Order) -> Vec<crate::domain::event::OrderEvent> + Send + Sync + 'static,
) -> Result<wire::Order> {
    let (id, decide) = (order.id.parse::<OrderId>()?, Arc::new(decide));
    let decided = world.app.store.pg.tx("test.decide", world.tenant, move |conn: &mut Conn| {
        let (ctx, decide) = (ctx.clone(), Arc::clone(&decide));
        async move {
            let order = Store::get_in(conn, ctx.tenant, id).await?;
            Ok(Store::append(conn, &ctx, &order, &decide(&order)).await?.doc)
        }
        .boxed()
    });
    Ok(decided.await?)
}

/// An order that its warehouse has accepted, and a change of it that somebody wants.
async fn changing(world: &World) -> Result<(wire::Order, wire::OrderChange)> {
    let order = world.placed(&[("TEE", 2)]).await?;
    world.at_step(&order, REQUEST.into()).await?;
    let order = world.lead(&order, &[S::PaymentProcessing, S::PaymentCompleted, S::FulfillmentPending]).await?;
    let edits = vec![LineEdit { line: 1, quantity: 1, ..LineEdit::default() }];
    let wish = RequestChange { subject: subject(&order), edits, to: None, reason: String::new(), expected_total: None };
    let change = world.app.request_change(&world.ctx(), &wish).await?.response;
    Ok((order, change))
}

#[tokio::test]
async fn ord_44_a_change_that_is_agreed_to_outlives_the_warehouses_cancellation_and_one_that_waits_is_decided_first()
-> Result<()> {
    let world = World::open().await?;
    let (order, change) = changing(&world).await?;
    let early = called_off(&world, &order, 0).await.err().context("told again, once somebody has decided")?;
    assert_eq!(early.reason(), "ORDER_STATE_FORBIDS");
    world.app.confirm_change(&world.ctx(), &subject(&order), change.id.parse()?).await?;
    called_off(&world, &order, 0).await?;
    let now = world.get(&order).await?;
    assert_eq!((now.state(), now.changes[0].state()), (S::ChangePending, C::Confirmed));
    Ok(())
}

#[tokio::test]
async fn ful_05_news_of_work_that_a_change_has_called_off_does_not_cancel_the_order_and_news_of_later_work_does()
-> Result<()> {
    for ends_well in [true, false] {
        let world = World::open().await?;
        let (order, change) = changing(&world).await?;
        world.app.confirm_change(&world.ctx(), &subject(&order), change.id.parse()?).await?;
        let id = change.id.clone();
        let end = move |order: &Order| {
            let events = if ends_well {
                order.apply_change(&id, None, 10)
            } else {
                order.decline_change(&id, C::Failed, "OUT_OF_STOCK", 10)
            };
            events.expect("it was agreed to")
        };
        let changed = decide(&world, world.csr(), &order, end).await?;
        assert_eq!((changed.state(), changed.fulfillment_revision), (S::FulfillmentPending, 10));
        called_off(&world, &order, 9).await?;
        assert_eq!(world.get(&order).await?.etag, changed.etag, "that work was called off");
        called_off(&world, &order, 10).await?;
        let now = world.get(&order).await?;
        assert_eq!((now.state(), now.state_reason.as_str()), (S::CancellationPending, "WAREHOUSE_CANCELLED"));
        assert!(world.verified(&order).await?);
    }
    Ok(())
}

#[tokio::test]
async fn ful_05_where_another_warehouse_has_begun_a_person_decides_about_what_one_cancelled() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 2)]).await?;
    world.at_step(&order, REQUEST.into()).await?;
    let begun = world.lead(&order, &[S::FulfillmentPending, S::FulfillmentInProgress]).await?;
    called_off(&world, &order, 0).await?;
    assert_eq!(world.get(&order).await?.etag, begun.etag, "what others pick goes on");
    let filter = saga::Filter { kinds: vec![warehouse_cancelled::KIND.to_owned()], ..saga::Filter::default() };
    let list = crate::app::get_saga::ListSagas { size: 10, token: String::new(), filter, mark: String::new() };
    let found = world.app.list_sagas(&world.csr(), list).await?.sagas;
    assert_eq!(found.iter().map(|saga| saga.order_id.as_str()).collect::<Vec<_>>(), [order.id.as_str()]);
    Ok(())
}

/// The payment of an order failed at this moment, and everything is undone.
async fn failed(world: &World, at: Ctx) -> Result<wire::Order> {
    let order = world.placed(&[("TEE", 1)]).await?;
    world.lead(&order, &[S::PaymentProcessing]).await?;
    let when = wire_time(at.now);
    let fail = move |order: &Order| order.fail_payment("card_declined", when).expect("it is being paid");
    let failed = decide(world, at, &order, fail).await?;
    world.rest_saga(&order).await?;
    Ok(failed)
}

#[tokio::test]
async fn pay_18_a_day_after_its_payment_failed_an_order_is_cancelled_in_a_shops_words_and_not_before() -> Result<()> {
    let world = World::open().await?;
    let at = |seconds: i64| {
        let now = world.ctx().now.saturating_sub(SignedDuration::from_secs(seconds))?;
        anyhow::Ok(Ctx { now, ..world.csr() })
    };
    // The one's day is over, the other's in a moment.
    let (old, young) = (failed(&world, at(24 * 3600 + 2)?).await?, failed(&world, at(23 * 3600)?).await?);
    for order in [&old, &young] {
        assert_eq!((order.state(), order.status_retail.as_str()), (S::PaymentFailed, "Pending Payment"));
        let event = OrderPaymentFailed { order_id: order.id.clone(), ..OrderPaymentFailed::default() };
        let table = Arc::new(world.app.lapse.clone());
        tell(&world, &event, Arc::new(move |conn, delivery| lapse_saga::handle(conn, delivery, Arc::clone(&table))))
            .await?;
    }
    let stop = CancellationToken::new();
    let engine = saga::Engine::new(world.app.store.pg.clone(), world.app.saga_tables()).run(stop.clone());
    let engine = tokio::spawn(engine);
    let over = eventually(Duration::from_secs(60), || async {
        let order = world.get(&old).await?;
        Ok((order.status_retail == "Cancelled").then_some(order))
    });
    let over = over.await?;
    let waits = eventually(Duration::from_secs(60), || async {
        let filter = saga::Filter { kinds: vec![lapse_saga::KIND.to_owned()], ..saga::Filter::default() };
        let list = crate::app::get_saga::ListSagas { size: 10, token: String::new(), filter, mark: String::new() };
        let sagas = world.app.list_sagas(&world.csr(), list).await?.sagas;
        let of = |order: &wire::Order| sagas.iter().find(|saga| saga.order_id == order.id).map(wire::Saga::state);
        Ok((of(&young) == Some(wire::SagaState::Waiting) && of(&old) == Some(wire::SagaState::Completed)).then_some(()))
    });
    waits.await?;
    stop.cancel();
    engine.await?;
    let payment = over.payment.clone().context("a payment")?;
    assert_eq!((over.state(), over.status_lifecycle.as_str(), payment.retries_left), (S::PaymentFailed, "Failed", 0));
    assert_eq!(world.get(&young).await?.etag, young.etag, "there is time left");
    let command =
        RetryPayment { subject: subject(&over), payment_method: "pm_sim_visa".to_owned(), reason: String::new() };
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &command).await), "PAYMENT_RETRY_TOO_LATE");
    assert!(world.verified(&over).await?);
    Ok(())
}
