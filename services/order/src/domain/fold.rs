//! What each event does to the picture of an order.

use contract::order::v1 as wire;
use contract::order::v1::OrderChangeState;
use prost_types::Timestamp;

use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::domain::retry;
use crate::domain::state::{is_lock, lifecycle, retail};

impl Order {
    /// What an event of a moment does to the order.
    pub fn apply(&mut self, event: &OrderEvent, at: Timestamp) {
        let doc = &mut self.doc;
        match event {
            OrderEvent::Created(created) => place(doc, created),
            OrderEvent::Drafted(drafted) => draft(doc, drafted),
            OrderEvent::ItemAdded(wire::OrderItemAdded { lines, totals, .. })
            | OrderEvent::ItemChanged(wire::OrderItemChanged { lines, totals, .. })
            | OrderEvent::ItemRemoved(wire::OrderItemRemoved { lines, totals, .. }) => {
                doc.lines.clone_from(lines);
                doc.totals.clone_from(totals);
            }
            OrderEvent::Updated(updated) => {
                doc.shipping_address.clone_from(&updated.shipping_address);
                doc.note.clone_from(&updated.note);
                if updated.totals.is_some() {
                    doc.lines.clone_from(&updated.lines);
                    doc.totals.clone_from(&updated.totals);
                }
            }
            OrderEvent::StatusChanged(changed) => {
                doc.state = changed.to;
                let state = changed.to();
                if !is_lock(state) || doc.status_retail.is_empty() {
                    retail(state, doc.payment.as_ref()).clone_into(&mut doc.status_retail);
                    lifecycle(state).clone_into(&mut doc.status_lifecycle);
                }
                if !changed.reason.is_empty() {
                    doc.state_reason.clone_from(&changed.reason);
                }
            }
            OrderEvent::ChangeRequested(_)
            | OrderEvent::ChangeConfirmed(_)
            | OrderEvent::ChangeApplied(_)
            | OrderEvent::ChangeDeclined(_) => change(doc, event),
            OrderEvent::NoteAdded(_) | OrderEvent::Held(_) | OrderEvent::Released(_) | OrderEvent::Rated(_) => {
                care(doc, event);
            }
            OrderEvent::PaymentRetried(retried) => {
                doc.state_reason.clear();
                retry::retried(doc.payment.get_or_insert_default(), retried);
            }
            OrderEvent::PaymentFailed(failed) => retry::failed(doc, failed),
            OrderEvent::PaymentLapsed(_) => {
                doc.payment.get_or_insert_default().retries_left = 0;
                retail(doc.state(), doc.payment.as_ref()).clone_into(&mut doc.status_retail);
            }
            OrderEvent::PaymentCompleted(_)
            | OrderEvent::PaymentActionRequired(_)
            | OrderEvent::PaymentCaptured(_)
            | OrderEvent::RefundReturned(_)
            | OrderEvent::Refunded(_) => money(doc.payment.get_or_insert_default(), event),
            OrderEvent::Shipped(shipped) => ship(doc, shipped),
            OrderEvent::Delivered(delivered) => deliver(doc, delivered),
            OrderEvent::Confirmed(_) | OrderEvent::Cancelled(_) | OrderEvent::Failed(_) => {}
        }
        self.version += 1;
        self.doc.update_time = Some(at);
        self.doc.etag = self.version.to_string();
    }
}

fn place(doc: &mut wire::Order, created: &wire::OrderCreated) {
    doc.id.clone_from(&created.order_id);
    doc.order_number = created.order_number;
    doc.customer_id.clone_from(&created.customer_id);
    doc.currency_code.clone_from(&created.currency_code);
    doc.lines.clone_from(&created.lines);
    doc.totals.clone_from(&created.totals);
    doc.shipping_address.clone_from(&created.shipping_address);
    doc.shipping_service.clone_from(&created.shipping_service);
    doc.note.clone_from(&created.note);
    // A draft was begun before it is placed.
    doc.create_time = doc.create_time.or(created.create_time);
    doc.place_time = created.create_time;
    doc.payment = Some(wire::PaymentSummary::default());
    doc.channel = created.channel;
    doc.warnings.clone_from(&created.warnings);
    doc.kind = created.kind;
    doc.subscription_id.clone_from(&created.subscription_id);
    doc.subscription_period = created.subscription_period;
    doc.promotion.clone_from(&created.promotion);
}

