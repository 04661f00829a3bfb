//! People first: how many wait for an answer of this process right now, at its bridge or at its gRPC port.
//!
//! What runs behind an answer (sagas, consumers) may be late by seconds, a person may not. While many wait, the
//! background of the same process takes on little; it never stops, and what it left lies in rows.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Waiting callers for each core from which on the background steps aside: below, there is time for both.
const FOR_EACH_CORE: usize = 8;
static MANY: LazyLock<usize> =
    LazyLock::new(|| FOR_EACH_CORE * std::thread::available_parallelism().map_or(1, std::num::NonZero::get));

/// Somebody waits as long as this lives.
#[derive(Debug)]
#[must_use = "counts only while it is kept"]
pub struct Waiting(());

/// Somebody begins to wait.
pub fn wait() -> Waiting {
    WAITING.fetch_add(1, Ordering::Relaxed);
    Waiting(())
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the background should step aside.
pub fn is_busy() -> bool {
    AtomicUsize::load(&WAITING, Ordering::Relaxed) > *MANY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_wait_make_it_busy_until_they_have_left() {
        assert!(!is_busy());
        let crowd: Vec<Waiting> = (0..=*MANY).map(|_| wait()).collect();
        assert!(is_busy());
        drop(crowd);
        assert!(!is_busy());
    }
}
