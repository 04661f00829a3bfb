//! Data access: the store and the provider. Knows of the logic only the pure state.

mod adyen;
mod breaker;
mod events;
mod gateway;
mod line;
mod store;
mod stripe;

pub use adyen::{PROVIDER as ADYEN, genuine as genuine_of_adyen, read_event as read_adyen_event};
pub use gateway::{Authorization, Gateway, Listed, Provider, ProviderEvent, Refunding, Report, Trouble};
pub use store::{
    Capture, Discrepancy, Due, Ends, Entry, EntryState, Figures, Increment, Instrument, Limit, Parked, Place, Refund,
    ReportRow, Status, Store, Stored, Turn, Wanted, Webhook,
};
pub use stripe::{PROVIDER as STRIPE, read_event as read_stripe_event};
