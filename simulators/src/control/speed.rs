//! Simulated time: steps last their length divided by a factor.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The factor by which simulated steps run faster than real ones; 0 means at once.
pub(crate) struct Speed(watch::Sender<f64>);

impl Speed {
    pub(crate) fn new(factor: f64) -> Self {
        Self(watch::Sender::new(factor))
    }

    pub(crate) fn factor(&self) -> f64 {
        *self.0.borrow()
    }

    /// Changes the factor; steps under way go on at the new pace.
    pub(crate) fn set(&self, factor: f64) {
        self.0.send_replace(factor);
    }

    /// Waits one simulated `step`.
    pub(crate) async fn pause(&self, step: Duration) {
        let mut changes = self.0.subscribe();
        let mut left = step.as_secs_f64();
        while left > 0.0 {
            let factor = *changes.borrow_and_update();
            if factor <= 0.0 {
                return;
            }
            let started = Instant::now();
            let real = Duration::try_from_secs_f64(left / factor).unwrap_or(Duration::MAX);
            tokio::select! {
                () = tokio::time::sleep(real) => return,
                // The sender lives in self, so this never reports a closed channel.
                _ = changes.changed() => left -= started.elapsed().as_secs_f64() * factor,
            }
        }
    }
}

/// Whether `factor` is a usable speed: finite and not negative.
pub(crate) fn valid(factor: f64) -> bool {
    factor.is_finite() && factor >= 0.0
}
