//! What other services' events do to an order, each in one transaction with its inbox row (choreography after the
//! warehouse has accepted, requirements X2).

use std::sync::Arc;

use contract::Event as _;
use contract::fulfillment::v1::{FulfillmentCancelled, FulfillmentStarted};
use contract::identity::v1::{CustomerStandingChanged, PolicyChanged};
use contract::inventory::v1::ProductChanged;
use contract::order::v1 as wire;
use contract::order::v1::{OrderChangeApplied, OrderChangeDeclined, OrderPaymentFailed, OrderState};
use contract::payment::v1::{
    AuthorizationExpired, AuthorizationExpiring, PaymentAuthorized, PaymentCaptured, PaymentDeclined,
    PaymentMarkedPaid, RefundFailed, RefundSucceeded, RiskReviewResolved,
};
use contract::shipping::v1::{ShipmentDelivered, ShipmentShipped};
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::{ChangeId, OrderId};
use outbox::{Delivery, Subscription};
use pg::Conn;
use saga::Definition;
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::app::cancel_order::refused;
use crate::app::cancel_saga::SUBJECT;
use crate::app::change_saga::AWAIT;
use crate::app::place_saga;
use crate::app::renew_saga::PAYMENT;
use crate::app::retry_payment::paid_outside;
use crate::app::rounds::{run_in, run_of};
use crate::app::{lapse_saga, warehouse_cancelled};
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::infra::catalog::Catalog;
use crate::infra::placements::settle_units;
use crate::infra::store::Store;

type Handled<'c> = BoxFuture<'c, Result<(), pg::Error>>;

/// What the order service listens to.
pub fn subscription(app: &App) -> Subscription {
    let (renew, pay_again) = (app.renew.clone(), app.pay_again.clone());
    let lapse = Arc::new(app.lapse.clone());
    let called_off = [app.cancel.clone(), app.shortfall.clone()].map(Arc::new);
    let (ending, ended, pay_again) = (Arc::new(renew.clone()), Arc::new(renew), Arc::new(pay_again));
    forgets(Subscription::new("order"), &app.catalog)
        .on_all(PaymentAuthorized::TYPE, |conn, deliveries| {
            wake::<PaymentAuthorized>(conn, deliveries, |event| (&event.order_id, event.round))
        })
        .on_all(RiskReviewResolved::TYPE, |conn, deliveries| {
            wake::<RiskReviewResolved>(conn, deliveries, |event| (&event.order_id, event.round))
        })
        .on(OrderChangeApplied::TYPE, |conn, delivery| {
            decided::<OrderChangeApplied>(conn, delivery, |event| (&event.order_id, &event.change_id))
        })
        .on(OrderChangeDeclined::TYPE, |conn, delivery| {
            decided::<OrderChangeDeclined>(conn, delivery, |event| (&event.order_id, &event.change_id))
        })
        .on_all(PaymentDeclined::TYPE, |conn, deliveries| {
            wake::<PaymentDeclined>(conn, deliveries, |event| (&event.order_id, event.round))
        })
        .on(PaymentMarkedPaid::TYPE, move |conn, delivery| marked_paid(conn, delivery, Arc::clone(&pay_again)))
        .on(AuthorizationExpiring::TYPE, move |conn, delivery| {
            renews::<AuthorizationExpiring>(conn, delivery, Arc::clone(&ending), |event| {
                (&event.order_id, &event.payment_id, event.round)
            })
        })
        .on(AuthorizationExpired::TYPE, move |conn, delivery| {
            renews::<AuthorizationExpired>(conn, delivery, Arc::clone(&ended), |event| {
                (&event.order_id, &event.payment_id, event.round)
            })
        })
        .on(PaymentCaptured::TYPE, |conn, delivery| {
            react(conn, delivery, |event: &PaymentCaptured| &event.order_id, captured)
        })
        .on(RefundSucceeded::TYPE, |conn, delivery| {
            react(conn, delivery, |event: &RefundSucceeded| &event.order_id, refunded)
        })
        .on(RefundFailed::TYPE, |conn, delivery| {
            react(conn, delivery, |event: &RefundFailed| &event.order_id, came_back)
        })
        .on(OrderPaymentFailed::TYPE, move |conn, delivery| lapse_saga::handle(conn, delivery, Arc::clone(&lapse)))
        .on(FulfillmentStarted::TYPE, |conn, delivery| {
            react(conn, delivery, |event: &FulfillmentStarted| &event.order_id, |order, _| order.start_fulfillment())
        })
        .on(FulfillmentCancelled::TYPE, move |conn, delivery| {
            warehouse_cancelled::handle(conn, delivery, called_off.clone())
        })
        .on(ShipmentShipped::TYPE, |conn, delivery| {
            react(conn, delivery, |event: &ShipmentShipped| &event.order_id, shipped)
        })
        .on(ShipmentDelivered::TYPE, |conn, delivery| {
            react(conn, delivery, |event: &ShipmentDelivered| &event.order_id, delivered)
        })
}

