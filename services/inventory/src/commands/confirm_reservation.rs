//! Keeps held stock for good, many orders in one transaction (INV-04).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::inventory::v1::StockReservationConfirmed;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::{OrderId, TenantId};

use super::batch::Answers;
use super::{Inventory, ended, no_reservation};
use crate::reservation::{Reservation, State, Step};
use crate::store;

/// A confirmation that waits for its batch.
#[derive(Debug, Clone)]
pub(crate) struct Confirm {
    ctx: Ctx,
    order: OrderId,
}

impl Inventory {
    /// Keeps a held reservation for good; a confirmed one stays so.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition RESERVATION_ENDED.
    pub async fn confirm_reservation(&self, ctx: &Ctx, order: OrderId) -> Result<Reservation, Fault> {
        self.confirming.submit(ctx.tenant, Confirm { ctx: ctx.clone(), order }).await
    }
}

/// Answers a batch in one transaction.
pub(super) fn run(conn: &mut pg::Conn, tenant: TenantId, asks: Arc<Vec<Confirm>>) -> BoxFuture<'_, Answers> {
    async move { decide_all(conn, tenant, &asks).await }.boxed()
}

async fn decide_all(conn: &mut pg::Conn, tenant: TenantId, asks: &[Confirm]) -> Answers {
    let orders: Vec<OrderId> = asks.iter().map(|ask| ask.order).collect();
    let locked = store::lock(conn, tenant, &orders, &[]).await?;
    let found: BTreeMap<OrderId, Reservation> = locked.reservations.into_iter().map(|it| (it.order, it)).collect();
    // By order: the same order may be asked for twice in one batch.
    let asked: BTreeMap<OrderId, &Confirm> = asks.iter().map(|ask| (ask.order, ask)).collect();
    let confirmed = asked.iter().filter_map(|(order, ask)| {
        let it = found.get(order).filter(|it| it.confirm() == Step::Go)?;
        let (reservation_id, order_id) = (it.id.to_string(), order.to_string());
        let event = store::event(&StockReservationConfirmed { reservation_id, order_id });
        Some((it, event, eventlog::meta(&ask.ctx)))
    });
    store::apply_confirmations(conn, tenant, &confirmed.collect::<Vec<_>>()).await?;
    let answer = |ask: &Confirm| {
        let it = found.get(&ask.order).ok_or_else(|| no_reservation(ask.order))?;
        match it.confirm() {
            Step::Go => Ok(Reservation { state: State::Confirmed, version: it.version + 1, ..it.clone() }),
            Step::Stay => Ok(it.clone()),
            Step::Refuse => Err(ended(it)),
        }
    };
    Ok(asks.iter().map(answer).collect())
}
