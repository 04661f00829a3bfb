//! One warehouse (INV-05).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::no_warehouse;
use crate::commands::Inventory;
use crate::product::Warehouse;
use crate::store;

impl Inventory {
    /// A warehouse by code.
    ///
    /// # Errors
    /// NotFound WAREHOUSE_NOT_FOUND.
    pub async fn get_warehouse(&self, ctx: &Ctx, code: String) -> Result<Warehouse, Fault> {
        let tenant = ctx.tenant;
        Ok(self
            .pg
            .read("inventory.get_warehouse", tenant, move |conn| {
                let code = code.clone();
                async move {
                    let found = store::warehouse(conn, tenant, &code).await?;
                    Ok(found.ok_or_else(|| no_warehouse(&code))?)
                }
                .boxed()
            })
            .await?)
    }
}
