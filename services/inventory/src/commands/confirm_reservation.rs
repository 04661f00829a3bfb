//! Keeps held stock for good, many orders in one transaction (INV-04).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::inventory::v1::StockReservationConfirmed;
use ctx::Ctx;
use fault::{Fault, Kind};
use futures::FutureExt;
use ids::{OrderId, TenantId};
use pg::{GroupCommit, Pg};

use super::{Inventory, echo, ended, no_reservation};
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

pub(super) fn group(pg: Pg, max: usize) -> GroupCommit<TenantId, Confirm, Reservation> {
    GroupCommit::new(max, move |tenant, asks| flush(pg.clone(), tenant, asks).boxed())
}

async fn flush(pg: Pg, tenant: TenantId, asks: Vec<Confirm>) -> Vec<Result<Reservation, Fault>> {
    match batch(&pg, tenant, asks.clone()).await {
        Ok(answers) => answers,
        // One order that breaks the transaction must not take the others with it.
        Err(fault) if fault.kind() == Kind::Internal && asks.len() > 1 => {
            tracing::error!(error = ?fault, orders = asks.len(), "a batch of confirmations failed, going on one by one");
            let mut answers = Vec::with_capacity(asks.len());
            for ask in asks {
                answers.push(batch(&pg, tenant, vec![ask]).await.and_then(|mut alone| alone.remove(0)));
            }
            answers
        }
        Err(fault) => asks.iter().map(|_| Err(echo(&fault))).collect(),
    }
}

async fn batch(pg: &Pg, tenant: TenantId, asks: Vec<Confirm>) -> Result<Vec<Result<Reservation, Fault>>, Fault> {
    let asks = Arc::new(asks);
    Ok(pg
        .tx("inventory.confirm", tenant, move |conn| {
            let asks = asks.clone();
            async move { run(conn, tenant, &asks).await }.boxed()
        })
        .await?)
}

async fn run(
    conn: &mut pg::Conn,
    tenant: TenantId,
    asks: &[Confirm],
) -> Result<Vec<Result<Reservation, Fault>>, pg::Error> {
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
