//! Says when stock is low (INV-07).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::Inventory;
use crate::news::Settings;
use crate::store;

impl Inventory {
    /// Replaces the settings; they count from the next change of a product on.
    ///
    /// # Errors
    /// Of the database.
    pub async fn update_settings(&self, ctx: &Ctx, settings: Settings) -> Result<Settings, Fault> {
        let tenant = ctx.tenant;
        self.pg
            .tx("inventory.update_settings", tenant, move |conn| store::save_settings(conn, tenant, settings).boxed())
            .await?;
        Ok(settings)
    }
}
