//! What every method demands of its callers; read from the method options.
pub use crate::generated::policies::POLICIES;

/// Relation of a method to the tenant in the request's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// The call acts inside exactly one tenant.
    Required,
    /// The call may carry a tenant; the method says what it means.
    Optional,
    /// The call is above tenants; a tenant is refused.
    Forbidden,
}

/// Who may reach a method at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exposure {
    /// Only the services named in `callers`.
    Internal,
    /// Partners and customers with a token.
    Customer,
    /// Staff with a token.
    Admin,
    /// Anybody; no token needed.
    Public,
}

/// Rate limit class of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateTier {
    /// A person waits for the answer.
    Interactive,
    /// Lists, searches, exports.
    Bulk,
    /// Calls to other companies.
    Expensive,
    /// Pushed by providers.
    Webhook,
}

/// How a repeated call is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// A call without an Idempotency-Key is refused.
    pub required: bool,
    /// How long the stored answer is kept, seconds; 0 = none is stored.
    pub ttl_s: u32,
    /// Repeating has the effect of one call.
    pub natural: bool,
}

/// One REST binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpRule {
    /// Verb in capitals: "POST".
    pub verb: &'static str,
    /// Path template of `google.api.http`, such as "/api/v1/orders/{order_id}:cancel".
    pub path: &'static str,
    /// Request field that the body fills, or "*" for the whole request.
    pub body: Option<&'static str>,
}

/// Everything that a method demands, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodPolicy {
    /// gRPC path: "/ordermesh.order.v1.OrderService/CreateOrder".
    pub path: &'static str,
    /// Context that offers it: "order".
    pub context: &'static str,
    /// Full name of the service.
    pub service: &'static str,
    /// Short name of the method.
    pub method: &'static str,
    /// Full name of the request message.
    pub input: &'static str,
    /// Full name of the response message.
    pub output: &'static str,
    /// The answer is a stream.
    pub server_streaming: bool,
    /// Relation to the tenant.
    pub tenant: Tenant,
    /// Who may reach it at all.
    pub exposure: Exposure,
    /// A token with any of these roles may call.
    pub any_role: &'static [&'static str],
    /// Contexts that may call on their own account.
    pub callers: &'static [&'static str],
    /// How repeats are recognised.
    pub idempotency: Idempotency,
    /// Whole call with all tries, milliseconds.
    pub timeout_ms: u32,
    /// One try, milliseconds; equals `timeout_ms` when the contract does not say.
    pub per_try_ms: u32,
    /// Tries after the first.
    pub max_retries: u32,
    /// Rate limit class.
    pub rate_tier: RateTier,
    /// Largest request, bytes.
    pub max_request_bytes: u32,
    /// The call is written to the audit log.
    pub audit: bool,
    /// Response field that is sent as ETag.
    pub etag_field: Option<&'static str>,
    /// Request field that receives If-Match.
    pub if_match_field: Option<&'static str>,
    /// Field of a streamed message that is sent as SSE id; Last-Event-ID fills the request's field of that name.
    pub stream_resume_field: Option<&'static str>,
    /// REST bindings, the main one first; empty for internal methods.
    pub http: &'static [HttpRule],
}

/// Policy of the method with this gRPC path.
pub fn policy(path: &str) -> Option<&'static MethodPolicy> {
    let at = POLICIES.binary_search_by(|policy| policy.path.cmp(path)).ok()?;
    POLICIES.get(at)
}
