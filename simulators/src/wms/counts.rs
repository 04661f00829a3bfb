//! What lies in the warehouses, and the snapshots that are taken of it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

/// Products of one page of a snapshot.
const PAGE: usize = 2_000;

/// What lies in a warehouse, as somebody says over `PUT /_sim/stock`.
#[derive(Debug, Deserialize)]
pub(super) struct Counted {
    tenant: String,
    warehouse: String,
    /// Units by SKU; all that is not named is not there.
    counts: BTreeMap<String, u64>,
}

type Row = (String, String, u64);

struct Snapshot {
    id: String,
    at: Timestamp,
    rows: Vec<Row>,
}

/// Units by tenant, warehouse and SKU; and the last snapshot of each tenant.
#[derive(Default)]
pub(super) struct Stock {
    shelves: HashMap<String, BTreeMap<(String, String), u64>>,
    snapshots: HashMap<String, Snapshot>,
}

/// A part of a snapshot.
pub(super) struct Page<'a> {
    pub(super) id: &'a str,
    pub(super) at: Timestamp,
    pub(super) pages: usize,
    pub(super) rows: &'a [Row],
}

impl Stock {
    pub(super) fn set(&mut self, counted: Counted) {
        let Counted { tenant, warehouse, counts } = counted;
        let shelves = self.shelves.entry(tenant).or_default();
        shelves.retain(|(place, _), _| *place != warehouse);
        shelves.extend(counts.into_iter().map(|(sku, units)| ((warehouse.clone(), sku), units)));
    }

    /// Units left; of what nobody counted nothing is known.
    pub(super) fn left(&mut self, tenant: &str, warehouse: &str, sku: &str, units: u64) {
        let place = (warehouse.to_owned(), sku.to_owned());
        if let Some(there) = self.shelves.get_mut(tenant).and_then(|shelves| shelves.get_mut(&place)) {
            *there = there.saturating_sub(units);
        }
    }

    /// The first page takes a snapshot, the others belong to it; `None` past its end.
    pub(super) fn page(&mut self, tenant: &str, number: usize, now: Timestamp) -> Option<Page<'_>> {
        if number == 0 {
            let shelves = self.shelves.get(tenant).into_iter().flatten();
            let rows = shelves.map(|((warehouse, sku), units)| (warehouse.clone(), sku.clone(), *units)).collect();
            let id = format!("snap-{}", Uuid::now_v7().simple());
            self.snapshots.insert(tenant.to_owned(), Snapshot { id, at: now, rows });
        }
        let snapshot = self.snapshots.get(tenant)?;
        let pages = snapshot.rows.len().div_ceil(PAGE).max(1);
        let from = number.checked_mul(PAGE).filter(|_| number < pages)?;
        let rows = &snapshot.rows[from..snapshot.rows.len().min(from + PAGE)];
        Some(Page { id: &snapshot.id, at: snapshot.at, pages, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(warehouse: &str, counts: impl IntoIterator<Item = (String, u64)>) -> Counted {
        Counted { tenant: "t".into(), warehouse: warehouse.into(), counts: counts.into_iter().collect() }
    }

    #[test]
    fn the_pages_of_a_snapshot_are_of_one_moment() {
        let mut stock = Stock::default();
        stock.set(counted("W1", (0..2_500).map(|n| (format!("S{n:04}"), n))));
        let first = stock.page("t", 0, Timestamp::UNIX_EPOCH).unwrap();
        let (id, pages, rows) = (first.id.to_owned(), first.pages, first.rows.len());
        assert_eq!((pages, rows), (2, PAGE));
        stock.left("t", "W1", "S2400", 400);
        let second = stock.page("t", 1, Timestamp::now()).unwrap();
        assert_eq!((second.id, second.at, second.rows.len()), (id.as_str(), Timestamp::UNIX_EPOCH, 500));
        assert!(second.rows.contains(&("W1".into(), "S2400".into(), 2_400)));
        assert!(stock.page("t", 2, Timestamp::now()).is_none());
        assert!(stock.page("nobody", 1, Timestamp::now()).is_none());
        stock.set(counted("W1", [("A".into(), 3)]));
        stock.left("t", "W1", "A", 5);
        stock.left("t", "W1", "never counted", 5);
        assert_eq!(stock.page("t", 0, Timestamp::now()).unwrap().rows, [("W1".into(), "A".into(), 0)]);
    }
}
