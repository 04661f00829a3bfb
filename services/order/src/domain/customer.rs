//! Who may buy, and what (ORD-22, ORD-25, ORD-27).

use std::collections::BTreeMap;

use contract::common::v1::Address;
use contract::identity::v1::{TenantPolicy, User};
use contract::inventory::v1::ProductRestrictions;
use fault::{Fault, Kind};
use jiff::civil::Date;

/// A line of a product that not everybody may buy everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Restricted {
    /// Position in the request, from 0.
    pub index: usize,
    /// The product.
    pub sku: String,
    /// Units of the line.
    pub units: i32,
    /// What holds for the product.
    pub rules: ProductRestrictions,
}

/// Whether a customer may buy at all.
///
/// # Errors
/// Denied `CUSTOMER_NOT_ELIGIBLE`, `EMAIL_NOT_VERIFIED`.
pub fn check_standing(customer: &User, policy: &TenantPolicy) -> Result<(), Fault> {
    if customer.blocked {
        return Err(Fault::denied("CUSTOMER_NOT_ELIGIBLE", "this customer may not buy here"));
    }
    if policy.require_verified_email && !customer.email_verified {
        return Err(Fault::denied("EMAIL_NOT_VERIFIED", "the customer's e-mail address is not verified"));
    }
    Ok(())
}

/// Whether the goods may go there in these numbers.
///
/// # Errors
/// Precondition `PRODUCT_RESTRICTED`, naming rule and line.
pub fn check_goods(lines: &[Restricted], address: &Address) -> Result<(), Fault> {
    let mut refused = Refused::default();
    let mut units: BTreeMap<&str, i64> = BTreeMap::new();
    for line in lines {
        let place = format!("{}-{}", address.country_code, address.region);
        if line.rules.excluded_places.iter().any(|excluded| *excluded == address.country_code || *excluded == place) {
            refused.add(line, "REGION_RESTRICTED", format!("{} is not sold to {place}", line.sku));
        }
        let sum = units.entry(&line.sku).or_default();
        *sum += i64::from(line.units);
        if line.rules.max_per_customer > 0 && *sum > i64::from(line.rules.max_per_customer) {
            refused.add(line, "MAX_PER_CUSTOMER", too_many(&line.sku, line.rules.max_per_customer));
        }
    }
    refused.finish()
}

/// Whether the customer is old enough on a day; who does not say when he was born is not.
///
/// # Errors
/// Precondition `PRODUCT_RESTRICTED`, naming rule and line.
pub fn check_age(lines: &[Restricted], birth_date: &str, today: Date) -> Result<(), Fault> {
    let mut refused = Refused::default();
    let age = birth_date.parse().ok().map(|born| age(born, today));
    for line in lines.iter().filter(|line| line.rules.min_age > 0) {
        if age.is_none_or(|age| age < line.rules.min_age) {
            let text = format!("{} is sold from {} years on", line.sku, line.rules.min_age);
            refused.add(line, "AGE_RESTRICTED", text);
        }
    }
    refused.finish()
}

/// What a customer hears who bought as many before as he may have.
pub fn had_enough(sku: &str) -> Fault {
    Fault::precondition("PRODUCT_RESTRICTED", format!("{sku}: the customer has bought as many as one may have"))
        .field("items", "MAX_PER_CUSTOMER", format!("{sku}: no more for this customer"))
        .with("sku", sku)
        .with("rule", "MAX_PER_CUSTOMER")
}

/// Most units by SKU that one customer may ever have, and those of this order.
pub fn limits(lines: &[Restricted]) -> BTreeMap<String, (i64, i32)> {
    let mut limits = BTreeMap::new();
    for line in lines.iter().filter(|line| line.rules.max_per_customer > 0) {
        limits.entry(line.sku.clone()).or_insert((0, line.rules.max_per_customer)).0 += i64::from(line.units);
    }
    limits
}

fn age(born: Date, today: Date) -> i32 {
    let years = i32::from(today.year()) - i32::from(born.year());
    let birthday_is_to_come = (today.month(), today.day()) < (born.month(), born.day());
    years - i32::from(birthday_is_to_come)
}

