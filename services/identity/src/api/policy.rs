//! Checks of a policy as a tenant wants it.

use std::collections::BTreeSet;

use contract::identity::v1::{
    CaptureMode, HoldExpiry, InventoryOutage, Promotion, RiskFailMode, RiskPolicy, RiskScorer, ShippingRate,
    TaxRounding, TaxRule, TenantPolicy,
};
use fault::{Fault, Violations};
use money::Currency;

use super::check;
use crate::logic::policy::UpdatePolicy;

/// Largest amount that still leaves room for sums of 64 bits.
const MAX_MINOR: i64 = 1_000_000_000_000;
const MAX_RULES: usize = 500;
const MAX_PROMOTIONS: usize = 200;
const SERVICES: [&str; 3] = ["STANDARD", "EXPRESS", "OVERNIGHT"];

/// The change of a request to replace the policy.
///
/// # Errors
/// Every wrong field.
pub fn update_policy(request: contract::identity::v1::UpdatePolicyRequest) -> Result<UpdatePolicy, Fault> {
    let mut wrong = Violations::default();
    let based_on = check::etag(&mut wrong, "etag", &request.etag);
    let policy = request.policy;
    match &policy {
        None => wrong.add("policy", "REQUIRED", "must be given"),
        Some(policy) => check_policy(&mut wrong, policy),
    }
    check::done(wrong, || {
        let mut policy = policy?;
        if policy.tax_rounding() == TaxRounding::Unspecified {
            policy.set_tax_rounding(TaxRounding::Line);
        }
        Some(UpdatePolicy { policy, based_on })
    })
}

fn check_policy(wrong: &mut Violations, policy: &TenantPolicy) {
    let (min, max) = (policy.min_order_value_minor, policy.max_order_value_minor);
    check::range(wrong, "policy.min_order_value_minor", min, 0, MAX_MINOR);
    check::range(wrong, "policy.max_order_value_minor", max, 1, MAX_MINOR);
    if max < min {
        wrong.add("policy.max_order_value_minor", "BELOW_MINIMUM", "must not be below min_order_value_minor");
    }
    check::range(wrong, "policy.min_total_exclusive_minor", policy.min_total_exclusive_minor, 0, MAX_MINOR);
    check::range(wrong, "policy.max_units", policy.max_units.into(), 1, 1_000_000);
    check::range(wrong, "policy.max_lines", policy.max_lines.into(), 0, 100);
    check::range(wrong, "policy.reservation_hold_s", policy.reservation_hold_s.into(), 1, 604_800);
    check::range(wrong, "policy.duplicate_window_s", policy.duplicate_window_s.into(), 0, 86_400);
    if TaxRounding::try_from(policy.tax_rounding).is_err() {
        wrong.add("policy.tax_rounding", "UNKNOWN_VALUE", "LINE or ORDER");
    }
    if HoldExpiry::try_from(policy.hold_expiry).is_err() {
        wrong.add("policy.hold_expiry", "UNKNOWN_VALUE", "REAUTHORIZE or ATTENTION");
    }
    if InventoryOutage::try_from(policy.inventory_outage).is_err() {
        wrong.add("policy.inventory_outage", "UNKNOWN_VALUE", "ACCEPT or REFUSE");
    }
    if CaptureMode::try_from(policy.capture_mode).is_err() {
        wrong.add("policy.capture_mode", "UNKNOWN_VALUE", "ON_SHIPMENT or IMMEDIATE");
    }
    if policy.dunning_days.len() > 10 {
        wrong.add("policy.dunning_days", "TOO_MANY", "at most 10 tries");
    }
    for (at, days) in policy.dunning_days.iter().enumerate().take(10) {
        check::range(wrong, &format!("policy.dunning_days[{at}]"), i64::from(*days), 1, 30);
    }
    if let Some(risk) = &policy.risk {
        check_risk(wrong, risk);
    }
    let currencies = currencies(wrong, &policy.currencies);
    promotions(wrong, &policy.promotions, &currencies);
    tax_rules(wrong, &policy.tax_rules);
    shipping_rates(wrong, &policy.shipping_rates, &currencies);
}

fn check_risk(wrong: &mut Violations, risk: &RiskPolicy) {
    check::range(wrong, "policy.risk.velocity_limit", risk.velocity_limit.into(), 0, 1_000);
    check::range(wrong, "policy.risk.velocity_window_s", risk.velocity_window_s.into(), 0, 86_400);
    let scores = [
        ("policy.risk.challenge_score", risk.challenge_score),
        ("policy.risk.review_score", risk.review_score),
        ("policy.risk.decline_score", risk.decline_score),
    ];
    for (field, score) in scores {
        check::range(wrong, field, score.into(), 0, 1_001);
    }
    if RiskFailMode::try_from(risk.fail_mode).is_err() {
        wrong.add("policy.risk.fail_mode", "UNKNOWN_VALUE", "OPEN, CLOSED or REVIEW");
    }
    if RiskScorer::try_from(risk.scorer).is_err() {
        wrong.add("policy.risk.scorer", "UNKNOWN_VALUE", "RULES or MODEL");
    }
}

