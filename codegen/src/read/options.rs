//! The options of methods, messages and fields; read from extensions, which live only in the raw descriptors.
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ReflectMessage, Value,
};

use crate::ir::{
    EventPolicy, Exposure, FieldPolicy, HttpBinding, Idempotency, Mask, MethodPolicy, Pii, RateTier, Tenant,
};

/// Largest request when a method does not say, bytes.
const DEFAULT_MAX_REQUEST_BYTES: u32 = 65_536;

/// The extensions that the contract uses; absent ones were not imported by any file.
pub struct Extensions {
    method: Option<ExtensionDescriptor>,
    field: Option<ExtensionDescriptor>,
    event: Option<ExtensionDescriptor>,
    http: Option<ExtensionDescriptor>,
    behavior: Option<ExtensionDescriptor>,
}

impl Extensions {
    /// Looks them up.
    pub fn new(pool: &DescriptorPool) -> Self {
        Self {
            method: pool.get_extension_by_name("ordermesh.options.v1.method"),
            field: pool.get_extension_by_name("ordermesh.options.v1.field"),
            event: pool.get_extension_by_name("ordermesh.options.v1.event"),
            http: pool.get_extension_by_name("google.api.http"),
            behavior: pool.get_extension_by_name("google.api.field_behavior"),
        }
    }

    /// Policy of a method, or everything that keeps it from having one.
    pub fn method_policy(&self, method: &MethodDescriptor) -> Result<MethodPolicy, Vec<String>> {
        let Some(option) = message_option(&method.options(), self.method.as_ref()) else {
            return Err(vec!["has no option (ordermesh.options.v1.method): every method needs a policy".to_owned()]);
        };
        let mut refused = Vec::new();
        let tenant = match enum_name(&option, "tenant").as_str() {
            "TENANT_MODE_REQUIRED" => Some(Tenant::Required),
            "TENANT_MODE_OPTIONAL" => Some(Tenant::Optional),
            "TENANT_MODE_FORBIDDEN" => Some(Tenant::Forbidden),
            _ => None,
        };
        let exposure = match enum_name(&option, "exposure").as_str() {
            "EXPOSURE_INTERNAL" => Some(Exposure::Internal),
            "EXPOSURE_CUSTOMER" => Some(Exposure::Customer),
            "EXPOSURE_ADMIN" => Some(Exposure::Admin),
            "EXPOSURE_PUBLIC" => Some(Exposure::Public),
            _ => None,
        };
        if tenant.is_none() {
            refused.push("policy says no tenant mode (tenant is unspecified)".to_owned());
        }
        if exposure.is_none() {
            refused.push("policy says no exposure (exposure is unspecified)".to_owned());
        }
        let idempotency = message(&option, "idempotency");
        let budget = message(&option, "budget");
        let mut natural = |from: &Option<DynamicMessage>, field: &str| {
            let value = from.as_ref().map_or(0, |from| int(from, field));
            u32::try_from(value).unwrap_or_else(|_| {
                refused.push(format!("policy's {field} is negative: {value}"));
                0
            })
        };
        let ttl_s = natural(&idempotency, "ttl_s");
        let timeout_ms = natural(&budget, "timeout_ms");
        let per_try_ms = natural(&budget, "per_try_ms");
        let max_retries = natural(&budget, "max_retries");
        let max_request_bytes = natural(&Some(option.clone()), "max_request_bytes");
        match (tenant, exposure) {
            (Some(tenant), Some(exposure)) if refused.is_empty() => Ok(MethodPolicy {
                tenant,
                exposure,
                any_role: strings(&option, "any_role"),
                callers: strings(&option, "callers"),
                idempotency: Idempotency {
                    required: idempotency.as_ref().is_some_and(|from| flag(from, "required")),
                    ttl_s,
                    natural: idempotency.as_ref().is_some_and(|from| flag(from, "natural")),
                },
                timeout_ms,
                per_try_ms: if per_try_ms == 0 { timeout_ms } else { per_try_ms },
                max_retries,
                rate_tier: rate_tier(&enum_name(&option, "rate_tier")),
                max_request_bytes: if max_request_bytes == 0 { DEFAULT_MAX_REQUEST_BYTES } else { max_request_bytes },
                audit: flag(&option, "audit"),
                etag_field: some_text(&option, "etag_field"),
                if_match_field: some_text(&option, "if_match_field"),
                stream_resume_field: some_text(&option, "stream_resume_field"),
            }),
            _ => Err(refused),
        }
    }

    /// Event policy of a message, if it is an event.
    pub fn event_policy(&self, described: &MessageDescriptor) -> Option<EventPolicy> {
        let option = message_option(&described.options(), self.event.as_ref())?;
        Some(EventPolicy {
            topic: text(&option, "topic"),
            key_field: text(&option, "key_field"),
            consumers: strings(&option, "consumers"),
        })
    }

