use std::time::Instant;

use contract::MethodPolicy;
use ctx::{Cause, IdempotencyKey, Open, Principal};
use fault::{Fault, Kind};
use http::{HeaderMap, Method, header::CONTENT_TYPE, request};
use ids::TenantId;
use jiff::Timestamp;
use uuid::Uuid;

use crate::card;
use crate::header;

/// Longest correlation or causation id that is taken over, bytes.
const LONGEST_ID: usize = 128;

/// What the layers have found out about a call so far; ends as the handler's `ctx::Open`.
#[derive(Debug, Clone)]
pub(crate) struct Passage {
    pub(crate) policy: &'static MethodPolicy,
    pub(crate) cause: Cause,
    pub(crate) arrived: Timestamp,
    pub(crate) deadline: Option<Instant>,
    pub(crate) principal: Principal,
    pub(crate) token_tenant: Option<TenantId>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) idempotency: Option<IdempotencyKey>,
}

impl Passage {
    /// Starts the passage of a request: the method decides by its path alone.
    ///
    /// # Errors
    /// Unimplemented when the contract has no such method: without a policy nothing gets through.
    pub(crate) fn enter(parts: &request::Parts) -> Result<Self, Fault> {
        let policy = contract::policy(parts.uri.path())
            .filter(|_| parts.method == Method::POST && is_grpc(&parts.headers))
            .ok_or_else(|| Fault::new(Kind::Unimplemented, "UNKNOWN_METHOD", "there is no such method"))?;
        let correlation_id = safe_id(&parts.headers, header::CORRELATION).unwrap_or_else(|| Uuid::now_v7().to_string());
        let causation_id = safe_id(&parts.headers, header::CAUSATION).unwrap_or_else(|| correlation_id.clone());
        Ok(Self {
            policy,
            cause: Cause { correlation_id, causation_id, traceparent: None },
            arrived: Timestamp::now(),
            deadline: None,
            principal: Principal::Anonymous,
            token_tenant: None,
            tenant: None,
            idempotency: None,
        })
    }

    pub(crate) fn open(self) -> Open {
        let Self { policy: _, cause, arrived, deadline, principal, token_tenant: _, tenant, idempotency } = self;
        Open { tenant, principal, cause, deadline, now: arrived, idempotency }
    }

    /// The passage that the layers above left on the request.
    pub(crate) fn take(parts: &mut request::Parts) -> Result<Self, Fault> {
        parts.extensions.remove::<Self>().ok_or_else(|| Fault::internal("a layer of the stack is missing"))
    }
}

/// The one value of a header; `Err` when there are several or it is not visible ASCII.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, NotSingle> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| NotSingle),
        (Some(_), Some(_)) => Err(NotSingle),
    }
}

/// A header came twice or with bytes that are not text.
pub(crate) struct NotSingle;

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|value| {
        let value = value.as_bytes();
        value == b"application/grpc"
            || value.starts_with(b"application/grpc+")
            || value.starts_with(b"application/grpc;")
    })
}

fn safe_id(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = single(headers, name).ok().flatten()?;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let taken = !value.is_empty() && value.len() <= LONGEST_ID && value.bytes().all(safe) && !card::in_text(value);
    taken.then(|| value.to_owned())
}
