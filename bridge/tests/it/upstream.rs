//! Services that answer by the id they are asked for, and remember what they were sent.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bridge::{Config, Peer};
use contract::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use contract::identity::v1::*;
use contract::order::v1::order_query_service_server::{OrderQueryService, OrderQueryServiceServer};
use contract::order::v1::order_service_server::{OrderService, OrderServiceServer};
use contract::order::v1::*;
use contract::payment::v1::payment_webhook_service_server::{PaymentWebhookService, PaymentWebhookServiceServer};
use contract::payment::v1::*;
use fault::{Fault, Kind};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tonic::metadata::MetadataMap;
use tonic::{Request as Rpc, Response, Status};
use tower::{BoxError, ServiceExt as _};

pub type Orders = Pin<Box<dyn Stream<Item = Result<Order, Status>> + Send>>;

/// What the services were sent.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(MetadataMap, String)>>>);

impl Seen {
    fn note<T: std::fmt::Debug>(&self, request: &Rpc<T>) {
        self.0.lock().unwrap().push((request.metadata().clone(), format!("{:?}", request.get_ref())));
    }

    pub fn calls(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Metadata of the last call.
    pub fn metadata(&self, name: &str) -> Option<String> {
        let seen = self.0.lock().unwrap();
        seen.last().unwrap().0.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Names of all metadata of the last call.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().last().unwrap().0.clone().into_headers().keys().map(ToString::to_string).collect()
    }

    /// The last request as Debug prints it.
    pub fn message(&self) -> String {
        self.0.lock().unwrap().last().unwrap().1.clone()
    }
}

#[derive(Clone, Default)]
struct Fake {
    seen: Seen,
}

pub fn order(id: &str, etag: &str) -> Order {
    Order { id: id.to_owned(), order_number: 1 << 53, etag: etag.to_owned(), ..Order::default() }
}

/// The error that an id stands for.
fn scripted(id: &str) -> Result<(), Status> {
    let fault = match id {
        "missing" => Fault::not_found("ORDER_NOT_FOUND", "no such order").with("order_id", id),
        "stale" => Fault::aborted("ETAG_MISMATCH", "the order has changed"),
        "late" => Fault::precondition("ORDER_STATE_FORBIDS", "fulfillment has started"),
        "busy" => Fault::exhausted("RATE_LIMITED", "too fast").retry_after(Duration::from_millis(2500)),
        "flying" => Fault::aborted("IN_FLIGHT", "the same call is running").retry_after(Duration::from_secs(1)),
        "nobody" => Fault::unauthenticated("TOKEN_EXPIRED", "log in again"),
        "reused" => Fault::new(Kind::Invalid, "IDEMPOTENCY_KEY_REUSED", "another request had this key"),
        "price" => Fault::aborted("PRICE_CHANGED", "the price has changed").with("total_minor", 4200),
        "fields" => Fault::invalid("items[1].sku", "UNKNOWN_SKU", "no such product").field(
            "shipping_address.country_code",
            "UNKNOWN_COUNTRY",
            "not a country",
        ),
        "broken" => return Err(Status::new(tonic::Code::Unknown, "relation \"orders\" does not exist")),
        _ => return Ok(()),
    };
    Err(fault.into())
}

#[tonic::async_trait]
impl OrderService for Fake {
    async fn create_order(&self, request: Rpc<CreateOrderRequest>) -> Result<Response<Order>, Status> {
        self.seen.note(&request);
        let note = &request.get_ref().note;
        scripted(note)?;
        let mut response = Response::new(order("ord_1", "1"));
        if note == "again" {
            response.metadata_mut().insert("idempotent-replayed", "true".parse().unwrap());
        }
        Ok(response)
    }

    async fn quote_order(&self, request: Rpc<QuoteOrderRequest>) -> Result<Response<OrderQuote>, Status> {
        self.seen.note(&request);
        assert_ne!(request.get_ref().currency_code, "PANIC", "as scripted");
        Ok(Response::new(OrderQuote::default()))
    }

    async fn update_order(&self, request: Rpc<UpdateOrderRequest>) -> Result<Response<Order>, Status> {
        self.seen.note(&request);
        scripted(&request.get_ref().order_id)?;
        Ok(Response::new(order(&request.get_ref().order_id, "2")))
    }

    async fn cancel_order(&self, request: Rpc<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        self.seen.note(&request);
        scripted(&request.get_ref().order_id)?;
        Ok(Response::new(order(&request.get_ref().order_id, "3")))
    }
}

#[tonic::async_trait]
impl OrderQueryService for Fake {
    async fn get_order(&self, request: Rpc<GetOrderRequest>) -> Result<Response<Order>, Status> {
        self.seen.note(&request);
        let id = &request.get_ref().order_id;
        scripted(id)?;
        if id == "slow" {
            std::future::pending::<()>().await;
        }
        let mut answer = order(id, "7");
        if id == "year-10000" {
            answer.create_time = Some(prost_types::Timestamp { seconds: 999_999_999_999, nanos: 0 });
        }
        Ok(Response::new(answer))
    }

    async fn list_orders(&self, request: Rpc<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        self.seen.note(&request);
        let is_last = request.get_ref().page_token == "last";
        let next_page_token = if is_last { String::new() } else { "a+b/c=".to_owned() };
        Ok(Response::new(ListOrdersResponse { orders: vec![order("ord_1", "1")], next_page_token }))
    }

