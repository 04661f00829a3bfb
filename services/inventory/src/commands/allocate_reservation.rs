//! Binds what is set aside to the fulfillment that works on it, and lets holds end later (INV-04).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::inventory::v1::{StockAllocated, StockReservationExtended};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::{FulfillmentId, OrderId, TenantId};
use jiff::{SignedDuration, Timestamp};

use super::{Inventory, ended, no_reservation};
use crate::reservation::{NotAllocated, Reservation, Step};
use crate::store::{self, Bound};

/// Units of a warehouse that a fulfillment works on.
#[derive(Debug, Clone)]
pub struct AllocateReservation {
    /// The order.
    pub order: OrderId,
    /// The warehouse.
    pub warehouse: String,
    /// The fulfillment.
    pub fulfillment: FulfillmentId,
}

impl Inventory {
    /// Binds units to a fulfillment; the same again changes nothing.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition RESERVATION_NOT_CONFIRMED, RESERVATION_ENDED, NOTHING_SET_ASIDE,
    /// FULFILLMENT_CANCELLED, ALLOCATED_ELSEWHERE.
    pub async fn allocate_reservation(&self, ctx: &Ctx, allocate: AllocateReservation) -> Result<Reservation, Fault> {
        let answer = self.allocate_reservations(ctx, vec![allocate]).await?.pop();
        answer.unwrap_or_else(|| Err(Fault::internal("a fulfillment got no answer")))
    }

    /// The same for many fulfillments in one transaction; what each is told, in order.
    ///
    /// # Errors
    /// Of the database; each answer has those of [`Self::allocate_reservation`].
    pub async fn allocate_reservations(
        &self,
        ctx: &Ctx,
        asked: Vec<AllocateReservation>,
    ) -> Result<Vec<Result<Reservation, Fault>>, Fault> {
        let asked: Arc<Vec<_>> = Arc::new(asked.into_iter().map(|allocate| (ctx.clone(), allocate)).collect());
        let tenant = ctx.tenant;
        let bound = self.pg.tx("inventory.allocate", tenant, move |conn| {
            let asked = Arc::clone(&asked);
            async move { run(conn, tenant, &asked).await }.boxed()
        });
        Ok(bound.await?)
    }

    /// Lets a held reservation end so many seconds from now, never earlier than it would.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition RESERVATION_ENDED.
    pub async fn extend_reservation(&self, ctx: &Ctx, order: OrderId, hold_s: i32) -> Result<Reservation, Fault> {
        let until = ctx.now.saturating_add(SignedDuration::from_secs(hold_s.into())).map_err(Fault::internal)?;
        // What the database keeps of it.
        let until = Timestamp::from_microsecond(until.as_microsecond()).map_err(Fault::internal)?;
        let context = ctx.clone();
        Ok(self
            .pg
            .tx("inventory.extend", ctx.tenant, move |conn| {
                let ctx = context.clone();
                async move { extend(conn, &ctx, order, until).await }.boxed()
            })
            .await?)
    }
}

/// Binds units to fulfillments inside a transaction; what each is told, in order.
pub(crate) async fn run(
    conn: &mut pg::Conn,
    tenant: TenantId,
    asked: &[(Ctx, AllocateReservation)],
) -> Result<Vec<Result<Reservation, Fault>>, pg::Error> {
    let orders: Vec<OrderId> = asked.iter().map(|(_, allocate)| allocate.order).collect();
    let locked = store::lock(conn, tenant, &orders, &[]).await?;
    let mut found: BTreeMap<OrderId, Reservation> = locked.reservations.into_iter().map(|it| (it.order, it)).collect();
    let mut bound = Vec::with_capacity(asked.len());
    let mut answers = Vec::with_capacity(asked.len());
    for (ctx, allocate) in asked {
        let answer = decide(found.get(&allocate.order), allocate);
        if let Ok((next, Some(event))) = &answer {
            // Two warehouses of one order come one after the other.
            found.insert(next.order, next.clone());
            let (warehouse, fulfillment) = (allocate.warehouse.clone(), allocate.fulfillment);
            let (event, meta) = (store::event(event), eventlog::meta(ctx));
            bound.push(Bound { next: next.clone(), warehouse, fulfillment, event, meta });
        }
        answers.push(answer.map(|(next, _)| next));
    }
    store::allocate(conn, tenant, &bound).await?;
    Ok(answers)
}

/// What a reservation becomes, and the event if it changes.
fn decide(
    found: Option<&Reservation>,
    allocate: &AllocateReservation,
) -> Result<(Reservation, Option<StockAllocated>), Fault> {
    let AllocateReservation { order, warehouse, fulfillment } = allocate;
    let found = found.ok_or_else(|| no_reservation(*order))?;
    let Some(next) = found.allocate(warehouse, *fulfillment).map_err(|why| refusal(why, found))? else {
        return Ok((found.clone(), None));
    };
    let event = StockAllocated {
        reservation_id: found.id.to_string(),
        order_id: order.to_string(),
        warehouse: warehouse.clone(),
        fulfillment_id: fulfillment.to_string(),
    };
    Ok((next, Some(event)))
}

fn refusal(why: NotAllocated, found: &Reservation) -> Fault {
    let reason = match why {
        NotAllocated::Ended => return ended(found),
        NotAllocated::Held => "RESERVATION_NOT_CONFIRMED",
        NotAllocated::Nothing => "NOTHING_SET_ASIDE",
        NotAllocated::CalledOff => "FULFILLMENT_CANCELLED",
        NotAllocated::Taken => "ALLOCATED_ELSEWHERE",
    };
    Fault::precondition(reason, why.to_string())
}

async fn extend(conn: &mut pg::Conn, ctx: &Ctx, order: OrderId, until: Timestamp) -> Result<Reservation, pg::Error> {
    let found = store::lock(conn, ctx.tenant, &[order], &[]).await?.reservations.pop();
    let found = found.ok_or_else(|| no_reservation(order))?;
    match found.extend(until) {
        Step::Stay => Ok(found),
        Step::Refuse => Err(ended(&found).into()),
        Step::Go => {
            let event = StockReservationExtended { reservation_id: found.id.to_string(), order_id: order.to_string() };
            store::extend(conn, ctx, &found, until, store::event(&event)).await?;
            Ok(Reservation { expires_at: until, version: found.version + 1, ..found })
        }
    }
}