/// Copies that are not true any more.
fn forgets(subscription: Subscription, catalog: &Catalog) -> Subscription {
    let (products, customers, policies) = (catalog.clone(), catalog.clone(), catalog.clone());
    subscription
        .on(ProductChanged::TYPE, move |_, delivery| {
            let catalog = products.clone();
            async move {
                let event: ProductChanged = delivery.decode()?;
                catalog.forget_product(delivery.ctx.tenant, event.sku).await;
                Ok(())
            }
            .boxed()
        })
        .on(CustomerStandingChanged::TYPE, move |_, delivery| {
            let catalog = customers.clone();
            async move {
                let event: CustomerStandingChanged = delivery.decode()?;
                let user = event.user_id.parse().map_err(Fault::internal)?;
                catalog.forget_customer(delivery.ctx.tenant, user).await;
                Ok(())
            }
            .boxed()
        })
        .on(PolicyChanged::TYPE, move |_, delivery| {
            let catalog = policies.clone();
            async move {
                catalog.forget_policy(delivery.ctx.tenant).await;
                Ok(())
            }
            .boxed()
        })
}

fn captured(order: &Order, event: &PaymentCaptured) -> Result<Vec<OrderEvent>, Refusal> {
    let ours = order.is_paid_by(&event.payment_id, event.round);
    let total = event.captured_total.clone().filter(|_| ours);
    Ok(total.map(|total| order.note_capture(total)).unwrap_or_default())
}

fn refunded(order: &Order, event: &RefundSucceeded) -> Result<Vec<OrderEvent>, Refusal> {
    let ours = order.is_paid_by(&event.payment_id, event.round);
    let amount = event.amount.as_ref().filter(|_| ours);
    Ok(amount.map(|amount| order.note_refund(amount)).unwrap_or_default())
}

fn came_back(order: &Order, event: &RefundFailed) -> Result<Vec<OrderEvent>, Refusal> {
    let ours = event.returned && order.is_paid_by(&event.payment_id, event.round);
    let amount = event.amount.as_ref().filter(|_| ours);
    Ok(amount.map(|amount| order.note_returned_refund(amount)).unwrap_or_default())
}

fn shipped(order: &Order, event: &ShipmentShipped) -> Result<Vec<OrderEvent>, Refusal> {
    let parcel = wire::ShipmentSummary {
        shipment_id: event.shipment_id.clone(),
        warehouse: event.warehouse.clone(),
        carrier: event.carrier.clone(),
        tracking_number: event.tracking_number.clone(),
        state: "SHIPPED".to_owned(),
    };
    order.ship(parcel, &event.lines)
}

fn delivered(order: &Order, event: &ShipmentDelivered) -> Result<Vec<OrderEvent>, Refusal> {
    order.deliver(&event.shipment_id, &event.lines)
}

