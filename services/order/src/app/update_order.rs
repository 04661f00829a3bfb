//! Changes address or remark before fulfillment is asked for (ORD-03, ORD-35).

use std::sync::Arc;

use contract::common::v1::Address;
use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::OrderId;
use pg::Once;

use crate::app::change_order::Subject;
use crate::app::order_change::Move;
use crate::app::{App, TURNS, overtaken};
use crate::domain::order::{Order, Refusal};
use crate::domain::rules;

/// Whether a warehouse may have its address, and none has begun.
fn is_paid(order: &Order) -> bool {
    matches!(order.state(), OrderState::PaymentCompleted | OrderState::FulfillmentPending)
}

/// What changes.
#[derive(Debug, Clone)]
pub struct UpdateOrder {
    /// The order.
    pub id: OrderId,
    /// New address; None = as it is.
    pub address: Option<Address>,
    /// New remark; None = as it is.
    pub note: Option<String>,
    /// Version the change is based on; empty = whatever it is.
    pub etag: String,
}

impl App {
    /// Changes an order.
    ///
    /// # Errors
    /// Invalid with every wrong field; Precondition `ORDER_STATE_FORBIDS`, `PRODUCT_RESTRICTED`,
    /// `ADDRESS_CHANGES_TOTAL`; Aborted `ETAG_MISMATCH`.
    pub async fn update(&self, ctx: &Ctx, command: UpdateOrder) -> Result<wire::Order, Fault> {
        let mut wrong = Violations::default();
        if command.address.is_some() {
            rules::check_address("shipping_address", command.address.as_ref(), &mut wrong);
        }
        rules::check_extras(command.note.as_deref().unwrap_or_default(), "STANDARD", &mut wrong);
        if command.address.is_none() && command.note.is_none() {
            wrong.add("update_mask", "NOTHING_TO_CHANGE", "shipping_address, note or both");
        }
        wrong.finish()?;
        let subject = Subject { id: command.id, etag: command.etag.clone() };
        let id = command.id.to_string();
        let sealed = self.sealed(ctx, &id, command.address.clone(), command.note.as_deref()).await?;
        for turn in 1.. {
            let updated = self.update_once(ctx, &subject, &command, sealed.clone()).await;
            if turn >= TURNS || !overtaken(&updated) {
                return Ok(updated?.response);
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    async fn update_once(
        &self,
        ctx: &Ctx,
        subject: &Subject,
        command: &UpdateOrder,
        (address, note): (Option<Address>, Option<String>),
    ) -> Result<Once<wire::Order>, Fault> {
        let (Some(wanted), Some(address)) = (&command.address, address) else {
            let decide = move |order: &Order| order.update(None, note.clone());
            return self.change("order.update", ctx, subject, Arc::new(decide)).await;
        };
        let seen = self.get(ctx, command.id).await?;
        // Taxes follow the address as long as nothing is placed.
        if seen.state() == OrderState::Draft {
            return self.readdress(ctx, subject, &seen, wanted.clone(), command.note.clone()).await;
        }
        // Where it is too late for any address, that is what the caller hears.
        if seen.update(None, None).is_ok() {
            self.check_move(ctx, &seen, wanted).await?;
        }
        let elsewhere = self.address_of(ctx, &seen).await?.as_ref() != Some(wanted);
        if is_paid(&seen) && elsewhere {
            return self.move_paid(ctx, subject, Move { address, note }).await;
        }
        let decide = move |order: &Order| match order.state() {
            // Paid or placed since it was looked at: it is looked at again.
            OrderState::Draft => Err(Refusal::Moved),
            _ if is_paid(order) && elsewhere => Err(Refusal::Moved),
            _ if is_paid(order) && note.is_none() => Err(Refusal::Already),
            _ if is_paid(order) => order.update(None, note.clone()),
            _ => order.update(Some(address.clone()), note.clone()),
        };
        self.change("order.update", ctx, subject, Arc::new(decide)).await
    }

    /// A placed order goes elsewhere only where it may be sent, and for the same money (ORD-15, ORD-27).
    async fn check_move(&self, ctx: &Ctx, seen: &Order, address: &Address) -> Result<(), Fault> {
        let place = |address: &Address| (address.country_code.clone(), address.region.clone());
        if seen.doc.shipping_address.as_ref().map(place) == Some(place(address)) {
            return Ok(());
        }
        let quote = self.quote_change(ctx, seen, &seen.items_by_line(), Some(address.clone())).await?;
        let total =
            |totals: Option<&wire::OrderTotals>| totals.and_then(|totals| totals.total.clone()).unwrap_or_default();
        let (was, is) = (total(seen.doc.totals.as_ref()), total(Some(&quote.totals)));
        if was == is && seen.doc.totals.as_ref() == Some(&quote.totals) {
            return Ok(());
        }
        let text =
            "a placed order costs what it costs; elsewhere it would be taxed otherwise: cancel it and order again";
        let fault = Fault::precondition("ADDRESS_CHANGES_TOTAL", text);
        Err(fault.with("total_minor", was.amount_minor).with("quote_total_minor", is.amount_minor))
    }
}
