//! A breaker per provider (PAY-08): after too many failures nobody asks for a while, then one call tries.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures within [`WINDOW`] that open it.
const FAILURES: usize = 5;
/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(30);
/// How long it stays open before one call may try.
const REST: Duration = Duration::from_secs(2);

/// Whether a provider may be asked.
#[derive(Debug)]
pub(super) struct Breaker {
    provider: &'static str,
    inner: Mutex<Inner>,
    /// An inquiry is under way although it is open.
    inquired: AtomicBool,
}

/// Leave to inquire; gives way to the next when it ends.
#[derive(Debug)]
pub(super) struct Inquiry<'b> {
    /// Set when the breaker is open, so that it is the only one.
    only: Option<&'b AtomicBool>,
}

impl Drop for Inquiry<'_> {
    fn drop(&mut self) {
        if let Some(only) = self.only {
            only.store(false, Ordering::Release);
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    failures: VecDeque<Instant>,
    /// When it opened, or when a probe was last let through.
    opened: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(provider: &'static str) -> Self {
        metrics::gauge!("payment_breaker_open", "provider" => provider).set(0.0);
        Self { provider, inner: Mutex::default(), inquired: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it opened and no probe has closed it yet.
    pub(super) fn is_open(&self) -> bool {
        self.lock().opened.is_some()
    }

    /// Whether a call may go out; of a resting breaker one call per rest may, the probe.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        match inner.opened {
            None => true,
            Some(opened) if now.saturating_duration_since(opened) < REST => false,
            Some(_) => {
                inner.opened = Some(now);
                true
            }
        }
    }

    /// Whether somebody may inquire: also while it is open, one at a time, for what was charged must be found out, and
    /// reading is the most harmless probe there is.
    pub(super) fn inquire(&self) -> Option<Inquiry<'_>> {
        if !self.is_open() {
            return Some(Inquiry { only: None });
        }
        let taken = self.inquired.swap(true, Ordering::Acquire);
        (!taken).then_some(Inquiry { only: Some(&self.inquired) })
    }

    /// How long it will still be open without a probe.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let opened = self.lock().opened;
        opened.map_or(Duration::ZERO, |opened| REST.saturating_sub(now.saturating_duration_since(opened)))
    }

    /// The provider answered as it should: a refusal is an answer too.
    pub(super) fn succeeded(&self) {
        let mut inner = self.lock();
        inner.failures.clear();
        if inner.opened.take().is_some() {
            metrics::gauge!("payment_breaker_open", "provider" => self.provider).set(0.0);
            tracing::info!(provider = self.provider, "The provider answers again");
        }
    }

    /// The provider did not answer, or said that it is broken.
    pub(super) fn failed(&self, now: Instant) {
        let mut inner = self.lock();
        inner.failures.push_back(now);
        while inner.failures.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW) {
            inner.failures.pop_front();
        }
        if inner.opened.is_some() {
            inner.opened = Some(now);
        } else if inner.failures.len() >= FAILURES {
            inner.opened = Some(now);
            metrics::gauge!("payment_breaker_open", "provider" => self.provider).set(1.0);
            metrics::counter!("payment_breaker_opened_total", "provider" => self.provider).increment(1);
            tracing::warn!(provider = self.provider, "The provider fails too often; it is given a rest");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pay_08_five_failures_in_thirty_seconds_open_it_and_one_probe_closes_it() {
        let (breaker, start) = (Breaker::new("x"), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..4 {
            breaker.failed(at(second));
        }
        assert!(breaker.admits(at(4)) && !breaker.is_open());
        breaker.failed(at(4));
        assert!(breaker.is_open() && !breaker.admits(at(5)));
        // After its rest one call may try, the others still wait.
        assert!(breaker.admits(at(6)) && !breaker.admits(at(6)));
        breaker.failed(at(7));
        assert!(!breaker.admits(at(8)));
        assert!(breaker.admits(at(9)));
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.admits(at(9)) && breaker.admits(at(9)));
    }

    #[test]
    fn pay_08_failures_that_are_far_apart_do_not_open_it() {
        let (breaker, start) = (Breaker::new("x"), Instant::now());
        for n in 0..20 {
            breaker.failed(start + Duration::from_secs(8 * n));
            assert!(!breaker.is_open(), "{n}");
        }
    }

    #[test]
    fn pay_08_while_it_is_open_one_inquiry_at_a_time_asks_without_waiting_and_an_answer_closes_it() {
        let (breaker, start) = (Breaker::new("x"), Instant::now());
        assert!(breaker.inquire().is_some() && breaker.inquire().is_some(), "a closed one bounds nothing");
        (0..FAILURES).for_each(|_| breaker.failed(start));
        assert!(!breaker.admits(start));
        assert_eq!(breaker.rest(start + REST / 2), REST / 2);
        let inquiry = breaker.inquire();
        assert!(inquiry.is_some() && breaker.inquire().is_none());
        drop(inquiry);
        assert!(breaker.inquire().is_some());
        breaker.succeeded();
        assert!(breaker.admits(start));
        assert_eq!(breaker.rest(start), Duration::ZERO);
    }
}
