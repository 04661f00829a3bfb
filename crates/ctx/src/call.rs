use std::time::{Duration, Instant};

use fault::Fault;
use ids::TenantId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::principal::Principal;

/// Ties everything that one request caused together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Same for the request and all it caused (GW-07).
    pub correlation_id: String,
    /// The event or call that caused this directly.
    pub causation_id: String,
    /// W3C trace context of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Recognises a repeated call (IETF idempotency-key draft 07).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// What the caller sent, 1 to 255 visible ASCII characters.
    pub key: String,
    /// Who called what: the same key of another principal or method is another key.
    pub scope: String,
    /// SHA-256 of method and request.
    pub fingerprint: [u8; 32],
}

/// A call whose tenant may not be known yet: login, signed webhooks, keys.
#[derive(Debug, Clone)]
pub struct Open {
    /// The tenant, when the call has one.
    pub tenant: Option<TenantId>,
    /// Who calls.
    pub principal: Principal,
    /// What caused it.
    pub cause: Cause,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
    /// Time of arrival.
    pub now: Timestamp,
    /// How a repeat is recognised.
    pub idempotency: Option<IdempotencyKey>,
}

impl Open {
    /// Reads what the tower stack left on the request.
    ///
    /// # Errors
    /// Internal when the request did not pass the stack.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Fault> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| Fault::internal("a request bypassed the tower stack"))
    }

    /// Fixes the tenant, after something other than the token proved it.
    pub fn in_tenant(self, tenant: TenantId) -> Ctx {
        let Self { tenant: _, principal, cause, deadline, now, idempotency } = self;
        Ctx { tenant, principal, cause, deadline, now, idempotency }
    }
}

/// For which tenant, for whom, why, until when, and what time it is.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The tenant; every query runs inside it.
    pub tenant: TenantId,
    /// Who calls.
    pub principal: Principal,
    /// What caused it.
    pub cause: Cause,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
    /// Time of arrival; domain code has no other clock.
    pub now: Timestamp,
    /// How a repeat is recognised.
    pub idempotency: Option<IdempotencyKey>,
}

impl Ctx {
    /// Reads what the tower stack left on the request.
    ///
    /// # Errors
    /// Unauthenticated TENANT_MISSING when the call has no tenant.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Fault> {
        let open = Open::of(request)?;
        let tenant = open.tenant.ok_or_else(|| Fault::unauthenticated("TENANT_MISSING", "the call needs a tenant"))?;
        Ok(open.in_tenant(tenant))
    }

    /// A context for work that a service does on its own account.
    pub fn service(name: &str, tenant: TenantId, cause: Cause, now: Timestamp) -> Self {
        let principal = Principal::Service { name: name.to_owned() };
        Self { tenant, principal, cause, deadline: None, now, idempotency: None }
    }

    /// The same context with less time: the earlier of both deadlines.
    #[must_use]
    pub fn within(mut self, budget: Duration) -> Self {
        let end = Instant::now() + budget;
        self.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
        self
    }

    /// Time that is left, if there is a limit.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
