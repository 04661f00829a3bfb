use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use ctx::{Cause, Ctx, Open};
use hyper_util::rt::TokioIo;
use ids::TenantId;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::Routes;
use tonic::transport::{Endpoint, Uri};
use tower::ServiceExt;
use tower::retry::budget::TpsBudget;

use crate::auth::{Claims, Keys, SigningKey, Verifier};
use crate::breaker::Breaker;
use crate::client::PeerClient;
use crate::front::Front;
use crate::stack::{self, Limits};
use crate::{Peer, header};

/// Life of a service's token.
const TOKEN_LIFE: Duration = Duration::from_secs(10 * 60);
/// Life that must be left when a token is used again, seconds.
const TOKEN_REST: i64 = 120;

/// Time to connect to a service of another process, its handshake included.
const CONNECT: Duration = Duration::from_secs(1);
/// The same over TLS: keys of both sides are checked in it.
const CONNECT_SEALED: Duration = Duration::from_secs(3);

/// The address of a service cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadUri {
    /// It is not one.
    #[error("not the address of a service: {0}")]
    Malformed(#[from] tonic::transport::Error),
    /// It wants TLS, and nobody said whom to trust.
    #[error("{0} is to be reached over TLS, but no certificate authority is given; fix: --tls-ca FILE")]
    Untrusted(String),
}

/// A service that can be called, and how often calls to it may be tried again.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) peer: Peer,
    /// At most one retry for ten calls, ten a second in any case (gRFC A6 has the same idea).
    pub(crate) budget: Arc<TpsBudget>,
    /// Whether it answers at all.
    pub(crate) breaker: Arc<Breaker>,
}

/// Who is where.
#[derive(Default)]
pub(crate) struct Table(RwLock<BTreeMap<String, Entry>>);

impl Table {
    pub(crate) fn find(&self, context: &str) -> Option<Entry> {
        self.0.read().expect("no panic while the lock is held").get(context).cloned()
    }

    fn put(&self, context: &str, peer: Peer) {
        let budget = Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.1));
        let entry = Entry { peer, budget, breaker: Arc::new(Breaker::new(context)) };
        self.0.write().expect("no panic while the lock is held").insert(context.to_owned(), entry);
    }
}

/// Every service of the system, in this process or another.
///
/// Services are attached late: `peers` may be handed out before those whom they reach exist.
#[derive(Clone)]
pub struct Mesh {
    table: Arc<Table>,
    own: Arc<RwLock<BTreeMap<&'static str, Peer>>>,
    key: SigningKey,
    verifier: Arc<Verifier>,
    closing: CancellationToken,
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Mesh {
    /// A mesh whose services know each other by this key; all processes of a system share it.
    pub fn new(key: SigningKey) -> Self {
        let table = Arc::new(Table::default());
        let keys = Keys::new(PeerClient::new(Arc::clone(&table), "identity"));
        let verifier = Arc::new(Verifier::new(&key, keys));
        Self { table, own: Arc::default(), key, verifier, closing: CancellationToken::new() }
    }

    /// Puts the stack in front of a mount's routes and makes them reachable under its name.
    pub fn attach(&self, context: &'static str, routes: Routes, limits: Limits) -> Peer {
        let peer = stack::around(routes, Arc::clone(&self.verifier), limits, self.closing.clone());
        self.table.put(context, peer.clone());
        self.own.write().expect("no panic while the lock is held").insert(context, peer.clone());
        peer
    }

    /// Makes a service of another process reachable (`http://order:7001`); connects when it is first called.
    ///
    /// # Errors
    /// [`BadUri`].
    pub fn remote(&self, context: &str, address: String) -> Result<(), BadUri> {
        self.remote_over(None, context, address)
    }

    /// The same over TLS where the address begins with `https`; `http` stays plain, for a mesh that encrypts (PAY-12).
    ///
    /// # Errors
    /// [`BadUri`]; `https` without anybody to trust is one, and never plain.
    pub fn remote_over(&self, tls: Option<&Arc<tls::Client>>, context: &str, address: String) -> Result<(), BadUri> {
        let endpoint = Endpoint::from_shared(address.clone())?
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .http2_max_local_error_reset_streams(1024)
            .tcp_nodelay(true);
        let channel = if endpoint.uri().scheme_str() == Some("https") {
            let tls = Arc::clone(tls.ok_or(BadUri::Untrusted(address))?);
            let connector = tower::service_fn(move |uri: Uri| sealed(Arc::clone(&tls), uri));
            endpoint.connect_timeout(CONNECT_SEALED).connect_with_connector_lazy(connector)
        } else {
            endpoint.connect_timeout(CONNECT).connect_lazy()
        };
        self.table.put(context, Peer::new(channel.map_err(tower::BoxError::from)));
        Ok(())
    }

    /// The way to other services in the name of one.
    pub fn peers(&self, service: &str) -> Peers {
        let issuer = Issuer { service: service.to_owned(), key: self.key.clone(), cached: Mutex::default() };
        Peers { table: Arc::clone(&self.table), issuer: Arc::new(issuer) }
    }

    /// The way to a service in nobody's name: the caller's own headers are all it gets (the bridge).
    pub fn plain(&self, context: &str) -> Peer {
        Peer::new(PeerClient::new(Arc::clone(&self.table), context))
    }

    /// What this process offers on a port: everything attached so far.
    pub fn front(&self) -> Front {
        let own = self.own.read().expect("no panic while the lock is held").clone();
        Front::new(own, self.closing.clone())
    }
}

async fn sealed(tls: Arc<tls::Client>, uri: Uri) -> io::Result<TokioIo<tls::ClientStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default();
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let sealed = tls.connect(host, stream).await;
    // Tonic says only that it could not connect.
    sealed.map(TokioIo::new).inspect_err(|error| tracing::warn!(%uri, %error, "no TLS with a service"))
}

