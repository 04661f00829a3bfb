//! Data access: the store and the provider. Knows of the logic only the pure state.

mod adyen;
mod breaker;
mod events;
mod gateway;
mod line;
mod store;
mod stripe;

pub use gateway::{Authorization, Gateway, Listed, Provider, ProviderEvent, Report, Trouble};
pub use store::{
    Capture, Discrepancy, Due, Ends, Entry, EntryState, Figures, Increment, Instrument, Limit, Parked, Place, Refund,
    ReportRow, Status, Store, Stored, Turn, Wanted, Webhook,
};
pub use stripe::{PROVIDER, read_event};
