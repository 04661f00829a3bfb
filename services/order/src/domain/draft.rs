//! An order that is not placed yet: it grows and shrinks, and is priced anew each time.

use std::collections::BTreeMap;

use contract::order::v1 as wire;
use contract::order::v1::{OrderItem, OrderState};

use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};

/// One change of a draft's items.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemChange {
    /// One line more.
    Add(OrderItem),
    /// Another number of units on a line.
    Set {
        /// The line.
        line: i32,
        /// Units from now on.
        quantity: i32,
    },
    /// One line less.
    Remove {
        /// The line.
        line: i32,
    },
}

impl Order {
    /// Begins an order that is priced and not placed: no stock, no money (ORD-29).
    pub fn draft(drafted: wire::OrderDrafted) -> Vec<OrderEvent> {
        let status = wire::OrderStatusChanged {
            order_id: drafted.order_id.clone(),
            from: OrderState::Unspecified.into(),
            to: OrderState::Draft.into(),
            reason: String::new(),
        };
        vec![OrderEvent::Drafted(drafted), OrderEvent::StatusChanged(status)]
    }

    /// Places a draft with the prices of now.
    ///
    /// # Errors
    /// [`Refusal::State`] when it is no draft.
    pub fn place_draft(&self, created: wire::OrderCreated) -> Result<Vec<OrderEvent>, Refusal> {
        if self.state() != OrderState::Draft {
            return Err(Refusal::State(self.state()));
        }
        Ok(vec![OrderEvent::Created(created), self.to(OrderState::Pending, "")?])
    }

    /// The items as a caller would have named them, by line.
    ///
    /// # Errors
    /// [`Refusal::State`] when it is no draft: what was placed changes by an order change (ORD-16).
    pub fn items(&self) -> Result<BTreeMap<i32, OrderItem>, Refusal> {
        if self.state() != OrderState::Draft {
            return Err(Refusal::State(self.state()));
        }
        Ok(self.items_by_line())
    }

    /// What each line would be as an item of a caller.
    pub fn items_by_line(&self) -> BTreeMap<i32, OrderItem> {
        let item = |line: &wire::OrderLine| {
            let item = OrderItem {
                sku: line.sku.clone(),
                quantity: line.quantity,
                slot_id: line.slot_id.clone(),
                ..OrderItem::default()
            };
            (line.line, item)
        };
        self.doc.lines.iter().map(item).collect()
    }

    /// The items after a change, by line; lines keep their numbers.
    ///
    /// # Errors
    /// As [`Order::items`]; [`Refusal::Line`].
    pub fn items_after(&self, change: &ItemChange) -> Result<BTreeMap<i32, OrderItem>, Refusal> {
        let mut items = self.items()?;
        match change {
            ItemChange::Add(item) => {
                let next = items.keys().next_back().copied().unwrap_or(0).saturating_add(1);
                items.insert(next, item.clone());
            }
            ItemChange::Set { line, quantity } => {
                items.get_mut(line).ok_or(Refusal::Line(*line))?.quantity = *quantity;
            }
            ItemChange::Remove { line } => {
                items.remove(line).ok_or(Refusal::Line(*line))?;
            }
        }
        Ok(items)
    }

    /// The draft with other items and their prices.
    pub fn change_items(
        &self,
        change: &ItemChange,
        lines: Vec<wire::OrderLine>,
        totals: wire::OrderTotals,
    ) -> OrderEvent {
        let (order_id, totals) = (self.doc.id.clone(), Some(totals));
        match change {
            ItemChange::Add(_) => {
                let line = lines.iter().map(|line| line.line).max().unwrap_or(0);
                OrderEvent::ItemAdded(wire::OrderItemAdded { order_id, line, lines, totals })
            }
            ItemChange::Set { line, .. } => {
                OrderEvent::ItemChanged(wire::OrderItemChanged { order_id, line: *line, lines, totals })
            }
            ItemChange::Remove { line } => {
                OrderEvent::ItemRemoved(wire::OrderItemRemoved { order_id, line: *line, lines, totals })
            }
        }
    }
}