fn currencies(wrong: &mut Violations, codes: &[String]) -> BTreeSet<&'static str> {
    if codes.is_empty() {
        wrong.add("policy.currencies", "REQUIRED", "at least one currency");
    }
    let mut known = BTreeSet::new();
    for (at, code) in codes.iter().enumerate().take(MAX_RULES) {
        match code.parse::<Currency>() {
            Err(error) => wrong.add(format!("policy.currencies[{at}]"), "UNKNOWN_CURRENCY", error.to_string()),
            Ok(currency) if !known.insert(currency.code()) => {
                wrong.add(format!("policy.currencies[{at}]"), "DUPLICATE", "is listed before");
            }
            Ok(_) => {}
        }
    }
    known
}

fn tax_rules(wrong: &mut Violations, rules: &[TaxRule]) {
    if rules.len() > MAX_RULES {
        wrong.add("policy.tax_rules", "TOO_MANY", format!("at most {MAX_RULES}"));
    }
    let mut seen = BTreeSet::new();
    for (at, rule) in rules.iter().enumerate().take(MAX_RULES) {
        let field = |name: &str| format!("policy.tax_rules[{at}].{name}");
        let upper = |byte: u8| byte.is_ascii_uppercase();
        let place = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
        let class = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        check::code(wrong, &field("country_code"), &rule.country_code, (2, 2), upper);
        check::code(wrong, &field("region"), &rule.region, (0, 10), place);
        check::code(wrong, &field("tax_class"), &rule.tax_class, (0, 40), class);
        check::range(wrong, &field("rate_ppm"), rule.rate_ppm.into(), 0, 1_000_000);
        if !seen.insert((&rule.country_code, &rule.region, &rule.tax_class)) {
            wrong.add(format!("policy.tax_rules[{at}]"), "DUPLICATE", "the same place and class has a rule before");
        }
    }
}

fn shipping_rates(wrong: &mut Violations, rates: &[ShippingRate], currencies: &BTreeSet<&'static str>) {
    if rates.len() > MAX_RULES {
        wrong.add("policy.shipping_rates", "TOO_MANY", format!("at most {MAX_RULES}"));
    }
    let mut seen = BTreeSet::new();
    for (at, rate) in rates.iter().enumerate().take(MAX_RULES) {
        let field = |name: &str| format!("policy.shipping_rates[{at}].{name}");
        if !SERVICES.contains(&rate.service.as_str()) {
            wrong.add(field("service"), "UNKNOWN_VALUE", "STANDARD, EXPRESS or OVERNIGHT");
        }
        let Some(price) = &rate.price else {
            wrong.add(field("price"), "REQUIRED", "must be given");
            continue;
        };
        check::range(wrong, &field("price.amount_minor"), price.amount_minor, 0, MAX_MINOR);
        if !currencies.contains(price.currency_code.as_str()) {
            wrong.add(field("price.currency_code"), "UNKNOWN_CURRENCY", "must be one of the policy's currencies");
        }
        if !seen.insert((&rate.service, &price.currency_code)) {
            wrong.add(
                format!("policy.shipping_rates[{at}]"),
                "DUPLICATE",
                "the same way and currency has a price before",
            );
        }
    }
}

