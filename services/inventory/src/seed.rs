//! Fills a shop's catalog through the ordinary commands; running it again changes nothing.

use ctx::{Ctx, IdempotencyKey};
use fault::Fault;

use crate::commands::{AdjustStock, Inventory};
use crate::product::{NewProduct, Warehouse};

/// Adds a product unless the tenant has one with this SKU.
///
/// # Errors
/// Of the database.
pub async fn product(inventory: &Inventory, ctx: &Ctx, product: NewProduct) -> Result<(), Fault> {
    match inventory.create_product(ctx, product).await {
        Err(fault) if fault.reason() == "SKU_TAKEN" => Ok(()),
        done => done.map(drop),
    }
}

/// Adds a warehouse unless the tenant has one with this code.
///
/// # Errors
/// Precondition WAREHOUSE_LIMIT.
pub async fn warehouse(inventory: &Inventory, ctx: &Ctx, warehouse: Warehouse) -> Result<(), Fault> {
    match inventory.create_warehouse(ctx, warehouse).await {
        Err(fault) if fault.reason() == "WAREHOUSE_TAKEN" => Ok(()),
        done => done.map(drop),
    }
}

/// Receives units of a product in a warehouse that never had any.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND.
pub async fn stock(inventory: &Inventory, ctx: &Ctx, sku: &str, warehouse: &str, units: i32) -> Result<(), Fault> {
    let levels = inventory.get_stock(ctx, sku).await?.levels;
    if units == 0 || levels.iter().any(|level| level.warehouse == warehouse) {
        return Ok(());
    }
    // Two processes that seed at once must not both receive the goods.
    let key = format!("seed:{sku}:{warehouse}");
    let once = IdempotencyKey { key, scope: "inventory.seed".to_owned(), fingerprint: [0; 32] };
    let ctx = Ctx { idempotency: Some(once), ..ctx.clone() };
    let adjust = AdjustStock {
        sku: sku.to_owned(),
        warehouse: warehouse.to_owned(),
        delta: units,
        reason: "opening stock".to_owned(),
    };
    inventory.adjust_stock(&ctx, adjust).await.map(drop)
}
