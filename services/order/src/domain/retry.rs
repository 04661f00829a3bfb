//! An order whose payment failed and that is paid again (PAY-18).

use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use prost_types::Timestamp;

use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};

/// How often a failed payment may be tried again (`domain.md` 4.4).
pub const RETRIES: i32 = 3;
/// How long after the first failure, seconds.
pub const WITHIN_S: i64 = 24 * 3600;

impl Order {
    /// Which round of paying the order is in, from 1.
    pub fn round(&self) -> i32 {
        self.doc.payment.as_ref().map_or(1, |payment| payment.round.max(1))
    }

    /// Whether what a payment reports is about the money of this order, not about what an earlier round left behind.
    pub fn is_paid_by(&self, payment_id: &str, round: i32) -> bool {
        let known = self.doc.payment.as_ref().map_or("", |payment| &payment.payment_id);
        if known.is_empty() { round.max(1) == self.round() } else { known == payment_id }
    }

    /// Somebody wants it paid after all; a new round begins.
    ///
    /// # Errors
    /// [`Refusal::State`] unless the payment failed; [`Refusal::Subscribed`], [`Refusal::RetriesExhausted`],
    /// [`Refusal::RetryTooLate`].
    pub fn retry_payment(&self, reason: &str, now: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        let events = self.next_round(reason, false)?;
        let payment = self.doc.payment.clone().unwrap_or_default();
        let until = payment.retry_until.unwrap_or(now);
        if (now.seconds, now.nanos) > (until.seconds, until.nanos) {
            return Err(Refusal::RetryTooLate(until, payment.retries_left));
        }
        if payment.retries_left <= 0 {
            return Err(Refusal::RetriesExhausted);
        }
        Ok(events)
    }

    /// Until when a payment that failed may be tried again; None when it may not, or need not.
    pub fn retry_until(&self) -> Option<Timestamp> {
        let payment = self.doc.payment.as_ref().filter(|_| self.state() == OrderState::PaymentFailed)?;
        payment.retry_until.filter(|_| payment.retries_left > 0)
    }

    /// It is too late to try again: for the shop the order is cancelled (requirements 1.20).
    ///
    /// # Errors
    /// [`Refusal::Already`] when it may not be tried again anyway, or need not.
    pub fn lapse_payment(&self) -> Result<Vec<OrderEvent>, Refusal> {
        self.retry_until().ok_or(Refusal::Already)?;
        Ok(vec![OrderEvent::PaymentLapsed(wire::OrderPaymentLapsed { order_id: self.doc.id.clone() })])
    }

    /// Its money came outside of any provider: a new round begins that nobody is charged in.
    ///
    /// # Errors
    /// [`Refusal::State`] unless the payment failed; [`Refusal::Subscribed`].
    pub fn paid_outside(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        self.next_round(reason, true)
    }

    fn next_round(&self, reason: &str, marked_paid: bool) -> Result<Vec<OrderEvent>, Refusal> {
        if self.state() != OrderState::PaymentFailed {
            return Err(Refusal::State(self.state()));
        }
        // Its schedule orders the period anew: paid here as well, it would be paid twice.
        if !self.doc.subscription_id.is_empty() {
            return Err(Refusal::Subscribed);
        }
        let (order_id, reason, round) = (self.doc.id.clone(), reason.to_owned(), self.round().saturating_add(1));
        let retried = wire::OrderPaymentRetried { order_id, round, reason, marked_paid };
        Ok(vec![OrderEvent::PaymentRetried(retried), self.to(OrderState::PaymentProcessing, "")?])
    }
}

/// What a failure leaves: how often and until when it may be tried again, counted from the first. A subscription has a
/// schedule of its own.
pub(super) fn failed(doc: &mut wire::Order, event: &wire::OrderPaymentFailed) {
    let own = doc.subscription_id.is_empty();
    let payment = doc.payment.get_or_insert_default();
    payment.decline_reason.clone_from(&event.reason);
    payment.action_url.clear();
    if payment.retry_until.is_none() {
        payment.retries_left = if own { RETRIES } else { 0 };
        let until = |at: Timestamp| Timestamp { seconds: at.seconds.saturating_add(WITHIN_S), ..at };
        payment.retry_until = event.fail_time.map(until);
    }
}

