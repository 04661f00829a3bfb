//! Headers of a request: what is handed on, what becomes a field, and what is never believed.

use std::time::Duration;

use contract::{MethodPolicy, RateTier};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use transcode::{HeaderField, Problems, Violation};

use crate::observe::Facts;

/// Ties everything that one request caused together.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Handed on to the methods that providers push to.
const SIGNATURES: [HeaderName; 3] = [
    HeaderName::from_static("stripe-signature"),
    HeaderName::from_static("hmacsignature"),
    HeaderName::from_static("x-carrier-signature"),
];

/// What a request's headers mean for its call.
pub(crate) struct Inbound {
    /// Metadata of the gRPC request; everything else the client sent stays behind.
    pub(crate) metadata: HeaderMap,
    /// Time the call may take.
    pub(crate) timeout: Duration,
    /// Version of If-Match, without quotes; empty for `*`.
    if_match: Option<String>,
    if_none_match: Option<String>,
    last_event_id: Option<String>,
    /// Unknown fields are dropped instead of refused (RFC 7240).
    pub(crate) lenient: bool,
}

impl Inbound {
    /// Reads the headers; what is wrong with them is reported along with the rest of the request.
    pub(crate) fn read(method: &Method, headers: &HeaderMap, policy: &MethodPolicy, facts: &Facts) -> (Self, Problems) {
        let mut problems = Problems::default();
        let one = |name: &HeaderName, problems: &mut Problems| single(headers, name, problems);
        let mut metadata = HeaderMap::new();
        let keep = |metadata: &mut HeaderMap, name: &HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value.filter(|value| value.to_str().is_ok()) {
                metadata.insert(name.clone(), value.clone());
            }
        };
        keep(&mut metadata, &header::AUTHORIZATION, one(&header::AUTHORIZATION, &mut problems));
        // Never believed: the services refuse a call whose tenant is not that of its token.
        keep(&mut metadata, &TENANT, one(&TENANT, &mut problems));
        if policy.rate_tier == RateTier::Webhook {
            for name in &SIGNATURES {
                keep(&mut metadata, name, one(name, &mut problems));
            }
        }
        if let Some(key) = one(&IDEMPOTENCY_KEY, &mut problems) {
            if is_idempotency_key(key) {
                metadata.insert(IDEMPOTENCY_KEY, key.clone());
            } else {
                let detail = "must be 1 to 255 visible ASCII characters";
                problems.push(Violation::header("idempotency-key", "IDEMPOTENCY_KEY_INVALID", detail));
            }
        }
        crate::app::set(&mut metadata, CORRELATION, &facts.correlation_id);
        crate::app::set(&mut metadata, TRACEPARENT, &facts.traceparent);
        let timeout = timeout(one(&TIMEOUT_MS, &mut problems), policy, &mut problems);
        let if_match = one(&header::IF_MATCH, &mut problems)
            .filter(|_| !method.is_safe())
            .and_then(|value| if_match(value, policy, &mut problems));
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let inbound = Self {
            metadata,
            timeout,
            if_match,
            if_none_match: text(&header::IF_NONE_MATCH),
            last_event_id: text(&LAST_EVENT_ID),
            lenient: headers.get_all(&PREFER).iter().any(is_lenient),
        };
        (inbound, problems)
    }

    /// The headers that become fields of the request.
    pub(crate) fn fields(&self, policy: &'static MethodPolicy) -> Vec<HeaderField<'_>> {
        let mut fields = Vec::new();
        if let Some(field) = policy.if_match_field {
            // Named even without a value: the version is never part of a PATCH's mask.
            let value = self.if_match.as_deref().unwrap_or_default();
            fields.push(HeaderField { header: "if-match", field, value, wins: false });
        }
        if let (Some(field), Some(value)) = (policy.stream_resume_field, self.last_event_id.as_deref()) {
            // A browser that comes back repeats its first URL: what it saw last is newer.
            fields.push(HeaderField { header: "last-event-id", field, value, wins: true });
        }
        fields
    }

    /// Whether the caller asked for a version with If-Match.
    pub(crate) fn used_if_match(&self) -> bool {
        self.if_match.as_deref().is_some_and(|version| !version.is_empty())
    }

    /// Whether the caller has this version already (RFC 9110 13.1.2, weak comparison).
    pub(crate) fn has_version(&self, etag: &str) -> bool {
        self.if_none_match.as_deref().is_some_and(|list| {
            list.split(',').map(str::trim).any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == etag)
        })
    }
}

/// The only value of a header; several would let two readers see different ones.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName, problems: &mut Problems) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        problems.push(Violation::header(name.as_str(), "DUPLICATE_HEADER", "may be given once"));
    }
    first
}

fn is_idempotency_key(value: &HeaderValue) -> bool {
    (1..=255).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn is_lenient(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split([',', ';']).any(|item| item.trim().eq_ignore_ascii_case("handling=lenient"))
}

fn timeout(asked: Option<&HeaderValue>, policy: &MethodPolicy, problems: &mut Problems) -> Duration {
    let allowed = u64::from(policy.timeout_ms);
    let asked = asked.map(|value| value.to_str().ok().and_then(|text| text.parse::<u64>().ok()));
    let milliseconds = match asked {
        None => allowed,
        Some(Some(asked)) if asked > 0 => asked.min(allowed),
        Some(_) => {
            let detail = "must be a whole number of milliseconds above 0";
            problems.push(Violation::header("x-request-timeout-ms", "INVALID_TIMEOUT", detail));
            allowed
        }
    };
    Duration::from_millis(milliseconds)
}

/// Reads If-Match: one strong version, or `*` for "whatever it is".
fn if_match(value: &HeaderValue, policy: &MethodPolicy, problems: &mut Problems) -> Option<String> {
    let mut refuse = |reason: &str, detail: &str| {
        problems.push(Violation::header("if-match", reason, detail));
        None
    };
    if policy.if_match_field.is_none() {
        // To ignore a condition would do what the caller wanted prevented.
        return refuse("PRECONDITION_NOT_SUPPORTED", "this method has no versions");
    }
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Some(String::new());
    }
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(version) if !version.is_empty() && !version.contains('"') => Some(version.to_owned()),
        _ => refuse("INVALID_ETAG", "must be one strong etag such as \"7\", or *"),
    }
}
