//! Labels bought, parcels handed over, and the scans on their way.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tariff::{Place, Service};
use crate::control::Control;

/// Scans after the handover, each with its simulated time since the one before.
pub(super) const SCANS: [(&str, Duration); 4] = [
    ("PICKED_UP", Duration::from_secs(1)),
    ("IN_TRANSIT", Duration::from_secs(2)),
    ("OUT_FOR_DELIVERY", Duration::from_secs(2)),
    ("DELIVERED", Duration::from_secs(2)),
];

/// Why the carrier refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a bearer key is required")]
    Unauthorized,
    #[error("no such shipment")]
    NotFound,
    #[error("the parcel is already with the carrier")]
    HandedOver,
    #[error("the label is void")]
    Voided,
    #[error("unknown service")]
    UnknownService,
    #[error("a required field is missing or not valid")]
    Invalid,
}

/// A request for a label.
#[derive(Deserialize)]
pub(super) struct NewShipment {
    pub(super) reference: String,
    pub(super) tenant: String,
    service: String,
    from: Place,
    to: Place,
    weight_grams: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Labelled,
    Voided,
    HandedOver,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Labelled => "LABELLED",
            Status::Voided => "VOIDED",
            Status::HandedOver => "HANDED_OVER",
        }
    }
}

struct Scan {
    code: &'static str,
    at: String,
    location: String,
}

struct Shipment {
    id: String,
    tracking_number: String,
    reference: String,
    tenant: String,
    service: &'static str,
    origin: String,
    destination: String,
    label: String,
    amount_minor: u64,
    status: Status,
    scans: Vec<Scan>,
}

/// All shipments, found by id, reference and tracking number.
#[derive(Default)]
pub(super) struct Shipments {
    by_id: HashMap<String, Shipment>,
    by_reference: HashMap<(String, String), String>,
    by_tracking: HashMap<String, String>,
}

impl Shipments {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Buys a label; the same tenant and reference get the one bought before.
    pub(super) fn create(&mut self, desk: &Control, new: &NewShipment) -> Result<Value, Refused> {
        let key = (new.tenant.clone(), new.reference.clone());
        if let Some(bought) = self.by_reference.get(&key) {
            return self.show(bought);
        }
        let service = Service::named(&new.service).ok_or(Refused::UnknownService)?;
        let to = &new.to;
        let required =
            [&new.tenant, &new.reference, &to.name, &to.line1, &to.postal_code, &to.country, &new.from.country];
        if new.weight_grams == 0 || required.iter().any(|field| field.is_empty()) {
            return Err(Refused::Invalid);
        }
        let tracking_number = self.new_tracking_number();
        let shipment = Shipment {
            id: format!("shpmt_{}", Uuid::now_v7().simple()),
            label: zpl(&tracking_number, service.name, to),
            tracking_number,
            reference: new.reference.clone(),
            tenant: new.tenant.clone(),
            service: service.name,
            origin: place_name(&new.from),
            destination: place_name(to),
            amount_minor: service.amount_minor(&new.from, to, new.weight_grams),
            status: Status::Labelled,
            scans: Vec::new(),
        };
        shipment.record(desk, "label");
        let shown = shipment.json();
        self.by_reference.insert(key, shipment.id.clone());
        self.by_tracking.insert(shipment.tracking_number.clone(), shipment.id.clone());
        self.by_id.insert(shipment.id.clone(), shipment);
        Ok(shown)
    }

    pub(super) fn find(&self, tenant: &str, reference: &str) -> Value {
        let key = (tenant.to_owned(), reference.to_owned());
        let found = self.by_reference.get(&key).and_then(|id| self.by_id.get(id));
        json!({"shipments": found.map(Shipment::json).as_slice()})
    }

    /// Gives the label back, unless the parcel is already on its way.
    pub(super) fn void(&mut self, desk: &Control, id: &str) -> Result<Value, Refused> {
        let shipment = self.by_id.get_mut(id).ok_or(Refused::NotFound)?;
        match shipment.status {
            Status::HandedOver => return Err(Refused::HandedOver),
            Status::Voided => {}
            Status::Labelled => {
                shipment.status = Status::Voided;
                shipment.record(desk, "void");
            }
        }
        Ok(shipment.json())
    }

