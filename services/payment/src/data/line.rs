//! The line to one provider: tries, breaker, and what is measured of every call (PAY-07, PAY-08, PAY-20).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fault::Fault;
use resilience::{Answer, Http, HttpError, RequestBuilder, Retry, StatusCode, retry};

use super::breaker::Breaker;
use super::gateway::Trouble;

/// Three tries in all, as domain.md 4.5 step 3 has it.
const PATIENCE: Retry =
    Retry { retries: 2, min: Duration::from_millis(100), max: Duration::from_secs(1), deadline: None };
/// An answer that takes longer is not a good one (PAY-20).
const GOOD: Duration = Duration::from_millis(500);

/// Shortest time that a caller is told to wait for a provider that is given a rest.
const SHORTEST: Duration = Duration::from_millis(500);

/// A line to a provider; clones share connections and breaker.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) http: Http,
    provider: &'static str,
    breaker: Arc<Breaker>,
}

impl Line {
    pub(super) fn new(provider: &'static str, base_url: &str, timeout: Duration) -> Result<Self, HttpError> {
        Ok(Self { http: Http::new(provider, base_url, timeout)?, provider, breaker: Arc::new(Breaker::new(provider)) })
    }

    /// Whether it failed too often and has not answered since.
    pub(super) fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Asks until there is an answer; only for what is safe to repeat.
    pub(super) async fn ask(&self, op: &'static str, make: impl Fn() -> RequestBuilder) -> Result<Answer, Trouble> {
        self.ask_if(op, make, || self.breaker.admits(Instant::now())).await
    }

    /// Asks what changes nothing; also while the provider is given a rest, when nobody else does just then.
    pub(super) async fn inquire(&self, op: &'static str, make: impl Fn() -> RequestBuilder) -> Result<Answer, Trouble> {
        let Some(_inquiry) = self.breaker.inquire() else { return Err(self.resting()) };
        self.ask_if(op, make, || true).await
    }

    fn resting(&self) -> Trouble {
        Trouble::Resting { wait: self.breaker.rest(Instant::now()).max(SHORTEST) }
    }

    async fn ask_if(
        &self,
        op: &'static str,
        make: impl Fn() -> RequestBuilder,
        admitted: impl Fn() -> bool,
    ) -> Result<Answer, Trouble> {
        let (may_have_happened, rests) = (AtomicBool::new(false), AtomicBool::new(false));
        let once = || async {
            if !admitted() {
                rests.store(true, Ordering::Relaxed);
                return Err(Fault::precondition("BREAKER_OPEN", "the provider is given a rest"));
            }
            let started = Instant::now();
            let result = self.http.send(op, make()).await;
            let broken = result.as_ref().map_or(true, |answer| transient(answer.status));
            self.note(op, broken, started.elapsed());
            let answer = result.inspect_err(|error| {
                may_have_happened.fetch_or(error.outcome_unknown(), Ordering::Relaxed);
            })?;
            if !broken {
                return Ok(answer);
            }
            may_have_happened.store(true, Ordering::Relaxed);
            let fault = Fault::unavailable("PROVIDER_TROUBLE", format!("the provider answered {}", answer.status));
            Err(match answer.retry_after() {
                Some(wait) => fault.retry_after(wait.min(PATIENCE.max)),
                None => fault,
            })
        };
        retry(PATIENCE, once).await.map_err(|fault| {
            tracing::warn!(provider = self.provider, op, error = %fault, "the provider did not answer");
            match (may_have_happened.into_inner(), rests.into_inner()) {
                (true, _) => Trouble::Unknown,
                (false, true) => self.resting(),
                (false, false) => Trouble::Unreached,
            }
        })
    }

    fn note(&self, op: &'static str, broken: bool, took: Duration) {
        if broken {
            self.breaker.failed(Instant::now());
        } else {
            self.breaker.succeeded();
        }
        let outcome = match (broken, took <= GOOD) {
            (true, _) => "failed",
            (false, true) => "good",
            (false, false) => "slow",
        };
        let provider = self.provider;
        metrics::counter!("payment_provider_calls_total", "provider" => provider, "op" => op, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("payment_provider_duration_seconds", "provider" => provider).record(took.as_secs_f64());
    }
}

/// The request had no effect, or has one under its key; it may be sent again as it is.
fn transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::CONFLICT
}
