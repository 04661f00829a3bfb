//! Services that answer by the id they are asked for, and remember what they were sent.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bridge::{Config, Peer};
use contract::identity::v1::*;
use contract::order::v1::*;
use contract::payment::v1::*;
use fault::{Fault, Kind};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::{Request as Rpc, Response, Status};
use tonic_prost::ProstCodec;
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

async fn create_order(seen: Seen, request: Rpc<CreateOrderRequest>) -> Result<Response<Order>, Status> {
    seen.note(&request);
    let note = &request.get_ref().note;
    scripted(note)?;
    let mut response = Response::new(order("ord_1", "1"));
    if note == "again" {
        response.metadata_mut().insert("idempotent-replayed", "true".parse().unwrap());
    }
    Ok(response)
}

async fn quote_order(seen: Seen, request: Rpc<QuoteOrderRequest>) -> Result<Response<OrderQuote>, Status> {
    seen.note(&request);
    assert_ne!(request.get_ref().currency_code, "PANIC", "as scripted");
    Ok(Response::new(OrderQuote::default()))
}

async fn update_order(seen: Seen, request: Rpc<UpdateOrderRequest>) -> Result<Response<Order>, Status> {
    seen.note(&request);
    scripted(&request.get_ref().order_id)?;
    Ok(Response::new(order(&request.get_ref().order_id, "2")))
}

async fn cancel_order(seen: Seen, request: Rpc<CancelOrderRequest>) -> Result<Response<Order>, Status> {
    seen.note(&request);
    scripted(&request.get_ref().order_id)?;
    Ok(Response::new(order(&request.get_ref().order_id, "3")))
}

async fn get_order(seen: Seen, request: Rpc<GetOrderRequest>) -> Result<Response<Order>, Status> {
    seen.note(&request);
    let id = &request.get_ref().order_id;
    scripted(id)?;
    if id == "slow" {
        std::future::pending::<()>().await;
    }
    let mut answer = order(id, "7");
    if id == "large" {
        answer.note = "The same again. ".repeat(512);
    }
    if id == "year-10000" {
        answer.create_time = Some(prost_types::Timestamp { seconds: 999_999_999_999, nanos: 0 });
    }
    Ok(Response::new(answer))
}

async fn list_orders(seen: Seen, request: Rpc<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
    seen.note(&request);
    let is_last = request.get_ref().page_token == "last";
    let next_page_token = if is_last { String::new() } else { "a+b/c=".to_owned() };
    Ok(Response::new(ListOrdersResponse { orders: vec![order("ord_1", "1")], next_page_token }))
}

async fn watch_order(seen: Seen, request: Rpc<WatchOrderRequest>) -> Result<Response<Orders>, Status> {
    seen.note(&request);
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

async fn webhook(
    seen: Seen,
    request: Rpc<IngestProviderWebhookRequest>,
) -> Result<Response<IngestProviderWebhookResponse>, Status> {
    seen.note(&request);
    let payload = request.get_ref().payload.clone().unwrap_or_default();
    assert_eq!(payload.data.as_ref(), b"{\"raw\" :\xff}");
    Ok(Response::new(IngestProviderWebhookResponse {}))
}

/// The same answer to every request.
async fn fixed<I: std::fmt::Debug, O>(seen: Seen, request: Rpc<I>, answer: O) -> Result<Response<O>, Status> {
    seen.note(&request);
    Ok(Response::new(answer))
}

/// Dispatches by path as generated servers do; only the methods the tests call exist, however the contract grows.
async fn serve(seen: Seen, request: Request<tonic::body::Body>) -> http::Response<tonic::body::Body> {
    let path = request.uri().path().to_owned();
    match path.strip_prefix("/ordermesh.").unwrap() {
        "order.v1.OrderService/CreateOrder" => unary(request, |rpc| create_order(seen.clone(), rpc)).await,
        "order.v1.OrderService/QuoteOrder" => unary(request, |rpc| quote_order(seen.clone(), rpc)).await,
        "order.v1.OrderService/UpdateOrder" => unary(request, |rpc| update_order(seen.clone(), rpc)).await,
        "order.v1.OrderService/CancelOrder" => unary(request, |rpc| cancel_order(seen.clone(), rpc)).await,
        "order.v1.OrderQueryService/GetOrder" => unary(request, |rpc| get_order(seen.clone(), rpc)).await,
        "order.v1.OrderQueryService/ListOrders" => unary(request, |rpc| list_orders(seen.clone(), rpc)).await,
        "order.v1.OrderQueryService/WatchOrder" => {
            let watch = tower::service_fn(|rpc| watch_order(seen.clone(), rpc));
            Grpc::new(ProstCodec::default()).server_streaming(watch, request).await
        }
        "identity.v1.IdentityService/Login" => {
            let answer = LoginResponse { access_token: "t".to_owned(), ..LoginResponse::default() };
            unary(request, |rpc: Rpc<LoginRequest>| fixed(seen.clone(), rpc, answer.clone())).await
        }
        "identity.v1.IdentityService/GetJwks" => {
            let answer = Jwks { keys: vec![Jwk { kid: "k1".to_owned(), ..Jwk::default() }] };
            unary(request, |rpc: Rpc<GetJwksRequest>| fixed(seen.clone(), rpc, answer.clone())).await
        }
        "identity.v1.IdentityService/CreateUser" => {
            let answer = User { id: "usr/1".to_owned(), ..User::default() };
            unary(request, |rpc: Rpc<CreateUserRequest>| fixed(seen.clone(), rpc, answer.clone())).await
        }
        "payment.v1.PaymentWebhookService/IngestProviderWebhook" => {
            unary(request, |rpc| webhook(seen.clone(), rpc)).await
        }
        _ => Status::unimplemented("").into_http(),
    }
}

async fn unary<I, O, F>(
    request: Request<tonic::body::Body>,
    handler: impl FnMut(Rpc<I>) -> F,
) -> http::Response<tonic::body::Body>
where
    I: prost::Message + Default + 'static,
    O: prost::Message + Default + 'static,
    F: Future<Output = Result<Response<O>, Status>>,
{
    Grpc::new(ProstCodec::<O, I>::default()).unary(tower::service_fn(handler), request).await
}

pub fn config(seen: &Seen) -> Config {
    let peer = {
        let seen = seen.clone();
        Peer::new(tower::service_fn(move |request| {
            let seen = seen.clone();
            async move { Ok::<_, BoxError>(serve(seen, request).await) }
        }))
    };
    let away = tower::service_fn(|_: Request<tonic::body::Body>| async {
        Err::<http::Response<tonic::body::Body>, BoxError>(std::io::Error::other("connection refused").into())
    });
    let garbage = tower::service_fn(|_: Request<tonic::body::Body>| async {
        let body = tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from_static(b"<html>")));
        Ok::<_, BoxError>(http::Response::new(body))
    });
    let upstreams = BTreeMap::from([
        ("order", peer.clone()),
        ("identity", peer.clone()),
        ("payment", peer),
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
