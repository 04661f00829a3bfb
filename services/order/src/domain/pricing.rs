//! What an order costs: lines, shipping and tax, exact to the minor unit (`domain.md` 4.6).

use money::{Currency, Money, MoneyError, div_round_half_away, spread};

const MILLION: i128 = 1_000_000;

/// One product somebody wants, with its price of now.
#[derive(Debug, Clone)]
pub struct Item {
    /// Units, at least 1.
    pub quantity: i32,
    /// Price of one unit; with tax in it when the catalog says so.
    pub unit_price: i64,
    /// Tax of its class where it goes, parts per million.
    pub rate_ppm: i32,
}

/// How a tenant taxes (rules M5 to M7).
#[derive(Debug, Clone, Copy)]
pub struct TaxMode {
    /// The exact sum is rounded once and spread back; else every line is rounded by itself.
    pub round_whole_order: bool,
    /// Prices contain the tax.
    pub inclusive: bool,
    /// Tax on shipping, parts per million.
    pub shipping_rate_ppm: i32,
}

/// What is taken off the goods before tax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discount {
    /// Nothing.
    #[default]
    None,
    /// A share of their price, parts per million.
    Share(i32),
    /// An amount, but never more than they cost.
    Amount(i64),
}

/// Net and tax of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePrice {
    /// Its part of the discount; with tax in it where prices have it.
    pub discount: i64,
    /// Without tax.
    pub net: i64,
    /// Tax.
    pub tax: i64,
}

/// Net and tax of everything; `total` is their sum (ORD-15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    /// By line, in the items' order.
    pub lines: Vec<LinePrice>,
    /// Σ net of the lines.
    pub items_net: i64,
    /// Σ discounts of the lines.
    pub discount: i64,
    /// Shipping without tax.
    pub shipping_net: i64,
    /// Tax of lines and shipping.
    pub tax: i64,
    /// What the customer pays.
    pub total: i64,
}

/// Prices an order. A discount is spread over the lines by what they cost (rule M4) and is never taxed.
///
/// # Errors
/// [`MoneyError::Overflow`] when a sum does not fit.
pub fn price(
    currency: Currency,
    items: &[Item],
    discount: Discount,
    shipping: i64,
    mode: TaxMode,
) -> Result<Priced, MoneyError> {
    let mut gross = Vec::with_capacity(items.len() + 1);
    for item in items {
        gross.push(Money::new(currency, item.unit_price).checked_mul(i64::from(item.quantity))?.minor);
    }
    let mut discounts = discounts(&gross, discount)?;
    for (gross, discount) in gross.iter_mut().zip(&discounts) {
        *gross -= discount;
    }
    gross.push(shipping);
    discounts.push(0);
    let mut rates: Vec<i32> = items.iter().map(|item| item.rate_ppm).collect();
    rates.push(mode.shipping_rate_ppm);
    let taxes = taxes(&gross, &rates, mode);
    let mut parts: Vec<LinePrice> = gross
        .iter()
        .zip(taxes)
        .zip(discounts)
        .map(|((gross, tax), discount)| LinePrice {
            discount,
            net: if mode.inclusive { gross - tax } else { *gross },
            tax,
        })
        .collect();
    let shipping = parts.pop().expect("shipping is always the last part");
    let items_net = sum(parts.iter().map(|line| line.net))?;
    let discount = sum(parts.iter().map(|line| line.discount))?;
    let tax = sum(parts.iter().map(|line| line.tax).chain([shipping.tax]))?;
    let total = sum([items_net, shipping.net, tax])?;
    Ok(Priced { lines: parts, items_net, discount, shipping_net: shipping.net, tax, total })
}

fn discounts(gross: &[i64], discount: Discount) -> Result<Vec<i64>, MoneyError> {
    let all = sum(gross.iter().copied())?;
    let off = match discount {
        Discount::None => return Ok(vec![0; gross.len()]),
        Discount::Share(ppm) => div_round_half_away(i128::from(all) * i128::from(ppm), MILLION),
        Discount::Amount(minor) => i128::from(minor),
    };
    let off = i64::try_from(off.clamp(0, i128::from(all))).map_err(|_| MoneyError::Overflow)?;
    Ok(spread(off, gross))
}

fn sum(amounts: impl IntoIterator<Item = i64>) -> Result<i64, MoneyError> {
    amounts.into_iter().try_fold(0_i64, i64::checked_add).ok_or(MoneyError::Overflow)
}

