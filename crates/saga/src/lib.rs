//! Durable do and undo: a saga is a row, its steps are a table, its progress is one commit per step.
//!
//! A step is done until it succeeds, is refused, or runs out of tries; then everything up to and including it is
//! undone in reverse. Whatever was under way when a process died is done again by the next one, so every do and undo
//! must be idempotent by [`Run::key`]. Nothing ends in silence: what cannot be done nor undone needs attention
//! (`domain.md` 4.5 S1 to S5). Deadlines live in rows. A worker with an old picture of a saga writes nothing, because
//! every write names the sequence it is based on.
//!
//! Deliberately absent: dynamic steps, child sagas, signals other than "look again".

mod advance;
mod definition;
mod engine;
mod monitor;
mod operate;
mod standing;
mod start;
mod view;

pub use definition::{Append, Definition, Outcome, Run, Step};
pub use engine::Engine;
pub use monitor::{Announce, Monitor, Stuck};
pub use operate::{Decided, Decision, FORCED, Intervention, Record, not_found, operate};
pub use standing::{Standing, standing};
pub use start::{request_undo, start, wake, wake_all};
pub use view::{Filter, LogEntry, View, list, view};
