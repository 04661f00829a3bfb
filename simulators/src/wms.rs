//! The legacy warehouse: SOAP 1.1 over HTTP, namespace `urn:legacy-wms:v1`.

mod counts;
mod soap;
mod store;
mod timeline;

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};

use crate::connection::Connection;
use crate::control::{Call, Control, lock};
use counts::Counted;
use soap::Element;
use store::{Refused, Store};

/// Bytes of the largest envelope accepted.
const LARGEST_ENVELOPE: usize = 1024 * 1024;

struct Wms {
    control: Arc<Control>,
    store: Mutex<Store>,
}

type Operation = fn(&mut Store, &Control, &Element) -> Result<String, Refused>;

/// All routes of the warehouse simulator.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let wms = Arc::new(Wms { control: Arc::clone(&control), store: Mutex::default() });
    let reset = {
        let wms = Arc::clone(&wms);
        move || lock(&wms.store).clear()
    };
    Router::new()
        .route("/wms", post(call))
        .route("/_sim/stock", put(count))
        .layer(DefaultBodyLimit::max(LARGEST_ENVELOPE))
        .with_state(wms)
        .merge(control.routes(reset))
}

async fn call(
    State(wms): State<Arc<Wms>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request = match read(body) {
        Ok(request) => request,
        Err(message) => {
            wms.control.count("malformed");
            return client_fault(Refused::Malformed, &message);
        }
    };
    let (op, operation) = match find(&request.name) {
        Ok(found) => found,
        Err(refused) => {
            wms.control.count("unknown");
            return client_fault(refused, &request.name);
        }
    };
    let effect = || match operation(&mut lock(&wms.store), &wms.control, &request) {
        Ok(answer) => xml(StatusCode::OK, answer),
        Err(refused) => client_fault(refused, &refused.to_string()),
    };
    let call = Call { op, subject: &subject(&request), connection: &connection };
    wms.control.perform(call, effect, broken).await
}

/// Somebody says what lies in a warehouse.
async fn count(State(wms): State<Arc<Wms>>, Json(counted): Json<Counted>) -> StatusCode {
    lock(&wms.store).count(counted);
    StatusCode::NO_CONTENT
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Element, String> {
    let body = body.map_err(|rejection| rejection.body_text())?;
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
    soap::request(text).map_err(|malformed| malformed.to_string())
}

fn find(name: &str) -> Result<(&'static str, Operation), Refused> {
    match name {
        "CreateOrderRequest" => Ok(("CreateOrder", Store::create)),
        "GetStatusRequest" => Ok(("GetStatus", Store::status)),
        "CancelOrderRequest" => Ok(("CancelOrder", Store::cancel)),
        "GetStockRequest" => Ok(("GetStock", Store::stock)),
        "ReleaseShipmentRequest" => Ok(("ReleaseShipment", Store::release)),
        _ => Err(Refused::UnknownOperation),
    }
}

/// What a fault script can match: the tenant and the references.
fn subject(request: &Element) -> String {
    let mut subject = request.field("Tenant").unwrap_or_default().to_owned();
    for reference in request.children("ClientReference") {
        subject.push(' ');
        subject.push_str(reference.text());
    }
    subject
}

/// SOAP 1.1 §6.2: every fault travels with HTTP 500.
fn client_fault(refused: Refused, message: &str) -> Response {
    let fault = soap::fault("Client", refused.code(), message);
    xml(StatusCode::INTERNAL_SERVER_ERROR, fault)
}

fn broken(status: StatusCode) -> Response {
    xml(status, soap::fault("Server", "INTERNAL", "internal error"))
}

fn xml(status: StatusCode, body: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/xml; charset=utf-8")];
    (status, kind, body).into_response()
}
