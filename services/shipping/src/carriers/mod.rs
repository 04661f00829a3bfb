//! Carriers: one file and one wire module each.

mod fedex;

use std::time::Duration;

use ids::ShipmentId;
use resilience::HttpError;

pub(crate) use fedex::Fedex;

use crate::model::{Address, Label};

/// What a label is asked for.
pub(crate) struct Parcel<'a> {
    /// Our id: of any number of purchases with it one label is made.
    pub reference: ShipmentId,
    pub service: &'a str,
    pub from: &'a Address,
    pub to: &'a Address,
    pub weight_grams: i32,
}

/// A label with what is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bought {
    pub label: Label,
    pub data: String,
}

/// Why a question to a carrier has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarrierError {
    /// It understood and refused.
    #[error("the carrier refused: HTTP {status} {code}")]
    Refused { status: u16, code: String },
    /// Too many calls; not before `wait` has passed.
    #[error("the carrier asks to wait {wait:?}")]
    Busy { wait: Duration },
    /// It failed by its own word.
    #[error("the carrier failed with HTTP {status}")]
    Broken { status: u16 },
    /// It was not reached, answered too late, or something else.
    #[error(transparent)]
    Http(#[from] HttpError),
}
