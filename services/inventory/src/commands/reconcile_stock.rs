//! What a warehouse's system counted against our ledger; rebuilding from the ledger (INV-09, INV-10, INV-11).

use std::sync::Arc;

use contract::inventory::v1::InventoryDiscrepancyFound;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use jiff::Timestamp;
use uuid::Uuid;

use super::Inventory;
use crate::counting::{AIM_PPM, Accuracy, Count, accuracy};
use crate::store::{self, Change, Comparison, Stock};

/// What a warehouse's system counted.
#[derive(Debug, Clone)]
pub struct IngestSnapshot {
    /// The warehouse.
    pub warehouse: String,
    /// Unique in the tenant.
    pub snapshot: String,
    /// When it was counted.
    pub taken_at: Timestamp,
    /// Units by product, each once.
    pub observations: Vec<(String, i32)>,
}

/// The ledger of a warehouse against a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// The warehouse.
    pub warehouse: String,
    /// The snapshot.
    pub snapshot: String,
    /// Its moment.
    pub taken_at: Timestamp,
    /// How well they agree, before any correction.
    pub accuracy: Accuracy,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

/// A product whose figures differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its figures.
    pub count: Count,
    /// The ledger was corrected.
    pub applied: bool,
    /// Why it was not; empty when nobody asked for it.
    pub refusal: String,
}

impl Inventory {
    /// Stores a snapshot as observations and compares; the same snapshot again only compares.
    ///
    /// # Errors
    /// NotFound WAREHOUSE_NOT_FOUND.
    pub async fn ingest_snapshot(&self, ctx: &Ctx, ingest: IngestSnapshot) -> Result<Reconciliation, Fault> {
        let (context, ingest) = (ctx.clone(), Arc::new(ingest));
        let report = self
            .pg
            .tx("inventory.ingest_snapshot", ctx.tenant, move |conn| {
                let (ctx, ingest) = (context.clone(), ingest.clone());
                async move { take_in(conn, &ctx, &ingest).await }.boxed()
            })
            .await?;
        tell(&report);
        Ok(report)
    }

    /// Compares a warehouse with its newest snapshot; when asked, corrects what no promise forbids.
    ///
    /// # Errors
    /// NotFound WAREHOUSE_NOT_FOUND; Precondition NO_SNAPSHOT.
    pub async fn reconcile_stock(&self, ctx: &Ctx, warehouse: String, apply: bool) -> Result<Reconciliation, Fault> {
        let tenant = ctx.tenant;
        let report = self
            .pg
            .tx("inventory.reconcile", tenant, move |conn| {
                let warehouse = warehouse.clone();
                async move {
                    let none = || Fault::precondition("NO_SNAPSHOT", "nobody counted this warehouse yet");
                    let newest = store::newest_snapshot(conn, tenant, &warehouse).await?.ok_or_else(none)?;
                    let mut report = report(store::compare(conn, tenant, &newest).await?);
                    if apply {
                        correct(conn, tenant, &mut report).await?;
                    }
                    Ok(report)
                }
                .boxed()
            })
            .await?;
        tell(&report);
        Ok(report)
    }

    /// Sets the figures of a product to the sums of its ledger; returns how many warehouses were wrong.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND.
    pub async fn rebuild_stock(&self, ctx: &Ctx, sku: String) -> Result<(Stock, i32), Fault> {
        let tenant = ctx.tenant;
        Ok(self
            .pg
            .tx("inventory.rebuild", tenant, move |conn| {
                let sku = sku.clone();
                async move {
                    let corrected = store::rebuild(conn, tenant, &sku).await?;
                    Ok((store::stock(conn, tenant, &sku).await?, corrected))
                }
                .boxed()
            })
            .await?)
    }
}

async fn take_in(conn: &mut pg::Conn, ctx: &Ctx, ingest: &IngestSnapshot) -> Result<Reconciliation, pg::Error> {
    let IngestSnapshot { warehouse, snapshot, taken_at, observations } = ingest;
    let place = (warehouse.as_str(), snapshot.as_str());
    let fresh = store::add_snapshot(conn, ctx.tenant, place, *taken_at, observations).await?;
    let report = report(store::compare(conn, ctx.tenant, snapshot).await?);
    if report.warehouse != *warehouse {
        return Err(Fault::already_exists("SNAPSHOT_TAKEN", "another warehouse has a snapshot of this name").into());
    }
    if fresh && !report.differences.is_empty() {
        let Accuracy { compared, matched, ppm: accuracy_ppm } = report.accuracy;
        let (warehouse, snapshot_id) = (warehouse.clone(), snapshot.clone());
        let event = InventoryDiscrepancyFound { warehouse, snapshot_id, compared, matched, accuracy_ppm };
        eventlog::append(conn, ctx, Uuid::now_v7(), 0, &[store::event(&event)]).await?;
    }
    Ok(report)
}

fn report(comparison: Comparison) -> Reconciliation {
    let Comparison { warehouse, snapshot, taken_at, counts } = comparison;
    let accuracy = accuracy(&counts);
    let differs = counts.into_iter().filter(|count| count.observed != count.expected);
    let differences = differs.map(|count| Difference { count, applied: false, refusal: String::new() }).collect();
    Reconciliation { warehouse, snapshot, taken_at, accuracy, differences }
}

async fn correct(conn: &mut pg::Conn, tenant: ids::TenantId, report: &mut Reconciliation) -> Result<(), pg::Error> {
    for difference in &mut report.differences {
        let change = Change {
            sku: &difference.count.sku,
            warehouse: &report.warehouse,
            delta: difference.count.observed.saturating_sub(difference.count.expected),
            reason: "RECONCILE",
            reference: &report.snapshot,
        };
        match store::adjust(conn, tenant, change).await {
            Ok(_) => difference.applied = true,
            // A promise or a missing product is for people to look at; the other products are corrected.
            Err(pg::Error::Fault(fault)) => fault.reason().clone_into(&mut difference.refusal),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn tell(report: &Reconciliation) {
    let Accuracy { compared, matched, ppm } = report.accuracy;
    metrics::gauge!("inventory_accuracy_ratio", "warehouse" => report.warehouse.clone())
        .set(f64::from(ppm) / 1_000_000.0);
    if ppm < AIM_PPM {
        tracing::warn!(
            warehouse = report.warehouse,
            snapshot = report.snapshot,
            compared,
            matched,
            "the ledger agrees with the warehouse less than it should"
        );
    }
}