fn promotions(wrong: &mut Violations, promotions: &[Promotion], currencies: &BTreeSet<&'static str>) {
    if promotions.len() > MAX_PROMOTIONS {
        wrong.add("policy.promotions", "TOO_MANY", format!("at most {MAX_PROMOTIONS}"));
    }
    let mut seen = BTreeSet::new();
    for (at, promotion) in promotions.iter().enumerate().take(MAX_PROMOTIONS) {
        let field = |name: &str| format!("policy.promotions[{at}].{name}");
        let code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        check::code(wrong, &field("code"), &promotion.code, (1, 40), code);
        if !seen.insert(&promotion.code) {
            wrong.add(field("code"), "DUPLICATE", "is listed before");
        }
        match &promotion.amount {
            None => check::range(wrong, &field("rate_ppm"), promotion.rate_ppm.into(), 1, 1_000_000),
            Some(_) if promotion.rate_ppm != 0 => {
                wrong.add(field("rate_ppm"), "BOTH_GIVEN", "a share or an amount, not both");
            }
            Some(amount) => {
                check::range(wrong, &field("amount.amount_minor"), amount.amount_minor, 1, MAX_MINOR);
                if !currencies.contains(amount.currency_code.as_str()) {
                    let text = "must be one of the policy's currencies";
                    wrong.add(field("amount.currency_code"), "UNKNOWN_CURRENCY", text);
                }
            }
        }
        let start = check::time(wrong, &field("start_time"), promotion.start_time);
        let end = check::time(wrong, &field("end_time"), promotion.end_time);
        if start.zip(end).is_some_and(|(start, end)| end <= start) {
            wrong.add(field("end_time"), "BEFORE_START", "must be later than start_time");
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::common::v1::Money;
    use contract::identity::v1::UpdatePolicyRequest;
    use prost_types::Timestamp;

    use super::*;
    use crate::logic::policy::defaults;

    fn fields(policy: TenantPolicy) -> Vec<String> {
        let request = UpdatePolicyRequest { policy: Some(policy), etag: "x".to_owned() };
        let fault = update_policy(request).expect_err("refused");
        fault.violations().iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn ord_23_the_defaults_are_the_seeds_figures_and_pass_their_own_checks() {
        let policy = defaults();
        assert_eq!((policy.min_order_value_minor, policy.max_order_value_minor), (500, 1_000_000));
        assert_eq!((policy.min_total_exclusive_minor, policy.max_units), (500, 50));
        assert_eq!(policy.shipping_rates.len(), 9);
        let request = UpdatePolicyRequest { policy: Some(policy.clone()), etag: "\"3\"".to_owned() };
        let update = update_policy(request).expect("passes");
        assert_eq!((update.policy, update.based_on), (policy, Some(3)));
    }

    #[test]
    fn a_promotion_is_a_share_or_an_amount_with_a_code_of_its_own() {
        let amount = |minor, code: &str| Some(Money { currency_code: code.to_owned(), amount_minor: minor });
        let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let share = |code: &str, rate_ppm| Promotion { code: code.to_owned(), rate_ppm, ..Promotion::default() };
        let good = vec![
            share("TENTH", 100_000),
            Promotion { amount: amount(500, "EUR"), start_time: at(1, 0), end_time: at(2, 0), ..share("FIVER", 0) },
        ];
        let request = UpdatePolicyRequest {
            policy: Some(TenantPolicy { promotions: good, ..defaults() }),
            etag: "\"3\"".to_owned(),
        };
        update_policy(request).expect("passes");
        let promotions = vec![
            share("tenth", 1),
            share("A", 0),
            share("A", 1_000_001),
            Promotion { amount: amount(0, "BTC"), ..share("B", 0) },
            Promotion { amount: amount(1, "USD"), ..share("C", 1) },
            Promotion { start_time: at(5, 0), end_time: at(5, 0), ..share("D", 1) },
            Promotion { end_time: at(i64::MAX, -1), ..share("E", 1) },
        ];
        let wrong = fields(TenantPolicy { promotions, ..defaults() });
        let expected = [
            "etag",
            "policy.promotions[0].code",
            "policy.promotions[1].rate_ppm",
            "policy.promotions[2].code",
            "policy.promotions[2].rate_ppm",
            "policy.promotions[3].amount.amount_minor",
            "policy.promotions[3].amount.currency_code",
            "policy.promotions[4].rate_ppm",
            "policy.promotions[5].end_time",
            "policy.promotions[6].end_time",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn every_wrong_field_of_a_policy_is_named_at_once() {
        let mut policy = defaults();
        policy.min_order_value_minor = -1;
        policy.max_order_value_minor = i64::MAX;
        policy.max_units = 0;
        policy.max_lines = 101;
        policy.tax_rounding = 9;
        policy.inventory_outage = 9;
        policy.capture_mode = 9;
        policy.tax_rules[1].rate_ppm = -1;
        policy.tax_rules[3] = policy.tax_rules[2].clone();
        policy.shipping_rates[0].price = None;
        policy.shipping_rates[1].service = "PIGEON".to_owned();
        policy.currencies = vec!["USD".to_owned(), "EUR".to_owned(), "BTC".to_owned()];
        let mut wrong = fields(policy);
        wrong.sort();
        wrong.dedup();
        let expected = [
            "etag",
            "policy.capture_mode",
            "policy.currencies[2]",
            "policy.inventory_outage",
            "policy.max_lines",
            "policy.max_order_value_minor",
            "policy.max_units",
            "policy.min_order_value_minor",
            "policy.shipping_rates[0].price",
            "policy.shipping_rates[1].service",
            "policy.shipping_rates[6].price.currency_code",
            "policy.shipping_rates[7].price.currency_code",
            "policy.shipping_rates[8].price.currency_code",
            "policy.tax_rounding",
            "policy.tax_rules[1].rate_ppm",
            "policy.tax_rules[3]",
        ];
        assert_eq!(wrong, expected);
    }
}
