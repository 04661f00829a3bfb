//! Sets stock aside for orders, all lines or none, many orders in one transaction (INV-02, INV-05).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::inventory::v1::StockReserved;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::{OrderId, ReservationId, TenantId};
use jiff::Timestamp;

use super::Inventory;
use super::batch::Answers;
use crate::api::wire;
use crate::reservation::{Reservation, Seen, State};
use crate::stock::{Demand, Pool, Shortage, Take};
use crate::store::{self, Hold};

/// What an order needs.
#[derive(Debug, Clone)]
pub struct ReserveStock {
    /// The order.
    pub order: OrderId,
    /// Each SKU once, sorted.
    pub demand: Vec<Demand>,
    /// Which round of paying the order this is for, from 1.
    pub round: i32,
    /// How long it is held, seconds.
    pub hold_s: i32,
    /// One SKU may come from several warehouses.
    pub split: bool,
}

/// A wish that waits for its batch.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    ctx: Ctx,
    wish: ReserveStock,
}

impl Inventory {
    /// Sets stock aside; the same order again gets the same reservation, a later round of paying it a new one.
    ///
    /// # Errors
    /// Precondition OUT_OF_STOCK with the short SKUs, RESERVATION_RELEASED; Aborted EARLIER_ROUND_HOLDS.
    pub async fn reserve_stock(&self, ctx: &Ctx, wish: ReserveStock) -> Result<Reservation, Fault> {
        self.reserving.submit(ctx.tenant, Ask { ctx: ctx.clone(), wish }).await
    }
}

/// What becomes of one wish.
enum Fate {
    Hold(usize),
    Same(Reservation),
    Twin(OrderId),
    Released,
    Earlier,
    Short(Shortage),
}

/// Answers a batch in one transaction.
pub(super) fn run(conn: &mut pg::Conn, tenant: TenantId, asks: Arc<Vec<Ask>>) -> BoxFuture<'_, Answers> {
    async move { decide_all(conn, tenant, &asks).await }.boxed()
}

async fn decide_all(conn: &mut pg::Conn, tenant: TenantId, asks: &[Ask]) -> Answers {
    let orders: Vec<OrderId> = asks.iter().map(|ask| ask.wish.order).collect();
    let skus: BTreeSet<String> = asks.iter().flat_map(|ask| ask.wish.demand.iter().map(|d| d.sku.clone())).collect();
    let skus: Vec<String> = skus.into_iter().collect();
    let locked = store::lock(conn, tenant, &orders, &skus).await?;
    let known = locked.reservations.into_iter().map(|it| (it.order, it)).collect();
    let (fates, holds) = decide(asks, known, &mut Pool::new(locked.levels));
    let ends = store::apply_holds(conn, tenant, &holds).await?;
    Ok(answers(fates, &holds, &ends))
}

fn decide(asks: &[Ask], known: BTreeMap<OrderId, Reservation>, pool: &mut Pool) -> (Vec<Fate>, Vec<Hold>) {
    let mut holds: Vec<Hold> = Vec::new();
    let mut fresh = BTreeSet::new();
    let fates = asks.iter().map(|ask| {
        let order = ask.wish.order;
        if let Some(it) = known.get(&order) {
            match it.seen_by(ask.wish.round) {
                Seen::Over => return Fate::Released,
                Seen::Earlier => return Fate::Earlier,
                Seen::Same => return Fate::Same(it.clone()),
                Seen::Nothing => {}
            }
        }
        if fresh.contains(&order) {
            return Fate::Twin(order);
        }
        match pool.take(&ask.wish.demand, ask.wish.split) {
            Ok(takes) => {
                fresh.insert(order);
                holds.push(hold(ask, takes));
                Fate::Hold(holds.len() - 1)
            }
            Err(shortage) => Fate::Short(shortage),
        }
    });
    let fates = fates.collect();
    (fates, holds)
}

fn hold(ask: &Ask, takes: Vec<Take>) -> Hold {
    let (order, reservation) = (ask.wish.order, ReservationId::new());
    let message = StockReserved {
        reservation_id: reservation.to_string(),
        order_id: order.to_string(),
        allocations: takes.iter().cloned().map(|take| wire::allocation(take.into())).collect(),
    };
    let (event, meta) = (store::event(&message), eventlog::meta(&ask.ctx));
    Hold { order, reservation, round: ask.wish.round, hold_s: ask.wish.hold_s, takes, event, meta }
}

fn answers(fates: Vec<Fate>, holds: &[Hold], ends: &[Timestamp]) -> Vec<Result<Reservation, Fault>> {
    let held = |(hold, end): (&Hold, &Timestamp)| Reservation {
        id: hold.reservation,
        order: hold.order,
        state: State::Held,
        version: 1,
        round: hold.round,
        expires_at: *end,
        allocations: hold.takes.iter().cloned().map(Into::into).collect(),
        called_off: Vec::new(),
    };
    let held: Vec<Reservation> = holds.iter().zip(ends).map(held).collect();
    let lost = || Fault::internal("a hold was written but not answered");
    let answer = |fate| match fate {
        Fate::Hold(at) => held.get(at).cloned().ok_or_else(lost),
        Fate::Twin(order) => held.iter().find(|it| it.order == order).cloned().ok_or_else(lost),
        Fate::Same(it) => Ok(it),
        Fate::Released => {
            Err(Fault::precondition("RESERVATION_RELEASED", "what was set aside for this order was given back"))
        }
        Fate::Earlier => {
            Err(Fault::aborted("EARLIER_ROUND_HOLDS", "what an earlier round set aside was not given back yet"))
        }
        Fate::Short(shortage) => {
            Err(Fault::precondition("OUT_OF_STOCK", shortage.to_string()).with("skus", shortage.skus.join(",")))
        }
    };
    fates.into_iter().map(answer).collect()
}
