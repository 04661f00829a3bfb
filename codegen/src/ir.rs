//! The contract as data: the only thing emitters see, and the unit of comparing two versions.
use std::collections::BTreeMap;

use serde::Serialize;

/// Everything the proto files say, options included.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ContractIr {
    /// Contexts that offer services, sorted: "order", "payment", …
    pub contexts: Vec<String>,
    /// Services in the order of their full names.
    pub services: Vec<Service>,
    /// Messages by full name; imported ones and map entries are left out.
    pub messages: BTreeMap<String, Message>,
    /// Enums by full name.
    pub enums: BTreeMap<String, Enum>,
}

/// A service.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Full name: "ordermesh.order.v1.OrderService".
    pub full_name: String,
    /// Last part of the full name.
    pub name: String,
    /// "order".
    pub context: String,
    /// Proto file, relative to `proto/`.
    pub file: String,
    /// Leading comment.
    pub comment: String,
    /// Methods in the order of the file.
    pub methods: Vec<Method>,
}

/// A method with all that its options demand.
#[derive(Debug, Clone, Serialize)]
pub struct Method {
    /// gRPC path: "/ordermesh.order.v1.OrderService/CreateOrder".
    pub path: String,
    /// "CreateOrder".
    pub name: String,
    /// Leading comment.
    pub comment: String,
    /// Full name of the request message.
    pub input: String,
    /// Full name of the response message.
    pub output: String,
    /// The caller may send many messages.
    pub client_streaming: bool,
    /// The answer is a stream.
    pub server_streaming: bool,
    /// What the method demands.
    pub policy: MethodPolicy,
    /// REST bindings, the main one first.
    pub http: Vec<HttpBinding>,
}

/// Relation of a method to the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tenant {
    /// Exactly one tenant.
    Required,
    /// The method says what a tenant means.
    Optional,
    /// Above tenants.
    Forbidden,
}

/// Who may reach a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    /// Services only.
    Internal,
    /// Customers and partners.
    Customer,
    /// Staff.
    Admin,
    /// Anybody.
    Public,
}

/// Rate limit class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateTier {
    /// A person waits.
    Interactive,
    /// Lists and exports.
    Bulk,
    /// Calls to other companies.
    Expensive,
    /// Pushed by providers.
    Webhook,
}

/// How repeats are recognised.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Idempotency {
    /// A call without a key is refused.
    pub required: bool,
    /// Life of the stored answer, seconds; 0 = none is stored.
    pub ttl_s: u32,
    /// Repeating changes nothing.
    pub natural: bool,
}

impl Idempotency {
    /// Whether a repeated call has the effect of one.
    pub fn repeats_are_safe(&self) -> bool {
        self.natural || self.required || self.ttl_s > 0
    }
}

/// `(ordermesh.options.v1.method)`, defaults filled in.
#[derive(Debug, Clone, Serialize)]
pub struct MethodPolicy {
    /// Relation to the tenant.
    pub tenant: Tenant,
    /// Who may reach it.
    pub exposure: Exposure,
    /// Roles of which one is enough.
    pub any_role: Vec<String>,
    /// Contexts that may call on their own account.
    pub callers: Vec<String>,
    /// How repeats are recognised.
    pub idempotency: Idempotency,
    /// Whole call, milliseconds.
    pub timeout_ms: u32,
    /// One try, milliseconds; the timeout when unset.
    pub per_try_ms: u32,
    /// Tries after the first.
    pub max_retries: u32,
    /// Rate limit class.
    pub rate_tier: RateTier,
    /// Largest request, bytes.
    pub max_request_bytes: u32,
    /// Written to the audit log.
    pub audit: bool,
    /// Field of the response sent as ETag.
    pub etag_field: Option<String>,
    /// Field of the request that receives If-Match.
    pub if_match_field: Option<String>,
    /// Field of a streamed message sent as SSE id.
    pub stream_resume_field: Option<String>,
}

