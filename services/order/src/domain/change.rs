//! Changes of an order that is paid and that no warehouse has begun to pick: requested, agreed to, carried out (ORD-44).

use std::collections::BTreeMap;

use contract::common::v1::{Address, Money};
use contract::order::v1 as wire;
use contract::order::v1::{LineEdit, OrderChangeState as C, OrderItem, OrderKind, OrderState};
use prost_types::Timestamp;

use crate::domain::draft::ItemChange;
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};

/// Changes of one order; the picture of an order must stay one that is read in one go.
pub const MAX_CHANGES: usize = 20;
/// How long somebody has to agree, seconds (`domain.md` 4.5 Change).
pub const AGREE_S: i64 = 900;

/// Whether a change asks for more of something than there is.
pub fn grows(order: &Order, edits: &[LineEdit]) -> bool {
    edits.iter().any(|edit| {
        order.doc.lines.iter().find(|line| line.line == edit.line).is_none_or(|line| edit.quantity > line.quantity)
    })
}

/// A change of items as an edit of lines.
pub fn edit(change: &ItemChange) -> LineEdit {
    match change {
        ItemChange::Add(item) => LineEdit {
            line: 0,
            sku: item.sku.clone(),
            quantity: item.quantity,
            expected_unit_price: item.expected_unit_price.clone(),
        },
        ItemChange::Set { line, quantity } => LineEdit { line: *line, quantity: *quantity, ..LineEdit::default() },
        ItemChange::Remove { line } => LineEdit { line: *line, ..LineEdit::default() },
    }
}

impl Order {
    /// The change of an id.
    ///
    /// # Errors
    /// [`Refusal::NoChange`].
    pub fn change(&self, id: &str) -> Result<&wire::OrderChange, Refusal> {
        self.doc.changes.iter().find(|change| change.id == id).ok_or(Refusal::NoChange)
    }

    /// Whether a change was carried out, so that stock is set aside for other lines than at placement.
    pub fn was_changed(&self) -> bool {
        self.doc.changes.iter().any(|change| change.state() == C::Applied)
    }

    /// What the bank holds or has paid and was not given back; the total when it never said.
    pub fn authorized(&self) -> i64 {
        let payment = self.doc.payment.as_ref();
        let held = payment.and_then(|payment| payment.authorized.as_ref());
        let back = payment.and_then(|payment| payment.refunded.as_ref()).map_or(0, |money| money.amount_minor);
        let total = self.doc.totals.as_ref().and_then(|totals| totals.total.as_ref());
        held.or(total).map_or(0, |money| money.amount_minor.saturating_sub(back))
    }

    /// Whether money was taken though nothing has left: all of it at once, or outside of any provider (PAY-02, PAY-18).
    /// No hold is there that could grow.
    pub fn is_paid_out(&self) -> bool {
        let captured = self.doc.payment.as_ref().and_then(|payment| payment.captured.as_ref());
        captured.is_some_and(|captured| captured.amount_minor > 0) && self.doc.shipments.is_empty()
    }

    /// Goods are paid for and nobody has begun to pick them; what is booked cannot change once that is confirmed.
    fn check_changeable(&self) -> Result<(), Refusal> {
        match self.state() {
            OrderState::PaymentCompleted => Ok(()),
            OrderState::FulfillmentPending if self.doc.kind() != OrderKind::ServiceRequest => Ok(()),
            other => Err(Refusal::State(other)),
        }
    }

    /// Out of the lock, to where a change came from.
    fn unlock(&self, change: &wire::OrderChange) -> Result<OrderEvent, Refusal> {
        let back = match change.order_state() {
            OrderState::FulfillmentPending => OrderState::FulfillmentPending,
            _ => OrderState::PaymentCompleted,
        };
        self.to(back, "")
    }

    /// A warehouse began while nobody had agreed yet: the change comes too late and the order goes on. None when no
    /// change waits; one that is being carried out finds out by itself.
    ///
    /// # Errors
    /// [`Refusal::State`].
    pub(super) fn overtake_change(&self) -> Result<Option<Vec<OrderEvent>>, Refusal> {
        let waits = |change: &&wire::OrderChange| change.state() == C::Requested;
        let Some(change) = self.doc.changes.iter().find(waits) else { return Ok(None) };
        let mut events = self.decline_change(&change.id, C::Failed, "FULFILLMENT_STARTED", 0)?;
        let after = self.after(&events, prost_types::Timestamp::default());
        events.push(after.to(OrderState::FulfillmentInProgress, "")?);
        Ok(Some(events))
    }

    /// The items after edits, by line; lines keep their numbers.
    ///
    /// # Errors
    /// [`Refusal::State`] unless it is paid and no warehouse has begun, [`Refusal::Line`], [`Refusal::Full`].
    pub fn items_edited(&self, edits: &[LineEdit]) -> Result<BTreeMap<i32, OrderItem>, Refusal> {
        self.check_changeable()?;
        if self.doc.changes.len() >= MAX_CHANGES {
            return Err(Refusal::Full(MAX_CHANGES, "changes"));
        }
        let mut items = self.items_by_line();
        let mut next = items.keys().next_back().copied().unwrap_or(0);
        for edit in edits {
            if edit.line == 0 {
                next = next.saturating_add(1);
                let (sku, quantity) = (edit.sku.clone(), edit.quantity);
                let expected_unit_price = edit.expected_unit_price.clone();
                items.insert(next, OrderItem { sku, quantity, expected_unit_price, ..OrderItem::default() });
            } else if edit.quantity == 0 {
                items.remove(&edit.line).ok_or(Refusal::Line(edit.line))?;
            } else {
                let item = items.get_mut(&edit.line).ok_or(Refusal::Line(edit.line))?;
                item.quantity = edit.quantity;
                item.expected_unit_price.clone_from(&edit.expected_unit_price);
            }
        }
        Ok(items)
    }

