//! An order with what payment and shipping know about it now. A part whose owner does not answer in time is shown as
//! the order last heard of it, with that time: part of a view is better than none (ORD-43).

use std::time::Duration;

use contract::order::v1 as wire;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{ListPaymentsRequest, Payment};
use contract::shipping::v1::shipping_service_client::ShippingServiceClient;
use contract::shipping::v1::{ListShipmentsRequest, Shipment};
use ctx::Ctx;
use fault::{Fault, Kind};
use serve::Peers;
use tokio::time::timeout;

use crate::infra::store::wire_time;

/// The longest that a part is waited for.
const PATIENCE: Duration = Duration::from_millis(600);
/// Parcels of one view; an order has one per warehouse.
const MOST: i32 = 50;

/// Asks the owners of the parts, all at the same time.
pub async fn compose(ctx: &Ctx, peers: &Peers, order: wire::Order) -> wire::OrderView {
    // The caller may see the order; what the parts add is asked for in the service's own name.
    let asked = Ctx::service("order", ctx.tenant, ctx.cause.clone(), ctx.now);
    let (paid, sent) = tokio::join!(payment(&asked, peers, &order.id), shipments(&asked, peers, &order.id));
    let payment = paid_part(ctx, &order, &paid);
    let (shipments, tracking) = sent_parts(ctx, &order, &sent);
    let fresh = wire::PartState::Fresh;
    let partial = payment.state() != fresh || shipments.state() != fresh || tracking.state() != fresh;
    wire::OrderView {
        order: Some(order),
        payment: Some(payment),
        shipments: Some(shipments),
        tracking: Some(tracking),
        partial,
    }
}

async fn payment(ctx: &Ctx, peers: &Peers, order_id: &str) -> Result<Option<Payment>, Fault> {
    let order_id = order_id.to_owned();
    let request = ListPaymentsRequest { order_id, page_size: 1, ..Default::default() };
    let mut client = PaymentServiceClient::new(peers.to("payment"));
    let answer = timeout(PATIENCE, client.list_payments(peers.request(ctx, request))).await.map_err(|_| slow())??;
    Ok(answer.into_inner().payments.into_iter().next())
}

async fn shipments(ctx: &Ctx, peers: &Peers, order_id: &str) -> Result<Vec<Shipment>, Fault> {
    let order_id = order_id.to_owned();
    let request = ListShipmentsRequest { order_id, page_size: MOST, ..Default::default() };
    let mut client = ShippingServiceClient::new(peers.to("shipping"));
    let answer = timeout(PATIENCE, client.list_shipments(peers.request(ctx, request))).await.map_err(|_| slow())??;
    Ok(answer.into_inner().shipments)
}

fn slow() -> Fault {
    Fault::deadline("SLOW", "the owner did not answer in time")
}

/// What a caller may hear of why a part is not fresh.
fn reason(fault: &Fault) -> String {
    let reason = match fault.kind() {
        Kind::Deadline | Kind::Cancelled => "SLOW",
        Kind::Unavailable => "UNREACHABLE",
        _ => "FAILED",
    };
    tracing::info!(%fault, reason, "a part of an order's view is not fresh");
    reason.to_owned()
}

fn paid_part(ctx: &Ctx, order: &wire::Order, paid: &Result<Option<Payment>, Fault>) -> wire::PaymentView {
    match paid {
        Ok(paid) => {
            let paid = paid.clone().unwrap_or_default();
            let payment_state = match paid.id.as_str() {
                "" => String::new(),
                _ => paid.state().as_str_name().trim_start_matches("PAYMENT_STATE_").to_owned(),
            };
            wire::PaymentView {
                state: wire::PartState::Fresh.into(),
                as_of_time: Some(wire_time(ctx.now)),
                reason: String::new(),
                payment_id: paid.id,
                payment_state,
                authorized: paid.authorized,
                captured: paid.captured,
                refunded: paid.refunded,
            }
        }
        Err(fault) => {
            let heard = order.payment.clone().unwrap_or_default();
            let known = !heard.payment_id.is_empty();
            wire::PaymentView {
                state: stale(known).into(),
                as_of_time: order.update_time.filter(|_| known),
                reason: reason(fault),
                payment_id: heard.payment_id,
                payment_state: String::new(),
                authorized: heard.authorized,
                captured: heard.captured,
                refunded: None,
            }
        }
    }
}

fn stale(known: bool) -> wire::PartState {
    if known { wire::PartState::Stale } else { wire::PartState::Missing }
}

fn sent_parts(
    ctx: &Ctx,
    order: &wire::Order,
    sent: &Result<Vec<Shipment>, Fault>,
) -> (wire::ShipmentsView, wire::TrackingView) {
    match sent {
        Ok(sent) => {
            let (state, as_of_time) = (wire::PartState::Fresh.into(), Some(wire_time(ctx.now)));
            let parcels = sent.iter().map(parcel).collect();
            let mut entries: Vec<_> = sent.iter().flat_map(entries).collect();
            entries.sort_by_key(|entry| entry.occur_time.map(|at| (at.seconds, at.nanos)));
            let reason = String::new();
            let shipments = wire::ShipmentsView { state, as_of_time, reason: reason.clone(), parcels };
            (shipments, wire::TrackingView { state, as_of_time, reason, entries })
        }
        Err(fault) => {
            let known = !order.shipments.is_empty();
            let (as_of_time, reason) = (order.update_time.filter(|_| known), reason(fault));
            let parcels = order.shipments.iter().map(heard_parcel).collect();
            let state = stale(known).into();
            let shipments = wire::ShipmentsView { state, as_of_time, reason: reason.clone(), parcels };
            // An order hears of parcels that left and arrived, and never of the way between.
            let state = wire::PartState::Missing.into();
            (shipments, wire::TrackingView { state, as_of_time: None, reason, entries: Vec::new() })
        }
    }
}

fn parcel(shipment: &Shipment) -> wire::ParcelView {
    wire::ParcelView {
        shipment_id: shipment.id.clone(),
        warehouse: shipment.warehouse.clone(),
        carrier: shipment.carrier.clone(),
        tracking_number: shipment.tracking_number.clone(),
        state: shipment.state().as_str_name().trim_start_matches("SHIPMENT_STATE_").to_owned(),
    }
}

fn heard_parcel(heard: &wire::ShipmentSummary) -> wire::ParcelView {
    wire::ParcelView {
        shipment_id: heard.shipment_id.clone(),
        warehouse: heard.warehouse.clone(),
        carrier: heard.carrier.clone(),
        tracking_number: heard.tracking_number.clone(),
        state: heard.state.clone(),
    }
}

fn entries(shipment: &Shipment) -> impl Iterator<Item = wire::TrackingEntry> + '_ {
    shipment.scans.iter().map(|scan| wire::TrackingEntry {
        shipment_id: shipment.id.clone(),
        code: scan.code.clone(),
        location: scan.location.clone(),
        occur_time: scan.occur_time,
    })
}

#[cfg(test)]
mod tests;
