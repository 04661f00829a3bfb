//! What somebody wants to buy, priced by the catalog and the tenant's policy; pure, so that a quote, a draft and a
//! placed order cost the same (ORD-32).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::common::v1::{Address, Money as WireMoney};
use contract::identity::v1::{CaptureMode, TaxRounding, TenantPolicy};
use contract::inventory::v1::{Product, ProductKind};
use contract::order::v1 as wire;
use fault::{Fault, Violations};
use money::Currency;

use crate::domain::customer::{Restricted, check_goods};
use crate::domain::pricing::{Item, Priced, TaxMode, price};
use crate::domain::promotion::{self, Wanted};
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
    /// Unit prices that were agreed before, by position of the item; minor units.
    pub agreed: BTreeMap<usize, i64>,
    /// What kind of order it is for; None = a number that nobody knows.
    pub kind: Option<wire::OrderKind>,
    /// Which price reduction is wanted.
    pub promotion: Wanted,
}

impl Basket {
    /// Whether it books time instead of sending goods (ORD-46).
    pub fn is_service(&self) -> bool {
        self.kind == Some(wire::OrderKind::ServiceRequest)
    }
}

/// How much a basket must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It may still grow: its value is not looked at.
    Draft,
    /// It is to be placed, or would be.
    Placement,
}

/// A priced basket and the policy it was priced by.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// Lines with prices, in the basket's order.
    pub lines: Vec<wire::OrderLine>,
    /// Sums.
    pub totals: wire::OrderTotals,
    /// How long stock will be held, seconds.
    pub hold_s: i32,
    /// Lines may be split over warehouses.
    pub split: bool,
    /// The money is taken when the order is placed, not per parcel (PAY-02).
    pub capture_now: bool,
    /// Lines that not everybody may buy everywhere.
    pub restricted: Vec<Restricted>,
    /// What the price reduction's terms are.
    pub promotion: Option<wire::OrderPromotion>,
}

/// Prices a basket at a second since 1970; `wrong` is what was found before.
///
/// # Errors
/// Invalid, naming every wrong field; Precondition `PRODUCT_RESTRICTED`; Aborted `PRICE_CHANGED` with the new quote.
pub fn quote(
    basket: &Basket,
    stage: Stage,
    policy: &TenantPolicy,
    products: &BTreeMap<String, Arc<Product>>,
    now: i64,
    mut wrong: Violations,
) -> Result<Quote, Fault> {
    rules::check_units(&basket.items, policy, &mut wrong);
    let currency = currency(&basket.currency_code, policy, &mut wrong);
    let (lines, items) = lines(basket, policy, products, &mut wrong);
    check_kind(basket, products, &mut wrong);
    let shipping = if basket.is_service() {
        Some(0)
    } else {
        shipping_price(policy, &basket.service, &basket.currency_code, &mut wrong)
    };
    let terms = promotion::terms(&basket.promotion, policy, &basket.currency_code, now, &mut wrong);
    let (Some(currency), Some(shipping), true) = (currency, shipping, wrong.is_empty()) else {
        return Err(wrong.into());
    };
    let mode = tax_mode(policy, basket.address.as_ref());
    let Ok(priced) = price(currency, &items, promotion::discount(terms.as_ref()), shipping, mode) else {
        return Err(Fault::invalid("items", "ORDER_VALUE_OUT_OF_RANGE", "the sum does not fit"));
    };
    if stage == Stage::Placement {
        // What is on the price tag counts, less what was taken off it (X4).
        let tax = if mode.inclusive { priced.lines.iter().map(|line| line.tax).sum() } else { 0 };
        rules::check_value((priced.items_net + tax, priced.total), currency, policy, &mut wrong);
    }
    wrong.finish()?;
    let mut quote = sum(lines, &priced, policy, currency);
    quote.promotion = terms;
    quote.restricted = restricted(&basket.items, products);
    check_goods(&quote.restricted, &basket.address.clone().unwrap_or_default())?;
    check_expected_prices(&basket.items, &quote)?;
    Ok(quote)
}

/// Slots are booked by service requests, and goods are bought by everything else.
fn check_kind(basket: &Basket, products: &BTreeMap<String, Arc<Product>>, wrong: &mut Violations) {
    if basket.kind.is_none() {
        wrong.add("kind", "KIND_UNKNOWN", "PURCHASE or SERVICE_REQUEST");
    }
    for (index, item) in basket.items.iter().enumerate().take(rules::MAX_LINES) {
        let slot = format!("items[{index}].slot_id");
        let resource = products.get(&item.sku).is_some_and(|product| product.kind() == ProductKind::Resource);
        if basket.is_service() {
            if item.slot_id.is_empty() {
                wrong.add(slot, "REQUIRED", "a service is booked for a slot");
            } else if !rules::is_sku(&item.slot_id) {
                wrong.add(slot, "SLOT_INVALID", "the id of a slot as ListSlots gives it");
            } else if products.contains_key(&item.sku) && !resource {
                wrong.add(format!("items[{index}].sku"), "NOT_A_SERVICE", format!("{} is sent, not booked", item.sku));
            }
        } else if !item.slot_id.is_empty() {
            wrong.add(slot, "NOT_A_SERVICE_REQUEST", "only a service request books slots");
        } else if resource {
            wrong.add(format!("items[{index}].sku"), "NOT_GOODS", format!("{} is booked, not sent", item.sku));
        }
    }
}

