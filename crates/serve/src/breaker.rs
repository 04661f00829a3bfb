//! Gives a service that does not answer a rest, so that its callers fail at once instead of waiting (INV-14).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls in a row without any answer that open it; one answer starts the count anew.
const SILENT: u32 = 10;
/// How long nobody asks before one call tries.
pub(crate) const REST: Duration = Duration::from_secs(1);
/// Silence within less time says more about the caller's patience than about the service.
pub(crate) const PATIENT: Duration = Duration::from_millis(250);

/// Whether a service may be asked; its state is the gauge `grpc_client_breaker_state` (0 closed, 1 half open, 2 open).
#[derive(Debug)]
pub(crate) struct Breaker {
    peer: String,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    silent: u32,
    /// When it opened, or when the last probe went out.
    opened: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new(peer: &str) -> Self {
        let breaker = Self { peer: peer.to_owned(), inner: Mutex::default() };
        breaker.show(0.0);
        breaker
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: f64) {
        metrics::gauge!("grpc_client_breaker_state", "peer" => self.peer.clone()).set(state);
    }

    /// Whether a call may go out; while it is open, one per rest may.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        match inner.opened {
            None => true,
            Some(opened) if now.saturating_duration_since(opened) < REST => false,
            Some(_) => {
                inner.opened = Some(now);
                self.show(1.0);
                true
            }
        }
    }

    /// The service answered; a refusal is an answer too.
    pub(crate) fn answered(&self) {
        let mut inner = self.lock();
        inner.silent = 0;
        if inner.opened.take().is_some() {
            self.show(0.0);
            tracing::info!(peer = self.peer, "a service answers again");
        }
    }

    /// There was no answer.
    pub(crate) fn silent(&self, now: Instant) {
        let mut inner = self.lock();
        inner.silent = inner.silent.saturating_add(1);
        if inner.opened.is_some() {
            inner.opened = Some(now);
            self.show(2.0);
        } else if inner.silent >= SILENT {
            inner.opened = Some(now);
            self.show(2.0);
            tracing::warn!(peer = self.peer, "a service does not answer; it is given a rest");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_14_a_breaker_opens_after_silence_lets_a_probe_through_and_closes_with_an_answer() {
        let breaker = Breaker::new("inventory");
        let start = Instant::now();
        for _ in 1..SILENT {
            breaker.silent(start);
        }
        assert!(breaker.admits(start));
        breaker.answered();
        for _ in 0..SILENT {
            assert!(breaker.admits(start), "an answer starts the count anew");
            breaker.silent(start);
        }
        assert!(!breaker.admits(start));
        let later = start + REST;
        assert!(breaker.admits(later), "one call tries");
        assert!(!breaker.admits(later), "and only one");
        breaker.silent(later);
        assert!(!breaker.admits(later + REST / 2));
        assert!(breaker.admits(later + REST));
        breaker.answered();
        assert!(breaker.admits(later + REST));
    }
}
