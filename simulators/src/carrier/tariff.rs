//! What a parcel costs and how long it takes.

use serde::Deserialize;
use serde_json::{Value, json};

/// A level of service: price in US cents and transit in days.
pub(super) struct Service {
    pub(super) name: &'static str,
    base_minor: u64,
    per_kilogram_minor: u64,
    transit_days: u64,
}

const SERVICES: [Service; 3] = [
    Service { name: "STANDARD", base_minor: 599, per_kilogram_minor: 150, transit_days: 5 },
    Service { name: "EXPRESS", base_minor: 1_299, per_kilogram_minor: 250, transit_days: 2 },
    Service { name: "OVERNIGHT", base_minor: 2_499, per_kilogram_minor: 400, transit_days: 1 },
];

/// Where a parcel comes from or goes to.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) line1: String,
    pub(super) city: String,
    pub(super) postal_code: String,
    pub(super) country: String,
}

impl Service {
    pub(super) fn named(name: &str) -> Option<&'static Service> {
        SERVICES.iter().find(|service| service.name == name)
    }

    /// Price in US cents; started kilograms count whole, abroad costs three times as much.
    pub(super) fn amount_minor(&self, from: &Place, to: &Place, weight_grams: u64) -> u64 {
        let kilograms = weight_grams.div_ceil(1_000).max(1);
        let domestic = self.base_minor + self.per_kilogram_minor * kilograms;
        if from.country == to.country { domestic } else { domestic * 3 }
    }

    fn transit_days(&self, from: &Place, to: &Place) -> u64 {
        let customs_days = if from.country == to.country { 0 } else { 3 };
        self.transit_days + customs_days
    }
}

/// The offers for a parcel, cheapest first.
pub(super) fn rates(from: &Place, to: &Place, weight_grams: u64) -> Value {
    let rate = |service: &Service| {
        json!({
            "service": service.name,
            "amount_minor": service.amount_minor(from, to, weight_grams),
            "currency": "USD",
            "transit_days": service.transit_days(from, to),
        })
    };
    json!({"rates": SERVICES.iter().map(rate).collect::<Vec<_>>()})
}
