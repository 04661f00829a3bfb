//! Adyen-shaped payments: JSON both ways, amounts as objects, modifications as resources, `X-API-Key`.
//!
//! Books and ledger lines are those of the other shape, so that "never twice" can be counted over both providers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::books::{Books, Change};
use super::intent::Intent;
use super::reply::Reply;
use super::request::Request;
use super::{Action, Arrived, End, LARGEST_BODY, Outcome};
use crate::control::{Call, Control, lock};

/// Refunds of one answer.
const MOST_REFUNDS: usize = 100;

/// The second provider.
pub(super) struct Second {
    control: Arc<Control>,
    books: Mutex<Books>,
}

impl Second {
    pub(super) fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self { control, books: Mutex::new(Books::with_prefix("psp")) })
    }

    pub(super) fn clear(&self) {
        lock(&self.books).clear();
    }

    async fn change(&self, arrived: Arrived, op: &'static str, id: &str, action: Action) -> Response {
        let request = match read(&arrived) {
            Ok(request) => request,
            Err(refused) => return refused.into_response(),
        };
        let mut hold = Duration::ZERO;
        let effect = || {
            let mut change =
                Change { books: &mut lock(&self.books), control: &self.control, request: &request, hold: &mut hold };
            change.once(op, id, action).reshaped(shape).into_response()
        };
        let call = Call { op, subject: &request.subject(id), connection: &arrived.connection };
        let response = self.control.perform(call, effect, broken).await;
        self.control.pause(hold).await;
        response
    }

    async fn look(&self, arrived: Arrived, op: &'static str, subject: &str, found: Option<Value>) -> Response {
        if let Err(refused) = read(&arrived) {
            return refused.into_response();
        }
        let effect = || match &found {
            Some(found) => Reply::new(StatusCode::OK, found).into_response(),
            None => error(StatusCode::NOT_FOUND, "no_such_payment").into_response(),
        };
        self.control.perform(Call { op, subject, connection: &arrived.connection }, effect, broken).await
    }
}

pub(super) fn router(second: Arc<Second>) -> Router {
    Router::new()
        .route("/adyen/v71/payments", post(create).get(search))
        .route("/adyen/v71/payments/{id}", get(show))
        .route("/adyen/v71/payments/{id}/amountUpdates", post(increment))
        .route("/adyen/v71/payments/{id}/captures", post(capture))
        .route("/adyen/v71/payments/{id}/cancels", post(cancel))
        .route("/adyen/v71/payments/{id}/refunds", post(refund).get(refunds))
        .route("/_sim/adyen/refunds/{id}", post(end_refund))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(second)
}

async fn create(State(sim): State<Arc<Second>>, arrived: Arrived) -> Response {
    sim.change(arrived, "adyen.payments", "", |c, id| c.create(id)).await
}

async fn increment(State(sim): State<Arc<Second>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "adyen.amount_updates", &id, |c, id| c.increment(id)).await
}

async fn capture(State(sim): State<Arc<Second>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "adyen.captures", &id, |c, id| c.capture(id)).await
}

async fn cancel(State(sim): State<Arc<Second>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "adyen.cancels", &id, |c, id| c.cancel(id)).await
}

async fn refund(State(sim): State<Arc<Second>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    sim.change(arrived, "adyen.refunds", &id, |c, id| c.refund(id)).await
}

/// The newest refunds of a payment.
async fn refunds(State(sim): State<Arc<Second>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    let found = {
        let books = lock(&sim.books);
        books.intent(&id).is_ok().then(|| {
            let listed = books.refunds_of(&id, MOST_REFUNDS);
            let refunds: Vec<Value> = listed["data"].as_array().into_iter().flatten().map(shown_refund).collect();
            json!({"refunds": refunds, "more": listed["has_more"]})
        })
    };
    sim.look(arrived, "adyen.refunds_list", &id, found).await
}

