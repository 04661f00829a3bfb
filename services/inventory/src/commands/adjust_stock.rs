//! Receives or corrects stock, through the ledger (INV-09).

use contract::inventory::v1::{self as pb, StockAdjusted};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use pg::Once;

use super::Inventory;
use crate::api::wire;
use crate::store::{self, Change};

/// A change of what is on hand.
#[derive(Debug, Clone)]
pub struct AdjustStock {
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// Change of on_hand, not 0.
    pub delta: i32,
    /// Why.
    pub reason: String,
}

impl Inventory {
    /// Changes what is on hand, once per idempotency key.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition STOCK_BELOW_RESERVED, STOCK_TOO_LARGE.
    pub async fn adjust_stock(&self, ctx: &Ctx, adjust: AdjustStock) -> Result<Once<pb::StockLevel>, Fault> {
        let (context, adjust) = (ctx.clone(), std::sync::Arc::new(adjust));
        Ok(self
            .pg
            .once("inventory.adjust_stock", ctx, move |conn| {
                let (ctx, adjust) = (context.clone(), adjust.clone());
                async move { run(conn, &ctx, &adjust).await }.boxed()
            })
            .await?)
    }
}

async fn run(conn: &mut pg::Conn, ctx: &Ctx, adjust: &AdjustStock) -> Result<pb::StockLevel, pg::Error> {
    let AdjustStock { sku, warehouse, delta, reason: note } = adjust;
    let reason = if *delta > 0 { "RECEIVE" } else { "ADJUST" };
    let change = Change { sku, warehouse, delta: *delta, reason, reference: note };
    let after = store::adjust(conn, ctx.tenant, change).await?;
    let event = StockAdjusted {
        sku: sku.clone(),
        warehouse: warehouse.clone(),
        on_hand_delta: *delta,
        on_hand: after.level.on_hand,
        reason: note.clone(),
    };
    // A stream of its own: the idempotency claim came before the lock, so two adjustments have no order in the log.
    eventlog::append(conn, ctx, after.movement_id, 0, &[store::event(&event)]).await?;
    Ok(wire::level(sku, after.level))
}
