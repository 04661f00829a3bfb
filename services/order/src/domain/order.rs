//! The order: events in, decisions out.

use contract::common::v1::{Address, Money};
use contract::fulfillment::v1::FulfillmentLine;
use contract::order::v1 as wire;
use contract::order::v1::{OrderChangeState, OrderState};
use prost_types::Timestamp;

use crate::domain::event::OrderEvent;
use crate::domain::state::may;

/// Why a decision was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The order is not what it was when it was looked at a moment ago.
    #[error("the order was changed at the same moment")]
    Moved,
    /// The order's state does not allow it (ORD-16, ORD-17, ORD-28).
    #[error("an order in state {} does not allow this", .0.as_str_name())]
    State(OrderState),
    /// The decision was made before and stands.
    #[error("this was decided before")]
    Already,
    /// More units than the line has open.
    #[error("line {0} has fewer units left")]
    Quantity(i32),
    /// The order has no such line.
    #[error("the order has no line {0}")]
    Line(i32),
    /// The order has no such change.
    #[error("the order has no such change")]
    NoChange,
    /// The change's state does not allow it (ORD-44).
    #[error("a change in state {} does not allow this", .0.as_str_name())]
    Change(OrderChangeState),
    /// It was tried to be paid as often as it may be (PAY-18).
    #[error("a failed payment may be tried again 3 times")]
    RetriesExhausted,
    /// Its payment failed too long ago; until when it might have been tried again, and how often (PAY-18).
    #[error("a failed payment may be tried again within 24 hours")]
    RetryTooLate(Timestamp, i32),
    /// It is a subscription's, whose own schedule asks for the money again (PAY-18, ORD-46).
    #[error("the subscription of the order asks for the money again by its own schedule")]
    Subscribed,
    /// The order has as many of them as it may have.
    #[error("an order has at most {0} {1}")]
    Full(usize, &'static str),
}

/// An order at a version: what its events add up to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Order {
    /// Events so far.
    pub version: i32,
    /// The picture that the world sees.
    pub doc: wire::Order,
}

impl Order {
    /// Revision of the picture and of what events do to it; raise it when either changes, or an old snapshot is taken
    /// for a new one.
    pub const REV: i32 = 6;

    /// Reads a stored picture.
    pub fn of_doc(doc: wire::Order) -> Self {
        Self { version: doc.etag.parse().unwrap_or(0), doc }
    }

    /// The state.
    pub fn state(&self) -> OrderState {
        self.doc.state()
    }

    /// The order after decisions of one moment.
    #[must_use]
    pub fn after(&self, events: &[OrderEvent], at: Timestamp) -> Self {
        let mut next = self.clone();
        for event in events {
            next.apply(event, at);
        }
        next
    }

    // === decisions ===

    /// Places an order that is priced and checked (ORD-01).
    pub fn place(created: wire::OrderCreated) -> Vec<OrderEvent> {
        let order_id = created.order_id.clone();
        let status = wire::OrderStatusChanged {
            order_id,
            from: OrderState::Unspecified.into(),
            to: OrderState::Pending.into(),
            reason: String::new(),
        };
        vec![OrderEvent::Created(created), OrderEvent::StatusChanged(status)]
    }

    /// Stock is held; the payment begins.
    ///
    /// # Errors
    /// [`Refusal::State`] when the order is no longer waiting for it.
    pub fn start_payment(&self) -> Result<Vec<OrderEvent>, Refusal> {
        Ok(vec![self.to(OrderState::PaymentProcessing, "")?])
    }

