//! What all simulators share: ledger, call counters, fault scripts, speed and webhooks.

pub(crate) mod faults;
pub(crate) mod ledger;
pub(crate) mod speed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::webhook::{Channel, Outcome, WebhookEndpoint, Webhooks};
use faults::{FaultKind, FaultRule};
use ledger::Ledger;
use speed::Speed;

/// The control desk of one simulator.
pub(crate) struct Control {
    pub(crate) speed: Speed,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    ledger: Mutex<Ledger>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Vec<FaultRule>>,
    webhooks: Arc<Webhooks>,
}

/// One call as the fault script sees it.
pub(crate) struct Call<'a> {
    pub(crate) op: &'static str,
    /// Idempotency key, ids and references, for the script's `match`.
    pub(crate) subject: &'a str,
    pub(crate) connection: &'a Connection,
}

impl Control {
    pub(crate) fn new(
        ledger: Ledger,
        speed: f64,
        webhooks: Arc<Webhooks>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            speed: Speed::new(speed),
            stop,
            tasks,
            ledger: Mutex::new(ledger),
            calls: Mutex::default(),
            faults: Mutex::default(),
            webhooks,
        })
    }

    /// Counts one call of `op`.
    pub(crate) fn count(&self, op: &'static str) {
        *lock(&self.calls).entry(op).or_default() += 1;
    }

    /// Records an accepted effect, stamped with the present time.
    pub(crate) fn record(&self, mut entry: Value) {
        if entry.get("at").is_none() {
            entry["at"] = json!(Timestamp::now().to_string());
        }
        lock(&self.ledger).append(&entry);
    }

    /// Counts the call and picks the fault the script has for it.
    pub(crate) fn begin(&self, op: &'static str, subject: &str) -> Option<FaultRule> {
        self.count(op);
        faults::take(&mut lock(&self.faults), op, subject)
    }

    /// Runs `effect` unless the script says otherwise; `broken` shapes the protocol's server error.
    pub(crate) async fn perform(
        &self,
        call: Call<'_>,
        effect: impl FnOnce() -> Response,
        broken: fn(StatusCode) -> Response,
    ) -> Response {
        let Some(fault) = self.begin(call.op, call.subject) else {
            return effect();
        };
        match fault.kind {
            FaultKind::Error500 => broken(StatusCode::INTERNAL_SERVER_ERROR),
            FaultKind::TimeoutBefore => {
                self.wait(fault.delay()).await;
                broken(StatusCode::GATEWAY_TIMEOUT)
            }
            FaultKind::TimeoutAfter => {
                let response = effect();
                self.wait(fault.delay()).await;
                response
            }
            FaultKind::Reset => {
                call.connection.reset();
                broken(StatusCode::INTERNAL_SERVER_ERROR)
            }
            FaultKind::ResetAfter => {
                let response = effect();
                call.connection.reset();
                response
            }
            FaultKind::Delay => {
                self.wait(fault.delay()).await;
                effect()
            }
        }
    }

    /// Waits in real time, cut short by the shutdown.
    pub(crate) async fn wait(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Waits in simulated time; false when the shutdown came first.
    pub(crate) async fn pause(&self, step: Duration) -> bool {
        tokio::select! {
            () = self.speed.pause(step) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Sends `body` to the tenant's endpoint in the background, retried until a 2xx.
    pub(crate) fn notify(self: &Arc<Self>, channel: Channel, tenant: &str, body: String) {
        if !self.webhooks.knows(channel, tenant) {
            return self.count("webhook.no_endpoint");
        }
        let Some(place) = self.webhooks.reserve() else {
            return self.count("webhook.overflow");
        };
        let control = Arc::clone(self);
        let tenant = tenant.to_owned();
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = control.webhooks.deliver(channel, &tenant, &body) => outcome,
                () = control.stop.cancelled() => Outcome::Abandoned,
            };
            drop(place);
            control.count(match outcome {
                Outcome::Delivered => "webhook.delivered",
                Outcome::Abandoned => "webhook.abandoned",
            });
        });
    }

    /// The `/_sim` routes; `reset` empties the simulator's own state.
    pub(crate) fn routes(self: &Arc<Self>, reset: impl Fn() + Clone + Send + Sync + 'static) -> Router {
        let reset_all = {
            let control = Arc::clone(self);
            move || {
                reset();
                lock(&control.calls).clear();
                lock(&control.faults).clear();
                let marker = json!({"op": "reset", "at": Timestamp::now().to_string()});
                lock(&control.ledger).reset(&marker);
                async { StatusCode::NO_CONTENT }
            }
        };
        Router::new()
            .route("/_sim/ledger", get(ledger_entries))
            .route("/_sim/calls", get(calls))
            .route("/_sim/faults", get(faults_left).post(set_faults))
            .route("/_sim/speed", post(set_speed))
            .route("/_sim/webhooks", post(set_webhooks).put(add_webhooks))
            .route("/_sim/reset", post(reset_all))
            .with_state(Arc::clone(self))
    }
}

/// Locks, taking over the data of a holder that panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn ledger_entries(State(control): State<Arc<Control>>) -> Response {
    let body = lock(&control.ledger).json();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn calls(State(control): State<Arc<Control>>) -> Json<BTreeMap<&'static str, u64>> {
    Json(lock(&control.calls).clone())
}

async fn faults_left(State(control): State<Arc<Control>>) -> Json<Vec<FaultRule>> {
    Json(lock(&control.faults).clone())
}

async fn set_faults(State(control): State<Arc<Control>>, Json(rules): Json<Vec<FaultRule>>) -> StatusCode {
    *lock(&control.faults) = rules;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct NewSpeed {
    factor: f64,
}

async fn set_speed(State(control): State<Arc<Control>>, Json(speed): Json<NewSpeed>) -> StatusCode {
    if !speed::valid(speed.factor) {
        return StatusCode::BAD_REQUEST;
    }
    control.speed.set(speed.factor);
    StatusCode::NO_CONTENT
}

async fn set_webhooks(State(control): State<Arc<Control>>, Json(endpoints): Json<Vec<WebhookEndpoint>>) -> StatusCode {
    control.webhooks.replace(endpoints);
    StatusCode::NO_CONTENT
}

async fn add_webhooks(State(control): State<Arc<Control>>, Json(endpoints): Json<Vec<WebhookEndpoint>>) -> StatusCode {
    control.webhooks.add(endpoints);
    StatusCode::NO_CONTENT
}