fn too_many(sku: &str, most: i32) -> String {
    format!("at most {most} of {sku} for one customer")
}

#[derive(Default)]
struct Refused(Option<Fault>);

impl Refused {
    fn add(&mut self, line: &Restricted, rule: &'static str, text: String) {
        let fault = self.0.take().unwrap_or_else(|| {
            Fault::new(Kind::Precondition, "PRODUCT_RESTRICTED", text.clone()).with("sku", &line.sku).with("rule", rule)
        });
        self.0 = Some(fault.field(format!("items[{}].sku", line.index), rule, text));
    }

    fn finish(self) -> Result<(), Fault> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: usize, sku: &str, units: i32, rules: ProductRestrictions) -> Restricted {
        Restricted { index, sku: sku.to_owned(), units, rules }
    }

    fn to(country: &str, region: &str) -> Address {
        Address { country_code: country.to_owned(), region: region.to_owned(), ..Address::default() }
    }

    fn found(outcome: Result<(), Fault>) -> Vec<String> {
        let Err(fault) = outcome else { return Vec::new() };
        assert_eq!((fault.kind(), fault.reason()), (Kind::Precondition, "PRODUCT_RESTRICTED"));
        fault.violations().iter().map(|wrong| format!("{} {}", wrong.field, wrong.reason)).collect()
    }

    #[test]
    fn ord_27_a_product_goes_where_it_may_in_the_numbers_it_may() {
        let places = |places: &[&str]| ProductRestrictions {
            excluded_places: places.iter().map(|place| (*place).to_owned()).collect(),
            max_per_customer: 2,
            ..Default::default()
        };
        let lines =
            [line(0, "A", 2, places(&["US-CA"])), line(1, "B", 1, places(&["US"])), line(2, "A", 1, places(&[]))];
        assert_eq!(
            found(check_goods(&lines, &to("US", "CA"))),
            ["items[0].sku REGION_RESTRICTED", "items[1].sku REGION_RESTRICTED", "items[2].sku MAX_PER_CUSTOMER"]
        );
        assert_eq!(found(check_goods(&lines[..2], &to("US", "NY"))), ["items[1].sku REGION_RESTRICTED"]);
        assert!(found(check_goods(&lines[..2], &to("DE", "CA"))).is_empty());
    }

    #[test]
    fn ord_27_age_is_counted_to_the_day_and_an_unknown_one_is_too_young() {
        let lines = [line(0, "WINE", 1, ProductRestrictions { min_age: 21, ..Default::default() })];
        let on = |born, day: &str| found(check_age(&lines, born, day.parse().expect("a day")));
        assert_eq!(on("2000-03-01", "2021-02-28"), ["items[0].sku AGE_RESTRICTED"]);
        assert!(on("2000-03-01", "2021-03-01").is_empty());
        assert_eq!(on("2000-02-29", "2021-02-28"), ["items[0].sku AGE_RESTRICTED"]);
        assert!(on("2000-02-29", "2021-03-01").is_empty());
        for unknown in ["", "yesterday", "2000-13-01"] {
            assert_eq!(on(unknown, "2099-01-01"), ["items[0].sku AGE_RESTRICTED"]);
        }
        assert!(check_age(&[line(0, "A", 1, ProductRestrictions::default())], "", Date::default()).is_ok());
    }

    #[test]
    fn ord_22_a_blocked_customer_and_ord_25_an_unverified_one_may_not_buy() {
        let strict = TenantPolicy { require_verified_email: true, ..TenantPolicy::default() };
        let lax = TenantPolicy::default();
        let user = |blocked, email_verified| User { blocked, email_verified, ..User::default() };
        let reason = |user: &User, policy| {
            let fault = check_standing(user, policy).err()?;
            assert_eq!(fault.kind(), Kind::Denied);
            Some(fault.reason().to_owned())
        };
        assert_eq!(reason(&user(true, true), &lax).as_deref(), Some("CUSTOMER_NOT_ELIGIBLE"));
        assert_eq!(reason(&user(false, false), &strict).as_deref(), Some("EMAIL_NOT_VERIFIED"));
        assert_eq!(reason(&user(false, true), &strict), None);
        assert_eq!(reason(&user(false, false), &lax), None);
    }
}