fn restricted(items: &[wire::OrderItem], products: &BTreeMap<String, Arc<Product>>) -> Vec<Restricted> {
    let line = |(index, item): (usize, &wire::OrderItem)| {
        let rules = products.get(&item.sku)?.restrictions.clone()?;
        Some(Restricted { index, sku: item.sku.clone(), units: item.quantity, rules })
    };
    items.iter().enumerate().filter_map(line).collect()
}

fn lines(
    basket: &Basket,
    policy: &TenantPolicy,
    products: &BTreeMap<String, Arc<Product>>,
    wrong: &mut Violations,
) -> (Vec<wire::OrderLine>, Vec<Item>) {
    let address = basket.address.clone().unwrap_or_default();
    let mut lines = Vec::with_capacity(basket.items.len());
    let mut items = Vec::with_capacity(basket.items.len());
    for (index, item) in basket.items.iter().enumerate().take(rules::MAX_LINES) {
        let Some(product) = products.get(&item.sku) else {
            if rules::is_sku(&item.sku) {
                wrong.add(format!("items[{index}].sku"), "UNKNOWN_SKU", format!("no product {:?}", item.sku));
            }
            continue;
        };
        let agreed = basket
            .agreed
            .get(&index)
            .map(|agreed| WireMoney { currency_code: basket.currency_code.clone(), amount_minor: *agreed });
        let unit = product.prices.iter().find(|price| price.currency_code == basket.currency_code);
        let Some(unit) = agreed.or_else(|| unit.cloned()) else {
            let text = format!("{} has no price in {}", item.sku, basket.currency_code);
            wrong.add(format!("items[{index}].sku"), "NO_PRICE_IN_CURRENCY", text);
            continue;
        };
        let rate_ppm = rules::rate_ppm(&policy.tax_rules, &address, &product.tax_class);
        items.push(Item { quantity: item.quantity, unit_price: unit.amount_minor, rate_ppm });
        lines.push(wire::OrderLine {
            line: i32::try_from(index).unwrap_or(i32::MAX) + 1,
            sku: item.sku.clone(),
            display_name: product.display_name.clone(),
            quantity: item.quantity,
            unit_price: Some(unit),
            tax_class: product.tax_class.clone(),
            weight_grams: product.weight_grams,
            slot_id: item.slot_id.clone(),
            ..wire::OrderLine::default()
        });
    }
    (lines, items)
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
fn check_expected_prices(items: &[wire::OrderItem], quote: &Quote) -> Result<(), Fault> {
    for (item, line) in items.iter().zip(&quote.lines) {
        let (Some(expected), Some(actual)) = (&item.expected_unit_price, &line.unit_price) else { continue };
        if expected != actual {
            return Err(price_changed(&format!("unit price of {}", item.sku), expected, actual, quote));
        }
    }
    Ok(())
}

/// The total that a caller expects, if he does, is the actual one (ORD-21).
///
/// # Errors
/// Aborted `PRICE_CHANGED` with the new quote.
pub fn check_expected_total(expected: Option<&WireMoney>, quote: &Quote) -> Result<(), Fault> {
    match (expected, &quote.totals.total) {
        (Some(expected), Some(actual)) if expected != actual => Err(price_changed("total", expected, actual, quote)),
        _ => Ok(()),
    }
}

fn price_changed(what: &str, expected: &WireMoney, actual: &WireMoney, quote: &Quote) -> Fault {
    let minor = |money: &Option<WireMoney>| money.as_ref().map_or(0, |money| money.amount_minor);
    let fault =
        Fault::aborted("PRICE_CHANGED", format!("the {what} is not what the caller expects; this is the new quote"))
            .with("expected_minor", expected.amount_minor)
            .with("actual_minor", actual.amount_minor)
            .with("currency_code", &actual.currency_code)
            .with("quote_items_net_minor", minor(&quote.totals.items_net))
            .with("quote_shipping_minor", minor(&quote.totals.shipping))
            .with("quote_tax_minor", minor(&quote.totals.tax))
            .with("quote_total_minor", minor(&quote.totals.total));
    quote.lines.iter().fold(fault, |fault, line| {
        let text = format!("{} x {} = {} each", line.quantity, line.sku, minor(&line.unit_price));
        fault.with(format!("quote_line_{}", line.line), text)
    })
}

fn sum(mut lines: Vec<wire::OrderLine>, priced: &Priced, policy: &TenantPolicy, currency: Currency) -> Quote {
    let money = |minor: i64| Some(WireMoney { currency_code: currency.code().to_owned(), amount_minor: minor });
    for (line, price) in lines.iter_mut().zip(&priced.lines) {
        line.discount = money(price.discount).filter(|discount| discount.amount_minor != 0);
        line.net = money(price.net);
        line.tax = money(price.tax);
    }
    let totals = wire::OrderTotals {
        items_net: money(priced.items_net),
        shipping: money(priced.shipping_net),
        tax: money(priced.tax),
        total: money(priced.total),
        discount: money(priced.discount).filter(|discount| discount.amount_minor != 0),
    };
    Quote {
        lines,
        totals,
        hold_s: policy.reservation_hold_s,
        split: policy.split_lines,
        capture_now: policy.capture_mode() == CaptureMode::Immediate,
        restricted: Vec::new(),
        promotion: None,
    }
}