/// The bank is done with a refund, or sends the money of one back.
async fn end_refund(State(sim): State<Arc<Second>>, Path(id): Path<String>, Json(end): Json<End>) -> Reply {
    sim.control.count("end_refund");
    super::answer(lock(&sim.books).end_refund(&sim.control, &id, end.outcome == Outcome::Succeed))
}

async fn show(State(sim): State<Arc<Second>>, Path(id): Path<String>, arrived: Arrived) -> Response {
    let found = lock(&sim.books).intent(&id).ok().map(|intent| payment(&intent.json()));
    sim.look(arrived, "adyen.get", &id, found).await
}

#[derive(Deserialize)]
struct Search {
    reference: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    after: Option<String>,
}

/// Payments of one reference of ours, or of a period.
async fn search(State(sim): State<Arc<Second>>, Query(search): Query<Search>, arrived: Arrived) -> Response {
    let listed = match &search.reference {
        Some(reference) => lock(&sim.books).search(&format!("metadata['payment']:'{reference}'")).unwrap_or_default(),
        None => {
            let period = search.from.unwrap_or_default()..search.to.unwrap_or(i64::MAX);
            lock(&sim.books).list(period, search.after.as_deref().unwrap_or_default(), 50)
        }
    };
    let payments: Vec<Value> = listed["data"].as_array().into_iter().flatten().map(payment).collect();
    let found = json!({"payments": payments, "more": listed["has_more"]});
    sim.look(arrived, "adyen.search", search.reference.as_deref().unwrap_or_default(), Some(found)).await
}

/// The request in the words of the books.
fn read(arrived: &Arrived) -> Result<Request, Reply> {
    let header = |name: &str| arrived.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let key = header("x-api-key").filter(|key| key.starts_with("AQE"));
    let api_key = key.ok_or_else(|| error(StatusCode::UNAUTHORIZED, "unauthorized"))?;
    let body: Value = if arrived.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&arrived.body).map_err(|_| error(StatusCode::BAD_REQUEST, "malformed"))?
    };
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() {
            fields.insert(name.to_owned(), text);
        }
    };
    put("amount", &body["amount"]["value"]);
    put("amount_to_capture", &body["amount"]["value"]);
    put("final_capture", &body["finalCapture"]);
    if let Some(currency) = body["amount"]["currency"].as_str() {
        put("currency", &json!(currency.to_ascii_lowercase()));
    }
    put("payment_method", &body["paymentMethod"]["storedPaymentMethodId"]);
    put("confirm", &json!("true"));
    // Every hold of this provider may be taken in parts and raised.
    put("payment_method_options[card][request_multicapture]", &json!("if_available"));
    put("payment_method_options[card][request_incremental_authorization]", &json!("if_available"));
    let manual = body["additionalData"]["manualCapture"] == "true";
    put("capture_method", &json!(if manual { "manual" } else { "automatic" }));
    if body["authenticationData"]["attemptAuthentication"] == "always" {
        put("payment_method_options[card][request_three_d_secure]", &json!("any"));
    }
    if body["shopperInteraction"] == "ContAuth" {
        put("off_session", &json!("true"));
    }
    let payment = arrived_id(&body);
    put("payment_intent", &payment);
    if !payment.is_null() {
        put("metadata[refund]", &body["reference"]);
    }
    for (name, value) in body["metadata"].as_object().into_iter().flatten() {
        put(&format!("metadata[{name}]"), value);
    }
    Ok(Request::of(api_key, header("idempotency-key"), fields))
}

/// The payment that a modification names.
fn arrived_id(body: &Value) -> Value {
    body["paymentPspReference"].clone()
}

