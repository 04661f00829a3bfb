//! Renews subscriptions: orders each period once, whatever dies and however many workers there are (ORD-46).
//!
//! A period's order is written down under the lock of its subscription before it is made, with the id it will have. Who
//! dies in between leaves an order that is not there, and the next worker makes it: same id, same idempotency key.

use std::time::Duration;

use contract::order::v1 as wire;
use ctx::{Cause, Ctx, IdempotencyKey};
use fault::{Fault, Kind};
use futures::FutureExt;
use ids::{OrderId, SubscriptionId, TenantId};
use jiff::{SignedDuration, Timestamp};
use pg::Conn;
use serve::{Job, Turn};

use crate::app::App;
use crate::app::create_order::{CreateOrder, Renewal};
use crate::app::subscribe::basket;
use crate::domain::subscription::{Subscription, Todo};
use crate::infra::subscriptions;

/// Pause between two looks of the job.
const PAUSE: Duration = Duration::from_secs(1);
/// Subscriptions of one look.
const AT_ONCE: i32 = 50;
/// Who claimed a subscription has so long to make its order; then another worker does.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// Longest time for one order.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a look came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Subscriptions that were looked after.
    pub subscriptions: i32,
    /// Orders that were made.
    pub orders: i32,
}

/// The job that looks every second; any number of processes may run it.
pub fn renewer(app: App) -> Job {
    Job::every("order.renewals", PAUSE, app, |app| async move {
        let renewed = app.renew_due(None, AT_ONCE).await?;
        Ok(if renewed.subscriptions < AT_ONCE { Turn::Done } else { Turn::Full })
    })
}

impl App {
    /// Looks after what is due, of all tenants or of one.
    ///
    /// # Errors
    /// When the database does not say what is due. What goes wrong with one subscription is logged and comes again.
    pub async fn renew_due(&self, tenant: Option<TenantId>, most: i32) -> Result<Renewed, Fault> {
        let mut renewed = Renewed::default();
        for (tenant, id) in subscriptions::due(&self.store.pg, tenant, most).await? {
            let cause = Cause { correlation_id: id.to_string(), ..Cause::default() };
            let ctx = Ctx::service("order", tenant, cause, Timestamp::now()).within(PATIENCE);
            match self.renew(&ctx, id).await {
                Ok(ordered) => {
                    renewed.subscriptions += 1;
                    renewed.orders += i32::from(ordered);
                }
                Err(fault) => {
                    metrics::counter!("subscription_renewals_total", "outcome" => "retry").increment(1);
                    tracing::warn!(subscription.id = %id, tenant = %tenant, %fault, "a subscription did not renew");
                }
            }
        }
        Ok(renewed)
    }

    /// Looks after one subscription; whether its order was made.
    async fn renew(&self, ctx: &Ctx, id: SubscriptionId) -> Result<bool, Fault> {
        let schedule = self.catalog.policy(ctx).await?.dunning_days.clone();
        let context = ctx.clone();
        let claimed = self.store.pg.tx("subscription.claim", ctx.tenant, move |conn: &mut Conn| {
            let (ctx, schedule) = (context.clone(), schedule.clone());
            async move { advance(conn, &ctx, id, &schedule).await }.boxed()
        });
        let Some(begun) = claimed.await? else { return Ok(false) };
        self.make_order(ctx, id, &begun).await
    }

