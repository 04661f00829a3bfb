//! The states of an order and the words that three vocabularies have for them (requirements 1.20).

use contract::order::v1::{Order, OrderState, PaymentSummary};

/// From which state to which an order may go (`domain.md` 4.4); what is not here is forbidden (ORD-28).
///
/// Where 4.4 says CANCELLED, an order whose saga may have begun goes through CANCELLATION_PENDING: stock and money come
/// back first. Only what holds neither is CANCELLED at once.
const TRANSITIONS: [(OrderState, &[OrderState]); 19] = {
    use OrderState as S;
    [
        (S::Unspecified, &[S::Draft, S::Pending]),
        (S::Draft, &[S::Pending, S::Cancelled]),
        (S::Pending, &[S::PaymentProcessing, S::Failed, S::CancellationPending]),
        (
            S::PaymentProcessing,
            &[
                S::PaymentActionRequired,
                S::PaymentReview,
                S::PaymentCompleted,
                S::PaymentFailed,
                S::Failed,
                S::CancellationPending,
            ],
        ),
        (S::PaymentActionRequired, &[S::PaymentCompleted, S::PaymentFailed, S::Failed, S::CancellationPending]),
        // Approved by a person: the payment goes on where it stopped.
        (
            S::PaymentReview,
            &[S::PaymentProcessing, S::PaymentCompleted, S::PaymentFailed, S::Failed, S::CancellationPending],
        ),
        (S::PaymentFailed, &[S::PaymentProcessing, S::Cancelled]),
        // One of several warehouses may begin before the last one has accepted.
        (
            S::PaymentCompleted,
            &[S::FulfillmentPending, S::FulfillmentInProgress, S::Failed, S::CancellationPending, S::ChangePending],
        ),
        (S::FulfillmentPending, &[S::FulfillmentInProgress, S::CancellationPending, S::ChangePending, S::Failed]),
        (S::FulfillmentInProgress, &[S::PartiallyShipped, S::Shipped]),
        (S::PartiallyShipped, &[S::Shipped]),
        (S::Shipped, &[S::PartiallyDelivered, S::Delivered, S::Refunded]),
        (S::PartiallyDelivered, &[S::Delivered, S::Refunded]),
        (S::Delivered, &[S::Refunded]),
        (
            S::CancellationPending,
            &[
                S::Cancelled,
                S::Pending,
                S::PaymentProcessing,
                S::PaymentCompleted,
                S::FulfillmentPending,
                S::PaymentFailed,
            ],
        ),
        (S::ChangePending, &[S::PaymentCompleted, S::FulfillmentPending]),
        (S::Cancelled, &[]),
        (S::Failed, &[]),
        // A refund came back.
        (S::Refunded, &[S::Shipped, S::PartiallyDelivered, S::Delivered]),
    ]
};

/// Whether an order may go from one state to another.
pub fn may(from: OrderState, to: OrderState) -> bool {
    TRANSITIONS.iter().any(|(state, next)| *state == from && next.contains(&to))
}

/// Whether a state only keeps others out while something is carried out: to the outside the order stays what it was.
pub fn is_lock(state: OrderState) -> bool {
    matches!(state, OrderState::CancellationPending | OrderState::ChangePending)
}

/// Whether nothing will happen to the order any more by itself; a failed payment may be tried again for a while.
pub fn is_final(order: &Order) -> bool {
    use OrderState::{Cancelled, Delivered, Failed, PaymentFailed, Refunded};
    match order.state() {
        Cancelled | Delivered | Failed | Refunded => true,
        PaymentFailed => is_over(order.payment.as_ref()),
        _ => false,
    }
}

/// Whether a payment that failed cannot be tried again (PAY-18).
fn is_over(payment: Option<&PaymentSummary>) -> bool {
    payment.is_some_and(|payment| payment.retries_left == 0)
}

/// What a shop says of an order whose payment failed for good.
pub const GIVEN_UP: &str = "Cancelled";

/// The state in a shop's words (seed C); those of a lock are of an order whose state before is not known.
pub fn retail(state: OrderState, payment: Option<&PaymentSummary>) -> &'static str {
    use OrderState as S;
    match state {
        S::PaymentFailed if is_over(payment) => GIVEN_UP,
        S::Unspecified => "",
        S::Draft => "Draft",
        S::Pending | S::PaymentProcessing | S::PaymentActionRequired | S::PaymentReview | S::PaymentFailed => {
            "Pending Payment"
        }
        S::PaymentCompleted => "Paid",
        S::FulfillmentPending
        | S::FulfillmentInProgress
        | S::PartiallyShipped
        | S::CancellationPending
        | S::ChangePending => "Processing",
        S::Shipped | S::PartiallyDelivered => "Shipped",
        S::Delivered | S::Refunded => "Delivered",
        S::Cancelled | S::Failed => "Cancelled",
    }
}

