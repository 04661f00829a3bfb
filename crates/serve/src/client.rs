use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::MethodPolicy;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt, Full};
use tonic::Code;
use tower::retry::budget::Budget;
use tower::{BoxError, Service, ServiceExt};

use crate::layers::deadline::expired;
use crate::layers::rescue::refusal;
use crate::layers::trace::{code_name, code_of};
use crate::layers::{Request, Response};
use crate::mesh::Table;
use crate::{Peer, breaker, header, timeout};

/// Time for a method without a policy (health, reflection), which has no budget of its own.
const UNBUDGETED: Duration = Duration::from_secs(10);
/// Pause before a retry, milliseconds, drawn anew each time so that callers do not march in step.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 20..=200;
/// A remote channel watches the header's time as well; so near to the end its error means the same.
const TIMER_SLACK: Duration = Duration::from_millis(5);

/// Calls a service by the contract's budget: deadline, time per try, and retries where they are safe.
///
/// Retried is only what surely or harmlessly did not happen: the service was away before there was an answer
/// (UNAVAILABLE), or one try took too long. A service that is silent for many calls in a row is given a rest
/// (`breaker.rs`): then calls fail at once. The contract allows retries on safe and idempotent methods only.
#[derive(Clone)]
pub struct PeerClient {
    table: Arc<Table>,
    context: Arc<str>,
}

impl std::fmt::Debug for PeerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PeerClient").field(&self.context).finish()
    }
}

impl PeerClient {
    pub(crate) fn new(table: Arc<Table>, context: &str) -> Self {
        Self { table, context: context.into() }
    }
}

impl Service<Request> for PeerClient {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let this = self.clone();
        async move {
            let started = Instant::now();
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let call = Call::new(parts, body, started);
            let method = call.policy.map_or("unknown", |policy| policy.path);
            let response = call.run(&this).await;
            let code = code_name(code_of(response.headers()));
            let labels = [("peer", this.context.to_string()), ("method", method.into()), ("code", code.into())];
            metrics::counter!("grpc_client_requests_total", &labels).increment(1);
            metrics::histogram!("grpc_client_duration_seconds", &labels).record(started.elapsed().as_secs_f64());
            Ok(response)
        }
        .boxed()
    }
}

fn resting() -> Fault {
    Fault::unavailable("CIRCUIT_OPEN", "a service we need does not answer").retry_after(breaker::REST)
}

/// One call with all its tries.
struct Call {
    policy: Option<&'static MethodPolicy>,
    parts: Parts,
    body: Bytes,
    deadline: Instant,
}

/// How a try ended.
enum Try {
    Answered(Response),
    /// Nothing happened, says the service: worth another try.
    Away(Response),
    /// There was no answer: worth another try.
    Silent(Response),
}

impl Call {
    fn new(parts: Parts, body: Bytes, started: Instant) -> Self {
        let policy = contract::policy(parts.uri.path());
        let budget = policy.map_or(UNBUDGETED, |policy| Duration::from_millis(policy.timeout_ms.into()));
        let asked = timeout::read(&parts.headers).map_or(budget, |asked| asked.min(budget));
        Self { policy, parts, body, deadline: started + asked }
    }

    async fn run(&self, client: &PeerClient) -> Response {
        let mut retries = self.policy.map_or(0, |policy| policy.max_retries);
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return refusal(expired());
            }
            let Some(entry) = client.table.find(&client.context) else {
                return refusal(Fault::unavailable("PEER_UNKNOWN", format!("{} is not attached", client.context)));
            };
            if !entry.breaker.admits(Instant::now()) {
                return refusal(resting());
            }
            let away = match self.one_try(entry.peer, left).await {
                Try::Answered(response) => {
                    entry.breaker.answered();
                    entry.budget.deposit();
                    return response;
                }
                Try::Away(response) => {
                    entry.breaker.answered();
                    response
                }
                Try::Silent(response) => {
                    if left >= breaker::PATIENT {
                        entry.breaker.silent(Instant::now());
                    }
                    response
                }
            };
            let pause = Duration::from_millis(rand::random_range(PAUSE_MS));
            if retries == 0 || Instant::now() + pause >= self.deadline || !entry.budget.withdraw() {
                return away;
            }
            retries -= 1;
            metrics::counter!("grpc_client_retries_total", "peer" => client.context.to_string()).increment(1);
            tokio::time::sleep(pause).await;
        }
    }

    async fn one_try(&self, peer: Peer, left: Duration) -> Try {
        let per_try = self.policy.map_or(left, |policy| left.min(Duration::from_millis(policy.per_try_ms.into())));
        let ends = Instant::now() + per_try;
        match tokio::time::timeout_at(ends.into(), peer.oneshot(self.request(per_try))).await {
            Ok(Ok(response)) if code_of(response.headers()) == Code::Unavailable => Try::Away(response),
            Ok(Ok(response)) => Try::Answered(response),
            Ok(Err(error)) if Instant::now() + TIMER_SLACK < ends => {
                let fault = Fault::unavailable("PEER_UNREACHABLE", "a service we need is away").caused_by(error);
                tracing::debug!(error = ?fault, "a call did not reach its service");
                Try::Silent(refusal(fault))
            }
            Ok(Err(_)) | Err(_) => Try::Silent(refusal(expired())),
        }
    }

    /// The request as it goes out: only what gRPC needs, nothing that rode along in this process.
    fn request(&self, per_try: Duration) -> Request {
        let mut request = Request::new(tonic::body::Body::new(Full::new(self.body.clone())));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.version_mut() = self.parts.version;
        let mut headers: HeaderMap = self.parts.headers.clone();
        headers.insert(HeaderName::from_static(header::TIMEOUT), timeout::render(per_try));
        *request.headers_mut() = headers;
        request
    }
}
