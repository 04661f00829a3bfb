//! What one warehouse does for one order, as it is stored.

use ids::{FulfillmentId, OrderId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vault::Sealed;

use crate::state::State;

/// Units of one order line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Number of the order's line.
    pub line: i32,
    pub sku: String,
    /// At least 1.
    pub quantity: i32,
}

/// Where a parcel goes; personal data, so it has no `Debug`.
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

/// Money as it is stored: the code was checked when it came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub currency: String,
    pub minor: i64,
}

/// What never changes about a fulfillment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub lines: Vec<Line>,
    pub shipping_service: String,
    pub capture: Amount,
    pub final_capture: bool,
    pub weight_grams: i32,
    /// Of the request that created it: what is heard about it later belongs to the same story (GW-07).
    pub correlation_id: String,
    /// Where in the trace of that request it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A fulfillment as it was last heard of.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Fulfillment {
    id: Uuid,
    order: Uuid,
    pub warehouse: String,
    /// 0 for the first wish; work that takes the place of cancelled work has a higher one.
    pub revision: i32,
    pub state: State,
    /// Version of its stream of events.
    pub version: i32,
    pub body: Body,
    /// The address; `Store::address` opens it.
    pub ship_to: Sealed,
    pub wms_order_id: String,
    pub observed_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Fulfillment {
    /// Its id, which is also the client reference at the warehouse system.
    pub(crate) fn id(&self) -> FulfillmentId {
        FulfillmentId::from_uuid(self.id)
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::from_uuid(self.order)
    }
}
