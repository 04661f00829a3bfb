//! Changes of orders that are paid: asked for, agreed to or taken back; its saga carries one out (ORD-05, ORD-44).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::common::v1::{Actor, Address, Money};
use contract::identity::v1::TenantPolicy;
use contract::inventory::v1::Product;
use contract::order::v1 as wire;
use contract::order::v1::{LineEdit, OrderChangeState, OrderState};
use ctx::Ctx;
use fault::{Fault, Violations};
use futures::FutureExt;
use ids::{ChangeId, UserId};
use jiff::SignedDuration;
use pg::{Conn, Once};
use prost::Message;

use crate::app::cancel_order::{check_etag, refused};
use crate::app::care::check_text;
use crate::app::change_order::{Subject, read};
use crate::app::change_saga::{AWAIT, ChangeState};
use crate::app::draft_order::numbered;
use crate::app::place_saga::CONFIRM;
use crate::app::rounds::{run_in, same_run};
use crate::app::{App, TURNS, overtaken};
use crate::domain::basket::{self, Basket, Quote, Stage, check_expected_total};
use crate::domain::change::{AGREE_S, edit, grows};
use crate::domain::customer::limits;
use crate::domain::draft::ItemChange;
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::domain::promotion::Wanted;
use crate::domain::rules;
use crate::infra::placements::claim_units;
use crate::infra::seal::column;
use crate::infra::store::{Store, wire_time};

/// What somebody wants an order to become.
#[derive(Debug, Clone)]
pub struct RequestChange {
    /// The order.
    pub subject: Subject,
    /// What changes.
    pub edits: Vec<LineEdit>,
    /// Where it is to go; then nothing else changes.
    pub to: Option<Move>,
    /// Why.
    pub reason: String,
    /// What the caller thinks the order costs then.
    pub expected_total: Option<Money>,
}

/// Where a paid order is to go, sealed.
#[derive(Debug, Clone)]
pub struct Move {
    /// The address.
    pub address: Address,
    /// The new remark, which changes at once; None = as it is.
    pub note: Option<String>,
}

/// A change that was priced: what it comes to, and how many units the customer may have.
struct Priced {
    change: wire::OrderChange,
    limits: BTreeMap<String, (i64, i32)>,
    state: ChangeState,
    note: Option<String>,
}

impl App {
    /// Says what a change would cost.
    ///
    /// # Errors
    /// As of [`App::request_change`].
    pub async fn preview_change(&self, ctx: &Ctx, command: &RequestChange) -> Result<wire::OrderChange, Fault> {
        let seen = self.get(ctx, command.subject.id).await?;
        Ok(self.price_change(ctx, &seen, command).await?.change)
    }

    /// Asks for a change once per idempotency key; the order is kept as it is until that is decided.
    ///
    /// # Errors
    /// Invalid with every wrong field; NotFound `ITEM_NOT_FOUND`; Precondition `ORDER_STATE_FORBIDS`, `ORDER_FULL`,
    /// `PRODUCT_RESTRICTED`, `CHANGE_COSTS_MORE`; Denied `CUSTOMER_NOT_ELIGIBLE`; Aborted `ETAG_MISMATCH`, `PRICE_CHANGED`.
    pub async fn request_change(&self, ctx: &Ctx, command: &RequestChange) -> Result<Once<wire::OrderChange>, Fault> {
        let mut wrong = Violations::default();
        check_text("reason", &command.reason, 0, 200, &mut wrong);
        wrong.finish()?;
        let order = command.subject.id.to_string();
        let reason = self.sealed_text(ctx, column::CHANGE, &order, &command.reason).await?;
        let command = &RequestChange { reason, ..command.clone() };
        let last = |order: wire::Order| order.changes.last().cloned().unwrap_or_default();
        self.write_change("order.request_change", ctx, command, false, last).await
    }

    /// Changes an item of a paid order: a change that is agreed to as it is asked for (ORD-05).
    ///
    /// # Errors
    /// As of [`App::request_change`].
    pub(super) async fn change_paid_items(
        &self,
        ctx: &Ctx,
        subject: &Subject,
        change: &ItemChange,
    ) -> Result<Once<wire::Order>, Fault> {
        let expected_total = None;
        let (subject, edits) = (subject.clone(), vec![edit(change)]);
        let command = RequestChange { subject, edits, to: None, reason: String::new(), expected_total };
        self.write_change("order.change_items", ctx, &command, true, |order| order).await
    }

