//! The order: events in, decisions out.

use contract::common::v1::{Address, Money};
use contract::fulfillment::v1::FulfillmentLine;
use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use prost_types::Timestamp;

use crate::domain::event::OrderEvent;
use crate::domain::state::{lifecycle, may, retail};

/// Why a decision was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The order's state does not allow it (ORD-16, ORD-17, ORD-28).
    #[error("an order in state {} does not allow this", .0.as_str_name())]
    State(OrderState),
    /// The decision was made before and stands.
    #[error("this was decided before")]
    Already,
    /// More units than the line has open.
    #[error("line {0} has fewer units left")]
    Quantity(i32),
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
    pub const REV: i32 = 1;

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

    /// What an event of a moment does to the order.
    pub fn apply(&mut self, event: &OrderEvent, at: Timestamp) {
        let doc = &mut self.doc;
        match event {
            OrderEvent::Created(created) => {
                doc.id.clone_from(&created.order_id);
                doc.order_number = created.order_number;
                doc.customer_id.clone_from(&created.customer_id);
                doc.currency_code.clone_from(&created.currency_code);
                doc.lines.clone_from(&created.lines);
                doc.totals.clone_from(&created.totals);
                doc.shipping_address.clone_from(&created.shipping_address);
                doc.shipping_service.clone_from(&created.shipping_service);
                doc.note.clone_from(&created.note);
                doc.create_time = created.create_time;
                doc.payment = Some(wire::PaymentSummary::default());
            }
            OrderEvent::Updated(updated) => {
                doc.shipping_address.clone_from(&updated.shipping_address);
                doc.note.clone_from(&updated.note);
            }
            OrderEvent::StatusChanged(changed) => {
                doc.state = changed.to;
                let state = changed.to();
                retail(state).clone_into(&mut doc.status_retail);
                lifecycle(state).clone_into(&mut doc.status_lifecycle);
                if !changed.reason.is_empty() {
                    doc.state_reason.clone_from(&changed.reason);
                }
            }
            OrderEvent::PaymentCompleted(completed) => {
                let payment = doc.payment.get_or_insert_default();
                payment.payment_id.clone_from(&completed.payment_id);
                payment.authorized.clone_from(&completed.authorized);
                payment.action_url.clear();
            }
            OrderEvent::PaymentActionRequired(required) => {
                let payment = doc.payment.get_or_insert_default();
                payment.payment_id.clone_from(&required.payment_id);
                payment.action_url.clone_from(&required.action_url);
            }
            OrderEvent::PaymentFailed(failed) => {
                let payment = doc.payment.get_or_insert_default();
                payment.decline_reason.clone_from(&failed.reason);
                payment.action_url.clear();
            }
            OrderEvent::PaymentCaptured(captured) => {
                doc.payment.get_or_insert_default().captured.clone_from(&captured.captured);
            }
            OrderEvent::Shipped(shipped) => {
                for part in &shipped.lines {
                    if let Some(line) = doc.lines.iter_mut().find(|line| line.line == part.line) {
                        line.shipped += part.quantity;
                    }
                }
                doc.shipments.extend(shipped.shipment.clone());
            }
            OrderEvent::Delivered(delivered) => {
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
            OrderEvent::Confirmed(_) | OrderEvent::Cancelled(_) | OrderEvent::Failed(_) => {}
        }
        self.version += 1;
        self.doc.update_time = Some(at);
        self.doc.etag = self.version.to_string();
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
    pub fn fail_payment(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::PaymentFailed, reason)?;
        let failed = wire::OrderPaymentFailed { order_id: self.doc.id.clone(), reason: reason.to_owned() };
        Ok(vec![OrderEvent::PaymentFailed(failed), status])
    }

    /// Stock and money are secured and every warehouse has accepted.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn confirm(&self) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::FulfillmentPending, "")?;
        Ok(vec![OrderEvent::Confirmed(wire::OrderConfirmed { order_id: self.doc.id.clone() }), status])
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

    /// Somebody wants it cancelled; its saga will undo what was done (ORD-04, ORD-17).
    ///
    /// # Errors
    /// [`Refusal::State`] from the warehouse's acceptance on.
    pub fn request_cancellation(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        if self.state() == OrderState::FulfillmentPending {
            return Err(Refusal::State(self.state()));
        }
        Ok(vec![self.to(OrderState::CancellationPending, reason)?])
    }

    /// Everything was undone.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn cancel(&self) -> Result<Vec<OrderEvent>, Refusal> {
        let status = self.to(OrderState::Cancelled, "")?;
        let cancelled = wire::OrderCancelled { order_id: self.doc.id.clone(), reason: self.doc.state_reason.clone() };
        Ok(vec![OrderEvent::Cancelled(cancelled), status])
    }

    /// A warehouse has begun: the cancellation came too late and the order goes on (`domain.md` 4.5 Cancel 2).
    ///
    /// # Errors
    /// [`Refusal::State`] when nobody wants it cancelled.
    pub fn reject_cancellation(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        match self.state() {
            OrderState::CancellationPending => Ok(vec![self.changed(OrderState::PaymentCompleted, reason)]),
            state => Err(Refusal::State(state)),
        }
    }

    /// Changes address or remark (ORD-03).
    ///
    /// # Errors
    /// [`Refusal::State`] once fulfillment has been asked for: the warehouse has the old address.
    pub fn update(&self, address: Option<Address>, note: Option<String>) -> Result<Vec<OrderEvent>, Refusal> {
        use OrderState as S;
        let open = matches!(
            self.state(),
            S::Draft | S::Pending | S::PaymentProcessing | S::PaymentActionRequired | S::PaymentReview
        );
        if !open {
            return Err(Refusal::State(self.state()));
        }
        let updated = wire::OrderUpdated {
            order_id: self.doc.id.clone(),
            shipping_address: address.or_else(|| self.doc.shipping_address.clone()),
            note: note.unwrap_or_else(|| self.doc.note.clone()),
        };
        Ok(vec![OrderEvent::Updated(updated)])
    }

    /// A warehouse began to pick.
    ///
    /// # Errors
    /// [`Refusal::Already`] when another warehouse began before, [`Refusal::State`].
    pub fn start_fulfillment(&self) -> Result<Vec<OrderEvent>, Refusal> {
        use OrderState as S;
        if matches!(self.state(), S::PartiallyShipped | S::Shipped | S::PartiallyDelivered | S::Delivered) {
            return Err(Refusal::Already);
        }
        Ok(vec![self.to(S::FulfillmentInProgress, "")?])
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

    /// A parcel left; the state follows from the units (`domain.md` 4.4).
    ///
    /// # Errors
    /// [`Refusal::Already`] for a parcel that is known, [`Refusal::Quantity`], [`Refusal::State`].
    pub fn ship(&self, parcel: wire::ShipmentSummary, lines: &[FulfillmentLine]) -> Result<Vec<OrderEvent>, Refusal> {
        if self.doc.shipments.iter().any(|known| known.shipment_id == parcel.shipment_id) {
            return Err(Refusal::Already);
        }
        let lines = self.parts(lines, |line, quantity| line.shipped + quantity <= line.quantity - line.cancelled)?;
        let shipped =
            OrderEvent::Shipped(wire::OrderShipped { order_id: self.doc.id.clone(), shipment: Some(parcel), lines });
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
        let delivered = OrderEvent::Delivered(wire::OrderDelivered {
            order_id: self.doc.id.clone(),
            shipment_id: shipment_id.to_owned(),
            lines,
        });
        self.with_derived_state(delivered)
    }

    // === helpers ===

    fn to(&self, to: OrderState, reason: &str) -> Result<OrderEvent, Refusal> {
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

    fn with_derived_state(&self, event: OrderEvent) -> Result<Vec<OrderEvent>, Refusal> {
        let after = self.after(std::slice::from_ref(&event), Timestamp::default());
        let mut events = vec![event];
        let mut at = self.clone();
        let derived = after.derived_state();
        // News may skip a state, as when the first parcel arrives before the last one leaves: the states in between are
        // said too, so that every step is legal.
        let arrived = matches!(derived, OrderState::PartiallyDelivered | OrderState::Delivered);
        for between in [
            (at.state() == OrderState::FulfillmentPending).then_some(OrderState::FulfillmentInProgress),
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
