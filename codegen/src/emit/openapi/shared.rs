//! What all operations share: security, headers, errors.
use serde_json::{Value, json};

/// Components other than schemas.
pub fn components() -> Value {
    json!({
        "securitySchemes": {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "Access token of IdentityService.Login; it names tenant and roles.",
            },
        },
        "parameters": {
            "IdempotencyKey": idempotency_key(false),
            "RequiredIdempotencyKey": idempotency_key(true),
            "IfMatch": {
                "name": "If-Match",
                "in": "header",
                "description": "ETag the change is based on; another one at the server is 412.",
                "schema": { "type": "string" },
            },
            "IfNoneMatch": {
                "name": "If-None-Match",
                "in": "header",
                "description": "ETag the caller has already; an unchanged resource is 304.",
                "schema": { "type": "string" },
            },
            "LastEventId": {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "Id of the last event received; the stream goes on after it.",
                "schema": { "type": "string" },
            },
            "CorrelationId": {
                "name": "X-Correlation-ID",
                "in": "header",
                "description": "Ties everything that this request causes; made up when absent, always in the answer.",
                "schema": { "type": "string", "maxLength": 128 },
            },
        },
        "headers": {
            "ETag": {
                "description": "Version of the resource, for If-Match and If-None-Match.",
                "schema": { "type": "string" },
            },
            "CorrelationId": {
                "description": "Correlation id of the request.",
                "schema": { "type": "string" },
            },
            "RetryAfter": {
                "description": "Seconds after which trying again makes sense.",
                "schema": { "type": "integer", "minimum": 0 },
            },
        },
        "responses": {
            "NotModified": {
                "description": "The resource still has the ETag of If-None-Match.",
                "headers": { "ETag": { "$ref": "#/components/headers/ETag" } },
            },
            "Problem": {
                "description": "The call failed and changed nothing.",
                "headers": {
                    "X-Correlation-ID": { "$ref": "#/components/headers/CorrelationId" },
                    "Retry-After": { "$ref": "#/components/headers/RetryAfter" },
                },
                "content": {
                    "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
                },
            },
        },
    })
}

fn idempotency_key(required: bool) -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": required,
        "description": "Names this one effect: repeating the call with the same key and body gives the first answer again; \
                        another body with the same key is refused.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
    })
}

/// RFC 9457 problem with the members of our error model.
pub fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "code", "reason", "domain"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": "Names the kind of error." },
            "title": { "type": "string", "description": "The kind of error in words." },
            "status": { "type": "integer", "format": "int32", "description": "HTTP status." },
            "detail": { "type": "string", "description": "What happened here." },
            "instance": { "type": "string", "description": "Correlation id of the request." },
            "code": { "type": "string", "description": "gRPC code, such as INVALID_ARGUMENT." },
            "reason": { "type": "string", "description": "Stable reason, such as ORDER_STATE_FORBIDS; branch on this." },
            "domain": { "type": "string", "description": "Where the reason is defined: ordermesh." },
            "metadata": {
                "type": "object",
                "additionalProperties": { "type": "string" },
                "description": "Facts that programs may read, such as what is left to refund.",
            },
            "errors": {
                "type": "array",
                "description": "Every wrong field at once.",
                "items": {
                    "type": "object",
                    "required": ["field", "reason", "detail"],
                    "properties": {
                        "pointer": { "type": "string", "description": "JSON pointer into the body (RFC 6901)." },
                        "field": { "type": "string", "description": "Field path, such as items[0].sku." },
                        "in": { "type": "string", "description": "body, query, path or header." },
                        "reason": { "type": "string", "description": "Stable reason." },
                        "detail": { "type": "string", "description": "What is wrong with it." },
                    },
                },
            },
        },
    })
}
