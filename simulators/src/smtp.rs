//! A mail sink: takes every message over plain SMTP and shows it over HTTP.

mod session;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use mail_parser::MessageParser;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::control::{Control, lock};

/// Older messages are forgotten; the ledger file still lists them.
const MOST_MESSAGES: usize = 10_000;

/// The mail received so far.
pub(crate) struct Sink {
    control: Arc<Control>,
    messages: Mutex<VecDeque<Message>>,
}

/// One accepted message, decoded for reading.
#[derive(Clone, Serialize)]
struct Message {
    id: String,
    from: String,
    to: Vec<String>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    raw: String,
    at: String,
}

impl Sink {
    pub(crate) fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self { control, messages: Mutex::default() })
    }

    fn accept(&self, from: String, to: Vec<String>, raw: &[u8]) {
        let parsed = MessageParser::default().parse(raw);
        let parsed = parsed.as_ref();
        let message = Message {
            id: format!("msg_{}", Uuid::now_v7().simple()),
            from,
            to,
            subject: parsed.and_then(|mail| mail.subject()).unwrap_or_default().to_owned(),
            text: parsed.and_then(|mail| Some(mail.body_text(0)?.into_owned())),
            html: parsed.and_then(|mail| Some(mail.body_html(0)?.into_owned())),
            raw: String::from_utf8_lossy(raw).into_owned(),
            at: Timestamp::now().to_string(),
        };
        self.control.record(json!({
            "op": "message",
            "id": message.id,
            "from": message.from,
            "to": message.to,
            "subject": message.subject,
            "at": message.at,
        }));
        let mut messages = lock(&self.messages);
        if messages.len() == MOST_MESSAGES {
            messages.pop_front();
        }
        messages.push_back(message);
    }
}

/// The HTTP control of the mail sink.
pub(crate) fn router(sink: &Arc<Sink>) -> Router {
    let reset = {
        let sink = Arc::clone(sink);
        move || lock(&sink.messages).clear()
    };
    Router::new().route("/_sim/messages", get(messages)).with_state(Arc::clone(sink)).merge(sink.control.routes(reset))
}

/// Accepts SMTP connections until the shutdown.
pub(crate) async fn listen(listener: TcpListener, sink: Arc<Sink>) {
    let mut listener = listener;
    let control = Arc::clone(&sink.control);
    loop {
        // axum's accept waits and goes on when the process is out of file descriptors.
        let accepted = tokio::select! {
            accepted = axum::serve::Listener::accept(&mut listener) => accepted,
            () = control.stop.cancelled() => return,
        };
        let sink = Arc::clone(&sink);
        control.tasks.spawn(async move {
            let stop = sink.control.stop.clone();
            tokio::select! {
                result = session::run(accepted.0, &sink) => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "An SMTP session broke off");
                    }
                }
                () = stop.cancelled() => {}
            }
        });
    }
}

#[derive(Deserialize)]
struct Filter {
    /// Only messages to this address.
    to: Option<String>,
}

async fn messages(State(sink): State<Arc<Sink>>, Query(filter): Query<Filter>) -> Json<Vec<Message>> {
    let wanted = |message: &&Message| {
        let to = filter.to.as_ref();
        to.is_none_or(|to| message.to.contains(to))
    };
    let found = lock(&sink.messages).iter().filter(wanted).cloned().collect();
    Json(found)
}
