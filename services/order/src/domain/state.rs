//! The states of an order and the words that three vocabularies have for them (requirements 1.20).

use contract::order::v1::OrderState;

/// Whether an order may go from one state to another (`domain.md` 4.4).
pub fn may(from: OrderState, to: OrderState) -> bool {
    use OrderState::{
        CancellationPending, Cancelled, ChangePending, Delivered, Draft, Failed, FulfillmentInProgress,
        FulfillmentPending, PartiallyDelivered, PartiallyShipped, PaymentActionRequired, PaymentCompleted,
        PaymentFailed, PaymentProcessing, PaymentReview, Pending, Refunded, Shipped, Unspecified,
    };
    let next: &[OrderState] = match from {
        Unspecified => &[Draft, Pending],
        Draft => &[Pending, Cancelled],
        Pending => &[PaymentProcessing, Failed, CancellationPending],
        PaymentProcessing => {
            &[PaymentActionRequired, PaymentReview, PaymentCompleted, PaymentFailed, Failed, CancellationPending]
        }
        PaymentActionRequired | PaymentReview => &[PaymentCompleted, PaymentFailed, Failed, CancellationPending],
        PaymentFailed => &[PaymentProcessing, Cancelled],
        PaymentCompleted => &[FulfillmentPending, Failed, CancellationPending, ChangePending],
        FulfillmentPending => &[FulfillmentInProgress, CancellationPending, ChangePending, Failed],
        FulfillmentInProgress => &[PartiallyShipped, Shipped],
        PartiallyShipped => &[Shipped],
        Shipped => &[PartiallyDelivered, Delivered, Refunded],
        PartiallyDelivered => &[Delivered, Refunded],
        Delivered => &[Refunded],
        CancellationPending => {
            &[Cancelled, Pending, PaymentProcessing, PaymentCompleted, FulfillmentPending, PaymentFailed]
        }
        ChangePending => &[PaymentCompleted, FulfillmentPending],
        Cancelled | Failed | Refunded => &[],
    };
    next.contains(&to)
}

/// Whether nothing will happen to the order any more by itself.
pub fn is_final(state: OrderState) -> bool {
    use OrderState::{Cancelled, Delivered, Failed, PaymentFailed, Refunded};
    matches!(state, Cancelled | Delivered | Failed | PaymentFailed | Refunded)
}

/// The state in a shop's words (seed C).
pub fn retail(state: OrderState) -> &'static str {
    use OrderState as S;
    match state {
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

/// The state in a lifecycle's words (seed E).
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
            assert!(RETAIL.contains(&retail(state)), "{state:?}");
            assert!(LIFECYCLE.contains(&lifecycle(state)), "{state:?}");
        }
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
            for end in [OrderState::Cancelled, OrderState::Failed, OrderState::Refunded] {
                assert!(!may(end, from), "{end:?} -> {from:?}");
            }
        }
    }
}