    /// Agrees to a change once per idempotency key.
    ///
    /// # Errors
    /// NotFound `CHANGE_NOT_FOUND`; Precondition `CHANGE_STATE_FORBIDS` when it is over.
    pub async fn confirm_change(
        &self,
        ctx: &Ctx,
        subject: &Subject,
        id: ChangeId,
    ) -> Result<Once<wire::OrderChange>, Fault> {
        let now = wire_time(ctx.now);
        let decide = move |order: &Order| order.confirm_change(&id.to_string(), now);
        self.decide_change("order.confirm_change", ctx, subject, id, Arc::new(decide)).await
    }

    /// Takes a change back; the order goes on as it was.
    ///
    /// # Errors
    /// As of [`App::confirm_change`]; Invalid with the wrong field.
    pub async fn decline_change(
        &self,
        ctx: &Ctx,
        subject: &Subject,
        id: ChangeId,
        reason: String,
    ) -> Result<wire::OrderChange, Fault> {
        let mut wrong = Violations::default();
        check_text("reason", &reason, 0, 200, &mut wrong);
        wrong.finish()?;
        let reason = self.sealed_text(ctx, column::CHANGE, &subject.id.to_string(), &reason).await?;
        let decide = move |order: &Order| order.decline_change(&id.to_string(), OrderChangeState::Declined, &reason, 0);
        Ok(self.decide_change("order.decline_change", ctx, subject, id, Arc::new(decide)).await?.response)
    }