/// The way to other services, in the name of one service.
#[derive(Clone)]
pub struct Peers {
    table: Arc<Table>,
    issuer: Arc<Issuer>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&self.issuer.service).finish()
    }
}

impl Peers {
    /// The transport for a generated client: `XServiceClient::new(peers.to("inventory"))`.
    pub fn to(&self, context: &str) -> PeerClient {
        PeerClient::new(Arc::clone(&self.table), context)
    }

    /// A request in the context's tenant and cause, with the time that is left.
    pub fn request<M>(&self, ctx: &Ctx, message: M) -> tonic::Request<M> {
        let mut request = self.prepared(Some(ctx.tenant), &ctx.cause, message);
        if let Some(left) = ctx.remaining() {
            request.set_timeout(left);
        }
        request
    }

    /// The same with an idempotency key, such as a saga step's: a repeat has the effect of one call.
    pub fn request_keyed<M>(&self, ctx: &Ctx, key: &str, message: M) -> tonic::Request<M> {
        let mut request = self.request(ctx, message);
        put(request.metadata_mut(), header::IDEMPOTENCY_KEY, key);
        request
    }

    /// A request of a call that may have no tenant yet.
    pub fn request_open<M>(&self, open: &Open, message: M) -> tonic::Request<M> {
        let mut request = self.prepared(open.tenant, &open.cause, message);
        if let Some(deadline) = open.deadline {
            request.set_timeout(deadline.saturating_duration_since(std::time::Instant::now()));
        }
        request
    }

    /// A request above tenants, for background work such as listing them.
    pub fn request_above_tenants<M>(&self, cause: &Cause, message: M) -> tonic::Request<M> {
        self.prepared(None, cause, message)
    }

    fn prepared<M>(&self, tenant: Option<TenantId>, cause: &Cause, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(header::AUTHORIZATION, self.issuer.bearer());
        if let Some(tenant) = tenant {
            put(metadata, header::TENANT, &tenant.to_string());
        }
        put(metadata, header::CORRELATION, &cause.correlation_id);
        put(metadata, header::CAUSATION, &cause.causation_id);
        if let Some(traceparent) = telemetry::trace::current().as_ref().or(cause.traceparent.as_ref()) {
            put(metadata, header::TRACEPARENT, traceparent);
        }
        request
    }
}

/// A text that no header can hold is left out: the stack behind says what is missing.
fn put(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    if let Ok(value) = AsciiMetadataValue::try_from(value) {
        metadata.insert(name, value);
    }
}

/// Mints a service's short-lived tokens and uses each for most of its life.
struct Issuer {
    service: String,
    key: SigningKey,
    cached: Mutex<Option<(i64, AsciiMetadataValue)>>,
}

impl Issuer {
    fn bearer(&self) -> AsciiMetadataValue {
        let now = Timestamp::now();
        let mut cached = self.cached.lock().expect("no panic while the lock is held");
        if let Some((exp, token)) = cached.as_ref()
            && exp - now.as_second() > TOKEN_REST
        {
            return token.clone();
        }
        let claims = Claims::service(&self.service, now, TOKEN_LIFE);
        let token = self.key.sign(&claims).expect("a key that was read can sign");
        let token = AsciiMetadataValue::try_from(format!("Bearer {token}")).expect("a token is base64url and dots");
        *cached = Some((claims.exp, token.clone()));
        token
    }
}