fn taxes(gross: &[i64], rates: &[i32], mode: TaxMode) -> Vec<i64> {
    // Tax as a fraction: exclusive gross·r/10⁶, inclusive gross·r/(10⁶+r).
    let fraction = |(gross, rate): (&i64, &i32)| {
        let rate = i128::from(*rate);
        (i128::from(*gross) * rate, if mode.inclusive { MILLION + rate } else { MILLION })
    };
    let narrow = |tax: i128| i64::try_from(tax).unwrap_or(i64::MAX);
    let rounded: Vec<i64> =
        gross.iter().zip(rates).map(fraction).map(|(num, den)| narrow(div_round_half_away(num, den))).collect();
    if !mode.round_whole_order {
        return rounded;
    }
    // One denominator for all parts would overflow with many rates: 10⁻⁹ of a minor unit is exact enough to round
    // once, and the same for quote and order.
    const SCALE: i128 = 1_000_000_000;
    let exact: Vec<i128> =
        gross.iter().zip(rates).map(fraction).map(|(num, den)| div_round_half_away(num * SCALE, den)).collect();
    let whole = narrow(div_round_half_away(exact.iter().sum(), SCALE));
    let weights: Vec<i64> = exact.iter().map(|tax| narrow(*tax)).collect();
    spread(whole, &weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd() -> Currency {
        "USD".parse().expect("a currency")
    }

    fn mode(round_whole_order: bool, inclusive: bool, shipping_rate_ppm: i32) -> TaxMode {
        TaxMode { round_whole_order, inclusive, shipping_rate_ppm }
    }

    fn item(quantity: i32, unit_price: i64, rate_ppm: i32) -> Item {
        Item { quantity, unit_price, rate_ppm }
    }

    #[test]
    fn line_and_order_rounding_differ_by_the_cents_they_should() {
        // 3 lines of 0.10 at 8.25 %: 0.825 cents each. By line: 1+1+1; over the order: 2.475 -> 2.
        let items = vec![item(1, 10, 82_500); 3];
        let by_line = price(usd(), &items, Discount::None, 0, mode(false, false, 0)).expect("priced");
        let by_order = price(usd(), &items, Discount::None, 0, mode(true, false, 0)).expect("priced");
        assert_eq!((by_line.tax, by_order.tax), (3, 2));
        assert_eq!(by_order.lines.iter().map(|line| line.tax).collect::<Vec<_>>(), [1, 1, 0]);
    }

    #[test]
    fn inclusive_prices_keep_the_gross() {
        let priced =
            price(usd(), &[item(1, 11_900, 190_000)], Discount::None, 0, mode(false, true, 0)).expect("priced");
        assert_eq!(priced.lines, [LinePrice { discount: 0, net: 10_000, tax: 1_900 }]);
        assert_eq!(priced.total, 11_900);
    }

    #[test]
    fn shipping_is_taxed_by_its_own_rate() {
        let priced =
            price(usd(), &[item(2, 1_000, 0)], Discount::None, 499, mode(false, false, 100_000)).expect("priced");
        assert_eq!((priced.items_net, priced.shipping_net, priced.tax, priced.total), (2_000, 499, 50, 2_549));
    }

    #[test]
    fn an_overflow_is_an_error_and_not_a_price() {
        assert_eq!(
            price(usd(), &[item(3, i64::MAX / 2, 0)], Discount::None, 0, mode(false, false, 0)),
            Err(MoneyError::Overflow)
        );
    }

    #[test]
    fn a_discount_goes_to_the_lines_by_largest_remainder_and_is_not_taxed() {
        // 1.00 off three equal lines: 34 + 33 + 33.
        let items = vec![item(1, 1_000, 100_000); 3];
        let priced = price(usd(), &items, Discount::Amount(100), 0, mode(false, false, 0)).expect("priced");
        assert_eq!(priced.lines.iter().map(|line| line.discount).collect::<Vec<_>>(), [34, 33, 33]);
        assert_eq!((priced.discount, priced.items_net, priced.tax), (100, 2_900, 291), "97 + 97 + 97");
        let tenth = price(usd(), &[item(1, 15, 0), item(1, 0, 0)], Discount::Share(100_000), 0, mode(false, false, 0));
        let tenth = tenth.expect("priced");
        assert_eq!(
            (tenth.discount, tenth.lines[1].discount),
            (2, 0),
            "1.5 is rounded away from zero; nothing of nothing"
        );
        let all = price(usd(), &items, Discount::Amount(9_999), 499, mode(false, false, 0)).expect("priced");
        assert_eq!((all.discount, all.items_net, all.tax, all.total), (3_000, 0, 0, 499), "never below zero");
    }

    proptest! {
        #[test]
        fn ord_15_total_is_lines_plus_shipping_plus_tax(
            items in prop::collection::vec((1_i32..50, 1_i64..1_000_000, 0_i32..300_000), 1..50),
            shipping in 0_i64..10_000, whole: bool, inclusive: bool, shipping_rate in 0_i32..300_000,
            off in prop_oneof![
                Just(Discount::None), (0_i32..=1_000_000).prop_map(Discount::Share),
                (0_i64..50_000_000).prop_map(Discount::Amount),
            ],
        ) {
            let items: Vec<Item> = items.into_iter().map(|(q, p, r)| item(q, p, r)).collect();
            let priced = price(usd(), &items, off, shipping, mode(whole, inclusive, shipping_rate)).expect("priced");
            let net: i64 = priced.lines.iter().map(|line| line.net).sum();
            prop_assert_eq!(priced.items_net, net);
            prop_assert_eq!(priced.total, priced.items_net + priced.shipping_net + priced.tax);
            let line_tax: i64 = priced.lines.iter().map(|line| line.tax).sum();
            prop_assert!(priced.tax >= line_tax);
            let gross: i64 = items.iter().map(|i| i.unit_price * i64::from(i.quantity)).sum();
            prop_assert_eq!(priced.discount, priced.lines.iter().map(|line| line.discount).sum::<i64>());
            prop_assert!(priced.discount <= gross);
            if inclusive {
                prop_assert_eq!(priced.total, gross - priced.discount + shipping);
            } else {
                prop_assert_eq!(priced.items_net, gross - priced.discount);
            }
            for (line, item) in priced.lines.iter().zip(&items) {
                prop_assert!(line.net >= 0 && line.tax >= 0);
                let gross = item.unit_price * i64::from(item.quantity) - line.discount;
                prop_assert!(gross >= 0);
                let exact = gross as f64 * f64::from(item.rate_ppm)
                    / if inclusive { 1e6 + f64::from(item.rate_ppm) } else { 1e6 };
                prop_assert!((line.tax as f64 - exact).abs() <= 1.0);
            }
        }
    }
}