    /// The changes of an order, oldest first.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn changes(&self, ctx: &Ctx, subject: &Subject) -> Result<Vec<wire::OrderChange>, Fault> {
        Ok(self.get(ctx, subject.id).await?.doc.changes)
    }

    /// A change of an order.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`, `CHANGE_NOT_FOUND`.
    pub async fn order_change(&self, ctx: &Ctx, subject: &Subject, id: ChangeId) -> Result<wire::OrderChange, Fault> {
        let order = self.get(ctx, subject.id).await?;
        order.change(&id.to_string()).cloned().map_err(|why| refused(&why))
    }

    /// Sends a paid order elsewhere, for the same money: a change that is agreed to as it is asked for (ORD-03).
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`; Precondition `ORDER_STATE_FORBIDS`, `ORDER_FULL`; Aborted `ETAG_MISMATCH`.
    pub(super) async fn move_paid(&self, ctx: &Ctx, subject: &Subject, to: Move) -> Result<Once<wire::Order>, Fault> {
        let (subject, edits, expected_total) = (subject.clone(), Vec::new(), None);
        let command = RequestChange { subject, edits, to: Some(to), reason: String::new(), expected_total };
        self.write_change("order.update", ctx, &command, true, |order| order).await
    }

    async fn decide_change(
        &self,
        name: &'static str,
        ctx: &Ctx,
        subject: &Subject,
        id: ChangeId,
        decide: Arc<super::change_order::Decide>,
    ) -> Result<Once<wire::OrderChange>, Fault> {
        for turn in 1.. {
            let (context, subject, decide) = (ctx.clone(), subject.clone(), Arc::clone(&decide));
            let decided = self.store.pg.once(name, ctx, move |conn: &mut Conn| {
                let (ctx, subject, decide) = (context.clone(), subject.clone(), Arc::clone(&decide));
                async move {
                    // The saga's row first: its engine locks in that order too.
                    saga::wake(conn, ctx.tenant, id.uuid(), AWAIT).await?;
                    let order = read(conn, &ctx, &subject).await?;
                    let after = match decide(&order) {
                        Ok(events) => Store::append(conn, &ctx, &order, &events).await?,
                        Err(Refusal::Already) => order,
                        Err(why) => return Err(refused(&why).into()),
                    };
                    Ok(after.change(&id.to_string()).map_err(|why| refused(&why))?.clone())
                }
                .boxed()
            });
            let decided = decided.await.map_err(Fault::from);
            if turn >= TURNS || !overtaken(&decided) {
                return decided;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    /// Prices a change: what is there keeps its price, what comes has today's.
    async fn price_change(&self, ctx: &Ctx, seen: &Order, command: &RequestChange) -> Result<Priced, Fault> {
        check_etag(seen, &command.subject.etag)?;
        let policy = self.catalog.policy(ctx).await?;
        let split = policy.split_lines;
        let state = ChangeState { subject: command.subject.id, split, revision: seen.version };
        if let Some(Move { address, note }) = command.to.clone() {
            let change = seen.moved_to(address).map_err(|why| refused(&why))?;
            return Ok(Priced { change, limits: BTreeMap::new(), state, note });
        }
        check_edits(&command.edits, &policy)?;
        let items = seen.items_edited(&command.edits).map_err(|why| refused(&why))?;
        let quote = self.quote_change(ctx, seen, &items, seen.doc.shipping_address.clone()).await?;
        if grows(seen, &command.edits) {
            let customer: UserId = seen.doc.customer_id.parse().map_err(Fault::internal)?;
            self.check_customer(ctx, customer, &quote).await?;
        }
        check_expected_total(command.expected_total.as_ref(), &quote)?;
        let limits = limits(&quote.restricted);
        let change = seen.change_to(&command.edits, numbered(quote.lines, &items), quote.totals);
        let more = change.to_authorize.as_ref().map_or(0, |more| more.amount_minor);
        if more > 0 && seen.is_paid_out() {
            let text = "what was paid at once cannot be paid more of: place another order for what is added";
            return Err(Fault::precondition("CHANGE_COSTS_MORE", text).with("to_authorize_minor", more));
        }
        Ok(Priced { change, limits, state, note: None })
    }

    /// What a placed order would cost with other items or elsewhere.
    pub(super) async fn quote_change(
        &self,
        ctx: &Ctx,
        seen: &Order,
        items: &BTreeMap<i32, wire::OrderItem>,
        address: Option<Address>,
    ) -> Result<Quote, Fault> {
        let line = |number: &i32| seen.doc.lines.iter().find(|line| line.line == *number);
        let agreed = |(index, number): (usize, &i32)| Some((index, line(number)?.unit_price.as_ref()?.amount_minor));
        let basket = Basket {
            items: items.values().cloned().collect(),
            currency_code: seen.doc.currency_code.clone(),
            address,
            service: seen.doc.shipping_service.clone(),
            agreed: items.keys().enumerate().filter_map(agreed).collect(),
            kind: Some(seen.doc.kind()),
            promotion: Wanted::agreed(seen.doc.promotion.as_ref()),
        };
        let policy = self.catalog.policy(ctx).await?;
        let mut wrong = Violations::default();
        rules::check_items(&basket.items, rules::max_lines(&policy), &mut wrong);
        let skus = basket.items.iter().map(|item| item.sku.as_str()).filter(|sku| rules::is_sku(sku)).collect();
        let mut products = self.catalog.products(ctx, &skus).await?;
        // What was bought once may be sold no more.
        for line in &seen.doc.lines {
            products.entry(line.sku.clone()).or_insert_with(|| {
                Arc::new(Product {
                    sku: line.sku.clone(),
                    display_name: line.display_name.clone(),
                    tax_class: line.tax_class.clone(),
                    weight_grams: line.weight_grams,
                    ..Product::default()
                })
            });
        }
        basket::quote(&basket, Stage::Placement, &policy, &products, ctx.now.as_second(), wrong)
    }

    async fn write_change<R: Message + Default + Send + 'static>(
        &self,
        name: &'static str,
        ctx: &Ctx,
        command: &RequestChange,
        agreed: bool,
        answer: fn(wire::Order) -> R,
    ) -> Result<Once<R>, Fault> {
        for turn in 1.. {
            let seen = self.get(ctx, command.subject.id).await?;
            let written = match self.price_change(ctx, &seen, command).await {
                Ok(priced) => {
                    self.write_once(name, ctx, &command.subject, named(ctx, command, priced), agreed, answer).await
                }
                // What the first call did may be why the second one is refused.
                Err(fault) => return self.repeated(name, ctx).await?.ok_or(fault),
            };
            if turn >= TURNS || !overtaken(&written) {
                return written;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    async fn write_once<R: Message + Default + Send + 'static>(
        &self,
        name: &'static str,
        ctx: &Ctx,
        subject: &Subject,
        priced: Priced,
        agreed: bool,
        answer: fn(wire::Order) -> R,
    ) -> Result<Once<R>, Fault> {
        let (context, subject, priced) = (ctx.clone(), subject.clone(), Arc::new(priced));
        let table = self.change.clone();
        let written = self.store.pg.once(name, ctx, move |conn: &mut Conn| {
            let (ctx, subject, priced) = (context.clone(), subject.clone(), Arc::clone(&priced));
            let table = table.clone();
            async move {
                // The row of the saga that placed it first: behind the last step before the request the warehouse may
                // hear of the order at this moment, unless it is held.
                let run = run_in(conn, ctx.tenant, subject.id).await?;
                let early = saga::wake(conn, ctx.tenant, run, CONFIRM).await?;
                let order = read(conn, &ctx, &subject).await?;
                same_run(&order, run)?;
                if order.version != priced.state.revision {
                    return Err(Fault::aborted("VERSION_CONFLICT", "the order was changed at the same moment").into());
                }
                if order.state() == OrderState::PaymentCompleted && !early && !order.doc.on_hold {
                    return Err(refused(&Refusal::State(order.state())).into());
                }
                let id: ChangeId = priced.change.id.parse().map_err(Fault::internal)?;
                let state = serde_json::to_value(&priced.state).map_err(Fault::internal)?;
                saga::start(conn, &ctx, &table, id.uuid(), state).await?;
                if !priced.limits.is_empty() {
                    let customer: UserId = order.doc.customer_id.parse().map_err(Fault::internal)?;
                    claim_units(conn, &ctx, subject.id, customer, &priced.limits).await?;
                }
                let events = asked(&order, &priced, agreed).map_err(|why| refused(&why))?;
                Ok(answer(Store::append(conn, &ctx, &order, &events).await?.doc))
            }
            .boxed()
        });
        Ok(written.await?)
    }
}

fn asked(order: &Order, priced: &Priced, agreed: bool) -> Result<Vec<OrderEvent>, Refusal> {
    let (change, note) = (&priced.change, priced.note.clone());
    let mut events = if note.is_some() { order.update(None, note)? } else { Vec::new() };
    events.extend(order.request_change(change.clone())?);
    if agreed {
        let after = order.after(&events, prost_types::Timestamp::default());
        events.extend(after.confirm_change(&change.id, change.create_time.unwrap_or_default())?);
    }
    Ok(events)
}

/// A priced change as it is stored: with its id, and until when somebody has to agree.
fn named(ctx: &Ctx, command: &RequestChange, priced: Priced) -> Priced {
    let (kind, id) = ctx.principal.actor();
    let until = ctx.now.saturating_add(SignedDuration::from_secs(AGREE_S)).unwrap_or(ctx.now);
    let change = wire::OrderChange {
        id: ChangeId::new().to_string(),
        reason: command.reason.clone(),
        requester: Some(Actor { kind: kind.to_owned(), id }),
        create_time: Some(wire_time(ctx.now)),
        expire_time: Some(wire_time(until)),
        ..priced.change
    };
    Priced { change, ..priced }
}

/// Every wrong edit at once.
fn check_edits(edits: &[LineEdit], policy: &TenantPolicy) -> Result<(), Fault> {
    let (mut wrong, most) = (Violations::default(), rules::max_lines(policy));
    if edits.is_empty() || edits.len() > most {
        wrong.add("edits", "EDITS_INVALID", format!("1 to {most} lines"));
    }
    for (index, edit) in edits.iter().enumerate().take(most) {
        let field = |name: &str| format!("edits[{index}].{name}");
        let again = edit.line != 0 && edits.iter().take(index).any(|other| other.line == edit.line);
        match (edit.line, edit.sku.is_empty()) {
            (0, _) if !rules::is_sku(&edit.sku) => {
                wrong.add(field("sku"), "SKU_INVALID", "1 to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore");
            }
            (1.., false) => wrong.add(field("sku"), "SKU_FIXED", "a line keeps its product"),
            (..0, _) => wrong.add(field("line"), "LINE_INVALID", "0 for a new line, else its number"),
            _ if again => wrong.add(field("line"), "LINE_REPEATED", "each line once"),
            _ => {}
        }
        if edit.quantity < 0 || (edit.line == 0 && edit.quantity == 0) {
            wrong.add(field("quantity"), "QUANTITY_INVALID", "at least 1, or 0 for a line that goes away");
        }
    }
    wrong.finish()
}
