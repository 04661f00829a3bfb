//! Opens slots of resources (INV-17).

use std::sync::Arc;

use contract::inventory::v1 as pb;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use jiff::Timestamp;
use pg::Once;

use super::Inventory;
use crate::api::wire_desk as wire;
use crate::store::{self, Slot};

/// A slot as somebody wants it to be.
#[derive(Debug, Clone)]
pub struct CreateSlot {
    /// The product, a resource.
    pub sku: String,
    /// Where it takes place.
    pub warehouse: String,
    /// When it begins, whole seconds.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// How many may book it.
    pub capacity: i32,
}

impl CreateSlot {
    /// The name of the slot: start and place, so that the same slot cannot be opened twice.
    fn id(&self) -> String {
        format!("{}-{}", self.starts_at.strftime("%Y%m%dT%H%M%SZ"), self.warehouse)
    }
}

impl Inventory {
    /// Opens a slot.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition PRODUCT_IS_GOODS, SLOT_IN_THE_PAST, SLOT_OVERLAPS.
    pub async fn create_slot(&self, ctx: &Ctx, create: CreateSlot) -> Result<Once<pb::Slot>, Fault> {
        let tenant = ctx.tenant;
        let slot_id = create.id();
        let CreateSlot { sku, warehouse, starts_at, ends_at, capacity } = create;
        let slot = Arc::new(Slot { slot_id, sku, warehouse, starts_at, ends_at, capacity, available: capacity });
        Ok(self
            .pg
            .once("inventory.create_slot", ctx, move |conn| {
                let slot = slot.clone();
                async move {
                    store::open_slot(conn, tenant, &slot).await?;
                    Ok(wire::slot((*slot).clone()))
                }
                .boxed()
            })
            .await?)
    }
}