/// An answer of the books in the second provider's words.
fn shape(status: StatusCode, body: &Value) -> (StatusCode, Value) {
    let failure = &body["error"];
    if failure.is_null() {
        return match body["object"].as_str() {
            Some("refund") => (
                StatusCode::CREATED,
                json!({"status": "received", "pspReference": body["id"], "paymentPspReference": body["payment_intent"]}),
            ),
            _ => (StatusCode::OK, payment(body)),
        };
    }
    let code = failure["decline_code"].as_str().or(failure["code"].as_str()).unwrap_or("invalid_request");
    let known = &failure["payment_intent"];
    if status == StatusCode::PAYMENT_REQUIRED && !known.is_null() {
        let mut refused = payment(known);
        refused["refusalReason"] = json!(code);
        return (StatusCode::OK, refused);
    }
    let shown = if known.is_null() { Value::Null } else { payment(known) };
    let status = if status.is_server_error() { status } else { StatusCode::UNPROCESSABLE_ENTITY };
    (status, json!({"status": status.as_u16(), "errorCode": code, "errorType": "validation", "payment": shown}))
}

/// A payment as the second provider shows it.
fn payment(intent: &Value) -> Value {
    let code = match intent["status"].as_str().unwrap_or_default() {
        "requires_action" => "RedirectShopper",
        "requires_capture" => "Authorised",
        "succeeded" => "Captured",
        "canceled" => "Cancelled",
        _ => "Refused",
    };
    let currency = intent["currency"].as_str().unwrap_or_default().to_ascii_uppercase();
    let checks = &intent["latest_charge"]["payment_method_details"]["card"]["checks"];
    let said = |name: &str, pass: &'static str, fail: &'static str| match checks[name].as_str() {
        Some("pass") => Some(pass),
        Some(_) => Some(fail),
        None => None,
    };
    let avs =
        said("address_line1_check", "7 Both postal code and address match", "2 Neither postal code nor address match");
    let cvc = said("cvc_check", "1 Matches", "2 Doesn't match");
    json!({
        "pspReference": intent["id"],
        "resultCode": code,
        "merchantReference": intent["metadata"]["payment"],
        "amount": {"value": intent["amount"], "currency": currency},
        "capturedValue": intent["amount_received"],
        "refundedValue": intent["latest_charge"]["amount_refunded"].as_i64().unwrap_or(0),
        "refusalReason": intent["last_payment_error"]["decline_code"],
        "action": {"url": intent["next_action"]["redirect_to_url"]["url"]},
        "additionalData": {"avsResult": avs, "cvcResult": cvc},
        "metadata": intent["metadata"],
        "createdAt": intent["created"],
    })
}

/// A refund as the second provider shows it.
fn shown_refund(refund: &Value) -> Value {
    let status = match refund["status"].as_str() {
        Some("pending") => "received",
        ended => ended.unwrap_or_default(),
    };
    json!({
        "pspReference": refund["id"],
        "reference": refund["metadata"]["refund"],
        "amount": {"value": refund["amount"], "currency": refund["currency"]},
        "status": status,
        "reason": refund["failure_reason"],
    })
}

/// A notification: what happened, and the payment as it stands then.
pub(super) fn event(id: &str, kind: &str, intent: &Intent, object: &Value) -> Value {
    let code = match kind {
        "payment_intent.succeeded" => "CAPTURE",
        "payment_intent.canceled" => "CANCELLATION",
        "refund.updated" => "REFUND",
        "refund.failed" => "REFUND_FAILED",
        "charge.dispute.created" | "charge.dispute.closed" => "CHARGEBACK",
        _ => "AUTHORISATION",
    };
    let refused = match code {
        "REFUND" => object["status"] == "failed",
        _ => kind == "payment_intent.payment_failed",
    };
    let mut item = json!({
        "pspReference": id,
        "eventCode": code,
        "eventDate": Timestamp::now().to_string(),
        "success": (!refused).to_string(),
        "payment": payment(&intent.json()),
    });
    if object["object"] == "refund" {
        item["refund"] = json!({"pspReference": object["id"], "reference": object["metadata"]["refund"],
            "reason": object["failure_reason"]});
    }
    json!({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]})
}

fn error(status: StatusCode, code: &str) -> Reply {
    Reply::new(status, &json!({"status": status.as_u16(), "errorCode": code, "errorType": "validation"}))
}

fn broken(status: StatusCode) -> Response {
    error(status, "internal").into_response()
}
