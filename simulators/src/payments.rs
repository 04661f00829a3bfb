//! Stripe-shaped payments: form-encoded requests, JSON answers, idempotency keys, signed events.
//!
//! Shapes follow Stripe's `payment_intents` and `refunds`; test tokens `pm_sim_*` choose the outcome.

mod adyen;
mod books;
mod expand;
mod intent;
mod refunds;
mod refusal;
mod reply;
mod request;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use crate::connection::Connection;
use crate::control::{Call, Control, lock};
use books::{Books, Change};
use refusal::Refusal;
use reply::{Reply, broken};
use request::Request;

/// Bytes of the largest form accepted.
const LARGEST_BODY: usize = 64 * 1024;

struct Payments {
    control: Arc<Control>,
    books: Mutex<Books>,
}

/// A request as every handler gets it.
struct Arrived {
    connection: Connection,
    headers: HeaderMap,
    body: Bytes,
}

type Action = for<'a> fn(&mut Change<'a>, &str) -> Result<Value, Refusal>;

/// All routes of the payment simulator.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let payments = Arc::new(Payments { control: Arc::clone(&control), books: Mutex::default() });
    let second = adyen::Second::new(Arc::clone(&control));
    let reset = {
        let payments = Arc::clone(&payments);
        let second = Arc::clone(&second);
        move || {
            lock(&payments.books).clear();
            second.clear();
        }
    };
    Router::new()
        .route("/v1/payment_intents", post(create).get(list))
        .route("/v1/payment_intents/search", get(search))
        .route("/v1/payment_intents/{id}", get(show))
        .route("/v1/payment_intents/{id}/increment_authorization", post(increment))
        .route("/v1/payment_intents/{id}/capture", post(capture))
        .route("/v1/payment_intents/{id}/cancel", post(cancel))
        .route("/v1/refunds", post(refund).get(refunds))
        .route("/_sim/payment_intents/{id}/complete_action", post(complete_action))
        .route("/_sim/payment_intents/{id}/dispute", post(dispute))
        .route("/_sim/refunds/{id}", post(end_refund))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(payments)
        .merge(adyen::router(second))
        .merge(control.routes(reset))
}

impl Payments {
    /// Runs one changing call: faults, then the key's earlier answer, then the action.
    async fn change(&self, arrived: Arrived, op: &'static str, id: &str, action: Action) -> Response {
        let request = match Request::read(&arrived.headers, &arrived.body) {
            Ok(request) => request,
            Err(refusal) => return refusal.reply().into_response(),
        };
        let mut hold = Duration::ZERO;
        let effect = || {
            let mut change =
                Change { books: &mut lock(&self.books), control: &self.control, request: &request, hold: &mut hold };
            let whole = expand::asked(request.text("expand[]").ok(), "");
            change
                .once(op, id, action)
                .reshaped(|status, body| (status, expand::shown(body.clone(), whole)))
                .into_response()
        };
        let call = Call { op, subject: &request.subject(id), connection: &arrived.connection };
        let response = self.control.perform(call, effect, broken).await;
        self.control.pause(hold).await;
        response
    }

    /// Runs one reading call.
    async fn read(
        &self,
        arrived: Arrived,
        op: &'static str,
        subject: &str,
        look: impl FnOnce(&Books) -> Result<Value, Refusal>,
    ) -> Response {
        if let Err(refusal) = Request::read(&arrived.headers, &[]) {
            return refusal.reply().into_response();
        }
        let effect = || answer(look(&lock(&self.books))).into_response();
        let call = Call { op, subject, connection: &arrived.connection };
        self.control.perform(call, effect, broken).await
    }
}

fn answer(result: Result<Value, Refusal>) -> Reply {
    match result {
        Ok(value) => Reply::new(StatusCode::OK, &value),
        Err(refusal) => refusal.reply(),
    }
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Arrived {
    type Rejection = Response;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Self::Rejection> {
        let (ConnectInfo(connection), headers, body) =
            <(ConnectInfo<Connection>, HeaderMap, Bytes)>::from_request(request, state).await?;
        Ok(Self { connection, headers, body })
    }
}

async fn create(State(sim): State<Arc<Payments>>, arrived: Arrived) -> Response {
    sim.change(arrived, "payment_intents.create", "", |c, id| c.create(id)).await
}

async fn capture(State(sim): State<Arc<Payments>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "payment_intents.capture", &id, |c, id| c.capture(id)).await
}

