use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fault::Fault;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};

/// Time to connect; part of the whole time-out.
const CONNECT: Duration = Duration::from_secs(2);
/// Largest answer that is read, bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// A call to another company failed before there was an answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It did not leave us: nothing happened.
    #[error("{peer} could not be reached")]
    NotSent {
        /// Who.
        peer: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// It left us and no answer came: it may have happened.
    #[error("{peer} did not answer in time; the outcome is unknown")]
    Unknown {
        /// Who.
        peer: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// The answer is larger than 4 MiB.
    #[error("the answer of {peer} is too large")]
    TooLarge {
        /// Who.
        peer: &'static str,
    },
    /// The answer is not what it should be.
    #[error("the answer of {peer} cannot be read: {source}")]
    Malformed {
        /// Who.
        peer: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl HttpError {
    /// Whether the call may have had its effect.
    pub fn outcome_unknown(&self) -> bool {
        !matches!(self, Self::NotSent { .. })
    }
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        match &error {
            HttpError::NotSent { .. } => Self::unavailable("PEER_UNREACHABLE", error.to_string()).caused_by(error),
            HttpError::Unknown { .. } => Self::deadline("OUTCOME_UNKNOWN", error.to_string()).caused_by(error),
            HttpError::TooLarge { .. } | HttpError::Malformed { .. } => Self::internal(error),
        }
    }
}

/// What the other side said, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Who answered.
    pub peer: &'static str,
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most 4 MiB.
    pub body: Bytes,
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// Malformed when it is not that.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|source| HttpError::Malformed { peer: self.peer, source })
    }

    /// Reads the body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// How long the other side asks us to wait, in whole seconds (RFC 9110 section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
        value.parse().ok().map(Duration::from_secs)
    }
}

/// HTTP to one other company: one time-out, no redirects, no hidden retries, every call counted.
#[derive(Debug, Clone)]
pub struct Http {
    peer: &'static str,
    base: String,
    client: Client,
}

impl Http {
    /// A client for a peer under a base URL; `timeout` bounds a whole call, answer included.
    ///
    /// # Errors
    /// `NotSent` when the base URL is malformed or TLS cannot be set up.
    pub fn new(peer: &'static str, base_url: &str, timeout: Duration) -> Result<Self, HttpError> {
        let failed = |source| HttpError::NotSent { peer, source };
        let mut builder = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT.min(timeout))
            // A redirect may lead into our own network, and a hidden retry may charge twice.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        let base = base_url.trim_end_matches('/').to_owned();
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(failed)?;
        client.get(&base).build().map_err(failed)?;
        Ok(Self { peer, base, client })
    }

    /// Begins a request; `path` starts with a slash or is empty.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Begins a GET.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Begins a POST.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// Sends a request; every status is an answer, only silence is an error.
    ///
    /// `op` names the call in metrics, such as "capture".
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn send(&self, op: &'static str, request: RequestBuilder) -> Result<Answer, HttpError> {
        let started = Instant::now();
        let result = self.exchange(request).await;
        let status = match &result {
            Ok(answer) => answer.status.as_u16().to_string(),
            Err(HttpError::NotSent { .. }) => "not_sent".to_owned(),
            Err(HttpError::Unknown { .. }) => "unknown".to_owned(),
            Err(HttpError::TooLarge { .. } | HttpError::Malformed { .. }) => "malformed".to_owned(),
        };
        let labels = [("peer", self.peer.to_owned()), ("op", op.to_owned())];
        metrics::histogram!("outbound_duration_seconds", &labels).record(started.elapsed().as_secs_f64());
        let [peer, op] = labels;
        metrics::counter!("outbound_requests_total", &[peer, op, ("status", status)]).increment(1);
        result
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, HttpError> {
        let peer = self.peer;
        let failed = |error: reqwest::Error| {
            let unsent = error.is_connect() || error.is_builder();
            // URLs may carry secrets or personal data.
            let source = error.without_url();
            if unsent { HttpError::NotSent { peer, source } } else { HttpError::Unknown { peer, source } }
        };
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(HttpError::TooLarge { peer });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { peer, status, headers, body: body.freeze() })
    }
}

/// Simulators on this machine are never behind the proxy of the environment.
fn is_loopback(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| host.starts_with(own))
}