/// The state in a lifecycle's words (seed E); of a lock as in [`retail`].
pub fn lifecycle(state: OrderState) -> &'static str {
    use OrderState as S;
    match state {
        S::Unspecified => "",
        S::Draft | S::Pending | S::PaymentProcessing | S::PaymentActionRequired | S::PaymentReview => "Pending",
        S::PaymentCompleted | S::FulfillmentPending | S::CancellationPending | S::ChangePending => "Confirmed",
        S::FulfillmentInProgress | S::PartiallyShipped | S::Shipped | S::PartiallyDelivered => "Processing",
        S::Delivered | S::Refunded => "Completed",
        S::PaymentFailed | S::Failed => "Failed",
        S::Cancelled => "Cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = OrderState> + Clone {
        (0..=18).map(|number| OrderState::try_from(number).expect("states are numbered without gaps"))
    }

    #[test]
    fn ord_31_every_state_has_a_word_in_every_vocabulary() {
        const RETAIL: [&str; 7] =
            ["Draft", "Pending Payment", "Paid", "Processing", "Shipped", "Delivered", "Cancelled"];
        const LIFECYCLE: [&str; 6] = ["Pending", "Confirmed", "Processing", "Completed", "Failed", "Cancelled"];
        for state in all().skip(1) {
            assert!(RETAIL.contains(&retail(state, None)), "{state:?}");
            assert!(LIFECYCLE.contains(&lifecycle(state)), "{state:?}");
        }
    }

    /// `domain.md` 4.4, word for word but for PENDING and what a payment may still need, where the lock stands for
    /// CANCELLED, FAILED when the saga gives up, a reviewed payment that goes on, and a refund that came back.
    const SPEC: &str = "
        UNSPECIFIED DRAFT PENDING
        DRAFT PENDING CANCELLED
        PENDING PAYMENT_PROCESSING FAILED CANCELLATION_PENDING
        PAYMENT_PROCESSING PAYMENT_ACTION_REQUIRED PAYMENT_REVIEW PAYMENT_COMPLETED PAYMENT_FAILED FAILED CANCELLATION_PENDING
        PAYMENT_ACTION_REQUIRED PAYMENT_COMPLETED PAYMENT_FAILED FAILED CANCELLATION_PENDING
        PAYMENT_REVIEW PAYMENT_PROCESSING PAYMENT_COMPLETED PAYMENT_FAILED FAILED CANCELLATION_PENDING
        PAYMENT_FAILED PAYMENT_PROCESSING CANCELLED
        PAYMENT_COMPLETED FULFILLMENT_PENDING FULFILLMENT_IN_PROGRESS FAILED CANCELLATION_PENDING CHANGE_PENDING
        FULFILLMENT_PENDING FULFILLMENT_IN_PROGRESS CANCELLATION_PENDING CHANGE_PENDING FAILED
        FULFILLMENT_IN_PROGRESS PARTIALLY_SHIPPED SHIPPED
        PARTIALLY_SHIPPED SHIPPED
        SHIPPED PARTIALLY_DELIVERED DELIVERED REFUNDED
        PARTIALLY_DELIVERED DELIVERED REFUNDED
        DELIVERED REFUNDED
        CANCELLATION_PENDING CANCELLED PENDING PAYMENT_PROCESSING PAYMENT_COMPLETED FULFILLMENT_PENDING PAYMENT_FAILED
        CHANGE_PENDING PAYMENT_COMPLETED FULFILLMENT_PENDING
        CANCELLED
        FAILED
        REFUNDED SHIPPED PARTIALLY_DELIVERED DELIVERED";

    #[test]
    fn ord_28_the_matrix_of_all_pairs_is_the_one_that_was_agreed() {
        let name = |state: OrderState| state.as_str_name().trim_start_matches("ORDER_STATE_");
        let rows: Vec<Vec<&str>> = SPEC.trim().lines().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 19, "a row per state");
        let mut pairs = 0;
        for (from, to) in all().flat_map(|from| all().map(move |to| (from, to))) {
            let row = rows.iter().find(|row| row[0] == name(from)).expect("every state has a row");
            assert_eq!(may(from, to), row[1..].contains(&name(to)), "{from:?} -> {to:?}");
            pairs += 1;
        }
        assert_eq!(pairs, 19 * 19);
    }

    #[test]
    fn once_fulfillment_started_nothing_leads_back_to_cancelled() {
        let started = [
            OrderState::FulfillmentInProgress,
            OrderState::PartiallyShipped,
            OrderState::Shipped,
            OrderState::Delivered,
        ];
        for from in started {
            for to in [OrderState::Cancelled, OrderState::CancellationPending, OrderState::Pending] {
                assert!(!may(from, to), "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn ended_orders_stay_ended_and_no_state_follows_itself() {
        for from in all() {
            assert!(!may(from, from), "{from:?}");
            for end in [OrderState::Cancelled, OrderState::Failed] {
                assert!(!may(end, from), "{end:?} -> {from:?}");
            }
        }
    }
}