    /// Sensitivity of a field; a sensitive field must say how it is shown.
    pub fn field_policy(&self, field: &FieldDescriptor) -> Result<Option<FieldPolicy>, String> {
        let Some(option) = message_option(&field.options(), self.field.as_ref()) else { return Ok(None) };
        let pii = match enum_name(&option, "pii").as_str() {
            "PII_PERSONAL" => Pii::Personal,
            "PII_CONTACT" => Pii::Contact,
            "PII_PAYMENT" => Pii::Payment,
            "PII_SECRET" => Pii::Secret,
            _ => return Err("has a mask but no pii: say why it is sensitive".to_owned()),
        };
        let mask = match enum_name(&option, "mask").as_str() {
            "MASK_REDACT" => Mask::Redact,
            "MASK_LAST4" => Mask::Last4,
            "MASK_EMAIL" => Mask::Email,
            _ => return Err("is sensitive (pii) but has no mask: say how it is shown".to_owned()),
        };
        Ok(Some(FieldPolicy { pii, mask }))
    }

    /// REST bindings of a method, the main one first.
    pub fn http(&self, method: &MethodDescriptor) -> Vec<HttpBinding> {
        let Some(rule) = message_option(&method.options(), self.http.as_ref()) else { return Vec::new() };
        let more = rule.get_field_by_name("additional_bindings").map(|value| value.into_owned());
        let more = more.as_ref().and_then(Value::as_list).unwrap_or_default();
        std::iter::once(binding(&rule)).chain(more.iter().filter_map(Value::as_message).map(binding)).collect()
    }

    /// Names of `google.api.field_behavior`.
    pub fn behaviors(&self, field: &FieldDescriptor) -> Vec<String> {
        let Some(extension) = &self.behavior else { return Vec::new() };
        let options = field.options();
        let Kind::Enum(described) = extension.kind() else { return Vec::new() };
        let values = options.get_extension(extension).into_owned();
        let numbers = values.as_list().unwrap_or_default().iter().filter_map(Value::as_enum_number);
        numbers.filter_map(|number| described.get_value(number)).map(|value| value.name().to_owned()).collect()
    }
}

fn binding(rule: &DynamicMessage) -> HttpBinding {
    let verb = ["get", "put", "post", "delete", "patch"].into_iter().find(|verb| rule.has_field_by_name(verb));
    let (verb, path) = match (verb, message(rule, "custom")) {
        (Some(verb), _) => (verb.to_uppercase(), text(rule, verb)),
        (None, Some(custom)) => (text(&custom, "kind"), text(&custom, "path")),
        (None, None) => (String::new(), String::new()),
    };
    HttpBinding { verb, path, body: some_text(rule, "body"), response_body: some_text(rule, "response_body") }
}

fn rate_tier(name: &str) -> RateTier {
    match name {
        "RATE_TIER_BULK" => RateTier::Bulk,
        "RATE_TIER_EXPENSIVE" => RateTier::Expensive,
        "RATE_TIER_WEBHOOK" => RateTier::Webhook,
        _ => RateTier::Interactive,
    }
}

fn message_option(options: &DynamicMessage, extension: Option<&ExtensionDescriptor>) -> Option<DynamicMessage> {
    let extension = extension.filter(|extension| options.has_extension(extension))?;
    options.get_extension(extension).as_message().cloned()
}

fn message(from: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    if !from.has_field_by_name(field) {
        return None;
    }
    from.get_field_by_name(field)?.as_message().cloned()
}

fn text(from: &DynamicMessage, field: &str) -> String {
    from.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn some_text(from: &DynamicMessage, field: &str) -> Option<String> {
    Some(text(from, field)).filter(|text| !text.is_empty())
}

fn strings(from: &DynamicMessage, field: &str) -> Vec<String> {
    let value = from.get_field_by_name(field).map(|value| value.into_owned());
    let list = value.as_ref().and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn flag(from: &DynamicMessage, field: &str) -> bool {
    from.get_field_by_name(field).and_then(|value| value.as_bool()).unwrap_or_default()
}

fn int(from: &DynamicMessage, field: &str) -> i32 {
    from.get_field_by_name(field).and_then(|value| value.as_i32()).unwrap_or_default()
}

/// Name of an enum field's value; empty for a number the schema does not know.
fn enum_name(from: &DynamicMessage, field: &str) -> String {
    let Some(described) = from.descriptor().get_field_by_name(field) else { return String::new() };
    let Kind::Enum(values) = described.kind() else { return String::new() };
    let number = from.get_field(&described).as_enum_number().unwrap_or_default();
    values.get_value(number).map(|value| value.name().to_owned()).unwrap_or_default()
}
