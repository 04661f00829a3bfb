//! What happened to a payment, as published messages.

use contract::Event;
use contract::common::v1::Money as WireMoney;
use contract::payment::v1::{
    AuthorizationExpired, AuthorizationExpiring, AuthorizationIncremented, ChargebackClosed, ChargebackOpened,
    PaymentActionRequired, PaymentAuthorizationRequested, PaymentAuthorized, PaymentCaptured, PaymentDeclined,
    PaymentMarkedPaid, PaymentVoided, RefundFailed, RefundSucceeded,
};
use ctx::Ctx;
use eventlog::NewEvent;
use ids::{OrderId, PaymentId};
use money::Money;

use super::store::{Capture, Refund};
use crate::logic::state::{Change, Outcome, Payment};

pub(super) fn requested(order: OrderId, payment: PaymentId, amount: Money) -> NewEvent {
    event(&PaymentAuthorizationRequested {
        order_id: order.to_string(),
        payment_id: payment.to_string(),
        amount: Some(wire(amount)),
    })
}

/// Staff confirmed that the money came outside of any provider.
pub(super) fn marked_paid(ctx: &Ctx, payment: &Payment, why: &str) -> NewEvent {
    let (_, marked_by) = ctx.principal.actor();
    event(&PaymentMarkedPaid {
        order_id: payment.order.to_string(),
        payment_id: payment.id.to_string(),
        amount: amount(payment, payment.captured),
        reason: why.to_owned(),
        marked_by,
    })
}

/// The mark left for an order never seen; there is no amount.
pub(super) fn marked_void(order: OrderId, payment: PaymentId) -> NewEvent {
    event(&PaymentVoided { order_id: order.to_string(), payment_id: payment.to_string(), amount: None })
}

pub(super) fn captured(payment: &Payment, capture: &Capture) -> NewEvent {
    event(&PaymentCaptured {
        order_id: payment.order.to_string(),
        payment_id: payment.id.to_string(),
        amount: amount(payment, capture.amount),
        captured_total: amount(payment, payment.captured),
        shipment_id: capture.shipment().to_string(),
        round: payment.round,
    })
}

pub(super) fn refunded(payment: &Payment, refund: &Refund) -> NewEvent {
    event(&RefundSucceeded {
        order_id: payment.order.to_string(),
        payment_id: payment.id.to_string(),
        refund_id: refund.id().to_string(),
        amount: amount(payment, refund.amount),
        round: payment.round,
    })
}

/// The refund failed; `returned` when it had been told as done.
pub(super) fn refund_failed(payment: &Payment, refund: &Refund, code: &str, returned: bool) -> NewEvent {
    event(&RefundFailed {
        order_id: payment.order.to_string(),
        payment_id: payment.id.to_string(),
        refund_id: refund.id().to_string(),
        amount: amount(payment, refund.amount),
        round: payment.round,
        reason: code.to_owned(),
        returned,
    })
}

pub(super) fn changed(before: &Payment, after: &Payment) -> Vec<NewEvent> {
    before.changes(after).iter().map(|change| of(after, change)).collect()
}

fn of(payment: &Payment, change: &Change) -> NewEvent {
    let (order_id, payment_id) = (payment.order.to_string(), payment.id.to_string());
    match change {
        Change::ActionRequired => {
            let action_url = payment.action_url.clone().unwrap_or_default();
            event(&PaymentActionRequired { order_id, payment_id, action_url })
        }
        Change::Authorized => {
            let (amount, round) = (amount(payment, payment.authorized), payment.round);
            event(&PaymentAuthorized { order_id, payment_id, amount, round })
        }
        Change::Declined => {
            let reason = payment.decline_reason.clone().unwrap_or_default();
            event(&PaymentDeclined { order_id, payment_id, reason, round: payment.round })
        }
        Change::Incremented => {
            let authorized_total = amount(payment, payment.authorized);
            event(&AuthorizationIncremented { order_id, payment_id, authorized_total })
        }
        Change::TakenAtOnce => {
            let captured_total = amount(payment, payment.captured);
            let (amount, shipment_id) = (captured_total.clone(), String::new());
            event(&PaymentCaptured { order_id, payment_id, amount, captured_total, shipment_id, round: payment.round })
        }
        Change::Expiring => {
            let at = payment.hold_ends();
            let expire_time =
                at.map(|at| prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() });
            let amount = amount(payment, payment.authorized - payment.captured);
            event(&AuthorizationExpiring { order_id, payment_id, amount, expire_time, round: payment.round })
        }
        Change::Expired(minor) => {
            let (amount, round) = (amount(payment, *minor), payment.round);
            event(&AuthorizationExpired { order_id, payment_id, amount, round })
        }
        Change::ChargebackOpened(dispute_id, dispute) => event(&ChargebackOpened {
            order_id,
            payment_id,
            dispute_id: dispute_id.clone(),
            amount: amount(payment, dispute.amount),
            disputed_total: amount(payment, payment.disputed()),
        }),
        Change::ChargebackClosed(dispute_id, dispute) => event(&ChargebackClosed {
            order_id,
            payment_id,
            dispute_id: dispute_id.clone(),
            amount: amount(payment, dispute.amount),
            outcome: if dispute.outcome == Outcome::Lost { "LOST" } else { "WON" }.to_owned(),
            disputed_total: amount(payment, payment.disputed()),
        }),
        Change::Voided(minor) => event(&PaymentVoided { order_id, payment_id, amount: amount(payment, *minor) }),
    }
}

fn event<E: Event>(event: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, event.encode_to_vec())
}

fn amount(payment: &Payment, minor: i64) -> Option<WireMoney> {
    payment.asked.map(|asked| wire(Money::new(asked.currency, minor)))
}

fn wire(money: Money) -> WireMoney {
    WireMoney { currency_code: money.currency.code().to_owned(), amount_minor: money.minor }
}
