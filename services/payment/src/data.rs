//! Data access: the store and the provider. Knows of the logic only the pure state.

mod events;
mod store;
mod stripe;

pub use store::{
    Attempt, Begun, Capture, Due, Ending, EntryState, ParkedEvent, PageCursor, Refund, Reserved, Settlement, Store, Stored,
    Turn, Verdict, Webhook,
};
pub use stripe::{Authorization, PROVIDER, ProviderEvent, Stripe, Trouble};
