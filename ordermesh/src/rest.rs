use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
/// Pauses before a request that may be repeated is sent again.
const AGAIN: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(500), Duration::from_millis(1500)];

/// Why a call through REST gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The system refused and said why (RFC 9457).
    #[error("{reason}: {detail}{}", listed(.errors))]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable reason.
        reason: String,
        /// What happened.
        detail: String,
        /// Every wrong field, as the problem document has them.
        errors: Vec<Value>,
    },
    /// Nobody answered.
    #[error("cannot reach {url}; is it running? (ordermesh dev)")]
    Unreachable {
        /// Address that was tried.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },
}

impl CallError {
    /// Exit code of a command that ended so (ecosystem A.8).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { status: 404, .. } => 3,
            Self::Refused { status: 409 | 412 | 428, .. } => 4,
            Self::Refused { status: 401 | 403, .. } => 5,
            Self::Refused { status: 429 | 503, .. } | Self::Unreachable { .. } => 69,
            Self::Refused { .. } => 1,
        }
    }

    /// Whether the same request may succeed a moment later.
    fn is_for_now(&self) -> bool {
        matches!(self, Self::Refused { status: 429 | 503 | 504, .. }) || self.reason() == Some("IN_FLIGHT")
    }

    /// Stable reason of a refusal.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            Self::Unreachable { .. } => None,
        }
    }
}

fn listed(errors: &[Value]) -> String {
    let text = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
    errors.iter().map(|error| format!("\n  {}: {}", text(error, "field"), text(error, "detail"))).collect()
}

/// Who logs in.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Login {
    /// Slug of the tenant.
    pub tenant: String,
    /// Login name.
    pub email: String,
    /// Password.
    pub password: String,
}

/// A caller of the REST edge, anonymous or with a token.
#[derive(Debug, Clone)]
pub struct Rest {
    url: String,
    http: reqwest::Client,
    token: Option<String>,
}

impl Rest {
    /// An anonymous caller.
    ///
    /// # Panics
    /// When the system has no source of randomness.
    pub fn new(url: impl Into<String>) -> Self {
        // Ours is on this machine or named by hand: a proxy of the environment would only be in the way.
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().expect("TLS needs randomness only");
        Self { url: url.into().trim_end_matches('/').to_owned(), http, token: None }
    }

    /// The same caller with a token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token, when there is one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Exchanges a login for a caller with a token.
    ///
    /// # Errors
    /// A [`CallError`].
    pub async fn login(&self, login: &Login) -> Result<Self> {
        let session = self.send_again(self.request(Method::POST, "/api/v1/sessions").json(&json!(login))).await?;
        let token = session["accessToken"].as_str().context("the session has no token")?;
        Ok(self.with_token(token))
    }

    /// GET; asked again a few times when the system says "later".
    ///
    /// # Errors
    /// A [`CallError`].
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send_again(self.request(Method::GET, path)).await
    }

    /// POST, with an idempotency key when the method wants one; with a key it is repeated like [`Rest::get`].
    ///
    /// # Errors
    /// A [`CallError`].
    pub async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value> {
        let request = self.request(Method::POST, path).json(body);
        match key {
            Some(key) => self.send_again(request.header("idempotency-key", key)).await,
            None => self.send(request).await,
        }
    }

    /// A request of any kind, for what the short forms leave out.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// POST of what cannot be there twice, repeated like [`Rest::get`]: a repeat may find it there.
    ///
    /// # Errors
    /// A [`CallError`].
    pub async fn post_again(&self, path: &str, body: &Value) -> Result<Value> {
        self.send_again(self.request(Method::POST, path).json(body)).await
    }

    /// Sends what may be repeated.
    async fn send_again(&self, request: RequestBuilder) -> Result<Value> {
        for pause in AGAIN {
            let once = request.try_clone().context("a request of text can be repeated")?;
            match self.send(once).await {
                Err(error) if refusal(&error).is_some_and(CallError::is_for_now) => tokio::time::sleep(pause).await,
                answer => return answer,
            }
        }
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value> {
        let unreachable = |source| CallError::Unreachable { url: self.url.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).context("the answer is not JSON");
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        let reason = text("reason").or_else(|| text("code")).unwrap_or_else(|| status.to_string());
        let detail = text("detail").or_else(|| text("title")).unwrap_or_default();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        Err(CallError::Refused { status: status.as_u16(), reason, detail, errors }.into())
    }
}

/// The refusal behind an error, when it is one.
pub fn refusal(error: &anyhow::Error) -> Option<&CallError> {
    error.downcast_ref()
}