fn draft(doc: &mut wire::Order, drafted: &wire::OrderDrafted) {
    doc.id.clone_from(&drafted.order_id);
    doc.order_number = drafted.order_number;
    doc.customer_id.clone_from(&drafted.customer_id);
    doc.currency_code.clone_from(&drafted.currency_code);
    doc.lines.clone_from(&drafted.lines);
    doc.totals.clone_from(&drafted.totals);
    doc.shipping_address.clone_from(&drafted.shipping_address);
    doc.shipping_service.clone_from(&drafted.shipping_service);
    doc.note.clone_from(&drafted.note);
    doc.create_time = drafted.create_time;
    doc.channel = drafted.channel;
    doc.set_kind(wire::OrderKind::Purchase);
    doc.promotion.clone_from(&drafted.promotion);
}

fn change(doc: &mut wire::Order, event: &OrderEvent) {
    let mut end = |id: &str, state: OrderChangeState, reason: &str| {
        if let Some(change) = doc.changes.iter_mut().find(|change| change.id == id) {
            change.set_state(state);
            reason.clone_into(&mut change.outcome_reason);
        }
    };
    match event {
        OrderEvent::ChangeRequested(requested) => doc.changes.extend(requested.change.clone()),
        OrderEvent::ChangeConfirmed(confirmed) => end(&confirmed.change_id, OrderChangeState::Confirmed, ""),
        OrderEvent::ChangeDeclined(declined) => {
            end(&declined.change_id, declined.state(), &declined.reason);
            doc.fulfillment_revision = doc.fulfillment_revision.max(declined.fulfillment_revision);
        }
        OrderEvent::ChangeApplied(applied) => {
            end(&applied.change_id, OrderChangeState::Applied, "");
            doc.fulfillment_revision = doc.fulfillment_revision.max(applied.fulfillment_revision);
            doc.lines.clone_from(&applied.lines);
            doc.totals.clone_from(&applied.totals);
            if applied.shipping_address.is_some() {
                doc.shipping_address.clone_from(&applied.shipping_address);
            }
            if applied.authorized.is_some() {
                doc.payment.get_or_insert_default().authorized.clone_from(&applied.authorized);
            }
        }
        _ => {}
    }
}

fn care(doc: &mut wire::Order, event: &OrderEvent) {
    match event {
        OrderEvent::NoteAdded(added) => doc.notes.push(wire::OrderNote {
            text: added.text.clone(),
            author: added.author.clone(),
            create_time: added.create_time,
        }),
        OrderEvent::Held(held) => {
            doc.on_hold = true;
            doc.hold_reason.clone_from(&held.reason);
        }
        OrderEvent::Released(_) => {
            doc.on_hold = false;
            doc.hold_reason.clear();
        }
        OrderEvent::Rated(rated) => {
            let (stars, comment) = (rated.stars, rated.comment.clone());
            doc.rating = Some(wire::OrderRating { stars, comment, create_time: rated.create_time });
        }
        _ => {}
    }
}

fn money(payment: &mut wire::PaymentSummary, event: &OrderEvent) {
    match event {
        OrderEvent::PaymentCompleted(completed) => {
            payment.payment_id.clone_from(&completed.payment_id);
            payment.authorized.clone_from(&completed.authorized);
            payment.action_url.clear();
        }
        OrderEvent::PaymentActionRequired(required) => {
            payment.payment_id.clone_from(&required.payment_id);
            payment.action_url.clone_from(&required.action_url);
        }
        OrderEvent::PaymentCaptured(captured) => payment.captured.clone_from(&captured.captured),
        OrderEvent::Refunded(refunded) => payment.refunded.clone_from(&refunded.refunded),
        OrderEvent::RefundReturned(returned) => payment.refunded.clone_from(&returned.refunded),
        _ => {}
    }
}

fn ship(doc: &mut wire::Order, shipped: &wire::OrderShipped) {
    for part in &shipped.lines {
        if let Some(line) = doc.lines.iter_mut().find(|line| line.line == part.line) {
            line.shipped += part.quantity;
        }
    }
    doc.shipments.extend(shipped.shipment.clone());
}

fn deliver(doc: &mut wire::Order, delivered: &wire::OrderDelivered) {
    for part in &delivered.lines {
        if let Some(line) = doc.lines.iter_mut().find(|line| line.line == part.line) {
            line.delivered += part.quantity;
        }
    }
    for shipment in &mut doc.shipments {
        if shipment.shipment_id == delivered.shipment_id {
            "DELIVERED".clone_into(&mut shipment.state);
        }
    }
}
