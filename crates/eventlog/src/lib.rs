//! Streams of events: append with an expected version, read back, fold, nothing else.
//!
//! An aggregate's events are its truth (ORD-37). They are written in the caller's transaction, so a projection in the
//! same transaction can never disagree, and consumers read the very rows: there is no second outbox to forget.
//! A stream is a UUID of one tenant; its versions run from 1 without gaps. A snapshot of what its events add up to
//! saves reading them all (ORD-38); it is never the truth and may be deleted at any time.

mod fold;
mod meta;
pub mod snapshot;
mod store;
mod upcast;

pub use fold::{Fold, Replay, replay, replay_from_first};
pub use meta::{Meta, meta};
pub use store::{NewEvent, Recorded, append, load, load_after};
pub use upcast::Upcast;
