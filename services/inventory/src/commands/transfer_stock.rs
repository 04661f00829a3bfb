//! Moves units between warehouses, and keeps units back from sale (INV-02, INV-05).

use std::sync::Arc;

use contract::inventory::v1::{self as pb, StockTransferred};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use pg::Once;
use uuid::Uuid;

use super::Inventory;
use crate::api::wire;
use crate::store::{self, StockLevel};

/// Units that move from one warehouse to another.
#[derive(Debug, Clone)]
pub struct TransferStock {
    /// The product.
    pub sku: String,
    /// Where they are.
    pub from: String,
    /// Where they go.
    pub to: String,
    /// Units, above zero.
    pub quantity: i32,
    /// Why.
    pub reason: String,
}

impl Inventory {
    /// Moves units with one pair of ledger lines, once per idempotency key.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition STOCK_BELOW_RESERVED, STOCK_TOO_LARGE.
    pub async fn transfer_stock(&self, ctx: &Ctx, transfer: TransferStock) -> Result<Once<pb::Stock>, Fault> {
        let (context, transfer) = (ctx.clone(), Arc::new(transfer));
        Ok(self
            .pg
            .once("inventory.transfer_stock", ctx, move |conn| {
                let (ctx, transfer) = (context.clone(), transfer.clone());
                async move { run(conn, &ctx, &transfer).await }.boxed()
            })
            .await?)
    }

    /// Keeps units of a warehouse back from sale; orders already promised keep theirs.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition PRODUCT_IS_RESOURCE.
    pub async fn set_safety_stock(
        &self,
        ctx: &Ctx,
        sku: String,
        warehouse: String,
        safety: i32,
    ) -> Result<StockLevel, Fault> {
        let (tenant, place) = (ctx.tenant, Arc::new((sku, warehouse)));
        Ok(self
            .pg
            .tx("inventory.set_safety", tenant, move |conn| {
                let place = place.clone();
                async move { store::set_safety(conn, tenant, (&place.0, &place.1), safety).await }.boxed()
            })
            .await?)
    }
}

async fn run(conn: &mut pg::Conn, ctx: &Ctx, transfer: &TransferStock) -> Result<pb::Stock, pg::Error> {
    let TransferStock { sku, from, to, quantity, reason } = transfer.clone();
    store::transfer(conn, ctx.tenant, &sku, (&from, &to), quantity, &reason).await?;
    let event = StockTransferred { sku: sku.clone(), from_warehouse: from, to_warehouse: to, quantity, reason };
    eventlog::append(conn, ctx, Uuid::now_v7(), 0, &[store::event(&event)]).await?;
    Ok(wire::stock(store::stock(conn, ctx.tenant, &sku).await?))
}
