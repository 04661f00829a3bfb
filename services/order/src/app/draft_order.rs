//! Drafts: changed item by item, priced anew each time, and placed at last (ORD-05, ORD-29).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::common::v1::{Address, Money};
use contract::order::v1 as wire;
use contract::order::v1::OrderItem;
use ctx::Ctx;
use fault::{Fault, Violations};
use futures::FutureExt;
use ids::{OrderId, UserId};
use pg::{Conn, Once};

use crate::app::cancel_order::{check_etag, refused};
use crate::app::change_order::{Subject, read};
use crate::app::{App, TURNS, overtaken};
use crate::domain::basket::{Basket, Quote, Stage, check_expected_total};
use crate::domain::customer::limits;
use crate::domain::draft::ItemChange;
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::domain::promotion::Wanted;
use crate::domain::rules;
use crate::infra::placements::{Guard, POSSIBLE_DUPLICATE, claim_units, note_intent};
use crate::infra::store::{Store, wire_time};

/// A draft to be placed.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    /// The draft.
    pub subject: Subject,
    /// Provider's token.
    pub payment_method: String,
    /// What the caller thinks it costs.
    pub expected_total: Option<Money>,
    /// Another promotion than the draft's; empty = the draft's.
    pub promotion_code: String,
}

/// What a decision on a draft comes to: its events, and when it is placed what its saga starts with and how many units
/// the customer may have.
struct Decided {
    events: Vec<OrderEvent>,
    saga_state: Option<serde_json::Value>,
    limits: BTreeMap<String, (i64, i32)>,
    guard: Guard,
}

impl Decided {
    fn only(event: OrderEvent) -> Self {
        Self { events: vec![event], saga_state: None, limits: BTreeMap::new(), guard: Guard::default() }
    }
}

