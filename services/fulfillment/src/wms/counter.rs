//! Hands what the warehouse system counted to inventory, as observations, every 15 minutes (INV-11).
//!
//! Nothing is ever written to the warehouse system here, and inventory compares only: promises stay as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::inventory::v1::stock_control_service_client::StockControlServiceClient;
use contract::inventory::v1::{IngestWmsSnapshotRequest, Observation};
use ctx::{Cause, Ctx};
use fault::Fault;
use futures::StreamExt;
use ids::TenantId;
use jiff::Timestamp;
use serve::{Job, Peers, Turn};

use super::client::{Counted, StockPage, Wms};
use crate::store::Store;

/// How often a tenant's warehouses are read.
pub(crate) const EVERY: Duration = Duration::from_secs(15 * 60);
/// When a reading that failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// Pause between two looks for tenants whose turn it is.
const NAP: Duration = Duration::from_secs(2);
const TENANTS_OF_A_ROUND: i32 = 64;
const TENANTS_AT_ONCE: usize = 2;
/// Products of one message to inventory; it takes no more.
const TOGETHER: usize = 20_000;
/// Pages of a snapshot: a million products.
const MOST_PAGES: usize = 500;

/// What was counted, by warehouse.
type Counts = BTreeMap<String, Shelves>;

/// What was counted in a warehouse.
#[derive(Debug, Default)]
struct Shelves {
    /// Units by product.
    units: BTreeMap<String, i32>,
    /// Some of what was said of it makes no sense.
    partial: bool,
}

/// Reads the stock of the warehouse system for every tenant that has work there.
#[derive(Clone)]
pub(crate) struct Counter {
    store: Store,
    wms: Wms,
    peers: Peers,
}

impl Counter {
    pub(crate) fn new(store: Store, wms: Wms, peers: Peers) -> Self {
        Self { store, wms, peers }
    }

    /// The job that looks whose turn it is; any number of processes may run it.
    pub(crate) fn job(self) -> Job {
        Job::every("wms.counter", NAP, self, |counter| async move { counter.round().await.map(|_| Turn::Done) })
    }

    /// Reads once for every tenant whose turn it is; a tenant that fails has its turn again soon.
    ///
    /// # Errors
    /// When the tenants cannot be read.
    pub(crate) async fn round(&self) -> Result<usize, Fault> {
        let due = self.store.counts_due(TENANTS_OF_A_ROUND).await?;
        let asked = due.len();
        futures::stream::iter(due)
            .for_each_concurrent(TENANTS_AT_ONCE, async |tenant| {
                if let Err(fault) = self.turn(tenant).await {
                    tracing::warn!(tenant = %tenant, error = %fault, "cannot count a tenant's warehouses");
                }
            })
            .await;
        Ok(asked)
    }

    async fn turn(&self, tenant: TenantId) -> Result<(), Fault> {
        // Whoever takes the turn moves it on, so that no other process reads beside it.
        if !self.store.counts_take(tenant, EVERY).await? {
            return Ok(());
        }
        let result = self.read(tenant).await;
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        metrics::counter!("wms_snapshots_total", "outcome" => outcome).increment(1);
        if result.is_err() {
            self.store.counts_again(tenant, AGAIN).await?;
        }
        result
    }

