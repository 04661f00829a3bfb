//! Path, query and header parameters of one binding.
use serde_json::{Value, json};

use super::schema::{Schemas, has, well_known};
use crate::ir::{ContractIr, Field, HttpBinding, Kind, Label, Method};
use crate::template;

/// Deepest nesting of query parameters, as the bridge reads them.
const MAX_DEPTH: usize = 8;

/// All parameters, in the order path, query, headers; `path` names those of the path.
pub fn parameters(
    ir: &ContractIr,
    schemas: &mut Schemas,
    method: &Method,
    binding: &HttpBinding,
    path: &str,
) -> Vec<Value> {
    let bound = template::variables(&binding.path).unwrap_or_default();
    let mut all = Vec::new();
    for (variable, name) in bound.iter().zip(template::variables(path).unwrap_or_default()) {
        if let Some(field) = ir.field_at(&method.input, variable) {
            all.push(parameter(schemas, "path", name, field, true));
        }
    }
    if binding.body.as_deref() != Some("*") {
        let policy = &method.policy;
        // These fields have headers of their own.
        let headers = [policy.if_match_field.as_deref(), policy.stream_resume_field.as_deref()];
        let mut query = Query { ir, schemas, all: &mut all, taken: Vec::new() };
        query.taken.extend(bound.iter().copied());
        query.taken.extend(binding.body.as_deref());
        query.taken.extend(headers.into_iter().flatten());
        query.add(&method.input, "", "", 1, true);
    }
    all.extend(
        headers(method, binding).into_iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })),
    );
    all
}

struct Query<'a, 'ir, 's> {
    ir: &'ir ContractIr,
    schemas: &'a mut Schemas<'s>,
    all: &'a mut Vec<Value>,
    /// Proto paths that path, body or headers fill.
    taken: Vec<&'a str>,
}

impl Query<'_, '_, '_> {
    /// Adds the fields of a message; maps and lists of messages have no place in a query.
    fn add(&mut self, message: &str, proto_prefix: &str, json_prefix: &str, depth: usize, required: bool) {
        let Some(message) = self.ir.messages.get(message).filter(|_| depth <= MAX_DEPTH) else { return };
        for field in &message.fields {
            let path = format!("{proto_prefix}{}", field.name);
            if self.taken.contains(&path.as_str()) || has(field, "OUTPUT_ONLY") {
                continue;
            }
            let name = format!("{json_prefix}{}", field.json_name);
            let required = required && has(field, "REQUIRED");
            match (&field.kind, &field.label) {
                (_, Label::Map(_)) => {}
                (Kind::Message(inner), label) if well_known(inner).is_none() => {
                    if *label != Label::Repeated {
                        self.add(inner, &format!("{path}."), &format!("{name}."), depth + 1, required);
                    }
                }
                _ => self.all.push(parameter(self.schemas, "query", &name, field, required)),
            }
        }
    }
}

fn parameter(schemas: &mut Schemas, place: &str, name: &str, field: &Field, required: bool) -> Value {
    let mut schema = schemas.property(field);
    let mut parameter = json!({ "name": name, "in": place });
    if let Some(members) = schema.as_object_mut() {
        if let Some(description) = members.remove("description") {
            parameter["description"] = description;
        }
        if let Some(pii) = members.remove("x-pii") {
            parameter["x-pii"] = pii;
        }
    }
    if required {
        parameter["required"] = json!(true);
    }
    if field.label == Label::Repeated {
        parameter["style"] = json!("form");
        parameter["explode"] = json!(true);
    }
    parameter["schema"] = schema;
    parameter
}

fn headers(method: &Method, binding: &HttpBinding) -> Vec<&'static str> {
    let policy = &method.policy;
    let mut names = vec!["CorrelationId"];
    if policy.idempotency.required {
        names.push("RequiredIdempotencyKey");
    } else if policy.idempotency.ttl_s > 0 {
        names.push("IdempotencyKey");
    }
    if policy.if_match_field.is_some() {
        names.push("IfMatch");
    }
    if policy.etag_field.is_some() && binding.verb == "GET" {
        names.push("IfNoneMatch");
    }
    if policy.stream_resume_field.is_some() {
        names.push("LastEventId");
    }
    names
}
