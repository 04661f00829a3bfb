//! Takes returned units in by their disposition (INV-15).

use std::sync::Arc;

use contract::inventory::v1::{self as pb, StockAdjusted};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use pg::Once;

use super::Inventory;
use crate::api::wire;
use crate::store::{self, Change};

/// Units that came back.
#[derive(Debug, Clone)]
pub struct RestockUnits {
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// Units, above zero.
    pub quantity: i32,
    /// They are sold again; else they only leave a line in the ledger.
    pub sellable: bool,
    /// The return they came with.
    pub reference: String,
}

impl Inventory {
    /// Takes units in, once per idempotency key.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition STOCK_TOO_LARGE, PRODUCT_IS_RESOURCE.
    pub async fn restock_units(&self, ctx: &Ctx, restock: RestockUnits) -> Result<Once<pb::StockLevel>, Fault> {
        let (context, restock) = (ctx.clone(), Arc::new(restock));
        Ok(self
            .pg
            .once("inventory.restock_units", ctx, move |conn| {
                let (ctx, restock) = (context.clone(), restock.clone());
                async move { run(conn, &ctx, &restock).await }.boxed()
            })
            .await?)
    }
}

async fn run(conn: &mut pg::Conn, ctx: &Ctx, restock: &RestockUnits) -> Result<pb::StockLevel, pg::Error> {
    let RestockUnits { sku, warehouse, quantity, sellable, reference } = restock;
    if !sellable {
        let reference = format!("{quantity} {reference}");
        let level = store::write_off(conn, ctx.tenant, (sku, warehouse), &reference).await?;
        return Ok(wire::level(sku, level));
    }
    let change = Change { sku, warehouse, delta: *quantity, reason: "RESTOCK", reference };
    let after = store::adjust(conn, ctx.tenant, change).await?;
    let event = StockAdjusted {
        sku: sku.clone(),
        warehouse: warehouse.clone(),
        on_hand_delta: *quantity,
        on_hand: after.level.on_hand,
        reason: format!("returned: {reference}"),
    };
    eventlog::append(conn, ctx, after.movement_id, 0, &[store::event(&event)]).await?;
    Ok(wire::level(sku, after.level))
}
