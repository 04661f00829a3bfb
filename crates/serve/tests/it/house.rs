//! A system of three contexts: real tonic handlers where a test needs one, an echo for every other method.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use contract::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use contract::identity::v1::policy_service_client::PolicyServiceClient;
use contract::identity::v1::policy_service_server::{PolicyService, PolicyServiceServer};
use contract::identity::v1::{
    CreateUserRequest, GetJwksRequest, GetPolicyRequest, GetUserRequest, Jwk, Jwks, ListUsersRequest,
    ListUsersResponse, LoginRequest, LoginResponse, RotateSigningKeyRequest, TenantPolicy, UpdatePolicyRequest, User,
};
use contract::order::v1::order_query_service_server::{OrderQueryService, OrderQueryServiceServer};
use contract::order::v1::{
    CountOrdersRequest, CountOrdersResponse, GetOrderRequest, GetOrderViewRequest, ListOrderEventsRequest,
    ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse, ListUserOrdersRequest, ListUserOrdersResponse,
    Order, OrderView, SearchOrdersRequest, SearchOrdersResponse, WatchOrderRequest,
};
use ctx::{Ctx, Open, Role};
use fault::Fault;
use http_body_util::{BodyExt, Full};
use ids::{TenantId, UserId};
use jiff::Timestamp;
use serve::auth::{Claims, SigningKey};
use serve::{Limits, Mesh, Peer, Peers};
use tokio_stream::{Stream, StreamExt};
use tonic::service::{AxumBody, AxumRouter, Routes};
use tonic::{Code, Request, Response, Status};
use tower::ServiceExt;

/// What the handlers of the house saw and shall do.
#[derive(Default)]
pub struct Log {
    /// Every context that reached a handler.
    pub opens: Mutex<Vec<Open>>,
    /// Fetches of the key set.
    pub jwks: AtomicUsize,
    /// Whether identity's key set is away.
    pub keys_away: AtomicU32,
    /// Answers of GetPolicy that are UNAVAILABLE before the first good one.
    pub policy_away: AtomicU32,
    /// Calls of GetPolicy.
    pub policy_calls: AtomicU32,
    /// Whether GetPolicy never answers.
    pub policy_silent: AtomicU32,
    /// Keys that identity publishes.
    pub published: Mutex<Vec<SigningKey>>,
}

impl Log {
    pub fn last(&self) -> Open {
        self.opens.lock().expect("not poisoned").last().cloned().expect("a handler was reached")
    }

    pub fn reached(&self) -> usize {
        self.opens.lock().expect("not poisoned").len()
    }

    fn note(&self, open: Open) {
        self.opens.lock().expect("not poisoned").push(open);
    }
}

/// A mesh of identity, order and everything else.
pub struct House {
    pub mesh: Mesh,
    pub log: Arc<Log>,
    pub user_key: SigningKey,
    pub mesh_key: SigningKey,
    pub tenant: TenantId,
    pub user: UserId,
}

impl House {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let mesh_key = new_key("mesh");
        let user_key = new_key("key-1");
        let (mesh, log) = (Mesh::new(mesh_key.clone()), Arc::new(Log::default()));
        log.published.lock().expect("not poisoned").push(user_key.clone());
        for context in ["identity", "inventory", "order", "payment", "fulfillment", "shipping", "notification"] {
            mesh.attach(context, routes(context, &mesh, &log), limits);
        }
        Self { mesh, log, user_key, mesh_key, tenant: TenantId::new(), user: UserId::new() }
    }

    /// A token of the house's user.
    pub fn token(&self, roles: &[Role]) -> String {
        self.sign(&Claims::user(self.user, self.tenant, roles, Timestamp::now(), Duration::from_secs(15 * 60)))
    }

    pub fn sign(&self, claims: &Claims) -> String {
        self.user_key.sign(claims).expect("signs")
    }

    pub fn service_token(&self, name: &str) -> String {
        let claims = Claims::service(name, Timestamp::now(), Duration::from_secs(5 * 60));
        self.mesh_key.sign(&claims).expect("signs")
    }

    /// Calls a method in this process with exactly these headers.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)]) -> Said {
        self.call_with(path, headers, Bytes::new()).await
    }

    pub async fn call_with(&self, path: &str, headers: &[(&str, &str)], message: Bytes) -> Said {
        let context = contract::policy(path).map_or("identity", |policy| policy.context);
        say(self.mesh.plain(context), path, headers, message).await
    }
}

pub fn new_key(kid: &str) -> SigningKey {
    SigningKey::from_pkcs8(kid, &SigningKey::generate()).expect("a good key")
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// What a caller sees of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: Code,
    pub reason: String,
    pub fields: Vec<String>,
    /// Status message and details as they were on the wire.
    pub bytes: (String, Bytes),
}

