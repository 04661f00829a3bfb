//! One order is one trace (OBS-06), as a collector sees it: REST, the services, the sagas' steps, both sides of the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use bytes::Bytes;
use http::{StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use ordermesh::seed;
use prost::Message as _;
use reqwest::Method;
use serde_json::Value;
use testkit::{Rest, eventually, order};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::world::{PATIENCE, text, unique};
use crate::chaos::process;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const CORRELATION: &str = "trace-of-one-order";
const SHOP: &str = "acme";

/// The way from the last consumer back to the caller: every hop that could lose the thread, latest first.
const WAY_BACK: [&str; 7] = [
    "order hears ShipmentShipped",
    "step ship",
    "shipping hears FulfillmentPacked",
    "CreateFulfillment",
    "step request_fulfillment",
    "CreateOrder",
    "POST /api/v1/orders",
];

/// What else happens because of the order, beside that way, and what it happens in.
///
/// Without what a provider's webhook may tell us first: then it is part of the provider's request.
const BESIDE: [(&str, &str); 13] = [
    ("step reserve_stock", "CreateOrder"),
    ("ReserveStock", "step reserve_stock"),
    ("step evaluate_risk", "CreateOrder"),
    ("EvaluateRisk", "step evaluate_risk"),
    ("step authorize_payment", "CreateOrder"),
    ("AuthorizePayment", "step authorize_payment"),
    ("step confirm_reservation", "CreateOrder"),
    ("ConfirmReservation", "step confirm_reservation"),
    ("order hears FulfillmentStarted", "CreateFulfillment"),
    ("CapturePayment", "step capture_payment"),
    ("ConsumeReservation", "step consume_reservation"),
    ("send OrderConfirmation", "notification hears OrderConfirmed"),
    ("GetCustomer", "send OrderConfirmation"),
];

type Received = Arc<Mutex<Vec<ResourceSpans>>>;

/// An OTLP collector that keeps what it gets.
struct Collector {
    url: String,
    received: Received,
}

impl Collector {
    async fn start() -> Result<Self> {
        let received = Received::default();
        let door = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", door.local_addr()?);
        let routes = Router::new().route("/v1/traces", post(receive)).layer(DefaultBodyLimit::disable());
        // Ends with the runtime of its test.
        tokio::spawn(axum::serve(door, routes.with_state(Arc::clone(&received))).into_future());
        Ok(Self { url, received })
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().expect("no panic while the lock is held");
        let scopes = received.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.iter().cloned()).collect()
    }

    /// All that ever came, with attributes, events and resources, as one text.
    fn everything(&self) -> String {
        format!("{:?}", self.received.lock().expect("no panic while the lock is held"))
    }
}

async fn receive(
    State(received): State<Received>,
    body: Bytes,
) -> Result<([(header::HeaderName, &'static str); 1], Vec<u8>), StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    received.lock().expect("no panic while the lock is held").extend(request.resource_spans);
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    Ok(([(header::CONTENT_TYPE, "application/x-protobuf")], answer))
}

/// The real executable: a tracer belongs to a process, and this one's is not ours to take.
struct Dev {
    child: Child,
    rest: Rest,
}

impl Dev {
    async fn start(collector: &str) -> Result<Self> {
        tokio::task::spawn_blocking(process::build).await??;
        let mut command = Command::new(process::binary("ordermesh")?);
        command.args(["dev", "--ephemeral", "--random-ports", "--speed", "0", "--output", "json", "--otlp", collector]);
        // Milliseconds; five seconds would only make the test slow.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100").env("NO_PROXY", "127.0.0.1").env_remove("RUST_LOG");
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("start ordermesh dev")?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("ordermesh dev is not ready")??;
        let report: Value = serde_json::from_str(&line.context("ordermesh dev ended")?)?;
        let rest = Rest::new(text(&report, "REST").trim_end_matches("/api/v1"));
        Ok(Self { child, rest })
    }

    async fn place(&self, body: &Value) -> Result<()> {
        let customer = self.rest.login(&seed::login(SHOP, "customer")).await?;
        let request = customer.request(Method::POST, "/api/v1/orders").json(body);
        let request = request.header("idempotency-key", unique()).header("x-correlation-id", CORRELATION);
        let answer = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "refused: {}", answer.text().await?);
        Ok(())
    }

    /// Asks it to end, with all that it still has to tell the collector.
    async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().context("it ended by itself")?;
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        ensure!(asked.success(), "it could not be asked to end");
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(())
    }
}

fn attribute<'s>(span: &'s Span, key: &str) -> &'s str {
    let value =
        span.attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_ref()?.value.as_ref());
    match value {
        Some(Any::StringValue(text)) => text,
        _ => "",
    }
}