/// A change is over: its saga and the order's go on, and the customer has as many units as the order has now.
fn decided<E: prost::Message + Default + 'static>(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    ids: fn(&E) -> (&String, &String),
) -> Handled<'_> {
    async move {
        let event: E = delivery.decode()?;
        let (order, change) = ids(&event);
        let id: OrderId = order.parse().map_err(Fault::internal)?;
        let change: ChangeId = change.parse().map_err(Fault::internal)?;
        // By age, as the engine locks them: the order's saga is older than any change of the order.
        let run = run_in(conn, delivery.ctx.tenant, id).await?;
        saga::wake(conn, delivery.ctx.tenant, run, place_saga::REQUEST).await?;
        saga::wake(conn, delivery.ctx.tenant, change.uuid(), AWAIT).await?;
        let order = Store::get_in(conn, delivery.ctx.tenant, id).await?;
        // Of a change that was asked for meanwhile the units are counted already, and its end comes here too.
        if order.state() != OrderState::ChangePending {
            settle_units(conn, delivery.ctx.tenant, id, &order.doc).await?;
        }
        Ok(())
    }
    .boxed()
}

/// Money came outside of any provider: an order whose payment had failed goes on (PAY-18).
fn marked_paid(conn: &mut Conn, delivery: Arc<Delivery>, table: Arc<Definition>) -> Handled<'_> {
    async move {
        let event: PaymentMarkedPaid = delivery.decode()?;
        let id: OrderId = event.order_id.parse().map_err(Fault::internal)?;
        paid_outside(conn, &delivery.ctx, &table, id, &event.reason).await
    }
    .boxed()
}

/// The sagas of the rounds look again: what their payment steps wait for may have come.
fn wake<E: prost::Message + Default + 'static>(
    conn: &mut Conn,
    deliveries: Vec<Arc<Delivery>>,
    round: fn(&E) -> (&str, i32),
) -> Handled<'_> {
    async move {
        let Some(tenant) = deliveries.first().map(|delivery| delivery.ctx.tenant) else { return Ok(()) };
        let run = |delivery: &Arc<Delivery>| {
            let event: E = delivery.decode()?;
            let (order, round) = round(&event);
            let order: OrderId = order.parse().map_err(Fault::internal)?;
            Ok(run_of(order, round))
        };
        let runs = deliveries.iter().map(run).collect::<Result<Vec<_>, Fault>>()?;
        saga::wake_all(conn, tenant, runs, place_saga::AUTHORIZE).await?;
        Ok(())
    }
    .boxed()
}

/// A saga sees to it that the money of goods that have not left yet is held again, once per event.
fn renews<E: prost::Message + Default + 'static>(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    table: Arc<Definition>,
    ids: fn(&E) -> (&String, &String, i32),
) -> Handled<'_> {
    async move {
        let event: E = delivery.decode()?;
        let (order, payment, round) = ids(&event);
        let id: OrderId = order.parse().map_err(Fault::internal)?;
        let found = Store::get_in(conn, delivery.ctx.tenant, id).await?;
        if found.awaits_parcels() && found.is_paid_by(payment, round) {
            let state = json!({SUBJECT: order, PAYMENT: payment});
            saga::start(conn, &delivery.ctx, &table, Uuid::now_v7(), state).await?;
        }
        Ok(())
    }
    .boxed()
}

/// A decision on the order, unless it was made before. One that the state forbids now is tried again: the event may
/// have overtaken the saga's own commit.
fn react<E: prost::Message + Default + 'static>(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    order: fn(&E) -> &str,
    decide: fn(&Order, &E) -> Result<Vec<OrderEvent>, Refusal>,
) -> Handled<'_> {
    async move {
        let event: E = delivery.decode()?;
        let id: OrderId = order(&event).parse().map_err(Fault::internal)?;
        let order = Store::get_in(conn, delivery.ctx.tenant, id).await?;
        match decide(&order, &event) {
            Ok(events) if events.is_empty() => Ok(()),
            Ok(events) => Store::append(conn, &delivery.ctx, &order, &events).await.map(drop),
            Err(Refusal::Already) => Ok(()),
            Err(why) => Err(refused(&why).into()),
        }
    }
    .boxed()
}