    async fn read(&self, tenant: TenantId) -> Result<(), Fault> {
        let ctx = Ctx::service("fulfillment", tenant, Cause::default(), Timestamp::now());
        let first = self.wms.stock(&ctx, 0).await?;
        let (snapshot, at, pages) = (first.snapshot.clone(), first.at, first.pages);
        if pages > MOST_PAGES {
            // A part would look like a whole.
            return Err(Fault::internal(format!("a snapshot of {pages} pages, {MOST_PAGES} are read at most")));
        }
        let mut warehouses = Counts::new();
        gather(&mut warehouses, first);
        for number in 1..pages {
            let page = self.wms.stock(&ctx, number).await?;
            if page.snapshot != snapshot {
                return Err(Fault::unavailable("WMS_SNAPSHOT_CHANGED", "somebody else took a snapshot meanwhile"));
            }
            gather(&mut warehouses, page);
        }
        let mut failed = None;
        for (warehouse, shelves) in warehouses {
            // A warehouse that fails keeps none behind it from being counted. A clock that is ahead of ours must not make
            // a count look as if it were of the future.
            let told = messages(&warehouse, &snapshot, at.min(ctx.now), shelves);
            if let Err(fault) = self.hand_over(&ctx, &warehouse, told).await {
                tracing::warn!(%tenant, warehouse, error = %fault, "a count is not taken");
                failed.get_or_insert(fault);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn hand_over(&self, ctx: &Ctx, warehouse: &str, told: Vec<IngestWmsSnapshotRequest>) -> Result<(), Fault> {
        for request in told {
            let mut inventory = StockControlServiceClient::new(self.peers.to("inventory"));
            let answer = inventory.ingest_wms_snapshot(self.peers.request(ctx, request)).await.map_err(Fault::from);
            match answer {
                Ok(_) => {}
                // The warehouse system also knows places that the shop does not sell from.
                Err(fault) if fault.reason() == "WAREHOUSE_NOT_FOUND" => {
                    tracing::debug!(tenant = %ctx.tenant, warehouse, "counted, but not ours");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

/// What inventory is told of a warehouse; nothing of one in which nothing was counted.
///
/// A snapshot has all that lies in a warehouse, so a product that it leaves out is not there. Nobody can say so of one part
/// of several, nor where a line that makes no sense may have been that product's.
fn messages(warehouse: &str, snapshot: &str, at: Timestamp, shelves: Shelves) -> Vec<IngestWmsSnapshotRequest> {
    let Shelves { units, partial } = shelves;
    let complete = !partial && units.len() <= TOGETHER;
    let all: Vec<Observation> = units.into_iter().map(|(sku, on_hand)| Observation { sku, on_hand }).collect();
    let message = |(part, some): (usize, &[Observation])| IngestWmsSnapshotRequest {
        warehouse: warehouse.to_owned(),
        snapshot_id: part_name(snapshot, warehouse, part),
        snapshot_time: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
        observations: some.to_vec(),
        complete,
    };
    all.chunks(TOGETHER).enumerate().map(message).collect()
}

/// A snapshot of all warehouses is one of each for inventory.
fn part_name(snapshot: &str, warehouse: &str, part: usize) -> String {
    // Names of snapshots have at most 64 characters; a hash of the warehouse keeps them apart (FNV-1a).
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = warehouse.bytes().chain(part.to_le_bytes()).fold(0x811c_9dc5, mix);
    format!("{snapshot}-{:07x}", hash & 0x0fff_ffff)
}

fn gather(warehouses: &mut Counts, page: StockPage) {
    for Counted { warehouse, sku, on_hand } in page.counts {
        let (place, line) = (is_place(&warehouse), is_product(&sku) && on_hand >= 0);
        if !(place && line) {
            // What can be no product or place of ours is skipped: it must not keep the rest from being compared.
            tracing::warn!(warehouse, sku, on_hand, "a line of a count that makes no sense");
            metrics::counter!("wms_count_lines_skipped_total").increment(1);
        }
        if !place {
            continue;
        }
        let shelves = warehouses.entry(warehouse).or_default();
        if line {
            // A product may lie in several bins.
            let units = shelves.units.entry(sku).or_default();
            *units = units.saturating_add(on_hand);
        } else {
            shelves.partial = true;
        }
    }
}

/// Whether inventory knows such names of warehouses.
fn is_place(warehouse: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&warehouse.len()) && warehouse.bytes().all(fits)
}

/// Whether inventory knows such names of products.
fn is_product(sku: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&sku.len()) && sku.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_11_lines_of_a_product_are_summed_and_lines_that_make_no_sense_are_skipped() {
        let line =
            |warehouse: &str, sku: &str, on_hand| Counted { warehouse: warehouse.into(), sku: sku.into(), on_hand };
        let counts = vec![
            line("W1", "A", 2),
            line("W1", "X/1", 1),
            line("A_1", "A", 1),
            line("W1", "A", 3),
            line("W2", "A", -1),
            line("W2", "B", 0),
            line("", "A", 1),
            line("W2", "", 1),
        ];
        let mut all = Counts::new();
        gather(&mut all, StockPage { snapshot: "s".into(), at: Timestamp::UNIX_EPOCH, pages: 1, counts });
        let lines: Vec<_> =
            all.iter().flat_map(|(at, there)| there.units.iter().map(move |(sku, n)| (&**at, &**sku, *n))).collect();
        assert_eq!(lines, [("W1", "A", 5), ("W2", "B", 0)]);
    }

    fn told(lines: &[(&str, &str, i32)]) -> Vec<(String, usize, bool)> {
        let line = |(warehouse, sku, on_hand): &(&str, &str, i32)| Counted {
            warehouse: (*warehouse).to_owned(),
            sku: (*sku).to_owned(),
            on_hand: *on_hand,
        };
        let (at, mut all) = (Timestamp::UNIX_EPOCH, Counts::new());
        let counts = lines.iter().map(line).collect();
        gather(&mut all, StockPage { snapshot: "s".into(), at, pages: 1, counts });
        let told = all.into_iter().flat_map(|(warehouse, shelves)| messages(&warehouse, "s", at, shelves));
        told.map(|message| (message.warehouse, message.observations.len(), message.complete)).collect()
    }

    #[test]
    fn inv_11_only_a_warehouse_of_which_every_line_is_understood_is_told_as_the_whole() {
        let odd = [("W1", "A", 1), ("W2", "A", 1), ("W2", "X/1", 1), ("A_1", "A", 1), ("W3", "X/1", 1)];
        // Of the third nothing is left to tell: it is not empty because of that.
        assert_eq!(told(&odd), [("W1".to_owned(), 1, true), ("W2".to_owned(), 1, false)]);
        assert_eq!(told(&[]), []);
    }

    #[test]
    fn inv_11_a_count_that_is_told_in_parts_has_no_part_that_is_the_whole() {
        let skus: Vec<String> = (0..=TOGETHER).map(|n| format!("S{n}")).collect();
        let lines: Vec<(&str, &str, i32)> = skus.iter().map(|sku| ("W1", sku.as_str(), 1)).collect();
        assert_eq!(told(&lines[1..]), [("W1".to_owned(), TOGETHER, true)]);
        assert_eq!(told(&lines), [("W1".to_owned(), TOGETHER, false), ("W1".to_owned(), 1, false)]);
    }
}
