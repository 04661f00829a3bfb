//! All warehouses (INV-05).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use crate::commands::Inventory;
use crate::product::Warehouse;
use crate::store;

impl Inventory {
    /// At most 100 warehouses, the first to be used first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn list_warehouses(&self, ctx: &Ctx) -> Result<Vec<Warehouse>, Fault> {
        let tenant = ctx.tenant;
        Ok(self
            .pg
            .read("inventory.list_warehouses", tenant, move |conn| {
                async move { store::warehouses(conn, tenant).await }.boxed()
            })
            .await?)
    }
}
