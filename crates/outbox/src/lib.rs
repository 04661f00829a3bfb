//! From a committed event to its effects elsewhere: relay, bus, consumers.
//!
//! The event row is the outbox row. A [`Relay`] per service tails its log below the oldest open transaction and moves
//! it to the bus in batches; a [`Consumer`] per subscriber tails the bus by shard, and runs each handler in one
//! transaction with an inbox row, so an event that comes twice has one effect. An event whose handler keeps failing is
//! parked with everything of its key behind it, retried, and after that left as a dead letter; other keys go on.
//! At-least-once on the way, exactly-once in the effect (EVT-02, rule I4).

mod consumer;
mod delivery;
mod inbox;
mod parking;
mod relay;

pub use consumer::Consumer;
pub use delivery::{Delivery, Subscription};
pub use relay::Relay;

/// Says within the process that the bus has something new; other processes find it by polling.
static PUBLISHED: std::sync::LazyLock<tokio::sync::watch::Sender<u64>> =
    std::sync::LazyLock::new(|| tokio::sync::watch::Sender::new(0));

/// Pause after a batch that took so long: fewer and larger batches cost less, and an event may take 100 ms. So the busier
/// the machine, the longer the pause; longest while people wait.
fn rest(worked: std::time::Duration) -> std::time::Duration {
    let most = std::time::Duration::from_millis(100);
    let least = if ctx::foreground::is_busy() { most } else { std::time::Duration::from_millis(30) };
    (worked * 4).clamp(least, most)
}