    /// Makes the order of a begun period; one that cannot be made is a failed one.
    async fn make_order(&self, ctx: &Ctx, id: SubscriptionId, begun: &Subscription) -> Result<bool, Fault> {
        let Some(renewal) = begun.doc.renewal.clone() else {
            return Err(Fault::internal("a period was begun and is not there"));
        };
        let order: OrderId = renewal.order_id.parse().map_err(Fault::internal)?;
        let key = IdempotencyKey {
            key: format!("{id}/{}/{}", renewal.period, renewal.attempt),
            scope: "subscription.renewal".to_owned(),
            // The key alone says what it is for; prices may change from one try to the next.
            fingerprint: [0; 32],
        };
        let ctx = Ctx { idempotency: Some(key), ..ctx.clone() };
        let agreed = self.safe.open_subscription(ctx.tenant, begun.doc.clone()).await?;
        let made = self.create(&ctx, command(id, order, renewal.period, &agreed)).await;
        let (next, look) = match &made {
            Ok(_) => (None, begun.due(ctx.now)),
            Err(fault) if !is_final(fault) => return Err(made.err().unwrap_or_else(|| Fault::internal("no fault"))),
            Err(fault) => {
                let schedule = self.catalog.policy(&ctx).await?.dunning_days.clone();
                let next = begun.failed(fault.reason(), &schedule, ctx.now);
                let due = Subscription::of_doc(next.doc.clone()).due(ctx.now);
                (Some(next), due)
            }
        };
        let (context, begun) = (ctx.clone(), begun.clone());
        let written = self.store.pg.tx("subscription.settle", ctx.tenant, move |conn: &mut Conn| {
            let (ctx, begun, next) = (context.clone(), begun.clone(), next.clone());
            async move {
                match &next {
                    Some(next) => subscriptions::save(conn, &ctx, &begun, next, look).await.map(drop),
                    None => subscriptions::look(conn, ctx.tenant, id, look).await,
                }
            }
            .boxed()
        });
        written.await?;
        let outcome = if made.is_ok() { "ordered" } else { "refused" };
        metrics::counter!("subscription_renewals_total", "outcome" => outcome).increment(1);
        Ok(made.is_ok_and(|once| !once.replayed))
    }
}

/// Takes a subscription one step further under its lock; a begun period whose order is to be made is handed back.
async fn advance(
    conn: &mut Conn,
    ctx: &Ctx,
    id: SubscriptionId,
    schedule: &[i32],
) -> Result<Option<Subscription>, pg::Error> {
    let Some(seen) = subscriptions::claim(conn, ctx.tenant, id).await? else { return Ok(None) };
    let order = seen.doc.renewal.as_ref().and_then(|renewal| renewal.order_id.parse::<OrderId>().ok());
    let found = match order {
        Some(order) => Some(crate::infra::store::Store::get_in(conn, ctx.tenant, order).await),
        None => None,
    };
    let found = match found {
        Some(Ok(order)) => Some(order),
        Some(Err(pg::Error::Fault(fault))) if fault.kind() == Kind::NotFound => None,
        Some(Err(error)) => return Err(error),
        None => None,
    };
    let lease = ctx.now.checked_add(LEASE).ok();
    let next = match seen.todo(found.as_ref().map(|order| order.state()), ctx.now) {
        Todo::Rest => return subscriptions::look(conn, ctx.tenant, id, None).await.map(|()| None),
        Todo::Wait(due) => return subscriptions::look(conn, ctx.tenant, id, Some(due)).await.map(|()| None),
        Todo::Order => return subscriptions::look(conn, ctx.tenant, id, lease).await.map(|()| Some(seen)),
        Todo::Begin => {
            let next = seen.order(OrderId::new(), ctx.now);
            return subscriptions::save(conn, ctx, &seen, &next, lease).await.map(Some);
        }
        Todo::Paid => seen.paid(ctx.now),
        Todo::Failed => {
            let reason = found.map(|order| order.doc.state_reason).unwrap_or_default();
            seen.failed(&reason, schedule, ctx.now)
        }
        Todo::GivenUp => seen.given_up(ctx.now),
    };
    let due = Subscription::of_doc(next.doc.clone()).due(ctx.now);
    subscriptions::save(conn, ctx, &seen, &next, due).await?;
    Ok(None)
}

fn command(id: SubscriptionId, order: OrderId, period: i32, doc: &wire::Subscription) -> CreateOrder {
    CreateOrder {
        customer_id: doc.customer_id.clone(),
        basket: basket(doc),
        payment_method: doc.payment_method.clone(),
        note: String::new(),
        expected_total: None,
        draft: false,
        client_ip: String::new(),
        renewal: Some(Renewal { order, subscription: id, period, mandate: doc.mandate_reference.clone() }),
    }
}

/// Whether the same order would be refused again: something about it is wrong, not the moment.
fn is_final(fault: &Fault) -> bool {
    matches!(fault.kind(), Kind::Invalid | Kind::Precondition | Kind::Denied | Kind::NotFound)
}