/// One REST binding of a method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpBinding {
    /// "GET".
    pub verb: String,
    /// Template: "/api/v1/orders/{order_id}:cancel".
    pub path: String,
    /// Field that the body fills, or "*".
    pub body: Option<String>,
    /// Field of the response that is the answer's body.
    pub response_body: Option<String>,
}

/// A message.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    /// "OrderCreated", or "Outer.Inner".
    pub name: String,
    /// "ordermesh.order.v1".
    pub package: String,
    /// Proto file, relative to its include path.
    pub file: String,
    /// Leading comment.
    pub comment: String,
    /// Fields in the order of the file.
    pub fields: Vec<Field>,
    /// Set when the message is an event.
    pub event: Option<EventPolicy>,
}

impl Message {
    /// Finds a field by its proto name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// `(ordermesh.options.v1.event)`.
#[derive(Debug, Clone, Serialize)]
pub struct EventPolicy {
    /// Topic.
    pub topic: String,
    /// Field that keys the order of events.
    pub key_field: String,
    /// Contexts that consume it.
    pub consumers: Vec<String>,
}

/// How often a field occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Once, default when absent.
    Singular,
    /// Once or absent: messages, `optional`, members of a oneof.
    Optional,
    /// Any number.
    Repeated,
    /// A map; the value's kind is the field's.
    Map(Kind),
}

/// Type of a field's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the proto language")]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    String,
    Bytes,
    /// Full name of a message.
    Message(String),
    /// Full name of an enum.
    Enum(String),
}

/// Why a field is sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the proto option")]
pub enum Pii {
    Personal,
    Contact,
    Payment,
    Secret,
}

/// How a sensitive field is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the proto option")]
pub enum Mask {
    Redact,
    Last4,
    Email,
}

/// Sensitivity of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FieldPolicy {
    /// Why.
    pub pii: Pii,
    /// How it is shown.
    pub mask: Mask,
}

/// A field of a message.
#[derive(Debug, Clone, Serialize)]
pub struct Field {
    /// Proto name.
    pub name: String,
    /// proto3 JSON name.
    pub json_name: String,
    /// Number on the wire.
    pub number: u32,
    /// How often it occurs.
    pub label: Label,
    /// Type of its value.
    pub kind: Kind,
    /// The oneof it belongs to; `optional` makes none.
    pub oneof: Option<String>,
    /// Leading comment.
    pub comment: String,
    /// `google.api.field_behavior` names: "REQUIRED", "OUTPUT_ONLY", …
    pub behaviors: Vec<String>,
    /// Set when the field is sensitive.
    pub policy: Option<FieldPolicy>,
}

/// An enum.
#[derive(Debug, Clone, Serialize)]
pub struct Enum {
    /// "OrderState", or "Outer.Inner".
    pub name: String,
    /// "ordermesh.order.v1".
    pub package: String,
    /// Leading comment.
    pub comment: String,
    /// Values in the order of the file.
    pub values: Vec<EnumValue>,
}

/// A value of an enum.
#[derive(Debug, Clone, Serialize)]
pub struct EnumValue {
    /// "ORDER_STATE_PENDING".
    pub name: String,
    /// Number on the wire.
    pub number: i32,
    /// Leading comment.
    pub comment: String,
}

impl ContractIr {
    /// Follows a dotted field path from a message; messages on the way must be singular.
    pub fn field_at(&self, message: &str, path: &str) -> Option<&Field> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let field = self.messages.get(message)?.field(first)?;
        match (rest, &field.kind, &field.label) {
            (None, _, _) => Some(field),
            (Some(rest), Kind::Message(inner), Label::Singular | Label::Optional) => self.field_at(inner, rest),
            _ => None,
        }
    }

    /// All methods with their service.
    pub fn methods(&self) -> impl Iterator<Item = (&Service, &Method)> {
        self.services.iter().flat_map(|service| service.methods.iter().map(move |method| (service, method)))
    }
}
