//! What would an order cost? The same computation prices an order that is placed (ORD-32).

use std::collections::BTreeSet;

use contract::common::v1::{Address, Money as WireMoney};
use contract::identity::v1::{TaxRounding, TenantPolicy};
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::{Fault, Violations};
use money::Currency;

use crate::app::App;
use crate::domain::pricing::{Item, Priced, TaxMode, price};
use crate::domain::rules;

/// What is to be priced.
#[derive(Debug, Clone)]
pub struct Basket {
    /// What is bought.
    pub items: Vec<wire::OrderItem>,
    /// ISO 4217 code.
    pub currency_code: String,
    /// Where it goes.
    pub address: Option<Address>,
    /// STANDARD, EXPRESS or OVERNIGHT.
    pub service: String,
}

/// A priced basket and the policy it was priced by.
#[derive(Debug, Clone)]
pub struct Quote {
    /// Lines with prices.
    pub lines: Vec<wire::OrderLine>,
    /// Sums.
    pub totals: wire::OrderTotals,
    /// How long stock will be held, seconds.
    pub hold_s: i32,
    /// Lines may be split over warehouses.
    pub split: bool,
}

impl App {
    /// Prices a basket and stores nothing.
    ///
    /// # Errors
    /// Invalid, naming every wrong field; Unavailable when catalog or policy cannot be asked.
    pub async fn quote(&self, ctx: &Ctx, basket: &Basket, mut wrong: Violations) -> Result<Quote, Fault> {
        rules::check_items(&basket.items, &mut wrong);
        rules::check_address("shipping_address", basket.address.as_ref(), &mut wrong);
        let policy = self.catalog.policy(ctx).await?;
        rules::check_units(&basket.items, &policy, &mut wrong);
        let currency = currency(&basket.currency_code, &policy, &mut wrong);
        let skus: BTreeSet<&str> = basket.items.iter().map(|item| item.sku.as_str()).collect();
        let known: BTreeSet<&str> = skus.into_iter().filter(|sku| rules::is_sku(sku)).take(rules::MAX_LINES).collect();
        let products = self.catalog.products(ctx, &known).await?;
        let mut lines = Vec::with_capacity(basket.items.len());
        let mut items = Vec::with_capacity(basket.items.len());
        for (index, item) in basket.items.iter().enumerate().take(rules::MAX_LINES) {
            let Some(product) = products.get(&item.sku) else {
                if rules::is_sku(&item.sku) {
                    wrong.add(format!("items[{index}].sku"), "UNKNOWN_SKU", format!("no product {:?}", item.sku));
                }
                continue;
            };
            let unit = product.prices.iter().find(|price| price.currency_code == basket.currency_code);
            let Some(unit) = unit else {
                let text = format!("{} has no price in {}", item.sku, basket.currency_code);
                wrong.add(format!("items[{index}].sku"), "NO_PRICE_IN_CURRENCY", text);
                continue;
            };
            let address = basket.address.clone().unwrap_or_default();
            let rate_ppm = rules::rate_ppm(&policy.tax_rules, &address, &product.tax_class);
            items.push(Item { quantity: item.quantity, unit_price: unit.amount_minor, rate_ppm });
            lines.push(wire::OrderLine {
                line: i32::try_from(index).unwrap_or(i32::MAX) + 1,
                sku: item.sku.clone(),
                display_name: product.display_name.clone(),
                quantity: item.quantity,
                unit_price: Some(unit.clone()),
                tax_class: product.tax_class.clone(),
                weight_grams: product.weight_grams,
                ..wire::OrderLine::default()
            });
        }
        let shipping = shipping_price(&policy, &basket.service, &basket.currency_code, &mut wrong);
        let (Some(currency), Some(shipping), true) = (currency, shipping, wrong.is_empty()) else {
            return Err(wrong.into());
        };
        let mode = tax_mode(&policy, basket.address.as_ref());
        let Ok(priced) = price(currency, &items, shipping, mode) else {
            return Err(Fault::invalid("items", "ORDER_VALUE_OUT_OF_RANGE", "the sum does not fit"));
        };
        rules::check_value(priced.items_net, priced.total, &policy, &mut wrong);
        wrong.finish()?;
        check_expected_prices(&basket.items, &lines)?;
        Ok(quote(lines, &priced, &policy, currency))
    }
}

fn currency(code: &str, policy: &TenantPolicy, wrong: &mut Violations) -> Option<Currency> {
    match code.parse::<Currency>() {
        Ok(currency) if policy.currencies.iter().any(|allowed| allowed == code) => Some(currency),
        Ok(_) => {
            let text = format!("this shop takes {}", policy.currencies.join(", "));
            wrong.add("currency_code", "CURRENCY_NOT_ACCEPTED", text);
            None
        }
        Err(error) => {
            wrong.add("currency_code", "CURRENCY_UNKNOWN", error.to_string());
            None
        }
    }
}

fn shipping_price(policy: &TenantPolicy, service: &str, currency: &str, wrong: &mut Violations) -> Option<i64> {
    let rate = policy.shipping_rates.iter().find(|rate| {
        rate.service == service && rate.price.as_ref().is_some_and(|price| price.currency_code == currency)
    });
    let price = rate.and_then(|rate| rate.price.as_ref()).map(|price| price.amount_minor);
    if price.is_none() {
        wrong.add("shipping_service", "SHIPPING_NOT_OFFERED", format!("no {service:?} rate in {currency:?}"));
    }
    price
}

fn tax_mode(policy: &TenantPolicy, address: Option<&Address>) -> TaxMode {
    let shipping_rate_ppm = match address {
        Some(address) if policy.tax_shipping => rules::rate_ppm(&policy.tax_rules, address, "shipping"),
        _ => 0,
    };
    TaxMode {
        round_whole_order: policy.tax_rounding() == TaxRounding::Order,
        inclusive: policy.prices_include_tax,
        shipping_rate_ppm,
    }
}

/// A caller who says what he expects is told when the price has changed (ORD-21).
fn check_expected_prices(items: &[wire::OrderItem], lines: &[wire::OrderLine]) -> Result<(), Fault> {
    for (item, line) in items.iter().zip(lines) {
        let (Some(expected), Some(actual)) = (&item.expected_unit_price, &line.unit_price) else { continue };
        if expected != actual {
            return Err(price_changed(&format!("unit price of {}", item.sku), expected, actual));
        }
    }
    Ok(())
}

/// Says that an expected amount is not the actual one.
pub fn price_changed(what: &str, expected: &WireMoney, actual: &WireMoney) -> Fault {
    Fault::aborted("PRICE_CHANGED", format!("the {what} is not what the caller expects; quote again"))
        .with("expected_minor", expected.amount_minor)
        .with("actual_minor", actual.amount_minor)
        .with("currency_code", &actual.currency_code)
}

fn quote(mut lines: Vec<wire::OrderLine>, priced: &Priced, policy: &TenantPolicy, currency: Currency) -> Quote {
    let money = |minor: i64| Some(WireMoney { currency_code: currency.code().to_owned(), amount_minor: minor });
    for (line, price) in lines.iter_mut().zip(&priced.lines) {
        line.net = money(price.net);
        line.tax = money(price.tax);
    }
    let totals = wire::OrderTotals {
        items_net: money(priced.items_net),
        shipping: money(priced.shipping_net),
        tax: money(priced.tax),
        total: money(priced.total),
    };
    Quote { lines, totals, hold_s: policy.reservation_hold_s, split: policy.split_lines }
}
