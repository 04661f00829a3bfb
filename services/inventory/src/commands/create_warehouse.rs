//! Adds a warehouse (INV-05).

use contract::inventory::v1 as pb;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use pg::Once;

use super::Inventory;
use crate::api::wire_catalog;
use crate::product::Warehouse;
use crate::store;

impl Inventory {
    /// Adds a warehouse.
    ///
    /// # Errors
    /// AlreadyExists WAREHOUSE_TAKEN; Precondition WAREHOUSE_LIMIT behind the hundredth.
    pub async fn create_warehouse(&self, ctx: &Ctx, warehouse: Warehouse) -> Result<Once<pb::Warehouse>, Fault> {
        let (tenant, warehouse) = (ctx.tenant, std::sync::Arc::new(warehouse));
        Ok(self
            .pg
            .once("inventory.create_warehouse", ctx, move |conn| {
                let warehouse = warehouse.clone();
                async move {
                    store::add_warehouse(conn, tenant, &warehouse).await?;
                    Ok(wire_catalog::warehouse((*warehouse).clone()))
                }
                .boxed()
            })
            .await?)
    }
}
