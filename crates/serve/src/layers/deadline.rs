use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service};

use super::stream::Bounded;
use super::{Request, Response};
use crate::passage::Passage;
use crate::timeout;

/// tonic has a timer of its own for the caller's header, and its answer is CANCELLED: ours must be the first.
const AHEAD: Duration = Duration::from_millis(2);

/// Ends a call when its policy's budget or the caller's patience is used up, whichever is first.
#[derive(Clone)]
pub(crate) struct Deadline<S> {
    pub(crate) inner: S,
    /// Cancelled when the process drains: streams end, calls do not.
    pub(crate) closing: CancellationToken,
}

impl<S> Service<Request> for Deadline<S>
where
    S: Service<Request, Response = Response, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let mut passage = match Passage::take(&mut parts) {
            Ok(passage) => passage,
            Err(fault) => return futures::future::ready(Err(fault.into())).boxed(),
        };
        let policy = passage.policy;
        let budget = Duration::from_millis(policy.timeout_ms.into());
        let asked = timeout::read(&parts.headers).map(|asked| asked.saturating_sub(AHEAD));
        let deadline = Instant::now() + asked.map_or(budget, |asked| asked.min(budget));
        passage.deadline = Some(deadline);
        parts.extensions.insert(passage);
        let answer = self.inner.call(Request::from_parts(parts, body));
        let closing = self.closing.clone();
        async move {
            let answer = tokio::time::timeout_at(deadline.into(), answer).await;
            let response = answer.map_err(|_| expired())??;
            // Only a stream is still at work when its head has come.
            Ok(if policy.server_streaming { Bounded::wrap(response, deadline, closing) } else { response })
        }
        .boxed()
    }
}

/// Time ran out before there was an answer.
pub(crate) fn expired() -> Fault {
    Fault::deadline("DEADLINE_EXCEEDED", "the time for this call is used up")
}
