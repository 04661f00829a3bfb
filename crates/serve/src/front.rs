use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use contract::POLICIES;
use fault::{Fault, Kind};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::{BoxError, Service, ServiceExt};

use crate::Peer;
use crate::layers::people::ThroughPort;
use crate::layers::rescue::refusal;
use crate::layers::{Request, Response};

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.";

/// What a process offers on its port: its services behind their stacks, health and reflection without any.
#[derive(Clone)]
pub struct Front {
    services: Arc<BTreeMap<&'static str, Peer>>,
    open: Routes,
    health: HealthReporter,
    pub(crate) closing: CancellationToken,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Front").field(&self.services.keys()).finish()
    }
}

impl Front {
    pub(crate) fn new(services: BTreeMap<&'static str, Peer>, closing: CancellationToken) -> Self {
        let (health, health_service) = health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(contract::IMAGE)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptor image of the contract is well-formed");
        let open = Routes::new(health_service).add_service(reflection).prepare();
        Self { services: Arc::new(services), open, health, closing }
    }

    /// Says of a context whether its services take calls (grpc.health.v1), such as when its pool is exhausted.
    pub async fn report(&self, context: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        let mut named = None;
        // The table is sorted by path, so the methods of a service stand together.
        for policy in POLICIES.iter().filter(|policy| policy.context == context) {
            if named.replace(policy.service) != Some(policy.service) {
                self.health.set_service_status(policy.service, status).await;
            }
        }
    }

    /// Says of everything whether it takes calls.
    pub(crate) async fn report_all(&self, serving: bool) {
        for context in self.services.keys() {
            self.report(context, serving).await;
        }
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.health.set_service_status("", status).await;
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        request.extensions_mut().insert(ThroughPort);
        let path = request.uri().path();
        if path.starts_with(HEALTH) || path.starts_with(REFLECTION) {
            return self.open.clone().oneshot(request).map(|answer| answer.map_err(BoxError::from)).boxed();
        }
        match contract::policy(path).and_then(|policy| self.services.get(policy.context)) {
            Some(peer) => peer.clone().oneshot(request).boxed(),
            None => {
                let fault = Fault::new(Kind::Unimplemented, "UNKNOWN_METHOD", "there is no such method");
                futures::future::ready(Ok(refusal(fault))).boxed()
            }
        }
    }
}
