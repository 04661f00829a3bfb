//! One operation: a method through one of its bindings.
use serde_json::{Value, json};

use super::parameters::parameters;
use super::schema::{Schemas, has};
use crate::ir::{ContractIr, Exposure, Field, HttpBinding, Kind, Method, Service};
use crate::template;

const HTTP_BODY: &str = "google.api.HttpBody";

/// The operation of a method's binding (0 is the main one) under a path that names its parameters.
pub fn operation(
    ir: &ContractIr,
    schemas: &mut Schemas,
    service: &Service,
    method: &Method,
    index: usize,
    path: &str,
) -> Value {
    let binding = &method.http[index];
    let mut id = format!("{}_{}", service.name, method.name);
    if index > 0 {
        id = format!("{id}_{}", index + 1);
    }
    let mut operation = json!({
        "operationId": id,
        "summary": summary(&method.comment, &method.name),
        "description": method.comment,
        "tags": [service.name],
        "parameters": parameters(ir, schemas, method, binding, path),
        "responses": responses(schemas, method, binding),
    });
    if let Some(body) = request_body(ir, schemas, method, binding) {
        operation["requestBody"] = body;
    }
    if method.policy.exposure == Exposure::Public {
        operation["security"] = json!([]);
    } else {
        operation["security"] = json!([{ "bearer": [] }]);
        operation["x-ordermesh-roles"] = json!(method.policy.any_role);
    }
    operation
}

/// First sentence or clause of the comment, without the method's name that it starts with.
fn summary(comment: &str, method: &str) -> String {
    let text = comment.strip_prefix(method).unwrap_or(comment).trim_start();
    let end = [". ", ": ", "; ", " (", "\n"].iter().filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
    let sentence = text[..end].trim_end_matches('.');
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn request_body(ir: &ContractIr, schemas: &mut Schemas, method: &Method, binding: &HttpBinding) -> Option<Value> {
    let body = binding.body.as_deref()?;
    let input = ir.messages.get(&method.input)?;
    if body != "*" {
        let field = input.field(body)?;
        return Some(json!({ "required": has(field, "REQUIRED"), "content": field_content(schemas, field) }));
    }
    let bound = template::variables(&binding.path).unwrap_or_default();
    let in_body = |field: &&Field| !bound.contains(&field.name.as_str()) && !has(field, "OUTPUT_ONLY");
    let schema = if input.fields.iter().all(|field| in_body(&field)) {
        schemas.message(&method.input)
    } else {
        schemas.object(input.fields.iter().filter(in_body))
    };
    let required = input.fields.iter().filter(in_body).any(|field| has(field, "REQUIRED"));
    Some(json!({ "required": required, "content": { "application/json": { "schema": schema } } }))
}

fn field_content(schemas: &mut Schemas, field: &Field) -> Value {
    if field.kind == Kind::Message(HTTP_BODY.to_owned()) {
        return any_content();
    }
    json!({ "application/json": { "schema": schemas.property(field) } })
}

fn any_content() -> Value {
    json!({ "application/octet-stream": {}, "*/*": {} })
}

fn responses(schemas: &mut Schemas, method: &Method, binding: &HttpBinding) -> Value {
    let mut headers = json!({ "X-Correlation-ID": { "$ref": "#/components/headers/CorrelationId" } });
    let etag = method.policy.etag_field.is_some();
    if etag {
        headers["ETag"] = json!({ "$ref": "#/components/headers/ETag" });
    }
    let (description, content) = if method.server_streaming {
        let item = schemas.message(&method.output);
        let schema = json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": item });
        (
            "A stream of events; the data of each holds one message.",
            json!({ "text/event-stream": { "schema": schema } }),
        )
    } else if method.output == HTTP_BODY {
        ("The content.", any_content())
    } else {
        let schema = schemas.message(&method.output);
        ("The result.", json!({ "application/json": { "schema": schema } }))
    };
    // The bridge answers a POST that creates with 201 and a Location.
    let status = if binding.verb == "POST" && method.name.starts_with("Create") { "201" } else { "200" };
    let mut responses = json!({ "default": { "$ref": "#/components/responses/Problem" } });
    responses[status] = json!({ "description": description, "headers": headers, "content": content });
    if etag && binding.verb == "GET" {
        responses["304"] = json!({ "$ref": "#/components/responses/NotModified" });
    }
    responses
}
