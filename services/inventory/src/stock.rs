//! How demand finds stock: pure decisions over levels that the caller holds locked (INV-02, INV-05).

use std::collections::BTreeMap;

/// Units of one product that are asked for; a list of them names each SKU once, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The product.
    pub sku: String,
    /// Units, above zero.
    pub quantity: i32,
}

/// Units of one product that one warehouse gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// Units, above zero.
    pub quantity: i32,
}

/// Units of one product that one warehouse could give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// on_hand minus reserved minus safety; below zero when safety exceeds what is there.
    pub free: i32,
}

/// The sum of one SKU is more than any stock can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("too many units of {sku}")]
pub struct TooMany {
    /// The product.
    pub sku: String,
}

/// There is not enough of some products.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not enough of {}", skus.join(", "))]
pub struct Shortage {
    /// The products, sorted.
    pub skus: Vec<String>,
}

/// The SKU that a slot's stock has.
pub fn slot_key(sku: &str, slot: &str) -> String {
    if slot.is_empty() { sku.to_owned() } else { format!("{sku}@{slot}") }
}

/// Product and slot of a SKU of stock; the slot of goods is empty.
pub fn of_slot_key(key: &str) -> (&str, &str) {
    key.split_once('@').unwrap_or((key, ""))
}

/// Adds up what several lines ask of one SKU, so that each check sees the whole demand (field.md: split-line oversell).
///
/// # Errors
/// When a sum does not fit.
pub fn sum(lines: impl IntoIterator<Item = (String, i32)>) -> Result<Vec<Demand>, TooMany> {
    let mut sums: BTreeMap<String, i32> = BTreeMap::new();
    for (sku, quantity) in lines {
        let sum = sums.get(&sku).copied().unwrap_or(0).checked_add(quantity);
        sums.insert(sku.clone(), sum.ok_or(TooMany { sku })?);
    }
    Ok(sums.into_iter().map(|(sku, quantity)| Demand { sku, quantity }).collect())
}

/// What is free, shrinking while orders of one batch take from it.
#[derive(Debug, Default)]
pub struct Pool(BTreeMap<String, Vec<Bin>>);

#[derive(Debug)]
struct Bin {
    warehouse: String,
    free: i32,
}

impl Pool {
    /// Levels in the order in which warehouses are used.
    pub fn new(levels: impl IntoIterator<Item = Level>) -> Self {
        let mut pool = Self::default();
        for Level { sku, warehouse, free } in levels {
            pool.0.entry(sku).or_default().push(Bin { warehouse, free });
        }
        pool
    }

    /// Takes the whole demand of an order, or nothing.
    ///
    /// The first warehouse that has all of a SKU gives it; when none has and `split` allows, warehouses give in their
    /// order until it is enough.
    ///
    /// # Errors
    /// Every SKU that is short.
    pub fn take(&mut self, demand: &[Demand], split: bool) -> Result<Vec<Take>, Shortage> {
        let mut takes = Vec::with_capacity(demand.len());
        let mut short = Vec::new();
        for wanted in demand {
            match self.plan(wanted, split) {
                Some(plan) => takes.extend(plan),
                None => short.push(wanted.sku.clone()),
            }
        }
        if !short.is_empty() {
            return Err(Shortage { skus: short });
        }
        for take in &takes {
            let bins = self.0.get_mut(&take.sku).into_iter().flatten();
            for bin in bins.filter(|bin| bin.warehouse == take.warehouse) {
                bin.free -= take.quantity;
            }
        }
        Ok(takes)
    }

