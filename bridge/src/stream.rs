//! The answer of a streaming call: server-sent events or lines of JSON, never cut off in silence.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use contract::MethodPolicy;
use futures::stream;
use http::{HeaderName, HeaderValue, Response, header};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Code;
use transcode::{Problem, Route};

use crate::app::Call;
use crate::frame::{Broken, Messages};
use crate::negotiate::Format;
use crate::observe::Facts;
use crate::refusal::{Answer, Refusal};
use crate::reply::refused;
use crate::server::Draining;

/// How long an error may take to become an HTTP status; later ones are events.
const FIRST: Duration = Duration::from_millis(500);

/// Begins the stream, unless the call ends with an error at once.
///
/// # Errors
/// The service's error as a problem, 502 for an answer nobody can read.
pub(crate) async fn answer(
    call: &Call<'_>,
    upstream: Response<tonic::body::Body>,
    format: Format,
    draining: Option<Draining>,
) -> Answer {
    let mut messages = Messages::new(upstream);
    let first = match tokio::time::timeout(FIRST, messages.next()).await {
        Err(_) => None,
        Ok(Ok(Some(message))) => Some(message),
        Ok(Err(broken)) => return Err(refused(call, &broken)),
        Ok(Ok(None)) => match messages.status() {
            Some(status) if status.code() == Code::Ok => None,
            Some(status) => return Err(Refusal::from_status(&status, &call.route, false)),
            None => return Err(Refusal::bad_gateway(call.policy.context)),
        },
    };
    let mut heartbeat = tokio::time::interval(call.bridge.config.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let live = Live {
        messages,
        first,
        format,
        route: Arc::clone(&call.route),
        policy: call.policy,
        facts: call.facts.clone(),
        heartbeat,
        until: Instant::now() + call.inbound.timeout,
        draining,
        state: State::Opening,
    };
    let body = if call.is_head { Body::empty() } else { Body::from_stream(stream::unfold(live, Live::next)) };
    let mut response = Response::new(body);
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold events back.
    out.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

#[derive(PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Over,
}

struct Live {
    messages: Messages,
    first: Option<Bytes>,
    format: Format,
    route: Arc<Route>,
    policy: &'static MethodPolicy,
    facts: Facts,
    heartbeat: Interval,
    until: Instant,
    draining: Option<Draining>,
    state: State,
}

/// What a stream waits for.
enum Turn {
    Message(Result<Option<Bytes>, Broken>),
    Silence,
    Deadline,
    Drain,
}

impl Live {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let chunk = match self.state {
            State::Over => return None,
            State::Opening => {
                self.state = State::Open;
                self.opening()
            }
            State::Open => match self.turn().await {
                Turn::Message(Ok(Some(message))) => self.message(&message),
                Turn::Message(Ok(None)) => self.finish(),
                Turn::Message(Err(broken)) => {
                    tracing::error!(context = self.policy.context, broken = ?broken, "a stream broke off");
                    self.error(Refusal::unreachable(self.policy.context).problem)
                }
                Turn::Silence => self.sign_of_life(),
                Turn::Deadline => self.error(Refusal::deadline().problem),
                Turn::Drain => self.error(shutting_down()),
            },
        };
        Some((Ok(Bytes::from(chunk)), self))
    }

    async fn turn(&mut self) -> Turn {
        if let Some(message) = self.first.take() {
            return Turn::Message(Ok(Some(message)));
        }
        let drained = async {
            match &self.draining {
                Some(draining) => draining.0.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            message = self.messages.next() => Turn::Message(message),
            () = drained => Turn::Drain,
            () = tokio::time::sleep_until(self.until) => Turn::Deadline,
            _ = self.heartbeat.tick() => Turn::Silence,
        }
    }

    /// What browsers need to see to call the connection open.
    fn opening(&self) -> String {
        match self.format {
            Format::Sse => "retry: 2000\n\n".to_owned(),
            Format::Ndjson => String::new(),
        }
    }

    fn sign_of_life(&self) -> String {
        match self.format {
            Format::Sse => ": still here\n\n".to_owned(),
            Format::Ndjson => "\n".to_owned(),
        }
    }

    fn message(&mut self, wire: &[u8]) -> String {
        self.heartbeat.reset();
        let json = self.route.response(wire).and_then(|decoded| decoded.json().map(|json| (decoded, json)));
        let (decoded, json) = match json {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(error = %error, "a streamed message does not fit the contract");
                return self.error(Refusal::bad_gateway(self.policy.context).problem);
            }
        };
        let json = String::from_utf8_lossy(&json);
        match self.format {
            Format::Ndjson => format!("{json}\n"),
            Format::Sse => {
                let id = self.policy.stream_resume_field.and_then(|field| decoded.text(field));
                let id = id.filter(|id| !id.contains(char::is_control));
                let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
                format!("{id}event: message\ndata: {json}\n\n")
            }
        }
    }

    fn finish(&mut self) -> String {
        match self.messages.status() {
            Some(status) if status.code() == Code::Ok => {
                self.state = State::Over;
                match self.format {
                    Format::Sse => "event: end\ndata: {}\n\n".to_owned(),
                    Format::Ndjson => String::new(),
                }
            }
            Some(status) => self.error(Refusal::from_status(&status, &self.route, false).problem),
            None => self.error(Refusal::bad_gateway(self.policy.context).problem),
        }
    }

    fn error(&mut self, mut problem: Problem) -> String {
        self.state = State::Over;
        problem.instance.clone_from(&self.facts.correlation_id);
        let json = serde_json::to_string(&problem).unwrap_or_default();
        match self.format {
            Format::Sse => format!("event: error\ndata: {json}\n\n"),
            Format::Ndjson => format!("{{\"error\":{json}}}\n"),
        }
    }
}

fn shutting_down() -> Problem {
    let detail = "this process is shutting down; connect again";
    let mut problem = Problem::new(503, transcode::Code::Unavailable, "SHUTTING_DOWN", detail);
    problem.retry_after_s = Some(1);
    problem
}
