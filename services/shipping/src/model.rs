//! A parcel as it is stored.

use ids::{FulfillmentId, OrderId, ShipmentId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vault::Sealed;

use crate::scans::State;

/// Units of one order line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Number of the order's line.
    pub line: i32,
    pub sku: String,
    pub quantity: i32,
}

/// A postal address; personal data, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub recipient: String,
    pub line1: String,
    pub line2: String,
    pub city: String,
    pub region: String,
    pub postal_code: String,
    pub country_code: String,
}

/// Money as others have checked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub currency: String,
    pub minor: i64,
}

/// What never changes about a shipment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub warehouse: String,
    pub lines: Vec<Line>,
    pub service: String,
    /// Taken before the parcel leaves.
    pub capture: Amount,
    pub final_capture: bool,
    pub weight_grams: i32,
}

/// A bought label without what is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Label {
    /// Name of the carrier.
    pub carrier: String,
    /// The carrier's id of the parcel.
    pub carrier_id: String,
    pub tracking_number: String,
    pub format: String,
    pub cost: Amount,
    /// Given back: not to be used any more.
    #[serde(default)]
    pub void: bool,
}

/// What the carrier reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scan<L = String> {
    pub code: String,
    /// When the carrier says it was.
    pub at: Timestamp,
    pub location: L,
}

/// A parcel.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Shipment {
    id: Uuid,
    order: Uuid,
    fulfillment: Uuid,
    pub state: State,
    /// Version of its stream of events.
    pub version: i32,
    pub body: Body,
    pub label: Option<Label>,
    /// Oldest first; `Store::scans` opens where they were.
    pub scans: Vec<Scan<Sealed>>,
    pub created_at: Timestamp,
}

impl Shipment {
    /// Its id, which is also the reference at the carrier.
    pub(crate) fn id(&self) -> ShipmentId {
        ShipmentId::from_uuid(self.id)
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::from_uuid(self.order)
    }

    pub(crate) fn fulfillment(&self) -> FulfillmentId {
        FulfillmentId::from_uuid(self.fulfillment)
    }
}
