//! Calls per key in a sliding minute: a limit when switched on, a measurement always.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Sliding windows of accepted calls, per key.
#[derive(Default)]
pub(super) struct Limiter {
    per_minute: Option<usize>,
    peak: usize,
    windows: HashMap<String, VecDeque<Instant>>,
}

impl Limiter {
    pub(super) fn set(&mut self, per_minute: Option<usize>) {
        self.per_minute = per_minute;
    }

    pub(super) fn per_minute(&self) -> Option<usize> {
        self.per_minute
    }

    /// Most calls, refused ones included, one key made within any minute so far.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// Takes a call; when over the limit, says how long to wait.
    ///
    /// Refused calls count too, as they do at real carriers.
    pub(super) fn admit(&mut self, key: &str, now: Instant) -> Result<(), Duration> {
        if !self.windows.contains_key(key) {
            self.windows.insert(key.to_owned(), VecDeque::new());
        }
        let window = self.windows.get_mut(key).expect("inserted above");
        while window.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            window.pop_front();
        }
        window.push_back(now);
        self.peak = self.peak.max(window.len());
        match self.per_minute {
            Some(limit) if window.len() > limit => {
                // The call that must have left before the next one fits.
                let blocking = window[window.len() - limit.max(1)];
                Err(WINDOW.saturating_sub(now.duration_since(blocking)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shp_04_a_call_over_the_limit_waits_until_the_window_has_room() {
        let mut limiter = Limiter::default();
        limiter.set(Some(2));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.admit("k", at(0)), Ok(()));
        assert_eq!(limiter.admit("k", at(10)), Ok(()));
        assert_eq!(limiter.admit("k", at(20)), Err(Duration::from_secs(50)));
        assert_eq!(limiter.admit("other", at(20)), Ok(()));
        assert_eq!(limiter.admit("k", at(85)), Ok(()));
        assert_eq!(limiter.peak(), 3);
    }
}