    /// Takes the parcel; true when this is the first time, so scans must start.
    pub(super) fn hand_over(&mut self, desk: &Control, id: &str) -> Result<(Value, bool), Refused> {
        let shipment = self.by_id.get_mut(id).ok_or(Refused::NotFound)?;
        let first = match shipment.status {
            Status::Voided => return Err(Refused::Voided),
            Status::HandedOver => false,
            Status::Labelled => {
                shipment.status = Status::HandedOver;
                shipment.record(desk, "handover");
                true
            }
        };
        Ok((shipment.json(), first))
    }

    /// Records a scan; the tenant and the event to send, unless the shipment is forgotten.
    pub(super) fn scan(&mut self, desk: &Control, id: &str, code: &'static str) -> Option<(String, Value)> {
        let shipment = self.by_id.get_mut(id)?;
        let at = Timestamp::now().to_string();
        let location = match code {
            "PICKED_UP" => shipment.origin.clone(),
            "IN_TRANSIT" => "Memphis hub".to_owned(),
            _ => shipment.destination.clone(),
        };
        let mut entry = shipment.entry("scan");
        entry["code"] = json!(code);
        entry["at"] = json!(at);
        desk.record(entry);
        let event = json!({
            "id": format!("evt_{}", Uuid::now_v7().simple()),
            "tracking_number": shipment.tracking_number,
            "reference": shipment.reference,
            "code": code,
            "at": at,
            "location": location,
        });
        shipment.scans.push(Scan { code, at, location });
        Some((shipment.tenant.clone(), event))
    }

    pub(super) fn tracking(&self, number: &str) -> Result<Value, Refused> {
        let id = self.by_tracking.get(number).ok_or(Refused::NotFound)?;
        let shipment = self.by_id.get(id).ok_or(Refused::NotFound)?;
        let event = |scan: &Scan| json!({"code": scan.code, "at": scan.at, "location": scan.location});
        let events: Vec<Value> = shipment.scans.iter().map(event).collect();
        Ok(json!({"tracking_number": number, "events": events}))
    }

    fn show(&self, id: &str) -> Result<Value, Refused> {
        self.by_id.get(id).map(Shipment::json).ok_or(Refused::NotFound)
    }

    /// Fifteen digits that no other parcel has.
    fn new_tracking_number(&self) -> String {
        loop {
            let number = format!("794{:012}", rand::random_range(0..1_000_000_000_000_u64));
            if !self.by_tracking.contains_key(&number) {
                return number;
            }
        }
    }
}

impl Shipment {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "tracking_number": self.tracking_number,
            "reference": self.reference,
            "service": self.service,
            "status": self.status.as_str(),
            "label": {"format": "ZPL", "data": self.label},
            "amount_minor": self.amount_minor,
            "currency": "USD",
        })
    }

    fn entry(&self, op: &str) -> Value {
        json!({
            "op": op,
            "id": self.id,
            "tracking_number": self.tracking_number,
            "reference": self.reference,
            "tenant": self.tenant,
        })
    }

    fn record(&self, desk: &Control, op: &str) {
        desk.record(self.entry(op));
    }
}

/// A small but valid label; `^` and `~` start ZPL commands and must not come from an address.
fn zpl(tracking_number: &str, service: &str, to: &Place) -> String {
    let safe = |text: &str| text.replace(['^', '~'], " ");
    format!(
        "^XA^FO50,50^A0N,40,40^FD{}^FS^FO50,100^A0N,30,30^FD{}, {} {} {}^FS\
         ^FO50,150^A0N,30,30^FD{service}^FS^FO50,200^BCN,100,Y,N,N^FD{tracking_number}^FS^XZ",
        safe(&to.name),
        safe(&to.line1),
        safe(&to.postal_code),
        safe(&to.city),
        safe(&to.country),
    )
}

fn place_name(place: &Place) -> String {
    [&place.city, &place.postal_code, &place.country]
        .into_iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(" ")
}