/// Sends one gRPC frame and reads the whole answer.
pub async fn say(peer: Peer, path: &str, headers: &[(&str, &str)], message: Bytes) -> Said {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("small"));
    frame.put(message);
    let mut request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(tonic::body::Body::new(Full::new(frame.freeze()))).expect("a request");
    let response = peer.oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let whole = body.collect().await.expect("a whole answer");
    let status = Status::from_header_map(&parts.headers)
        .or_else(|| whole.trailers().and_then(Status::from_header_map))
        .expect("every answer has a status");
    let bytes = (status.message().to_owned(), Bytes::copy_from_slice(status.details()));
    let code = status.code();
    let fault = Fault::from(status);
    let fields = fault.violations().iter().map(|violation| violation.field.clone()).collect();
    Said { code, reason: fault.reason().to_owned(), fields, bytes }
}

fn routes(context: &'static str, mesh: &Mesh, log: &Arc<Log>) -> Routes {
    let echo_log = Arc::clone(log);
    let echo = move |request: http::Request<AxumBody>| {
        let open = request.extensions().get::<Open>().cloned().expect("nothing bypasses the stack");
        echo_log.note(open);
        async { http::Response::builder().header("grpc-status", "0").body(AxumBody::empty()).expect("an answer") }
    };
    let routes = Routes::from(AxumRouter::new().fallback(echo));
    let handlers = Handlers { log: Arc::clone(log), peers: mesh.peers(context) };
    match context {
        "identity" => routes
            .add_service(IdentityServiceServer::new(handlers.clone()))
            .add_service(PolicyServiceServer::new(handlers)),
        "order" => routes.add_service(OrderQueryServiceServer::new(handlers)),
        _ => routes,
    }
}

#[derive(Clone)]
struct Handlers {
    log: Arc<Log>,
    peers: Peers,
}

fn none<T>() -> Result<Response<T>, Status> {
    Err(Fault::precondition("NOT_IN_THIS_HOUSE", "the tests do not need it").into())
}

#[tonic::async_trait]
impl IdentityService for Handlers {
    async fn get_jwks(&self, _: Request<GetJwksRequest>) -> Result<Response<Jwks>, Status> {
        self.log.jwks.fetch_add(1, Ordering::SeqCst);
        if self.log.keys_away.load(Ordering::SeqCst) > 0 {
            return Err(Fault::internal("identity is ill").into());
        }
        let published = self.log.published.lock().expect("not poisoned");
        let keys = published.iter().map(|key| Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            kid: key.kid().into(),
            x: key.public_x(),
            alg: "EdDSA".into(),
            r#use: "sig".into(),
        });
        Ok(Response::new(Jwks { keys: keys.collect() }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        self.log.note(Open::of(&request)?);
        Ok(serve::respond((request.into_inner().user.unwrap_or_default(), true)))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        self.log.note(Open::of(&request)?);
        Ok(Response::new(LoginResponse::default()))
    }

    async fn rotate_signing_key(&self, _: Request<RotateSigningKeyRequest>) -> Result<Response<Jwk>, Status> {
        none()
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<User>, Status> {
        let ctx = Ctx::of(&request)?;
        self.log.note(Open::of(&request)?);
        Ok(Response::new(User { id: ctx.tenant.to_string(), ..User::default() }))
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        none()
    }
}

#[tonic::async_trait]
impl PolicyService for Handlers {
    async fn get_policy(&self, request: Request<GetPolicyRequest>) -> Result<Response<TenantPolicy>, Status> {
        self.log.note(Open::of(&request)?);
        let call = self.log.policy_calls.fetch_add(1, Ordering::SeqCst);
        if self.log.policy_silent.load(Ordering::SeqCst) > 0 {
            std::future::pending::<()>().await;
        }
        if call < self.log.policy_away.load(Ordering::SeqCst) {
            return Err(Fault::unavailable("AWAY", "nothing happened").into());
        }
        Ok(Response::new(TenantPolicy::default()))
    }

    async fn update_policy(&self, _: Request<UpdatePolicyRequest>) -> Result<Response<TenantPolicy>, Status> {
        none()
    }
}

#[tonic::async_trait]
impl OrderQueryService for Handlers {
    /// A hop: asks identity for the policy before it answers.
    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let ctx = Ctx::of(&request)?;
        self.log.note(Open::of(&request)?);
        let mut policies = PolicyServiceClient::new(self.peers.to("identity"));
        policies.get_policy(self.peers.request(&ctx, GetPolicyRequest {})).await.map_err(Fault::from)?;
        Ok(Response::new(Order::default()))
    }

    async fn list_orders(&self, _: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        none()
    }

    async fn list_order_events(
        &self,
        _: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        none()
    }

    async fn list_user_orders(
        &self,
        _: Request<ListUserOrdersRequest>,
    ) -> Result<Response<ListUserOrdersResponse>, Status> {
        none()
    }

    async fn search_orders(&self, _: Request<SearchOrdersRequest>) -> Result<Response<SearchOrdersResponse>, Status> {
        none()
    }

    async fn count_orders(&self, _: Request<CountOrdersRequest>) -> Result<Response<CountOrdersResponse>, Status> {
        none()
    }

    async fn get_order_view(&self, _: Request<GetOrderViewRequest>) -> Result<Response<OrderView>, Status> {
        none()
    }

    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<Order, Status>> + Send>>;

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        self.log.note(Open::of(&request)?);
        let one_and_silence = tokio_stream::once(Ok(Order::default())).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(one_and_silence)))
    }
}
