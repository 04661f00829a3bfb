//! Names of the headers that calls carry as gRPC metadata.

/// `Bearer <token>` of a person or a service.
pub const AUTHORIZATION: &str = "authorization";
/// Tenant of the call: `tnt_…`.
pub const TENANT: &str = "x-tenant-id";
/// Ties everything that one request caused together (GW-07).
pub const CORRELATION: &str = "x-correlation-id";
/// The event or call that caused this one.
pub const CAUSATION: &str = "x-causation-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Recognises a repeated call (IETF idempotency-key draft 07).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer that was stored by an earlier call with the same key.
pub const REPLAYED: &str = "idempotent-replayed";
/// `HIT` or `MISS` on an answer of which copies are kept (ORD-41).
pub const CACHE: &str = "x-cache";
/// Time that the caller waits (gRPC over HTTP/2).
pub const TIMEOUT: &str = "grpc-timeout";
