//! What one warehouse does for one order, as it is stored.

use ids::{FulfillmentId, OrderId};
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vault::Sealed;

use crate::commands::create::Create;
use crate::state::State;
use crate::store::Move;

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
    /// Whether we want it no more; true only where somebody asked, for it is not kept here (`Store::revoked`).
    #[serde(default)]
    pub cancel_requested: bool,
}

impl Fulfillment {
    /// As a wish for work is stored; `ship_to` is sealed.
    pub(crate) fn begun(id: FulfillmentId, wish: Create, ship_to: Vec<u8>, now: Timestamp) -> Self {
        Self {
            id: id.uuid(),
            order: wish.order.uuid(),
            warehouse: wish.warehouse,
            revision: wish.revision,
            state: State::Submitting,
            version: 1,
            body: wish.body,
            ship_to: ship_to.into(),
            wms_order_id: String::new(),
            observed_at: None,
            created_at: kept(now),
            cancel_requested: false,
        }
    }

    /// What a step makes of it.
    pub(crate) fn moved(self, step: Move) -> Self {
        Self {
            state: step.state,
            version: step.expected + i32::try_from(step.events.len()).unwrap_or(i32::MAX),
            wms_order_id: if step.wms_order_id.is_empty() { self.wms_order_id } else { step.wms_order_id },
            observed_at: self.observed_at.max(step.observed_at.map(kept)),
            ..self
        }
    }

    /// Its id, which is also the client reference at the warehouse system.
    pub(crate) fn id(&self) -> FulfillmentId {
        FulfillmentId::from_uuid(self.id)
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::from_uuid(self.order)
    }
}

/// A time as the database keeps it.
fn kept(at: Timestamp) -> Timestamp {
    at.round(Unit::Microsecond).unwrap_or(at)
}
