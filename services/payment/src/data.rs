//! Data access: the store and the provider. Knows of the logic only the pure state.

mod events;
mod store;
mod stripe;

pub use store::{Capture, Due, Ends, EntryState, Limit, Parked, Place, Refund, Status, Store, Stored, Turn, Webhook};
pub use stripe::{Authorization, PROVIDER, ProviderEvent, Stripe, Trouble, read_event};
