//! Streams of events: append with an expected version, read back, nothing else.
//!
//! An aggregate's events are its truth (ORD-37). They are written in the caller's transaction, so a projection in the
//! same transaction can never disagree, and the relay publishes the very rows: there is no second outbox to forget.
//! A stream is a UUID of one tenant; its versions run from 1 without gaps.

mod meta;
mod store;

pub use meta::{Meta, meta};
pub use store::{NewEvent, Recorded, append, load, load_after};
