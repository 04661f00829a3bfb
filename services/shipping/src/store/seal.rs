//! What names people is sealed with the tenant's key (PAY-12): what is printed of a label, and where scans were.

use fault::Fault;
use ids::{ShipmentId, TenantId};
use vault::Sealed;

use super::Store;
use crate::model::{Scan, Shipment};

/// As `sealed_below` of `migrations/shipping` says it.
fn of_label(id: ShipmentId) -> String {
    format!("shipments.printed:{}", id.uuid())
}

fn of_scan(id: ShipmentId, code: &str) -> String {
    format!("scans.location:{}/{code}", id.uuid())
}

impl Store {
    /// What is printed of a label, as it is stored.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub(crate) async fn sealed_printed(&self, tenant: TenantId, id: ShipmentId, data: &str) -> Result<Sealed, Fault> {
        Ok(self.vault.seal(tenant, &of_label(id), data.as_bytes()).await?.into())
    }

    pub(super) async fn open_printed(
        &self,
        tenant: TenantId,
        id: ShipmentId,
        sealed: &Sealed,
    ) -> Result<String, Fault> {
        self.text(tenant, &of_label(id), sealed).await
    }

    /// The scans of a shipment, with where they were.
    ///
    /// # Errors
    /// Internal when one does not open: it was sealed for another parcel or tenant.
    pub(crate) async fn scans(&self, tenant: TenantId, shipment: &Shipment) -> Result<Vec<Scan>, Fault> {
        let mut scans = Vec::with_capacity(shipment.scans.len());
        for Scan { code, at, location } in &shipment.scans {
            let location = self.text(tenant, &of_scan(shipment.id(), code), location).await?;
            scans.push(Scan { code: code.clone(), at: *at, location });
        }
        Ok(scans)
    }

    pub(super) async fn sealed_scans(
        &self,
        tenant: TenantId,
        id: ShipmentId,
        scans: &[Scan],
    ) -> Result<Vec<Scan<Sealed>>, Fault> {
        let mut sealed = Vec::with_capacity(scans.len());
        for Scan { code, at, location } in scans {
            let location = self.vault.seal(tenant, &of_scan(id, code), location.as_bytes()).await?.into();
            sealed.push(Scan { code: code.clone(), at: *at, location });
        }
        Ok(sealed)
    }

    async fn text(&self, tenant: TenantId, place: &str, sealed: &Sealed) -> Result<String, Fault> {
        let plain = self.vault.open(tenant, place, sealed.as_ref()).await?;
        String::from_utf8(plain).map_err(Fault::internal)
    }
}
