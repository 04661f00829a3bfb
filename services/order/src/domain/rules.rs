//! What a placement must satisfy before anything is stored (ORD-18 to ORD-27 as far as they need no other service).

use contract::common::v1::Address;
use contract::identity::v1::{TaxRule, TenantPolicy};
use contract::order::v1::OrderItem;
use fault::Violations;
use money::Currency;

use crate::domain::places::{self, Wrong};

/// Most lines of an order, whatever the tenant says.
pub const MAX_LINES: usize = 100;
/// Most lines where the tenant says nothing (ORD-24).
const LINES: usize = 50;
const SERVICES: [&str; 3] = ["STANDARD", "EXPRESS", "OVERNIGHT"];

/// Most lines of an order of a tenant (X5).
pub fn max_lines(policy: &TenantPolicy) -> usize {
    match usize::try_from(policy.max_lines) {
        Ok(most @ 1..) => most.min(MAX_LINES),
        _ => LINES,
    }
}

/// Checks the form of the items: at least one, known quantities, no SKU empty.
pub fn check_items(items: &[OrderItem], most: usize, violations: &mut Violations) {
    if items.is_empty() {
        violations.add("items", "ITEMS_EMPTY", "an order needs at least one item");
    }
    if items.len() > most {
        violations.add("items", "TOO_MANY_LINES", format!("an order has at most {most} lines"));
    }
    for (index, item) in items.iter().enumerate().take(most) {
        if !is_sku(&item.sku) {
            let text = "1 to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore";
            violations.add(format!("items[{index}].sku"), "SKU_INVALID", text);
        }
        if item.quantity < 1 {
            violations.add(format!("items[{index}].quantity"), "QUANTITY_INVALID", "at least 1");
        }
    }
}

