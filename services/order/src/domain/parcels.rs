//! How an order is cut into the work of warehouses, and its money with it (rules M9, M10).

use std::collections::BTreeMap;

use contract::fulfillment::v1::FulfillmentLine;
use contract::inventory::v1::Allocation;
use contract::order::v1::Order;
use money::spread;

/// What one warehouse does, and the money that is captured when its parcel leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// The warehouse.
    pub warehouse: String,
    /// Units by line.
    pub lines: Vec<FulfillmentLine>,
    /// Minor units of the order's currency.
    pub capture_minor: i64,
    /// Grams.
    pub weight_grams: i32,
}

/// Cuts an order by where its stock is set aside.
///
/// Each line's net and tax are split over its units once, the first units carrying the extra cent, and every unit goes
/// to exactly one parcel: the parcels' captures add up to the order's total whatever the cut. Shipping is captured
/// with the first parcel. None when the allocations do not cover the lines exactly.
pub fn cut(order: &Order, allocations: &[Allocation]) -> Option<Vec<Parcel>> {
    let mut left: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    for allocation in allocations {
        *left.entry((&allocation.warehouse, &allocation.sku)).or_default() += allocation.quantity;
    }
    let warehouses: Vec<&str> = {
        let mut names: Vec<&str> = left.keys().map(|(warehouse, _)| *warehouse).collect();
        names.dedup();
        names
    };
    let mut parcels: BTreeMap<&str, Parcel> = BTreeMap::new();
    let mut line_tax = 0;
    for line in &order.lines {
        let net = line.net.as_ref()?.amount_minor;
        let tax = line.tax.as_ref()?.amount_minor;
        line_tax += tax;
        let units = usize::try_from(line.quantity).ok()?;
        let unit_weights = vec![1; units];
        let mut money = spread(net, &unit_weights).into_iter().zip(spread(tax, &unit_weights));
        let mut open = line.quantity;
        for warehouse in &warehouses {
            let Some(here) = left.get_mut(&(*warehouse, line.sku.as_str())) else { continue };
            let quantity = open.min(*here);
            if quantity <= 0 {
                continue;
            }
            *here -= quantity;
            open -= quantity;
            let parcel = parcels.entry(warehouse).or_insert_with(|| Parcel {
                warehouse: (*warehouse).to_owned(),
                lines: Vec::new(),
                capture_minor: 0,
                weight_grams: 0,
            });
            parcel.lines.push(FulfillmentLine { line: line.line, sku: line.sku.clone(), quantity });
            parcel.weight_grams = parcel.weight_grams.saturating_add(line.weight_grams.saturating_mul(quantity));
            for (net, tax) in money.by_ref().take(usize::try_from(quantity).ok()?) {
                parcel.capture_minor += net + tax;
            }
        }
        if open != 0 {
            return None;
        }
    }
    if left.values().any(|units| *units != 0) {
        return None;
    }
    let totals = order.totals.as_ref()?;
    let shipping = totals.shipping.as_ref()?.amount_minor + totals.tax.as_ref()?.amount_minor - line_tax;
    let mut parcels: Vec<Parcel> = parcels.into_values().collect();
    parcels.first_mut()?.capture_minor += shipping;
    Some(parcels)
}

#[cfg(test)]
mod tests {
    use contract::common::v1::Money;
    use contract::order::v1::{OrderLine, OrderTotals};
    use proptest::prelude::*;

    use super::*;

    fn money(minor: i64) -> Option<Money> {
        Some(Money { currency_code: "USD".into(), amount_minor: minor })
    }

    fn order(lines: &[(i32, i64, i64)], shipping: i64, shipping_tax: i64) -> Order {
        let lines: Vec<OrderLine> = lines
            .iter()
            .enumerate()
            .map(|(index, (quantity, net, tax))| OrderLine {
                line: i32::try_from(index).expect("few lines") + 1,
                sku: format!("SKU-{}", index % 3),
                quantity: *quantity,
                net: money(*net),
                tax: money(*tax),
                weight_grams: 100,
                ..OrderLine::default()
            })
            .collect();
        let net: i64 = lines.iter().filter_map(|line| line.net.as_ref()).map(|net| net.amount_minor).sum();
        let tax: i64 = lines.iter().filter_map(|line| line.tax.as_ref()).map(|tax| tax.amount_minor).sum();
        let totals = OrderTotals {
            items_net: money(net),
            shipping: money(shipping),
            tax: money(tax + shipping_tax),
            total: money(net + shipping + tax + shipping_tax),
            discount: None,
        };
        Order { lines, totals: Some(totals), ..Order::default() }
    }

    #[test]
    fn an_allocation_that_does_not_fit_is_refused() {
        let order = order(&[(2, 100, 10)], 0, 0);
        let part =
            |quantity| Allocation { sku: "SKU-0".into(), warehouse: "A".into(), quantity, ..Allocation::default() };
        assert!(cut(&order, &[part(1)]).is_none());
        assert!(cut(&order, &[part(3)]).is_none());
        assert_eq!(cut(&order, &[part(2)]).expect("fits")[0].capture_minor, 110);
    }

    proptest! {
        #[test]
        fn parcels_capture_exactly_the_total_and_carry_every_unit(
            lines in prop::collection::vec((1_i32..9, 0_i64..100_000, 0_i64..20_000), 1..12),
            shipping in 0_i64..5_000, shipping_tax in 0_i64..500, cuts in prop::collection::vec(0_u8..4, 120),
        ) {
            let order = order(&lines, shipping, shipping_tax);
            let mut cuts = cuts.into_iter().cycle();
            let mut by_place: BTreeMap<(String, String), i32> = BTreeMap::new();
            for line in &order.lines {
                for _ in 0..line.quantity {
                    let warehouse = format!("W{}", cuts.next().expect("endless"));
                    *by_place.entry((warehouse, line.sku.clone())).or_default() += 1;
                }
            }
            let allocations: Vec<Allocation> = by_place
                .into_iter()
                .map(|((warehouse, sku), quantity)| Allocation { sku, warehouse, quantity, ..Allocation::default() })
                .collect();
            let parcels = cut(&order, &allocations).expect("covers the lines");
            let captured: i64 = parcels.iter().map(|parcel| parcel.capture_minor).sum();
            prop_assert_eq!(Some(captured), order.totals.as_ref().and_then(|t| t.total.as_ref()).map(|t| t.amount_minor));
            for line in &order.lines {
                let units: i32 = parcels.iter().flat_map(|p| &p.lines).filter(|l| l.line == line.line).map(|l| l.quantity).sum();
                prop_assert_eq!(units, line.quantity);
            }
        }
    }
}
