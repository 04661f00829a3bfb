//! How a decision on one order is written down: on the order as it stands, again when somebody else was faster, and
//! once per idempotency key (ORD-35, ORD-36).

use std::sync::Arc;

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::OrderId;
use pg::{Conn, Once};
use prost::Message;

use crate::app::cancel_order::{check_etag, refused};
use crate::app::get_order::visible;
use crate::app::{App, TURNS, overtaken};
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::infra::store::{Store, not_found};

/// Which order is decided on, and on what version.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The order.
    pub id: OrderId,
    /// Version the decision is based on; empty = whatever it is.
    pub etag: String,
}

/// A decision on an order.
pub type Decide = dyn Fn(&Order) -> Result<Vec<OrderEvent>, Refusal> + Send + Sync;

impl App {
    /// Decides on an order that the caller may see; what was decided before stands and is answered again.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`; Precondition `ORDER_STATE_FORBIDS`; Aborted `ETAG_MISMATCH`.
    pub(super) async fn change(
        &self,
        name: &'static str,
        ctx: &Ctx,
        subject: &Subject,
        decide: Arc<Decide>,
    ) -> Result<Once<wire::Order>, Fault> {
        for _ in 1..TURNS {
            let decided = self.change_once(name, ctx, subject, &decide).await;
            if !overtaken(&decided) {
                return decided;
            }
        }
        self.change_once(name, ctx, subject, &decide).await
    }

    async fn change_once(
        &self,
        name: &'static str,
        ctx: &Ctx,
        subject: &Subject,
        decide: &Arc<Decide>,
    ) -> Result<Once<wire::Order>, Fault> {
        let (context, subject, decide) = (ctx.clone(), subject.clone(), Arc::clone(decide));
        let changed = self.store.pg.once(name, ctx, move |conn: &mut Conn| {
            let (ctx, subject, decide) = (context.clone(), subject.clone(), Arc::clone(&decide));
            async move {
                let order = read(conn, &ctx, &subject).await?;
                match decide(&order) {
                    Ok(events) => Ok(Store::append(conn, &ctx, &order, &events).await?.doc),
                    Err(Refusal::Already) => Ok(order.doc),
                    Err(why) => Err(refused(&why).into()),
                }
            }
            .boxed()
        });
        Ok(changed.await?)
    }

    /// The answer of an earlier call with the same key, if there was one.
    ///
    /// # Errors
    /// Invalid `IDEMPOTENCY_KEY_REUSED`.
    pub(super) async fn repeated<R: Message + Default + Send + 'static>(
        &self,
        name: &'static str,
        ctx: &Ctx,
    ) -> Result<Option<Once<R>>, Fault> {
        const FRESH: &str = "KEY_IS_FRESH";
        if ctx.idempotency.is_none() {
            return Ok(None);
        }
        let claim = self.store.pg.once::<R, _>(name, ctx, |_: &mut Conn| {
            async { Err(Fault::aborted(FRESH, "nobody used this key").into()) }.boxed()
        });
        match claim.await.map_err(Fault::from) {
            Ok(once) => Ok(Some(once)),
            Err(fault) if fault.reason() == FRESH => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Reads the order of a decision inside its transaction.
///
/// # Errors
/// NotFound `ORDER_NOT_FOUND`, also when it is not the caller's to see; Aborted `ETAG_MISMATCH`.
pub(super) async fn read(conn: &mut Conn, ctx: &Ctx, subject: &Subject) -> Result<Order, pg::Error> {
    let order = Store::get_in(conn, ctx.tenant, subject.id).await?;
    if !visible(ctx, &order) {
        return Err(not_found(subject.id).into());
    }
    check_etag(&order, &subject.etag)?;
    Ok(order)
}
