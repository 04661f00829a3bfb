//! The carrier's JSON.

use ids::TenantId;
use serde::{Deserialize, Serialize};

use super::{Bought, Fedex, Parcel};
use crate::model::{Address, Amount, Label, Scan};

#[derive(Serialize)]
pub(super) struct Purchase<'a> {
    reference: String,
    tenant: String,
    service: &'a str,
    from: Place<'a>,
    to: Place<'a>,
    weight_grams: i32,
}

impl<'a> Purchase<'a> {
    pub(super) fn new(tenant: TenantId, parcel: &Parcel<'a>) -> Self {
        Self {
            reference: parcel.reference.to_string(),
            tenant: tenant.to_string(),
            service: parcel.service,
            from: Place::new(parcel.from),
            to: Place::new(parcel.to),
            // Products without a stated weight exist; parcels without weight do not.
            weight_grams: parcel.weight_grams.max(1),
        }
    }
}

#[derive(Serialize)]
struct Place<'a> {
    name: &'a str,
    line1: &'a str,
    line2: &'a str,
    city: &'a str,
    region: &'a str,
    postal_code: &'a str,
    country: &'a str,
}

impl<'a> Place<'a> {
    fn new(address: &'a Address) -> Self {
        // Some countries have no postal codes; the carrier knows none without.
        let postal_code = if address.postal_code.is_empty() { "-" } else { &address.postal_code };
        Self {
            name: &address.recipient,
            line1: &address.line1,
            line2: &address.line2,
            city: &address.city,
            region: &address.region,
            postal_code,
            country: &address.country_code,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Shipments {
    pub(super) shipments: Vec<Shipment>,
}

#[derive(Deserialize)]
pub(super) struct Shipment {
    id: String,
    tracking_number: String,
    #[serde(default)]
    status: String,
    label: Printed,
    amount_minor: i64,
    currency: String,
}

#[derive(Deserialize)]
struct Printed {
    format: String,
    data: String,
}

impl Shipment {
    pub(super) fn bought(self) -> Bought {
        let label = Label {
            carrier: Fedex::NAME.to_owned(),
            carrier_id: self.id,
            tracking_number: self.tracking_number,
            format: self.label.format,
            cost: Amount { currency: self.currency, minor: self.amount_minor },
            void: self.status == "VOIDED",
        };
        Bought { label, data: self.label.data }
    }
}

#[derive(Deserialize)]
pub(super) struct Tracking {
    pub(super) events: Vec<Scan>,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) error: Reason,
}

#[derive(Deserialize)]
pub(super) struct Reason {
    pub(super) code: String,
}

/// A text as one segment of a path: only unreserved characters stay (RFC 3986 section 2.3), but for the dot, which may
/// mean the segment above.
pub(super) fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