/// What a span is about, in few words.
fn label(span: &Span) -> String {
    let short = |name: &str| name.rsplit(['.', '/']).next().unwrap_or_default().to_owned();
    match span.name.as_str() {
        "http" => format!("{} {}", attribute(span, "method"), attribute(span, "route")),
        "saga step" => format!("step {}", attribute(span, "step")),
        "send message" => format!("send {}", attribute(span, "kind")),
        "handle event" => format!("{} hears {}", attribute(span, "consumer"), short(attribute(span, "type"))),
        call => short(call),
    }
}

/// The spans of the order's trace by id.
struct Trace(BTreeMap<String, Span>);

impl Trace {
    fn of(spans: Vec<Span>) -> Self {
        let ours = spans.into_iter().filter(|span| hex::encode(&span.trace_id) == TRACE);
        Self(ours.map(|span| (hex::encode(&span.span_id), span)).collect())
    }

    fn parent(&self, span: &Span) -> Option<&Span> {
        self.0.get(&hex::encode(&span.parent_span_id))
    }

    /// Labels of a span's ancestors, nearest first; `Err` when they do not lead to the caller.
    fn ancestors(&self, span: &Span) -> Result<Vec<String>> {
        let mut labels = Vec::new();
        let mut at = span;
        while let Some(parent) = self.parent(at) {
            labels.push(label(parent));
            ensure!(labels.len() <= self.0.len(), "{} is its own ancestor", label(span));
            at = parent;
        }
        let top = hex::encode(&at.parent_span_id);
        ensure!(top == CALLER, "{} hangs on {top:?}, which never came", label(at));
        Ok(labels)
    }

    /// Whether the whole story is here; `Err` says what is not. A span comes when it ends, so children come first.
    fn complete(&self) -> Result<()> {
        for span in self.0.values() {
            self.ancestors(span)?;
        }
        let seen: BTreeSet<String> = self.0.values().map(label).collect();
        let expected = WAY_BACK.into_iter().chain(BESIDE.into_iter().map(|(what, _)| what));
        let missing: Vec<&str> = expected.filter(|what| !seen.contains(*what)).collect();
        ensure!(missing.is_empty(), "missing: {missing:?} of {seen:?}");
        Ok(())
    }

    fn called<'t>(&'t self, what: &'t str) -> impl Iterator<Item = &'t Span> {
        self.0.values().filter(move |span| label(span) == what)
    }

    /// Whether a span of the first label has one of the second right above it.
    fn happens_in(&self, what: &str, within: &str) -> bool {
        self.called(what).any(|span| self.parent(span).is_some_and(|parent| label(parent) == within))
    }
}

#[tokio::test]
async fn obs_06_one_trace_spans_rest_services_sagas_and_both_sides_of_the_bus() -> Result<()> {
    let collector = Collector::start().await?;
    let dev = Dev::start(&collector.url).await?;
    let mut body = order(&[("MUG-BLUE", 2)]);
    body["note"] = "leave it with Charles Babbage".into();
    dev.place(&body).await?;
    let whole = eventually(PATIENCE, || async {
        let trace = Trace::of(collector.spans());
        trace.complete()?;
        Ok(Some(trace))
    });
    let trace = whole.await?;

    let roots: Vec<String> =
        trace.0.values().filter(|span| hex::encode(&span.parent_span_id) == CALLER).map(label).collect();
    assert_eq!(roots, ["POST /api/v1/orders"], "only the request itself is the caller's child");
    let ways: Vec<Vec<String>> = trace.called(WAY_BACK[0]).map(|span| trace.ancestors(span)).collect::<Result<_>>()?;
    assert!(ways.iter().any(|way| *way == WAY_BACK[1..]), "{ways:?}");
    for (what, within) in BESIDE {
        assert!(trace.happens_in(what, within), "{what} is not within {within}");
    }

    dev.stop().await?;
    let strays: BTreeSet<String> = collector
        .spans()
        .iter()
        .filter(|span| attribute(span, "correlation_id") == CORRELATION && hex::encode(&span.trace_id) != TRACE)
        .map(label)
        .collect();
    assert!(strays.is_empty(), "what the order caused is in its trace, not elsewhere: {strays:?}");
    let told = collector.everything();
    assert!(told.contains(CORRELATION), "attributes are looked at");
    let email = seed::login(SHOP, "customer").email;
    for personal in ["Lovelace", "Market Street", "San Francisco", "Babbage", &email, seed::PASSWORD, "pm_sim_visa"] {
        assert!(!told.contains(personal), "{personal} is in the traces");
    }
    Ok(())
}