    async fn list_order_events(
        &self,
        request: Rpc<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        self.seen.note(&request);
        Ok(Response::new(ListOrderEventsResponse::default()))
    }

    type WatchOrderStream = Orders;

    async fn watch_order(&self, request: Rpc<WatchOrderRequest>) -> Result<Response<Orders>, Status> {
        self.seen.note(&request);
        let id = request.get_ref().order_id.clone();
        scripted(&id)?;
        let two = stream::iter([Ok(order(&id, "1")), Ok(order(&id, "2"))]);
        Ok(Response::new(match id.as_str() {
            "endless" => Box::pin(two.chain(stream::pending())),
            "silent" => Box::pin(stream::pending()),
            "breaks" => Box::pin(two.chain(stream::iter([Err(scripted("late").unwrap_err())]))),
            "refused" => Box::pin(stream::iter([Err(scripted("missing").unwrap_err())])),
            _ => Box::pin(two),
        }))
    }
}

#[tonic::async_trait]
impl IdentityService for Fake {
    async fn login(&self, request: Rpc<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        self.seen.note(&request);
        Ok(Response::new(LoginResponse { access_token: "t".to_owned(), ..LoginResponse::default() }))
    }

    async fn get_jwks(&self, request: Rpc<GetJwksRequest>) -> Result<Response<Jwks>, Status> {
        self.seen.note(&request);
        Ok(Response::new(Jwks { keys: vec![Jwk { kid: "k1".to_owned(), ..Jwk::default() }] }))
    }

    async fn rotate_signing_key(&self, request: Rpc<RotateSigningKeyRequest>) -> Result<Response<Jwk>, Status> {
        self.seen.note(&request);
        Ok(Response::new(Jwk::default()))
    }

    async fn create_user(&self, request: Rpc<CreateUserRequest>) -> Result<Response<User>, Status> {
        self.seen.note(&request);
        Ok(Response::new(User { id: "usr/1".to_owned(), ..User::default() }))
    }

    async fn get_user(&self, request: Rpc<GetUserRequest>) -> Result<Response<User>, Status> {
        self.seen.note(&request);
        Ok(Response::new(User::default()))
    }

    async fn list_users(&self, request: Rpc<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        self.seen.note(&request);
        Ok(Response::new(ListUsersResponse::default()))
    }
}

#[tonic::async_trait]
impl PaymentWebhookService for Fake {
    async fn ingest_provider_webhook(
        &self,
        request: Rpc<IngestProviderWebhookRequest>,
    ) -> Result<Response<IngestProviderWebhookResponse>, Status> {
        self.seen.note(&request);
        let payload = request.get_ref().payload.clone().unwrap_or_default();
        assert_eq!(payload.data.as_ref(), b"{\"raw\" :\xff}");
        Ok(Response::new(IngestProviderWebhookResponse {}))
    }
}

/// A peer of this process.
pub fn peer(routes: tonic::service::Routes) -> Peer {
    let router = routes.prepare().into_axum_router();
    Peer::new(tower::service_fn(move |request: Request<tonic::body::Body>| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            Ok::<_, BoxError>(response.map(tonic::body::Body::new))
        }
    }))
}

pub fn config(seen: &Seen) -> Config {
    let fake = Fake { seen: seen.clone() };
    let orders = tonic::service::Routes::new(OrderServiceServer::new(fake.clone()))
        .add_service(OrderQueryServiceServer::new(fake.clone()));
    let identity = tonic::service::Routes::new(IdentityServiceServer::new(fake.clone()));
    let payment = tonic::service::Routes::new(PaymentWebhookServiceServer::new(fake));
    let away = tower::service_fn(|_: Request<tonic::body::Body>| async {
        Err::<http::Response<tonic::body::Body>, BoxError>(std::io::Error::other("connection refused").into())
    });
    let garbage = tower::service_fn(|_: Request<tonic::body::Body>| async {
        let body = tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from_static(b"<html>")));
        Ok::<_, BoxError>(http::Response::new(body))
    });
    let upstreams = BTreeMap::from([
        ("order", peer(orders)),
        ("identity", peer(identity)),
        ("payment", peer(payment)),
        ("inventory", Peer::new(away)),
        ("shipping", Peer::new(garbage)),
    ]);
    let mut config = Config::new(upstreams);
    config.cors_origins = vec!["https://shop.example".to_owned()];
    config
}

/// An answer, read whole.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A problem's status and reason; checks what every problem has.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["instance"].as_str(), self.header("x-correlation-id"));
        assert_eq!(json["domain"], "ordermesh");
        (self.status.as_u16(), json["reason"].as_str().unwrap().to_owned())
    }

    /// Pointer and reason of every wrong field.
    pub fn errors(&self) -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let json = self.json();
        json["errors"].as_array().unwrap().iter().map(|e| (text(&e["pointer"]), text(&e["reason"]))).collect()
    }
}

pub async fn send(config: Config, request: Request<Body>) -> Reply {
    let response = bridge::app(config).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { status: parts.status, headers: parts.headers, body }
}

/// Sends one request to a fresh edge.
pub async fn call(verb: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> (Reply, Seen) {
    let seen = Seen::default();
    let mut request = Request::builder().method(verb).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    let reply = send(config(&seen), request.body(Body::from(body.to_owned())).unwrap()).await;
    (reply, seen)
}

pub async fn get(uri: &str) -> Reply {
    call(Method::GET, uri, &[], "").await.0
}

pub async fn post(uri: &str, body: &str) -> Reply {
    call(Method::POST, uri, &[], body).await.0
}
