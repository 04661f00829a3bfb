//! A FedEx-shaped carrier: rates, labels, handover, scans with signed events.

mod limit;
mod shipments;
mod tariff;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::control::{Call, Control, lock};
use crate::webhook::Channel;
use limit::Limiter;
use shipments::{NewShipment, Refused, SCANS, Shipments};
use tariff::{Place, rates};

struct Carrier {
    control: Arc<Control>,
    shipments: Mutex<Shipments>,
    limiter: Mutex<Limiter>,
}

/// All routes of the carrier simulator.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let carrier =
        Arc::new(Carrier { control: Arc::clone(&control), shipments: Mutex::default(), limiter: Mutex::default() });
    let reset = {
        let carrier = Arc::clone(&carrier);
        move || {
            lock(&carrier.shipments).clear();
            lock(&carrier.limiter).clear();
        }
    };
    Router::new()
        .route("/v1/rates", post(quote))
        .route("/v1/shipments", post(create).get(find))
        .route("/v1/shipments/{id}/void", post(void))
        .route("/v1/shipments/{id}/handover", post(hand_over))
        .route("/v1/tracking/{number}", get(track))
        .route("/_sim/limit", get(limit).post(set_limit))
        .with_state(carrier)
        .merge(control.routes(reset))
}

impl Carrier {
    /// Runs one call: key, limit, faults, then the work.
    async fn serve(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
        (op, subject): (&'static str, &str),
        work: impl FnOnce() -> Result<Value, Refused>,
    ) -> Response {
        let Some(key) = bearer(headers) else {
            return refuse(Refused::Unauthorized);
        };
        if let Err(wait) = lock(&self.limiter).admit(key, Instant::now()) {
            self.control.count("throttled");
            // Rounded up: a client that waits this long is let in.
            let seconds = wait.as_secs() + 1;
            return throttled(seconds);
        }
        let effect = || match work() {
            Ok(value) => Json(value).into_response(),
            Err(refused) => refuse(refused),
        };
        let call = Call { op, subject, connection };
        self.control.perform(call, effect, broken).await
    }

    /// Lets the parcel travel: one scan and one event per step.
    async fn travel(&self, id: String) {
        for (code, step) in SCANS {
            if !self.control.pause(step).await {
                return;
            }
            let scanned = lock(&self.shipments).scan(&self.control, &id, code);
            let Some((tenant, event)) = scanned else {
                return;
            };
            self.control.notify(Channel::Carrier, &tenant, event.to_string());
        }
    }
}

#[derive(Deserialize)]
struct Quote {
    from: Place,
    to: Place,
    weight_grams: u64,
}

async fn quote(
    State(sim): State<Arc<Carrier>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    sim.serve(&connection, &headers, ("rates", ""), || {
        let quote: Quote = parse(&body)?;
        if quote.from.country.is_empty() || quote.to.country.is_empty() {
            return Err(Refused::Invalid);
        }
        Ok(rates(&quote.from, &quote.to, quote.weight_grams))
    })
    .await
}

async fn create(
    State(sim): State<Arc<Carrier>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let new: Result<NewShipment, Refused> = parse(&body);
    let subject = new.as_ref().map(|new| format!("{} {}", new.tenant, new.reference)).unwrap_or_default();
    sim.serve(&connection, &headers, ("shipments.create", &subject), || {
        lock(&sim.shipments).create(&sim.control, &new?)
    })
    .await
}

#[derive(Deserialize)]
struct Wanted {
    reference: String,
    tenant: String,
}

async fn find(
    State(sim): State<Arc<Carrier>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let Wanted { reference, tenant } = &wanted;
    let subject = format!("{tenant} {reference}");
    sim.serve(&connection, &headers, ("shipments.find", &subject), || Ok(lock(&sim.shipments).find(tenant, reference)))
        .await
}

async fn void(
    State(sim): State<Arc<Carrier>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    sim.serve(&connection, &headers, ("shipments.void", &id), || lock(&sim.shipments).void(&sim.control, &id)).await
}

async fn hand_over(
    State(sim): State<Arc<Carrier>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    sim.serve(&connection, &headers, ("shipments.handover", &id), || {
        let (shown, first) = lock(&sim.shipments).hand_over(&sim.control, &id)?;
        if first {
            let carrier = Arc::clone(&sim);
            let id = id.clone();
            sim.control.tasks.spawn(async move { carrier.travel(id).await });
        }
        Ok(shown)
    })
    .await
}

async fn track(
    State(sim): State<Arc<Carrier>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    Path(number): Path<String>,
) -> Response {
    sim.serve(&connection, &headers, ("tracking.get", &number), || lock(&sim.shipments).tracking(&number)).await
}

#[derive(Deserialize)]
struct NewLimit {
    per_minute: Option<usize>,
}

async fn set_limit(State(sim): State<Arc<Carrier>>, Json(new): Json<NewLimit>) -> StatusCode {
    lock(&sim.limiter).set(new.per_minute);
    StatusCode::NO_CONTENT
}

async fn limit(State(sim): State<Arc<Carrier>>) -> Json<Value> {
    let limiter = lock(&sim.limiter);
    Json(json!({"per_minute": limiter.per_minute(), "peak_per_minute": limiter.peak()}))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").filter(|key| !key.is_empty())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|_| Refused::Invalid)
}

fn refuse(refused: Refused) -> Response {
    let (status, code) = match refused {
        Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        Refused::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Refused::HandedOver => (StatusCode::CONFLICT, "HANDED_OVER"),
        Refused::Voided => (StatusCode::CONFLICT, "VOIDED"),
        Refused::UnknownService => (StatusCode::UNPROCESSABLE_ENTITY, "UNKNOWN_SERVICE"),
        Refused::Invalid => (StatusCode::BAD_REQUEST, "INVALID"),
    };
    error(status, code, &refused.to_string())
}

fn throttled(seconds: u64) -> Response {
    let answer = error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "too many calls within a minute");
    ([(header::RETRY_AFTER, seconds.to_string())], answer).into_response()
}

fn broken(status: StatusCode) -> Response {
    error(status, "INTERNAL", "internal error")
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"error": {"code": code, "message": message}});
    (status, Json(body)).into_response()
}
