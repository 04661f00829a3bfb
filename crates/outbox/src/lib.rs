//! From a committed event to its effects elsewhere: the log of a service, and whoever consumes it.
//!
//! The event row is the outbox row, and the embedded bus is nothing but these rows: a [`Consumer`] per subscriber tails
//! the logs that its event types come from, below the oldest open transaction, and runs each handler in one transaction
//! with an inbox row, so an event that comes twice has one effect. An event whose handler keeps failing is
//! parked with everything of its key behind it, retried, and after that left as a dead letter; other keys go on.
//! At-least-once on the way, exactly-once in the effect (EVT-02, rule I4).

mod consumer;
mod delivery;
mod inbox;
mod parking;
mod retention;

pub use consumer::Consumer;
pub use delivery::{Delivery, Subscription};
pub use retention::Retention;

/// How long an event may lie (`performance.md` 3).
const LONGEST: std::time::Duration = std::time::Duration::from_millis(100);

/// Pause after a batch that took so long: fewer and larger batches cost less. So the busier the machine, the longer the
/// pause; longest while people wait.
fn rest(worked: std::time::Duration) -> std::time::Duration {
    let least = if ctx::foreground::is_busy() { LONGEST } else { std::time::Duration::from_millis(30) };
    (worked * 4).clamp(least, LONGEST)
}
