//! Cancels an order that no warehouse has begun to pick: the saga that placed it is undone, or one of its own calls the
//! warehouse off, and gives stock and money back (ORD-04, ORD-17).

use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use ctx::Ctx;
use fault::{Fault, Violations};
use futures::FutureExt;
use ids::OrderId;
use pg::Conn;
use serde_json::json;
use uuid::Uuid;

use crate::app::cancel_saga::SUBJECT;
use crate::app::get_order::visible;
use crate::app::rounds::{ROUND, run_in, same_run};
use crate::app::{App, TURNS, overtaken};
use crate::domain::order::{Order, Refusal};
use crate::infra::store::{Store, not_found};

/// What is cancelled, and why.
#[derive(Debug, Clone)]
pub struct CancelOrder {
    /// The order.
    pub id: OrderId,
    /// Why, 1 to 200 characters (CAN-02).
    pub reason: String,
    /// Version the decision is based on; empty = whatever it is.
    pub etag: String,
}

impl App {
    /// Asks for a cancellation; the order is CANCELLED when its saga has undone everything.
    ///
    /// # Errors
    /// Invalid with every wrong field; Precondition `ORDER_STATE_FORBIDS`; Aborted `ETAG_MISMATCH`.
    pub async fn cancel(&self, ctx: &Ctx, command: CancelOrder) -> Result<wire::Order, Fault> {
        let mut wrong = Violations::default();
        let length = command.reason.trim().chars().count();
        if !(1..=200).contains(&length) || command.reason.chars().any(char::is_control) {
            wrong.add("reason", "REASON_INVALID", "1 to 200 characters, no control characters");
        }
        wrong.finish()?;
        for _ in 1..TURNS {
            let decided = self.cancel_once(ctx, &command).await;
            if !overtaken(&decided) {
                return decided;
            }
        }
        self.cancel_once(ctx, &command).await
    }

    async fn cancel_once(&self, ctx: &Ctx, command: &CancelOrder) -> Result<wire::Order, Fault> {
        let (tenant, ctx, command, table) = (ctx.tenant, ctx.clone(), command.clone(), self.cancel.clone());
        let changed = self.store.pg.tx("order.cancel", tenant, move |conn: &mut Conn| {
            let (ctx, command, table) = (ctx.clone(), command.clone(), table.clone());
            async move {
                // The saga's row first: its engine locks in that order too.
                let run = run_in(conn, ctx.tenant, command.id).await?;
                let undoing = saga::request_undo(conn, ctx.tenant, run, "CANCELLED").await?;
                let order = Store::get_in(conn, ctx.tenant, command.id).await?;
                if !visible(&ctx, &order) {
                    return Err(not_found(command.id).into());
                }
                same_run(&order, run)?;
                check_etag(&order, &command.etag)?;
                let events = match order.request_cancellation(&command.reason) {
                    Ok(events) if undoing || order.holds_nothing() => events,
                    // The saga that placed it is complete: another calls the warehouses off.
                    Ok(events) if order.state() == OrderState::FulfillmentPending => {
                        let state = json!({SUBJECT: order.doc.id, ROUND: order.round()});
                        saga::start(conn, &ctx, &table, Uuid::now_v7(), state).await?;
                        events
                    }
                    Err(Refusal::Already) => return Ok(order.doc),
                    Ok(_) => return Err(refused(&Refusal::State(order.state())).into()),
                    Err(why) => return Err(refused(&why).into()),
                };
                Ok(Store::append(conn, &ctx, &order, &events).await?.doc)
            }
            .boxed()
        });
        Ok(changed.await?)
    }
}

/// Compares the version a caller has seen with the one there is.
///
/// # Errors
/// Aborted `ETAG_MISMATCH` (AIP-154).
pub fn check_etag(order: &Order, etag: &str) -> Result<(), Fault> {
    if etag.is_empty() || etag == order.doc.etag {
        return Ok(());
    }
    Err(Fault::aborted("ETAG_MISMATCH", "the order has changed since it was read").with("etag", &order.doc.etag))
}

/// A refusal of the domain as callers hear it.
pub fn refused(why: &Refusal) -> Fault {
    let fault = Fault::precondition("ORDER_STATE_FORBIDS", why.to_string());
    match why {
        Refusal::Moved => Fault::aborted("VERSION_CONFLICT", why.to_string()),
        Refusal::State(state) => fault.with("state", state.as_str_name()),
        Refusal::Line(line) => Fault::not_found("ITEM_NOT_FOUND", why.to_string()).with("line", line),
        Refusal::NoChange => Fault::not_found("CHANGE_NOT_FOUND", why.to_string()),
        Refusal::Change(state) => {
            Fault::precondition("CHANGE_STATE_FORBIDS", why.to_string()).with("state", state.as_str_name())
        }
        Refusal::Full(..) => Fault::precondition("ORDER_FULL", why.to_string()),
        Refusal::Subscribed => Fault::precondition("SUBSCRIPTION_RETRIES", why.to_string()),
        Refusal::RetriesExhausted => {
            Fault::precondition("PAYMENT_RETRIES_EXHAUSTED", why.to_string()).with("retries_left", 0)
        }
        Refusal::RetryTooLate(until, left) => {
            let until = jiff::Timestamp::new(until.seconds, until.nanos).unwrap_or_default();
            let fault = Fault::precondition("PAYMENT_RETRY_TOO_LATE", why.to_string());
            fault.with("retry_until", until).with("retries_left", left)
        }
        Refusal::Already | Refusal::Quantity(_) => fault,
    }
}
