//! What a warehouse's system counted against our ledger; rebuilding from the ledger (INV-09, INV-10, INV-11).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::inventory::v1::InventoryDiscrepancyFound;
use ctx::Ctx;
use fault::{Fault, Kind};
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use uuid::Uuid;

use super::Inventory;
use crate::counting::{AIM_PPM, Accuracy, Count, accuracy};
use crate::store::{self, Change, Comparison, Stock};

/// Products that are corrected in one transaction: their stock is locked until it ends, and orders wait for it.
const TOGETHER: usize = 100;

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
    /// The whole warehouse was counted: of goods that are left out there is none.
    pub complete: bool,
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
        tell(ctx.tenant, &report);
        Ok(report)
    }

    /// Compares a warehouse with its newest count; when asked, corrects what no promise forbids, and leaves what was on
    /// its way out when it was counted.
    ///
    /// Some products at a time, each a transaction: what was corrected before a failure stays so, and asking again
    /// corrects the rest.
    ///
    /// # Errors
    /// NotFound WAREHOUSE_NOT_FOUND; Precondition NO_SNAPSHOT.
    pub async fn reconcile_stock(&self, ctx: &Ctx, warehouse: String, apply: bool) -> Result<Reconciliation, Fault> {
        let tenant = ctx.tenant;
        let parts = self
            .pg
            .read("inventory.compare", tenant, move |conn| {
                let warehouse = warehouse.clone();
                async move { newest(conn, tenant, &warehouse).await }.boxed()
            })
            .await?;
        let none = || Fault::precondition("NO_SNAPSHOT", "nobody counted this warehouse yet");
        let mut report = report(&parts).ok_or_else(none)?;
        if apply {
            report.differences.clear();
            for part in &parts {
                let mut found = differences(part);
                self.correct(tenant, part, &mut found).await?;
                report.differences.extend(found);
            }
            report.differences.sort_by(|a, b| a.count.sku.cmp(&b.count.sku));
        }
        tell(tenant, &report);
        Ok(report)
    }

    async fn correct(&self, tenant: TenantId, part: &Comparison, found: &mut [Difference]) -> Result<(), Fault> {
        for some in found.chunks_mut(TOGETHER) {
            match self.settle(tenant, part, some).await {
                Err(fault) if fault.kind() != Kind::Unavailable => {
                    // A product that is being sold right now, or breaks the transaction, takes no other with it.
                    for one in some.chunks_mut(1) {
                        match self.settle(tenant, part, one).await {
                            Err(fault) if fault.kind() != Kind::Unavailable => {
                                one.iter_mut().for_each(|one| fault.reason().clone_into(&mut one.refusal));
                            }
                            done => done?,
                        }
                    }
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn settle(&self, tenant: TenantId, part: &Comparison, found: &mut [Difference]) -> Result<(), Fault> {
        let place = Arc::new((part.warehouse.clone(), part.snapshot.clone()));
        let skus: Arc<Vec<String>> = Arc::new(found.iter().map(|one| one.count.sku.clone()).collect());
        let mut refusals = self
            .pg
            .tx("inventory.reconcile", tenant, move |conn| {
                let (place, skus) = (Arc::clone(&place), Arc::clone(&skus));
                async move { settle(conn, tenant, (&place.0, &place.1), &skus).await }.boxed()
            })
            .await?;
        for one in found {
            one.refusal = refusals.remove(&one.count.sku).unwrap_or_default();
            one.applied = one.refusal.is_empty();
        }
        Ok(())
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
    let IngestSnapshot { warehouse, snapshot, taken_at, observations, complete } = ingest;
    let place = (warehouse.as_str(), snapshot.as_str());
    let fresh = store::add_snapshot(conn, ctx.tenant, place, *taken_at, observations).await?;
    if fresh && *complete {
        store::add_absent(conn, ctx.tenant, snapshot).await?;
    }
    let compared = store::compare_all(conn, ctx.tenant, snapshot).await?;
    let report = report(&[compared]).ok_or_else(|| Fault::internal("one snapshot is one report"))?;
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

/// The parts of a warehouse's newest count, each product once: the last name counts.
async fn newest(conn: &mut pg::Conn, tenant: TenantId, warehouse: &str) -> Result<Vec<Comparison>, pg::Error> {
    let (mut parts, mut seen) = (Vec::new(), BTreeSet::new());
    for snapshot in store::newest_count(conn, tenant, warehouse).await? {
        let mut part = store::compare_all(conn, tenant, &snapshot).await?;
        part.counts.retain(|count| seen.insert(count.sku.clone()));
        parts.push(part);
    }
    Ok(parts)
}

/// What the parts of one count say together; none of no part.
fn report(parts: &[Comparison]) -> Option<Reconciliation> {
    let Comparison { warehouse, snapshot, taken_at, .. } = parts.first()?.clone();
    let accuracy = accuracy(parts.iter().flat_map(|part| &part.counts));
    let mut differences: Vec<Difference> = parts.iter().flat_map(differences).collect();
    differences.sort_by(|a, b| a.count.sku.cmp(&b.count.sku));
    Some(Reconciliation { warehouse, snapshot, taken_at, accuracy, differences })
}

fn differences(part: &Comparison) -> Vec<Difference> {
    let differs = part.counts.iter().filter(|count| count.observed != count.expected);
    differs.map(|count| Difference { count: count.clone(), applied: false, refusal: String::new() }).collect()
}

/// Corrects some products of a snapshot; returns why some of them were left as they are.
async fn settle(
    conn: &mut pg::Conn,
    tenant: TenantId,
    (warehouse, snapshot): (&str, &str),
    skus: &[String],
) -> Result<BTreeMap<String, String>, pg::Error> {
    store::take_turn(conn, tenant, warehouse).await?;
    if !store::newest_count(conn, tenant, warehouse).await?.iter().any(|newest| newest == snapshot) {
        // It may have been corrected by the newer one already.
        return Ok(skus.iter().map(|sku| (sku.clone(), "NEWER_COUNT".to_owned())).collect());
    }
    let mut refusals = BTreeMap::new();
    // Compared anew under the lock: whoever was here before has corrected some of it.
    for Count { sku, observed, expected, leaving } in store::compare(conn, tenant, snapshot, skus).await?.counts {
        let delta = observed.saturating_sub(expected);
        if delta != 0 && leaving {
            refusals.insert(sku, "UNITS_LEAVING".to_owned());
        } else if delta != 0 {
            let change = Change { sku: &sku, warehouse, delta, reason: "RECONCILE", reference: snapshot };
            match store::adjust(conn, tenant, change).await {
                // A promise or a missing product is for people to look at; the other products are corrected.
                Err(pg::Error::Fault(fault)) => drop(refusals.insert(sku, fault.reason().to_owned())),
                done => drop(done?),
            }
        }
    }
    Ok(refusals)
}

fn tell(tenant: TenantId, report: &Reconciliation) {
    let Accuracy { compared, matched, ppm } = report.accuracy;
    let labels = [("tenant", tenant.to_string()), ("warehouse", report.warehouse.clone())];
    metrics::gauge!("inventory_accuracy_ratio", &labels).set(f64::from(ppm) / 1_000_000.0);
    if ppm < AIM_PPM {
        tracing::warn!(
            %tenant,
            warehouse = report.warehouse,
            snapshot = report.snapshot,
            compared,
            matched,
            "the ledger agrees with the warehouse less than it should"
        );
    }
}
