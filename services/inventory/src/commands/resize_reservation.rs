//! Sets other units aside for an order than before, all of them or no change (ORD-05).

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::inventory::v1::StockReservationResized;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::OrderId;

use super::{Inventory, ended, no_reservation};
use crate::api::wire;
use crate::reservation::{Allocation, Reservation, State};
use crate::stock::{Demand, Level, Pool};
use crate::store;

/// All that an order needs from now on.
#[derive(Debug, Clone)]
pub struct ResizeReservation {
    /// The order.
    pub order: OrderId,
    /// Each SKU once, sorted.
    pub demand: Vec<Demand>,
    /// One SKU may come from several warehouses.
    pub split: bool,
    /// Rises with every wish about the order.
    pub revision: i32,
}

impl Inventory {
    /// Sets other units aside; the same revision again changes nothing.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition OUT_OF_STOCK with the short SKUs, RESERVATION_ENDED,
    /// RESERVATION_IN_FULFILLMENT, RESERVATION_REVISION_STALE.
    pub async fn resize_reservation(&self, ctx: &Ctx, resize: ResizeReservation) -> Result<Reservation, Fault> {
        let (context, resize) = (ctx.clone(), Arc::new(resize));
        Ok(self
            .pg
            .tx("inventory.resize", ctx.tenant, move |conn| {
                let (ctx, resize) = (context.clone(), Arc::clone(&resize));
                async move { run(conn, &ctx, &resize).await }.boxed()
            })
            .await?)
    }
}

async fn run(conn: &mut pg::Conn, ctx: &Ctx, resize: &ResizeReservation) -> Result<Reservation, pg::Error> {
    let order = resize.order;
    let found = store::lock(conn, ctx.tenant, &[order], &[]).await?.reservations.pop();
    let found = found.ok_or_else(|| no_reservation(order))?;
    let last = store::revision(conn, ctx.tenant, order).await?;
    match found.state {
        State::Released | State::Expired => return Err(ended(&found).into()),
        _ if resize.revision == last => return Ok(found),
        _ if resize.revision < last => {
            let text = "a later wish about this order was carried out";
            return Err(Fault::precondition("RESERVATION_REVISION_STALE", text).with("revision", last).into());
        }
        State::Consumed => {
            let text = "a fulfillment works on these units";
            return Err(Fault::precondition("RESERVATION_IN_FULFILLMENT", text).into());
        }
        // The order has called its warehouses off before it asks, and asks others afterwards.
        State::Held | State::Confirmed | State::Allocated => {}
    }
    let skus: BTreeSet<&String> =
        resize.demand.iter().map(|line| &line.sku).chain(found.allocations.iter().map(|a| &a.sku)).collect();
    let skus: Vec<String> = skus.into_iter().cloned().collect();
    let mut levels = store::lock(conn, ctx.tenant, &[order], &skus).await?.levels;
    // What the order has already is free for itself, even where safety stock leaves nothing to others or a slot has begun.
    for Allocation { sku, warehouse, quantity, .. } in &found.allocations {
        match levels.iter_mut().find(|level| level.sku == *sku && level.warehouse == *warehouse) {
            Some(level) => level.free = level.free.max(0).saturating_add(*quantity),
            None => levels.push(Level { sku: sku.clone(), warehouse: warehouse.clone(), free: *quantity }),
        }
    }
    let takes = Pool::new(levels).take(&resize.demand, resize.split).map_err(|shortage| {
        Fault::precondition("OUT_OF_STOCK", shortage.to_string()).with("skus", shortage.skus.join(","))
    })?;
    let mut allocations: Vec<Allocation> = takes.iter().cloned().map(Into::into).collect();
    allocations.sort_by(|a, b| (&a.sku, &a.warehouse).cmp(&(&b.sku, &b.warehouse)));
    let event = StockReservationResized {
        reservation_id: found.id.to_string(),
        order_id: order.to_string(),
        allocations: allocations.iter().cloned().map(wire::allocation).collect(),
    };
    store::resize(conn, ctx, &found, resize.revision, &takes, store::event(&event)).await?;
    let state = if found.state == State::Allocated { State::Confirmed } else { found.state };
    Ok(Reservation { version: found.version + 1, allocations, state, ..found })
}