/// A new round knows nothing of the payment of the last one.
pub(super) fn retried(payment: &mut wire::PaymentSummary, event: &wire::OrderPaymentRetried) {
    payment.round = event.round;
    payment.retries_left -= i32::from(!event.marked_paid);
    payment.authorized = None;
    for text in [&mut payment.payment_id, &mut payment.decline_reason, &mut payment.action_url] {
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::state::is_final;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn placed() -> Order {
        let created = wire::OrderCreated { order_id: "ord_1".to_owned(), ..wire::OrderCreated::default() };
        let order = Order::default().after(&Order::place(created), at(0));
        order.after(&order.start_payment().expect("pending"), at(0))
    }

    fn failed_at(order: &Order, seconds: i64) -> Order {
        order.after(&order.fail_payment("card_declined", at(seconds)).expect("it is being paid"), at(seconds))
    }

    fn retried_at(order: &Order, seconds: i64) -> Order {
        order.after(&order.retry_payment("", at(seconds)).expect("it may be"), at(seconds))
    }

    #[test]
    fn pay_18_three_retries_are_counted_down_and_the_fourth_is_refused() {
        let mut order = failed_at(&placed(), 100);
        assert_eq!(order.round(), 1);
        for (left, round) in [(2, 2), (1, 3), (0, 4)] {
            order = retried_at(&order, 200);
            let payment = order.doc.payment.clone().expect("a placed order has one");
            assert_eq!(
                (order.state(), order.round(), payment.retries_left),
                (OrderState::PaymentProcessing, round, left)
            );
            assert_eq!((payment.decline_reason.as_str(), order.doc.state_reason.as_str()), ("", ""));
            assert_eq!(order.doc.status_lifecycle, "Pending");
            order = failed_at(&order, 300);
            let retail = if left > 0 { "Pending Payment" } else { "Cancelled" };
            assert_eq!(
                (order.doc.status_lifecycle.as_str(), order.doc.status_retail.as_str()),
                ("Failed", retail),
                "cancelled when final"
            );
            assert_eq!(is_final(&order.doc), left == 0);
        }
        assert_eq!(order.retry_payment("", at(400)), Err(Refusal::RetriesExhausted));
        assert!(order.paid_outside("by transfer").is_ok(), "who paid otherwise is not charged again");
        order.doc.subscription_id = "sub_1".to_owned();
        assert_eq!(order.paid_outside(""), Err(Refusal::Subscribed), "its schedule orders anew");
        assert_eq!(order.retry_payment("", at(400)), Err(Refusal::Subscribed));
    }

    #[test]
    fn pay_18_a_day_after_the_first_failure_it_is_too_late_however_late_the_last_one_was() {
        let order = failed_at(&retried_at(&failed_at(&placed(), 100), 5_000), 6_000);
        assert!(order.retry_payment("", at(100 + WITHIN_S)).is_ok());
        let late = order.retry_payment("", at(101 + WITHIN_S));
        assert_eq!(late, Err(Refusal::RetryTooLate(at(100 + WITHIN_S), 2)));
        let words = |order: &Order| (order.state(), order.doc.status_retail.clone(), is_final(&order.doc));
        assert_eq!(words(&order), (OrderState::PaymentFailed, "Pending Payment".to_owned(), false));
        let over = order.after(&order.lapse_payment().expect("it may still be tried"), at(101 + WITHIN_S));
        assert_eq!(words(&over), (OrderState::PaymentFailed, "Cancelled".to_owned(), true));
        assert_eq!((over.lapse_payment(), over.retry_until()), (Err(Refusal::Already), None));
        assert!(matches!(over.retry_payment("", at(102 + WITHIN_S)), Err(Refusal::RetryTooLate(..))));
        let outside = over.after(&over.paid_outside("by transfer").expect("who paid otherwise"), at(200 + WITHIN_S));
        assert_eq!(words(&outside), (OrderState::PaymentProcessing, "Pending Payment".to_owned(), false));
        assert_eq!(outside.lapse_payment(), Err(Refusal::Already), "it is being paid");
    }

    #[test]
    fn pay_18_only_a_failed_payment_is_retried_whatever_the_state() {
        for number in 0..=18 {
            let state = OrderState::try_from(number).expect("states have no gaps");
            let mut order = failed_at(&placed(), 0);
            order.doc.set_state(state);
            let allowed = state == OrderState::PaymentFailed;
            assert_eq!(order.retry_payment("", at(1)).is_ok(), allowed, "{state:?}");
            assert_eq!(order.paid_outside("").is_ok(), allowed, "{state:?}");
        }
    }

    #[test]
    fn pay_18_news_of_an_earlier_rounds_payment_is_not_about_the_order() {
        let order = retried_at(&failed_at(&placed(), 0), 1);
        assert!(!order.is_paid_by("pay_old", 1) && order.is_paid_by("pay_new", 2));
        let paid = order.after(&order.complete_payment("pay_new", None).expect("it is being paid"), at(2));
        assert!(!paid.is_paid_by("pay_old", 1) && paid.is_paid_by("pay_new", 0));
        assert!(placed().is_paid_by("pay_any", 0), "whoever says no round means the first");
    }
}