impl App {
    /// Adds, changes or removes an item of a draft, or of a paid order by a change.
    ///
    /// # Errors
    /// Invalid with every wrong field; NotFound `ITEM_NOT_FOUND`; Precondition `ORDER_STATE_FORBIDS` once a warehouse
    /// has begun; Aborted `ETAG_MISMATCH`, `PRICE_CHANGED`.
    pub async fn change_items(
        &self,
        ctx: &Ctx,
        subject: &Subject,
        change: &ItemChange,
    ) -> Result<Once<wire::Order>, Fault> {
        for turn in 1.. {
            let seen = self.get(ctx, subject.id).await?;
            if matches!(seen.state(), wire::OrderState::PaymentCompleted | wire::OrderState::FulfillmentPending) {
                return self.change_paid_items(ctx, subject, change).await;
            }
            let decided = self.items_changed(ctx, &seen, subject, change).await;
            let written = self.write_draft("order.change_items", ctx, subject, &seen, decided).await;
            if turn >= TURNS || !overtaken(&written) {
                return written;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    /// Places a draft with the prices of now, once per idempotency key; from here its saga drives it.
    ///
    /// # Errors
    /// As of [`App::create`]; Precondition `ORDER_STATE_FORBIDS` when it is no draft; Aborted `ETAG_MISMATCH`.
    pub async fn place(&self, ctx: &Ctx, command: &PlaceOrder) -> Result<Once<wire::Order>, Fault> {
        for turn in 1.. {
            let seen = self.get(ctx, command.subject.id).await?;
            let decided = self.placed(ctx, &seen, command).await;
            let written = self.write_draft("order.place_draft", ctx, &command.subject, &seen, decided).await;
            if turn >= TURNS || !overtaken(&written) {
                return written;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    /// A draft's address changed, and its taxes with it.
    pub(super) async fn readdress(
        &self,
        ctx: &Ctx,
        subject: &Subject,
        seen: &Order,
        address: Address,
        note: Option<String>,
    ) -> Result<Once<wire::Order>, Fault> {
        let decided = async {
            let items = seen.items().map_err(|why| refused(&why))?;
            let (lines, totals) = self.reprice(ctx, seen, &items, Some(address.clone())).await?;
            let (address, note) = self.sealed(ctx, &seen.doc.id, Some(address), note.as_deref()).await?;
            let updated = wire::OrderUpdated {
                order_id: seen.doc.id.clone(),
                shipping_address: address,
                note: note.unwrap_or_else(|| seen.doc.note.clone()),
                lines,
                totals: Some(totals),
            };
            Ok(Decided::only(OrderEvent::Updated(updated)))
        };
        let decided = decided.await;
        self.write_draft("order.update", ctx, subject, seen, decided).await
    }

    async fn items_changed(
        &self,
        ctx: &Ctx,
        seen: &Order,
        subject: &Subject,
        change: &ItemChange,
    ) -> Result<Decided, Fault> {
        check_etag(seen, &subject.etag)?;
        let items = seen.items_after(change).map_err(|why| refused(&why))?;
        let (lines, totals) = self.reprice(ctx, seen, &items, self.address_of(ctx, seen).await?).await?;
        Ok(Decided::only(seen.change_items(change, lines, totals)))
    }

    async fn reprice(
        &self,
        ctx: &Ctx,
        seen: &Order,
        items: &BTreeMap<i32, OrderItem>,
        address: Option<Address>,
    ) -> Result<(Vec<wire::OrderLine>, wire::OrderTotals), Fault> {
        let basket = basket(seen, items, address);
        let quote = self.quote(ctx, &basket, Stage::Draft, Violations::default()).await?;
        Ok((numbered(quote.lines, items), quote.totals))
    }

    async fn placed(&self, ctx: &Ctx, seen: &Order, command: &PlaceOrder) -> Result<Decided, Fault> {
        check_etag(seen, &command.subject.etag)?;
        let items = seen.items().map_err(|why| refused(&why))?;
        let mut wrong = Violations::default();
        rules::check_payment_method(&command.payment_method, &mut wrong);
        let mut basket = basket(seen, &items, self.address_of(ctx, seen).await?);
        if !command.promotion_code.is_empty() {
            basket.promotion = Wanted::Code(command.promotion_code.clone());
        }
        let quote = self.quote(ctx, &basket, Stage::Placement, wrong).await?;
        check_expected_total(command.expected_total.as_ref(), &quote)?;
        let customer: UserId = seen.doc.customer_id.parse().map_err(Fault::internal)?;
        self.check_customer(ctx, customer, &quote).await?;
        let limits = limits(&quote.restricted);
        let saga_state = self.saga_state(ctx, &seen.doc.id, [&command.payment_method, "", ""], &quote).await?;
        let created = created(ctx, seen, quote, &items);
        let events = seen.place_draft(created).map_err(|why| refused(&why))?;
        Ok(Decided { events, saga_state: Some(saga_state), limits, guard: self.guard(ctx).await? })
    }

    /// Writes what was decided on a draft as it was seen, unless the key was used before.
    async fn write_draft(
        &self,
        name: &'static str,
        ctx: &Ctx,
        subject: &Subject,
        seen: &Order,
        decided: Result<Decided, Fault>,
    ) -> Result<Once<wire::Order>, Fault> {
        let decided = match decided {
            Ok(decided) => Arc::new(decided),
            // What the first call did may be why the second one is refused.
            Err(fault) => return self.repeated(name, ctx).await?.ok_or(fault),
        };
        let customer: UserId = seen.doc.customer_id.parse().map_err(Fault::internal)?;
        let (context, subject, version, table) = (ctx.clone(), subject.clone(), seen.version, self.place.clone());
        let written = self.store.pg.once(name, ctx, move |conn: &mut Conn| {
            let (ctx, subject, decided, table) =
                (context.clone(), subject.clone(), Arc::clone(&decided), table.clone());
            async move {
                if let Some(state) = &decided.saga_state {
                    saga::start(conn, &ctx, &table, subject.id.uuid(), state.clone()).await?;
                }
                if !decided.limits.is_empty() {
                    claim_units(conn, &ctx, subject.id, customer, &decided.limits).await?;
                }
                let order = read(conn, &ctx, &subject).await?;
                if order.version != version {
                    return Err(Fault::aborted("VERSION_CONFLICT", "the order was changed at the same moment").into());
                }
                let events = warned(conn, &ctx, subject.id, customer, &decided).await?;
                Ok(Store::append(conn, &ctx, &order, &events).await?.doc)
            }
            .boxed()
        });
        Ok(written.await?)
    }
}

/// The events of a draft; a placement of what the customer placed a moment ago carries a warning.
async fn warned(
    conn: &mut Conn,
    ctx: &Ctx,
    order: OrderId,
    customer: UserId,
    decided: &Decided,
) -> Result<Vec<OrderEvent>, pg::Error> {
    let mut events = decided.events.clone();
    if let Some(OrderEvent::Created(created)) = events.first_mut()
        && note_intent(conn, ctx.tenant, decided.guard, order, customer, created).await?
    {
        created.warnings.push(POSSIBLE_DUPLICATE.to_owned());
    }
    Ok(events)
}

fn basket(order: &Order, items: &BTreeMap<i32, OrderItem>, address: Option<Address>) -> Basket {
    Basket {
        items: items.values().cloned().collect(),
        currency_code: order.doc.currency_code.clone(),
        address,
        service: order.doc.shipping_service.clone(),
        agreed: BTreeMap::new(),
        kind: Some(wire::OrderKind::Purchase),
        promotion: Wanted::kept(order.doc.promotion.as_ref()),
    }
}

/// Lines of a quote with the numbers they have in the order.
pub(super) fn numbered(lines: Vec<wire::OrderLine>, items: &BTreeMap<i32, OrderItem>) -> Vec<wire::OrderLine> {
    lines.into_iter().zip(items.keys()).map(|(line, number)| wire::OrderLine { line: *number, ..line }).collect()
}

fn created(ctx: &Ctx, draft: &Order, quote: Quote, items: &BTreeMap<i32, OrderItem>) -> wire::OrderCreated {
    wire::OrderCreated {
        order_id: draft.doc.id.clone(),
        order_number: draft.doc.order_number,
        customer_id: draft.doc.customer_id.clone(),
        currency_code: draft.doc.currency_code.clone(),
        lines: numbered(quote.lines, items),
        totals: Some(quote.totals),
        shipping_address: draft.doc.shipping_address.clone(),
        shipping_service: draft.doc.shipping_service.clone(),
        note: draft.doc.note.clone(),
        create_time: Some(wire_time(ctx.now)),
        reservation_hold_s: quote.hold_s,
        split_lines: quote.split,
        channel: draft.doc.channel,
        kind: wire::OrderKind::Purchase.into(),
        promotion: quote.promotion,
        ..wire::OrderCreated::default()
    }
}
