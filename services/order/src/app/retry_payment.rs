//! Pays an order again whose payment failed: by the customer with the same or another payment method, or by staff who
//! say why (PAY-18). Prices stay those of the order; stock is set aside anew.

use std::time::Duration;

use contract::order::v1 as wire;
use ctx::Ctx;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl;
use fault::{Fault, Kind, Violations};
use futures::FutureExt;
use ids::{OrderId, UserId};
use pg::{Conn, Once};
use saga::Definition;
use serde_json::{Value, json};

use crate::app::cancel_order::refused;
use crate::app::cancel_saga::SUBJECT;
use crate::app::care::check_text;
use crate::app::change_order::{Subject, read};
use crate::app::rounds::{ROUND, run_of};
use crate::app::{App, TURNS, overtaken};
use crate::domain::customer::{check_standing, had_enough};
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::domain::rules;
use crate::infra::seal::{Spot, column};
use crate::infra::store::{Store, wire_time};

/// When a caller may look again whether the failed payment is undone.
const UNDONE_SOON: Duration = Duration::from_secs(1);
/// What of a run's state is about the order and not about how that run went.
const KEPT: [&str; 6] = ["payment_method", "mandate", "client_ip", "hold_s", "split", "capture_now"];

diesel::define_sql_function! {
    /// Counts the limited units of an order again; the SKU that its customer has enough of, or NULL.
    fn order_limits_again(tenant: SqlUuid, order: SqlUuid) -> Nullable<Text>;
}

/// A failed payment to be tried again.
#[derive(Debug, Clone)]
pub struct RetryPayment {
    /// The order.
    pub subject: Subject,
    /// Provider's token; staff may leave it empty for the one that was used last.
    pub payment_method: String,
    /// Why; staff must say it.
    pub reason: String,
}

/// A new round as it is written down.
#[derive(Debug, Clone)]
struct Begin {
    subject: Subject,
    /// Sealed token; empty for that of the last round.
    token: String,
    reason: String,
    /// The customer is there himself, so no mandate speaks for him.
    present: bool,
}

impl App {
    /// Begins a new round of paying an order, once per idempotency key.
    ///
    /// # Errors
    /// Invalid with every wrong field; NotFound `ORDER_NOT_FOUND`; Denied `CUSTOMER_NOT_ELIGIBLE`; Precondition
    /// `ORDER_STATE_FORBIDS`, `SUBSCRIPTION_RETRIES`, `PAYMENT_RETRIES_EXHAUSTED`, `PAYMENT_RETRY_TOO_LATE`, `PRODUCT_RESTRICTED`; Aborted
    /// `ETAG_MISMATCH`; Unavailable `PAYMENT_UNDO_PENDING` while the last round is being undone.
    pub async fn retry_payment(&self, ctx: &Ctx, command: &RetryPayment) -> Result<Once<wire::Order>, Fault> {
        let begin = match self.checked(ctx, command).await {
            Ok(begin) => begin,
            // What the first call did may be why the second one is refused.
            Err(fault) => return self.repeated("order.retry_payment", ctx).await?.ok_or(fault),
        };
        for turn in 1.. {
            let begun = self.begin_round(ctx, &begin).await;
            if turn >= TURNS || !overtaken(&begun) {
                return begun;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    async fn checked(&self, ctx: &Ctx, command: &RetryPayment) -> Result<Begin, Fault> {
        let present = ctx.principal.is_customer_only();
        let mut wrong = Violations::default();
        check_text("reason", &command.reason, usize::from(!present), 200, &mut wrong);
        if present || !command.payment_method.is_empty() {
            rules::check_payment_method(&command.payment_method, &mut wrong);
        }
        wrong.finish()?;
        let order = self.get(ctx, command.subject.id).await?;
        let customer: UserId = order.doc.customer_id.parse().map_err(Fault::internal)?;
        let policy = self.catalog.policy(ctx).await?;
        match self.catalog.customer(ctx, customer).await {
            Ok(user) => check_standing(&user, &policy)?,
            Err(fault) if fault.kind() != Kind::NotFound && policy.unknown_customers_may_buy => {
                tracing::warn!(%fault, %customer, "a customer was not looked up");
            }
            Err(fault) => return Err(fault),
        }
        let spot = Spot { tenant: ctx.tenant, column: column::SAGA_TOKEN, row: &order.doc.id };
        let token = self.safe.seal_text(spot, &command.payment_method).await?;
        Ok(Begin { subject: command.subject.clone(), token, reason: command.reason.trim().to_owned(), present })
    }

    async fn begin_round(&self, ctx: &Ctx, begin: &Begin) -> Result<Once<wire::Order>, Fault> {
        let (context, begin, table) = (ctx.clone(), begin.clone(), self.pay_again.clone());
        let begun = self.store.pg.once("order.retry_payment", ctx, move |conn: &mut Conn| {
            let (ctx, begin, table) = (context.clone(), begin.clone(), table.clone());
            async move {
                let order = read(conn, &ctx, &begin.subject).await?;
                let events = order.retry_payment(&begin.reason, wire_time(ctx.now)).map_err(|why| refused(&why))?;
                let state = |mut last: Value| {
                    if !begin.token.is_empty() {
                        last["payment_method"] = begin.token.clone().into();
                    }
                    if begin.present {
                        last["mandate"] = "".into();
                    }
                    last
                };
                Ok(begin_next(conn, &ctx, &table, &order, &events, state).await?.doc)
            }
            .boxed()
        });
        Ok(begun.await?)
    }
}

/// Money of an order came outside of any provider: where its payment had failed, it goes on.
///
/// # Errors
/// Unavailable `PAYMENT_UNDO_PENDING` while the last round is being undone.
pub async fn paid_outside(
    conn: &mut Conn,
    ctx: &Ctx,
    table: &Definition,
    id: OrderId,
    reason: &str,
) -> Result<(), pg::Error> {
    let order = Store::get_in(conn, ctx.tenant, id).await?;
    match order.paid_outside(reason) {
        Ok(events) => begin_next(conn, ctx, table, &order, &events, |state| state).await.map(drop),
        // It was cancelled meanwhile, never waited for it, or its subscription has ordered anew.
        Err(Refusal::State(_) | Refusal::Subscribed) => Ok(()),
        Err(why) => Err(refused(&why).into()),
    }
}

/// Writes a new round and starts its run, when the last one is undone as a whole.
async fn begin_next(
    conn: &mut Conn,
    ctx: &Ctx,
    table: &Definition,
    order: &Order,
    events: &[OrderEvent],
    state: impl FnOnce(Value) -> Value + Send,
) -> Result<Order, pg::Error> {
    let id: OrderId = order.doc.id.parse().map_err(Fault::internal)?;
    let last = saga::standing(conn, ctx.tenant, run_of(id, order.round())).await?;
    let last = last.ok_or_else(|| Fault::internal("an order was paid without a saga"))?;
    if !last.over {
        let text = "stock and money of the failed payment are being given back";
        return Err(Fault::unavailable("PAYMENT_UNDO_PENDING", text).retry_after(UNDONE_SOON).into());
    }
    let round = order.round().saturating_add(1);
    let mut next = json!({ SUBJECT: order.doc.id, ROUND: round });
    for kept in KEPT {
        next[kept] = last.state[kept].clone();
    }
    saga::start(conn, ctx, table, run_of(id, round), state(next)).await?;
    let enough = diesel::select(order_limits_again(ctx.tenant.uuid(), id.uuid()));
    if let Some(sku) = enough.get_result::<Option<String>>(conn).await? {
        return Err(had_enough(&sku).into());
    }
    Store::append(conn, ctx, order, events).await
}
