use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use fault::Fault;

/// How often and how patiently to try again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries after the first.
    pub retries: u32,
    /// Longest pause before the first retry; it doubles each time.
    pub min: Duration,
    /// Longest pause of all.
    pub max: Duration,
    /// No retry begins after this, if there is a limit.
    pub deadline: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { retries: 3, min: Duration::from_millis(50), max: Duration::from_secs(1), deadline: None }
    }
}

impl Retry {
    /// The same, but no retry begins after `deadline` (such as the context's).
    #[must_use]
    pub fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }
}

/// Tries again what may succeed later (`fault.retryable()`), with full jitter or as long as the other side asked.
///
/// Only for operations that are safe to repeat.
///
/// # Errors
/// The last fault, when tries or time are used up or the fault is not retryable.
pub async fn retry<T, Op, Fut>(policy: Retry, op: Op) -> Result<T, Fault>
where
    Op: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Fault>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(policy.min)
        .with_max_delay(policy.max)
        .with_max_times(policy.retries as usize);
    op.retry(pauses)
        .when(Fault::retryable)
        .adjust(|fault, pause| {
            let pause = fault.wait().unwrap_or(jittered(pause?));
            let in_time = policy.deadline.is_none_or(|deadline| Instant::now() + pause < deadline);
            in_time.then_some(pause)
        })
        .await
}

/// Anything up to the whole pause: callers that failed together must not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn tried(policy: Retry, fault: fn() -> Fault) -> u32 {
        let count = Cell::new(0);
        let outcome = retry(policy, || {
            count.set(count.get() + 1);
            async { Err::<(), _>(fault()) }
        });
        assert!(outcome.await.is_err());
        count.get()
    }

    fn away() -> Fault {
        Fault::unavailable("AWAY", "gone")
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again() {
        assert_eq!(tried(Retry::default(), away).await, 4);
        assert_eq!(tried(Retry::default(), || Fault::precondition("NO", "never")).await, 1);
        assert_eq!(tried(Retry { retries: 0, ..Retry::default() }, away).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_retry_begins_after_the_deadline() {
        let policy = Retry::default().until(Some(Instant::now()));
        assert_eq!(tried(policy, away).await, 1);
        let soon = Retry::default().until(Some(Instant::now() + Duration::from_secs(5)));
        assert_eq!(tried(soon, || away().retry_after(Duration::from_secs(60))).await, 1);
    }
}