    /// A change as it would be with these lines and sums.
    pub fn change_to(
        &self,
        edits: &[LineEdit],
        lines: Vec<wire::OrderLine>,
        totals: wire::OrderTotals,
    ) -> wire::OrderChange {
        let minor = |totals: Option<&wire::OrderTotals>| {
            totals.and_then(|totals| totals.total.as_ref()).map_or(0, |money| money.amount_minor)
        };
        let money = |amount_minor| Some(Money { currency_code: self.doc.currency_code.clone(), amount_minor });
        let (before, after) = (minor(self.doc.totals.as_ref()), minor(Some(&totals)));
        wire::OrderChange {
            order_id: self.doc.id.clone(),
            edits: edits.to_vec(),
            lines,
            totals: Some(totals),
            price_difference: money(after.saturating_sub(before)),
            to_authorize: money(after.saturating_sub(self.authorized()).max(0)),
            ..wire::OrderChange::default()
        }
    }

    /// A change to another address, for the same money.
    ///
    /// # Errors
    /// As [`Order::items_edited`].
    pub fn moved_to(&self, address: Address) -> Result<wire::OrderChange, Refusal> {
        self.items_edited(&[])?;
        let (lines, totals) = (self.doc.lines.clone(), self.doc.totals.clone().unwrap_or_default());
        let nothing = Some(Money { currency_code: self.doc.currency_code.clone(), amount_minor: 0 });
        let change = self.change_to(&[], lines, totals);
        Ok(wire::OrderChange { shipping_address: Some(address), to_authorize: nothing, ..change })
    }

    /// Somebody asks for a change; from here on nothing else changes lines, stock or money.
    ///
    /// # Errors
    /// As [`Order::items_edited`].
    pub fn request_change(&self, change: wire::OrderChange) -> Result<Vec<OrderEvent>, Refusal> {
        self.check_changeable()?;
        let lock = self.to(OrderState::ChangePending, "")?;
        let change = wire::OrderChange { state: C::Requested.into(), order_state: self.doc.state, ..change };
        let order_id = self.doc.id.clone();
        let requested = wire::OrderChangeRequested { order_id, change: Some(change) };
        Ok(vec![OrderEvent::ChangeRequested(requested), lock])
    }

    /// Somebody agrees.
    ///
    /// # Errors
    /// [`Refusal::Already`] when that was said, [`Refusal::NoChange`], [`Refusal::Change`] when it is over or its time is.
    pub fn confirm_change(&self, id: &str, now: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        let change = self.change(id)?;
        let late = change.expire_time.is_some_and(|until| (until.seconds, until.nanos) <= (now.seconds, now.nanos));
        match change.state() {
            C::Requested if late => Err(Refusal::Change(C::Expired)),
            C::Requested => {
                let (order_id, change_id) = (self.doc.id.clone(), id.to_owned());
                let confirmed = wire::OrderChangeConfirmed { order_id, change_id };
                Ok(vec![OrderEvent::ChangeConfirmed(confirmed)])
            }
            C::Confirmed | C::Applied => Err(Refusal::Already),
            over => Err(Refusal::Change(over)),
        }
    }

    /// The order stays as it was: declined, expired or failed. Work below the revision `called_off` was.
    ///
    /// # Errors
    /// [`Refusal::Already`] when it ended so, [`Refusal::NoChange`], [`Refusal::Change`] when it ended otherwise or is
    /// being carried out and has not failed.
    pub fn decline_change(&self, id: &str, to: C, reason: &str, called_off: i32) -> Result<Vec<OrderEvent>, Refusal> {
        let change = self.change(id)?;
        match (change.state(), to) {
            (C::Requested, _) | (C::Confirmed, C::Failed) => {}
            (now, to) if now == to => return Err(Refusal::Already),
            (now, _) => return Err(Refusal::Change(now)),
        }
        let (order_id, change_id) = (self.doc.id.clone(), id.to_owned());
        let (state, reason) = (to.into(), reason.to_owned());
        let declined =
            wire::OrderChangeDeclined { order_id, change_id, state, reason, fulfillment_revision: called_off };
        Ok(vec![OrderEvent::ChangeDeclined(declined), self.unlock(change)?])
    }

    /// Stock and money are held for it: the order is what was asked for. Work below the revision `called_off` was.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::NoChange`], [`Refusal::Change`] when nobody agreed.
    pub fn apply_change(
        &self,
        id: &str,
        authorized: Option<Money>,
        called_off: i32,
    ) -> Result<Vec<OrderEvent>, Refusal> {
        let change = self.change(id)?;
        match change.state() {
            C::Confirmed => {}
            C::Applied => return Err(Refusal::Already),
            other => return Err(Refusal::Change(other)),
        }
        let (order_id, change_id) = (self.doc.id.clone(), id.to_owned());
        let (lines, totals) = (change.lines.clone(), change.totals.clone());
        let applied = wire::OrderChangeApplied {
            order_id,
            change_id,
            lines,
            totals,
            authorized,
            fulfillment_revision: called_off,
            shipping_address: change.shipping_address.clone(),
        };
        Ok(vec![OrderEvent::ChangeApplied(applied), self.unlock(change)?])
    }
}