async fn increment(State(sim): State<Arc<Payments>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "payment_intents.increment", &id, |c, id| c.increment(id)).await
}

async fn cancel(State(sim): State<Arc<Payments>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "payment_intents.cancel", &id, |c, id| c.cancel(id)).await
}

async fn refund(State(sim): State<Arc<Payments>>, arrived: Arrived) -> Response {
    sim.change(arrived, "refunds.create", "", |c, id| c.refund(id)).await
}

#[derive(Deserialize)]
struct Expand {
    #[serde(rename = "expand[]")]
    expand: Option<String>,
}

async fn show(
    State(sim): State<Arc<Payments>>,
    Path(id): Path<String>,
    Query(query): Query<Expand>,
    arrived: Arrived,
) -> Response {
    let whole = expand::asked(query.expand.as_deref(), "");
    let look = |books: &Books| books.intent(&id).map(|intent| expand::shown(intent.json(), whole));
    sim.read(arrived, "payment_intents.get", &id, look).await
}

#[derive(Deserialize)]
struct Search {
    query: String,
    #[serde(rename = "expand[]")]
    expand: Option<String>,
}

async fn search(State(sim): State<Arc<Payments>>, Query(search): Query<Search>, arrived: Arrived) -> Response {
    let whole = expand::asked(search.expand.as_deref(), "data.");
    let look = |books: &Books| books.search(&search.query).map(|found| expand::shown(found, whole));
    sim.read(arrived, "payment_intents.search", &search.query, look).await
}

#[derive(Deserialize)]
struct Period {
    #[serde(rename = "created[gte]")]
    from: i64,
    #[serde(rename = "created[lt]")]
    to: i64,
    starting_after: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "expand[]")]
    expand: Option<String>,
}

async fn list(State(sim): State<Arc<Payments>>, Query(period): Query<Period>, arrived: Arrived) -> Response {
    let whole = expand::asked(period.expand.as_deref(), "data.");
    let look = |books: &Books| {
        let behind = period.starting_after.as_deref().unwrap_or_default();
        Ok(expand::shown(books.list(period.from..period.to, behind, page(period.limit)), whole))
    };
    sim.read(arrived, "payment_intents.list", "", look).await
}

#[derive(Deserialize)]
struct Refunds {
    payment_intent: String,
    limit: Option<usize>,
}

async fn refunds(State(sim): State<Arc<Payments>>, Query(of): Query<Refunds>, arrived: Arrived) -> Response {
    let look = |books: &Books| Ok(books.refunds_of(&of.payment_intent, page(of.limit)));
    sim.read(arrived, "refunds.list", &of.payment_intent, look).await
}

fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(10).min(100)
}

#[derive(Deserialize)]
struct Dispute {
    amount: i64,
    status: String,
    /// The dispute of an earlier call, to end it.
    id: Option<String>,
}

/// The customer's bank takes money back, or ends what it began.
async fn dispute(State(sim): State<Arc<Payments>>, Path(id): Path<String>, Json(dispute): Json<Dispute>) -> Reply {
    sim.control.count("dispute");
    let Dispute { amount, status, id: dispute } = dispute;
    answer(lock(&sim.books).dispute(&sim.control, &id, amount, &status, dispute))
}

/// How the customer's action or the bank's work ends.
#[derive(Deserialize)]
struct End {
    outcome: Outcome,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Succeed,
    Fail,
}

async fn complete_action(State(sim): State<Arc<Payments>>, Path(id): Path<String>, Json(end): Json<End>) -> Reply {
    sim.control.count("complete_action");
    answer(lock(&sim.books).complete_action(&sim.control, &id, end.outcome == Outcome::Succeed))
}

/// The bank is done with a refund, or sends the money of one back.
async fn end_refund(State(sim): State<Arc<Payments>>, Path(id): Path<String>, Json(end): Json<End>) -> Reply {
    sim.control.count("end_refund");
    answer(lock(&sim.books).end_refund(&sim.control, &id, end.outcome == Outcome::Succeed))
}
