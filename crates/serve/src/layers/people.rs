use std::task::{Context, Poll};

use ctx::Principal;
use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{BoxError, Service};

use super::{Request, Response};
use crate::passage::Passage;

/// The request came through this process's port; the bridge of this process counts its callers itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThroughPort;

/// Counts people who wait for an answer, so that what runs behind it steps aside while they are many.
///
/// A service that calls is background, or counted where its own caller waits.
#[derive(Clone)]
pub(crate) struct People<S> {
    pub(crate) inner: S,
}

impl<S> Service<Request> for People<S>
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
        let passage = request.extensions().get::<Passage>();
        let is_person = passage.is_some_and(|passage| matches!(passage.principal, Principal::User { .. }));
        let counts = is_person && request.extensions().get::<ThroughPort>().is_some();
        let waiting = counts.then(ctx::foreground::wait);
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            drop(waiting);
            answer
        }
        .boxed()
    }
}
