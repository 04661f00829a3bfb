use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceBuilder;
use tower::layer::layer_fn;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;

use crate::Peer;
use crate::auth::Verifier;
use crate::layers::deadline::Deadline;
use crate::layers::people::People;
use crate::layers::trace::Trace;
use crate::layers::{Request, codec, gate, idempotency, rescue};

/// How much a service takes on at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls at work; more are refused at once (RESOURCE_EXHAUSTED OVERLOADED).
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 512 }
    }
}

/// Puts every layer in front of a mount's routes; read from top to bottom, as a request does.
pub(crate) fn around(routes: Routes, verifier: Arc<Verifier>, limits: Limits, closing: CancellationToken) -> Peer {
    let stack = ServiceBuilder::new()
        // Whatever is refused below leaves as a gRPC answer, never as a broken connection.
        .map_result(rescue::answer)
        // Refuse at once what cannot be served soon: a queue would only make everybody late.
        .layer(LoadShedLayer::new())
        // One limit per service over all connections; tonic's own is per connection.
        .layer(GlobalConcurrencyLimitLayer::new(limits.in_flight))
        // Before any check, so that refusals are seen and counted too.
        .layer(layer_fn(Trace))
        // Bounds everything below, reading the body and verifying the token included.
        .layer(layer_fn(move |inner| Deadline { inner, closing: closing.clone() }))
        // Who calls, for which tenant, and whether that caller may: in this order, nothing of the body read yet.
        .filter_async(move |request: Request| gate::authenticate(Arc::clone(&verifier), request))
        .filter(gate::tenant)
        .filter(gate::authorize)
        // Who may call waits for an answer from here on.
        .layer(layer_fn(|inner| People { inner }))
        // Reads the body, as large as the policy allows, and recognises repeats.
        .filter_async(idempotency::recognise)
        // From here on there is a `ctx::Open` and no handler can be reached without one.
        .filter(idempotency::admit)
        // Bytes that are no message are the caller's mistake, which tonic would call ours.
        .map_response(codec::blame_caller)
        .service(routes.prepare());
    Peer::new(stack)
}