    /// The customer must act.
    ///
    /// # Errors
    /// [`Refusal::Already`] when that is known, [`Refusal::State`].
    pub fn require_action(&self, payment_id: &str, action_url: &str) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::PaymentActionRequired, "")?;
        let required = wire::OrderPaymentActionRequired {
            order_id: self.doc.id.clone(),
            payment_id: payment_id.to_owned(),
            action_url: action_url.to_owned(),
        };
        Ok(vec![OrderEvent::PaymentActionRequired(required), status])
    }

    /// The payment is secured.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn complete_payment(&self, payment_id: &str, authorized: Option<Money>) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::PaymentCompleted, "")?;
        let completed = wire::OrderPaymentCompleted {
            order_id: self.doc.id.clone(),
            payment_id: payment_id.to_owned(),
            authorized,
        };
        Ok(vec![OrderEvent::PaymentCompleted(completed), status])
    }

    /// The payment was declined.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn fail_payment(&self, reason: &str, at: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::PaymentFailed, reason)?;
        let (order_id, reason, fail_time) = (self.doc.id.clone(), reason.to_owned(), Some(at));
        let failed = wire::OrderPaymentFailed { order_id, reason, fail_time };
        Ok(vec![OrderEvent::PaymentFailed(failed), status])
    }

    /// Stock and money are secured and every warehouse has accepted; one of them may have begun before the last did.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn confirm(&self) -> Result<Vec<OrderEvent>, Refusal> {
        let (order_id, customer_id) = self.names();
        let confirmed = OrderEvent::Confirmed(wire::OrderConfirmed { order_id, customer_id });
        if self.has_begun() {
            return Ok(vec![confirmed]);
        }
        Ok(vec![confirmed, self.to(OrderState::FulfillmentPending, "")?])
    }

    /// It cannot be fulfilled.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn fail(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::Failed, reason)?;
        let failed = wire::OrderFailed { order_id: self.doc.id.clone(), reason: reason.to_owned() };
        Ok(vec![OrderEvent::Failed(failed), status])
    }

    /// Whether a warehouse has begun to pick.
    fn has_begun(&self) -> bool {
        use OrderState as S;
        matches!(
            self.state(),
            S::FulfillmentInProgress
                | S::PartiallyShipped
                | S::Shipped
                | S::PartiallyDelivered
                | S::Delivered
                | S::Refunded
        )
    }

    /// Whether neither stock nor money is held: a draft never did, and a payment that failed gives it back.
    pub fn holds_nothing(&self) -> bool {
        matches!(self.state(), OrderState::Draft | OrderState::PaymentFailed)
    }

    /// Whether goods that are paid for have not left yet, so that the hold on their money is needed.
    pub fn awaits_parcels(&self) -> bool {
        use OrderState as S;
        matches!(
            self.state(),
            S::PaymentCompleted
                | S::FulfillmentPending
                | S::FulfillmentInProgress
                | S::PartiallyShipped
                | S::ChangePending
        )
    }

    /// Somebody wants it cancelled; its saga will undo what was done (ORD-04, ORD-17).
    ///
    /// # Errors
    /// [`Refusal::State`] from the moment on that a warehouse has begun to pick.
    pub fn request_cancellation(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        if self.holds_nothing() {
            let status = self.to(OrderState::Cancelled, reason)?;
            let (order_id, customer_id) = self.names();
            let draft = self.state() == OrderState::Draft;
            let cancelled = wire::OrderCancelled { order_id, reason: reason.to_owned(), customer_id, draft };
            return Ok(vec![OrderEvent::Cancelled(cancelled), status]);
        }
        Ok(vec![self.to(OrderState::CancellationPending, reason)?])
    }

    /// Everything was undone.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn cancel(&self) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::Cancelled, "")?;
        let (order_id, customer_id) = self.names();
        let reason = self.doc.state_reason.clone();
        let cancelled = wire::OrderCancelled { order_id, reason, customer_id, draft: false };
        Ok(vec![OrderEvent::Cancelled(cancelled), status])
    }

    /// A warehouse has begun: the cancellation came too late and the order goes on from where it was (`domain.md` 4.5
    /// Cancel 2).
    ///
    /// # Errors
    /// [`Refusal::State`] when nobody wants it cancelled.
    pub fn reject_cancellation(&self, reason: &str, back: OrderState) -> Result<Vec<OrderEvent>, Refusal> {
        match self.state() {
            OrderState::CancellationPending => Ok(vec![self.changed(back, reason)]),
            state => Err(Refusal::State(state)),
        }
    }

    /// Changes address or remark (ORD-03).
    ///
    /// # Errors
    /// [`Refusal::State`] once a warehouse has begun; once it is paid and may have the address, that is a change.
    pub fn update(&self, address: Option<Address>, note: Option<String>) -> Result<Vec<OrderEvent>, Refusal> {
        use OrderState as S;
        let open = match self.state() {
            S::Draft | S::Pending | S::PaymentProcessing | S::PaymentActionRequired | S::PaymentReview => true,
            S::PaymentCompleted | S::FulfillmentPending => address.is_none(),
            _ => false,
        };
        if !open {
            return Err(Refusal::State(self.state()));
        }
        let updated = wire::OrderUpdated {
            order_id: self.doc.id.clone(),
            shipping_address: address.or_else(|| self.doc.shipping_address.clone()),
            note: note.unwrap_or_else(|| self.doc.note.clone()),
            lines: Vec::new(),
            totals: None,
        };
        Ok(vec![OrderEvent::Updated(updated)])
    }

    /// A warehouse began to pick.
    ///
    /// # Errors
    /// [`Refusal::Already`] when another warehouse began before, [`Refusal::State`].
    pub fn start_fulfillment(&self) -> Result<Vec<OrderEvent>, Refusal> {
        if self.has_begun() {
            return Err(Refusal::Already);
        }
        if let Some(events) = self.overtake_change()? {
            return Ok(events);
        }
        Ok(vec![self.to(OrderState::FulfillmentInProgress, "")?])
    }

    /// Money went back; all of it ends an order that was shipped (requirements 1.20). Tell every refund once.
    pub fn note_refund(&self, amount: &Money) -> Vec<OrderEvent> {
        let payment = self.doc.payment.clone().unwrap_or_default();
        let before = payment.refunded.map_or(0, |known| known.amount_minor);
        let refunded = Money { amount_minor: before.saturating_add(amount.amount_minor), ..amount.clone() };
        let (order_id, customer_id) = self.names();
        let refunded = wire::OrderRefunded { order_id, refunded: Some(refunded), customer_id };
        let mut events = vec![OrderEvent::Refunded(refunded)];
        let after = self.after(&events, Timestamp::default());
        events.extend(after.all_given_back());
        events
    }

    /// Money that had gone back did not reach the buyer: the order is where its parcels are. Tell every return once.
    pub fn note_returned_refund(&self, amount: &Money) -> Vec<OrderEvent> {
        let payment = self.doc.payment.clone().unwrap_or_default();
        let before = payment.refunded.map_or(0, |known| known.amount_minor);
        let refunded = Money { amount_minor: before.saturating_sub(amount.amount_minor).max(0), ..amount.clone() };
        let order_id = self.doc.id.clone();
        let mut events =
            vec![OrderEvent::RefundReturned(wire::OrderRefundReturned { order_id, refunded: Some(refunded) })];
        let derived = self.derived_state();
        if self.state() == OrderState::Refunded && may(OrderState::Refunded, derived) {
            events.push(self.changed(derived, "REFUND_RETURNED"));
        }
        events
    }

    /// Money was taken.
    pub fn note_capture(&self, captured: Money) -> Vec<OrderEvent> {
        let order_id = self.doc.id.clone();
        let so_far = self.doc.payment.as_ref().and_then(|payment| payment.captured.as_ref());
        // Two captures may be told in either order; the larger total is the later one.
        if so_far.is_some_and(|so_far| so_far.amount_minor >= captured.amount_minor) {
            return Vec::new();
        }
        vec![OrderEvent::PaymentCaptured(wire::OrderPaymentCaptured { order_id, captured: Some(captured) })]
    }

    /// The end of an order whose money all went back, once its last parcel has left.
    fn all_given_back(&self) -> Option<OrderEvent> {
        let payment = self.doc.payment.as_ref()?;
        let (captured, refunded) = (payment.captured.as_ref()?.amount_minor, payment.refunded.as_ref()?.amount_minor);
        let all = captured > 0 && captured == refunded && may(self.state(), OrderState::Refunded);
        all.then(|| self.changed(OrderState::Refunded, ""))
    }

    /// A parcel left; the state follows from the units (`domain.md` 4.4).
    ///
    /// # Errors
    /// [`Refusal::Already`] for a parcel that is known, [`Refusal::Quantity`], [`Refusal::State`].
    pub fn ship(&self, parcel: wire::ShipmentSummary, lines: &[FulfillmentLine]) -> Result<Vec<OrderEvent>, Refusal> {
        if self.doc.shipments.iter().any(|known| known.shipment_id == parcel.shipment_id) {
            return Err(Refusal::Already);
        }
        let lines = self.parts(lines, |line, quantity| line.shipped + quantity <= line.quantity - line.cancelled)?;
        let (order_id, customer_id) = self.names();
        let shipped = OrderEvent::Shipped(wire::OrderShipped { order_id, shipment: Some(parcel), lines, customer_id });
        self.with_derived_state(shipped)
    }

    /// A parcel arrived; the state follows from the units.
    ///
    /// # Errors
    /// [`Refusal::Already`] for a parcel that arrived before, [`Refusal::Quantity`], [`Refusal::State`].
    pub fn deliver(&self, shipment_id: &str, lines: &[FulfillmentLine]) -> Result<Vec<OrderEvent>, Refusal> {
        let parcel = self.doc.shipments.iter().find(|known| known.shipment_id == shipment_id);
        match parcel {
            None => return Err(Refusal::State(self.state())),
            Some(parcel) if parcel.state == "DELIVERED" => return Err(Refusal::Already),
            Some(_) => {}
        }
        let lines = self.parts(lines, |line, quantity| line.delivered + quantity <= line.shipped)?;
        let (order_id, customer_id) = self.names();
        let shipment_id = shipment_id.to_owned();
        let delivered = OrderEvent::Delivered(wire::OrderDelivered { order_id, shipment_id, lines, customer_id });
        self.with_derived_state(delivered)
    }

    // === helpers ===

    /// The order and who bought it, as events name them.
    pub(super) fn names(&self) -> (String, String) {
        (self.doc.id.clone(), self.doc.customer_id.clone())
    }

    pub(super) fn to(&self, to: OrderState, reason: &str) -> Result<OrderEvent, Refusal> {
        let from = self.state();
        if from == to {
            return Err(Refusal::Already);
        }
        // A step that was under way when the cancellation came must not lead the order on.
        let leads_on = from == OrderState::CancellationPending && to != OrderState::Cancelled;
        if leads_on || !may(from, to) {
            return Err(Refusal::State(from));
        }
        Ok(self.changed(to, reason))
    }

    fn changed(&self, to: OrderState, reason: &str) -> OrderEvent {
        OrderEvent::StatusChanged(wire::OrderStatusChanged {
            order_id: self.doc.id.clone(),
            from: self.doc.state,
            to: to.into(),
            reason: reason.to_owned(),
        })
    }

    fn parts(
        &self,
        parts: &[FulfillmentLine],
        fits: impl Fn(&wire::OrderLine, i32) -> bool,
    ) -> Result<Vec<wire::LineQuantity>, Refusal> {
        let part = |part: &FulfillmentLine| {
            let line = self.doc.lines.iter().find(|line| line.line == part.line);
            match line {
                Some(line) if part.quantity > 0 && fits(line, part.quantity) => {
                    Ok(wire::LineQuantity { line: part.line, quantity: part.quantity })
                }
                _ => Err(Refusal::Quantity(part.line)),
            }
        };
        parts.iter().map(part).collect()
    }

    pub(super) fn with_derived_state(&self, event: OrderEvent) -> Result<Vec<OrderEvent>, Refusal> {
        // All its money went back: where its parcels are is still worth knowing, and changes nothing else.
        if self.state() == OrderState::Refunded {
            return Ok(vec![event]);
        }
        let after = self.after(std::slice::from_ref(&event), Timestamp::default());
        let mut events = vec![event];
        let mut at = self.clone();
        let derived = after.derived_state();
        // News may skip a state, as when the first parcel arrives before the last one leaves: the states in between are
        // said too, so that every step is legal.
        let arrived = matches!(derived, OrderState::PartiallyDelivered | OrderState::Delivered);
        for between in [
            matches!(at.state(), OrderState::PaymentCompleted | OrderState::FulfillmentPending)
                .then_some(OrderState::FulfillmentInProgress),
            (arrived && at.state() != OrderState::PartiallyDelivered).then_some(OrderState::Shipped),
            Some(derived),
        ]
        .into_iter()
        .flatten()
        {
            if between != at.state() {
                let step = at.to(between, "")?;
                at = at.after(std::slice::from_ref(&step), Timestamp::default());
                events.push(step);
            }
        }
        let mut end = after;
        end.doc.set_state(at.state());
        events.extend(end.all_given_back());
        Ok(events)
    }

    fn derived_state(&self) -> OrderState {
        let sum = |pick: fn(&wire::OrderLine) -> i32| self.doc.lines.iter().map(pick).sum::<i32>();
        let open = sum(|line| line.quantity - line.cancelled);
        let (shipped, delivered) = (sum(|line| line.shipped), sum(|line| line.delivered));
        if delivered == open {
            OrderState::Delivered
        } else if shipped == open && delivered > 0 {
            OrderState::PartiallyDelivered
        } else if shipped == open {
            OrderState::Shipped
        } else {
            OrderState::PartiallyShipped
        }
    }
}