    fn plan(&self, wanted: &Demand, split: bool) -> Option<Vec<Take>> {
        let bins = self.0.get(&wanted.sku)?;
        let take =
            |warehouse: &str, quantity| Take { sku: wanted.sku.clone(), warehouse: warehouse.to_owned(), quantity };
        if let Some(bin) = bins.iter().find(|bin| bin.free >= wanted.quantity) {
            return Some(vec![take(&bin.warehouse, wanted.quantity)]);
        }
        if !split {
            return None;
        }
        let mut left = wanted.quantity;
        let mut takes = Vec::new();
        for bin in bins.iter().filter(|bin| bin.free > 0) {
            let part = bin.free.min(left);
            takes.push(take(&bin.warehouse, part));
            left -= part;
            if left == 0 {
                return Some(takes);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(sku: &str, warehouse: &str, free: i32) -> Level {
        Level { sku: sku.to_owned(), warehouse: warehouse.to_owned(), free }
    }

    fn demand(lines: &[(&str, i32)]) -> Vec<Demand> {
        sum(lines.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity))).expect("fits")
    }

    fn takes(result: Result<Vec<Take>, Shortage>) -> Vec<(String, i32)> {
        result.expect("enough").into_iter().map(|take| (take.warehouse, take.quantity)).collect()
    }

    #[test]
    fn inv_02_demand_of_one_sku_on_several_lines_is_summed() {
        assert_eq!(demand(&[("B", 1), ("A", 2), ("B", 3)]), demand(&[("A", 2), ("B", 4)]));
        let over = sum([("A".to_owned(), i32::MAX), ("A".to_owned(), 1)]);
        assert_eq!(over, Err(TooMany { sku: "A".to_owned() }));
    }

    #[test]
    fn inv_05_one_warehouse_that_has_it_all_is_preferred_to_splitting() {
        let mut pool = Pool::new([level("A", "W1", 2), level("A", "W2", 5), level("A", "W3", 9)]);
        assert_eq!(takes(pool.take(&demand(&[("A", 4)]), true)), [("W2".to_owned(), 4)]);
        assert_eq!(takes(pool.take(&demand(&[("A", 4)]), true)), [("W3".to_owned(), 4)]);
    }

    #[test]
    fn inv_05_a_line_is_split_by_priority_when_no_warehouse_has_it_all() {
        let levels = [level("A", "W1", 2), level("A", "W2", 0), level("A", "W3", 5)];
        let mut pool = Pool::new(levels.clone());
        assert_eq!(takes(pool.take(&demand(&[("A", 6)]), true)), [("W1".to_owned(), 2), ("W3".to_owned(), 4)]);
        assert!(Pool::new(levels).take(&demand(&[("A", 6)]), false).is_err());
    }

    #[test]
    fn inv_02_a_short_order_takes_nothing_and_names_every_short_sku() {
        let mut pool = Pool::new([level("A", "W1", 1), level("B", "W1", 1)]);
        let short = pool.take(&demand(&[("A", 1), ("B", 2), ("NONE", 1)]), true);
        assert_eq!(short, Err(Shortage { skus: vec!["B".to_owned(), "NONE".to_owned()] }));
        assert_eq!(takes(pool.take(&demand(&[("A", 1)]), true)), [("W1".to_owned(), 1)]);
    }

    proptest! {
        #[test]
        fn inv_02_a_batch_never_takes_more_than_there_is(
            levels in prop::collection::vec((0_usize..3, 0_usize..4, 0_i32..20), 0..12),
            orders in prop::collection::vec((prop::collection::vec((0_usize..4, 1_i32..15), 1..5), any::<bool>()), 1..30),
        ) {
            let mut free: BTreeMap<(String, String), i32> = BTreeMap::new();
            for (sku, warehouse, units) in levels {
                free.insert((format!("S{sku}"), format!("W{warehouse}")), units);
            }
            let mut pool = Pool::new(free.iter().map(|((sku, warehouse), units)| level(sku, warehouse, *units)));
            for (lines, split) in orders {
                let wanted = sum(lines.into_iter().map(|(sku, units)| (format!("S{sku}"), units))).expect("fits");
                match pool.take(&wanted, split) {
                    Ok(takes) => {
                        for take in &takes {
                            prop_assert!(take.quantity > 0);
                            let left = free.get_mut(&(take.sku.clone(), take.warehouse.clone())).expect("a known level");
                            *left -= take.quantity;
                            prop_assert!(*left >= 0, "{take:?} oversold");
                        }
                        prop_assert_eq!(sum(takes.iter().map(|t| (t.sku.clone(), t.quantity))).expect("fits"), wanted);
                        prop_assert!(split || takes.len() == wanted_len(&takes));
                    }
                    Err(shortage) => {
                        for sku in &shortage.skus {
                            let units = wanted.iter().find(|d| &d.sku == sku).expect("asked for").quantity;
                            let levels = free.iter().filter(|((s, _), _)| s == sku).map(|(_, units)| *units);
                            let enough = if split { levels.sum::<i32>() } else { levels.max().unwrap_or(0) };
                            prop_assert!(enough < units, "{sku} was there");
                        }
                    }
                }
            }
        }
    }

    fn wanted_len(takes: &[Take]) -> usize {
        takes.iter().map(|take| &take.sku).collect::<std::collections::BTreeSet<_>>().len()
    }
}