/// Whether a catalog could have such a SKU; what it could not have need not be asked for.
pub fn is_sku(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Checks the number of units against the tenant's limit (ORD-24, X5: units count).
pub fn check_units(items: &[OrderItem], policy: &TenantPolicy, violations: &mut Violations) {
    let units: i64 = items.iter().map(|item| i64::from(item.quantity)).sum();
    if units > i64::from(policy.max_units) {
        violations.add("items", "TOO_MANY_UNITS", format!("{units} units; at most {}", policy.max_units));
    }
}

/// Checks an address field by field (ORD-19).
pub fn check_address(field: &str, address: Option<&Address>, violations: &mut Violations) {
    let Some(address) = address else {
        return violations.add(field, "REQUIRED", "an address is needed");
    };
    let texts = [
        ("recipient", &address.recipient, 1, 200),
        ("line1", &address.line1, 1, 200),
        ("line2", &address.line2, 0, 200),
        ("city", &address.city, 1, 100),
        ("region", &address.region, 0, 40),
        ("postal_code", &address.postal_code, 0, 20),
    ];
    for (name, text, min, max) in texts {
        let length = text.trim().chars().count();
        if length < min || length > max {
            let reason = if text.trim().is_empty() { "REQUIRED" } else { "TOO_LONG" };
            violations.add(format!("{field}.{name}"), reason, format!("{min} to {max} characters"));
        }
        if text.chars().any(char::is_control) {
            violations.add(format!("{field}.{name}"), "CONTROL_CHARACTER", "no control characters");
        }
    }
    if address.sealed.is_some() {
        violations.add(format!("{field}.sealed"), "SEALED_ADDRESS", "an address is sent as it is, not sealed");
    }
    let country = address.country_code.as_str();
    if country.len() != 2 || !country.bytes().all(|letter| letter.is_ascii_uppercase()) {
        violations.add(format!("{field}.country_code"), "COUNTRY_INVALID", "two upper-case letters (ISO 3166-1)");
    }
    if let Err(wrong) = places::check(country, &address.region, &address.postal_code) {
        not_a_place(field, &wrong, violations);
    }
}

fn not_a_place(field: &str, wrong: &Wrong, violations: &mut Violations) {
    let (name, reason, text, meant) = match wrong {
        Wrong::Region(meant) => {
            ("region", "REGION_INVALID", "not a region's code, such as CA", meant.map(str::to_owned))
        }
        Wrong::PostalCode(meant) => {
            ("postal_code", "POSTAL_CODE_INVALID", "not a postal code of that country", meant.clone())
        }
        Wrong::Mismatch(meant) => (
            "postal_code",
            "POSTAL_CODE_MISMATCH",
            "not of that region",
            meant.map(|region| format!("region {region}")),
        ),
    };
    let text = meant.map_or_else(|| text.to_owned(), |meant| format!("{text}; suggestion: {meant}"));
    violations.add(format!("{field}.{name}"), reason, text);
}

/// Checks remark and way of shipping.
pub fn check_extras(note: &str, service: &str, violations: &mut Violations) {
    if note.chars().count() > 1000 {
        violations.add("note", "TOO_LONG", "at most 1000 characters");
    }
    // PostgreSQL cannot store NUL, and nobody means to write it.
    if note.contains('\0') {
        violations.add("note", "CONTROL_CHARACTER", "no NUL characters");
    }
    if !SERVICES.contains(&service) {
        violations.add("shipping_service", "SHIPPING_SERVICE_UNKNOWN", "STANDARD, EXPRESS or OVERNIGHT");
    }
}

/// Checks a provider's token: present, printable, and not a card number (PAY-05).
pub fn check_payment_method(token: &str, violations: &mut Violations) {
    if token.is_empty() {
        return violations.add("payment_method", "PAYMENT_METHOD_REQUIRED", "a payment method is needed");
    }
    if token.len() > 200 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        violations.add("payment_method", "PAYMENT_METHOD_INVALID", "at most 200 visible ASCII characters");
    }
    let digits: Vec<u32> = token.chars().filter_map(|letter| letter.to_digit(10)).collect();
    let only_card = token.chars().all(|letter| letter.is_ascii_digit() || letter == '-');
    if only_card && (13..=19).contains(&digits.len()) && luhn(&digits) {
        violations.add("payment_method", "CARD_NUMBER_REFUSED", "a provider's token, never a card number");
    }
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match digit * (1 + u32::try_from(index % 2).unwrap_or(0)) {
            doubled @ 10.. => doubled - 9,
            single => single,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Checks merchandise value and total of a currency against the tenant's limits, which are hundredths of its unit
/// whatever its exponent (ORD-23, X4).
pub fn check_value(
    (merchandise, total): (i64, i64),
    currency: Currency,
    policy: &TenantPolicy,
    violations: &mut Violations,
) {
    let unit = 10_i128.pow(currency.exponent().into());
    let (value, total_cents) = (i128::from(merchandise) * 100, i128::from(total) * 100);
    let limit = |hundredths: i64| i128::from(hundredths) * unit;
    let range = limit(policy.min_order_value_minor)..=limit(policy.max_order_value_minor);
    if !range.contains(&value) || total_cents <= limit(policy.min_total_exclusive_minor) {
        violations.add(
            "items",
            "ORDER_VALUE_OUT_OF_RANGE",
            format!(
                "value {merchandise} and total {total} in minor units of {currency}; in hundredths of a {currency} the \
                 value must be {} to {}, the total above {}",
                policy.min_order_value_minor, policy.max_order_value_minor, policy.min_total_exclusive_minor
            ),
        );
    }
}

/// The rate of a class of goods at an address: region over country, class over none.
pub fn rate_ppm(rules: &[TaxRule], address: &Address, class: &str) -> i32 {
    rules
        .iter()
        .filter(|rule| {
            rule.country_code == address.country_code
                && (rule.region.is_empty() || rule.region == address.region)
                && (rule.tax_class.is_empty() || rule.tax_class == class)
        })
        .max_by_key(|rule| (!rule.region.is_empty(), !rule.tax_class.is_empty()))
        .map_or(0, |rule| rule.rate_ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(check: impl FnOnce(&mut Violations)) -> Vec<String> {
        let mut violations = Violations::default();
        check(&mut violations);
        match violations.finish() {
            Ok(()) => Vec::new(),
            Err(fault) => fault.violations().iter().map(|v| format!("{} {}", v.field, v.reason)).collect(),
        }
    }

    fn item(quantity: i32) -> OrderItem {
        OrderItem { sku: "A".into(), quantity, expected_unit_price: None, slot_id: String::new() }
    }

    #[test]
    fn ord_18_an_order_without_items_is_refused() {
        assert_eq!(reasons(|v| check_items(&[], 50, v)), ["items ITEMS_EMPTY"]);
        assert_eq!(reasons(|v| check_items(&[item(0), item(-1)], 50, v)).len(), 2);
    }

    #[test]
    fn ord_24_a_tenant_says_how_many_lines_an_order_may_have_and_has_fifty_otherwise() {
        let most = |max_lines| super::max_lines(&TenantPolicy { max_lines, ..TenantPolicy::default() });
        assert_eq!([most(0), most(3), most(100), most(i32::MAX), most(-1)], [50, 3, 100, 100, 50]);
        let items = [item(1), item(1), item(1)];
        assert!(reasons(|v| check_items(&items, most(3), v)).is_empty());
        assert_eq!(reasons(|v| check_items(&items, most(2), v)), ["items TOO_MANY_LINES"]);
    }

    #[test]
    fn ord_24_the_fifty_first_unit_is_refused() {
        let policy = TenantPolicy { max_units: 50, ..TenantPolicy::default() };
        assert!(reasons(|v| check_units(&[item(25), item(25)], &policy, v)).is_empty());
        assert_eq!(reasons(|v| check_units(&[item(25), item(26)], &policy, v)), ["items TOO_MANY_UNITS"]);
        // Units near i32::MAX must not wrap around into the allowed range.
        assert_eq!(reasons(|v| check_units(&[item(i32::MAX), item(i32::MAX)], &policy, v)).len(), 1);
    }

    #[test]
    fn ord_23_value_limits_are_inclusive_and_the_total_limit_is_not() {
        let policy = TenantPolicy {
            min_order_value_minor: 500,
            max_order_value_minor: 1_000_000,
            min_total_exclusive_minor: 500,
            ..TenantPolicy::default()
        };
        let of = |currency: &str, value, total| {
            let currency = currency.parse().expect("an ISO code");
            reasons(|v| check_value((value, total), currency, &policy, v)).is_empty()
        };
        let ok = |value, total| of("USD", value, total);
        assert!(ok(500, 501) && ok(1_000_000, 1_100_000));
        assert!(!ok(499, 999) && !ok(500, 500) && !ok(1_000_001, 1_000_001));
        // 5.00 to 10,000.00 of whatever currency: a yen has no minor unit, a dinar has a thousand.
        assert!(of("JPY", 5, 6) && of("JPY", 10_000, 11_000));
        assert!(!of("JPY", 4, 400) && !of("JPY", 5, 5) && !of("JPY", 10_001, 10_001));
        assert!(of("KWD", 5_000, 5_001) && of("KWD", 10_000_000, 10_000_000));
        assert!(!of("KWD", 4_999, 9_000) && !of("KWD", 5_000, 5_000) && !of("KWD", 10_000_001, 10_000_001));
    }

    #[test]
    fn pay_05_a_card_number_is_never_a_payment_method() {
        let refused = |token| !reasons(|v| check_payment_method(token, v)).is_empty();
        assert!(refused("4242424242424242") && refused("4242-4242-4242-4242") && refused(""));
        assert!(!refused("pm_sim_visa") && !refused("4242424242424241"));
    }

    #[test]
    fn ord_19_an_address_names_every_wrong_field() {
        let address = Address { country_code: "US".into(), postal_code: "9".into(), ..Address::default() };
        let sealed = Address { sealed: Some(vec![1].into()), ..address.clone() };
        assert!(reasons(|v| check_address("a", Some(&sealed), v)).contains(&"a.sealed SEALED_ADDRESS".to_owned()));
        let found = reasons(|v| check_address("a", Some(&address), v));
        assert_eq!(found, ["a.recipient REQUIRED", "a.line1 REQUIRED", "a.city REQUIRED", "a.region REGION_INVALID"]);
        assert_eq!(reasons(|v| check_address("a", None, v)), ["a REQUIRED"]);
    }

    #[test]
    fn the_most_specific_tax_rule_wins() {
        let rule = |region: &str, class: &str, rate_ppm| TaxRule {
            country_code: "US".into(),
            region: region.into(),
            tax_class: class.into(),
            rate_ppm,
        };
        let rules = [rule("", "", 1), rule("", "books", 2), rule("CA", "", 3), rule("CA", "books", 4)];
        let rate = |region: &str, class| {
            let address = Address { country_code: "US".into(), region: region.into(), ..Address::default() };
            rate_ppm(&rules, &address, class)
        };
        assert_eq!([rate("NY", "toys"), rate("NY", "books"), rate("CA", "toys"), rate("CA", "books")], [1, 2, 3, 4]);
    }
}
