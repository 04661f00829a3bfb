//! Where parcels go is sealed with the tenant's key (PAY-12).

use fault::Fault;
use ids::{FulfillmentId, TenantId};

use super::Store;
use crate::model::{Address, Fulfillment};

/// As `sealed_below` of `migrations/fulfillment` says it.
fn place(id: FulfillmentId) -> String {
    format!("fulfillments.ship_to:{}", id.uuid())
}

impl Store {
    /// Where a fulfillment goes.
    ///
    /// # Errors
    /// Internal when it does not open: it was sealed for another row or tenant.
    pub(crate) async fn address(&self, tenant: TenantId, work: &Fulfillment) -> Result<Address, Fault> {
        let plain = self.vault.open(tenant, &place(work.id()), work.ship_to.as_ref()).await?;
        serde_json::from_slice(&plain).map_err(Fault::internal)
    }

    pub(super) async fn sealed(
        &self,
        tenant: TenantId,
        id: FulfillmentId,
        ship_to: &Address,
    ) -> Result<Vec<u8>, Fault> {
        let plain = serde_json::to_vec(ship_to).map_err(Fault::internal)?;
        self.vault.seal(tenant, &place(id), &plain).await
    }
}
