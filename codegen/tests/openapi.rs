//! The OpenAPI document says what REST offers, and nothing it says dangles.
#![allow(clippy::unwrap_used, reason = "tests")]
mod support;

use std::collections::BTreeSet;

use codegen::emit::openapi::document;
use serde_json::{Value, json};
use support::read;

const ORDERS: &str = r#"
// Orders.
service OrderService {
  // PlaceOrder places an order: at once. More words.
  rpc PlaceOrder(PlaceOrderRequest) returns (Order) {
    option (google.api.http) = {put: "/orders/{order_id}" body: "*" additional_bindings {post: "/orders:place" body: "note"}};
    option (ordermesh.options.v1.method) = {
      tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_CUSTOMER any_role: "customer" budget: {timeout_ms: 1000}
      idempotency: {required: true} etag_field: "etag" if_match_field: "etag"
    };
  }
  // GetOrder returns an order.
  rpc GetOrder(GetOrderRequest) returns (Order) {
    option (google.api.http) = {get: "/orders/{where.order_id}"};
    option (ordermesh.options.v1.method) = {
      tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_PUBLIC budget: {timeout_ms: 1000} etag_field: "etag"
    };
  }
  // WatchOrder streams.
  rpc WatchOrder(PlaceOrderRequest) returns (stream Order) {
    option (google.api.http) = {get: "/orders/{order_id}:watch"};
    option (ordermesh.options.v1.method) = {
      tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_CUSTOMER callers: "order" budget: {timeout_ms: 1000}
      stream_resume_field: "etag"
    };
  }
  // Push takes anything.
  rpc Push(PushRequest) returns (Order) {
    option (google.api.http) = {post: "/push/{source}" body: "payload"};
    option (ordermesh.options.v1.method) = {tenant: TENANT_MODE_OPTIONAL exposure: EXPOSURE_PUBLIC budget: {timeout_ms: 1}};
  }
  // Hidden is for services.
  rpc Hidden(GetOrderRequest) returns (Order) {
    option (ordermesh.options.v1.method) = {
      tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_INTERNAL callers: "order" budget: {timeout_ms: 1}
    };
  }
}
message PushRequest { string source = 1; google.api.HttpBody payload = 2 [(google.api.field_behavior) = REQUIRED]; }
message PlaceOrderRequest {
  string order_id = 1;
  string note = 2 [(google.api.field_behavior) = REQUIRED, (ordermesh.options.v1.field) = {pii: PII_PERSONAL mask: MASK_REDACT}];
  string etag = 3;
}
message GetOrderRequest { Where where = 1; repeated State states = 2; map<string, string> labels = 3; google.protobuf.Timestamp since_time = 4; }
message Where { string order_id = 1; Depth depth = 2; }
message Depth { int32 max_level = 1; }
// State of an order.
enum State { STATE_UNSPECIFIED = 0; STATE_OPEN = 1; }
message Order {
  string order_id = 1 [(google.api.field_behavior) = OUTPUT_ONLY];
  string etag = 2;
  int64 total = 3;
  State state = 4;
  google.protobuf.Timestamp create_time = 5;
  google.protobuf.FieldMask update_mask = 6;
  bytes data = 7;
  map<string, int64> counts = 8;
  repeated Order parts = 9;
}
"#;

fn api() -> Value {
    document(&read(ORDERS).unwrap())
}

fn names(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().unwrap().iter();
    parameters
        .map(|it| it["name"].as_str().or(it["$ref"].as_str()).unwrap().rsplit('/').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_binding_is_an_operation_and_internal_methods_are_none() {
    let api = api();
    let ids: Vec<&str> = api["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    let expected =
        ["GetOrder", "PlaceOrder", "PlaceOrder_2", "Push", "WatchOrder"].map(|name| format!("OrderService_{name}"));
    assert_eq!(unique, expected.iter().map(String::as_str).collect());
    assert_eq!(ids.len(), unique.len());
}

#[test]
fn paths_that_differ_only_in_variable_names_are_one() {
    let api = api();
    let item = &api["paths"]["/orders/{order_id}"];
    assert_eq!(item["put"]["operationId"], "OrderService_PlaceOrder");
    assert_eq!(item["get"]["parameters"][0]["name"], "order_id");
}

#[test]
fn query_parameters_are_what_path_body_and_headers_leave() {
    let api = api();
    let get = &api["paths"]["/orders/{order_id}"]["get"];
    assert_eq!(names(get), ["order_id", "where.depth.maxLevel", "states", "sinceTime", "CorrelationId", "IfNoneMatch"]);
    assert_eq!(get["parameters"][3]["schema"], json!({ "type": "string", "format": "date-time" }));
    assert_eq!(get["parameters"][2]["schema"]["items"]["$ref"], "#/components/schemas/order.v1.State");
    assert_eq!(names(&api["paths"]["/orders:place"]["post"])[0], "orderId");
    let watch = &api["paths"]["/orders/{order_id}:watch"]["get"];
    assert_eq!(names(watch), ["order_id", "note", "CorrelationId", "LastEventId"]);
}

#[test]
fn a_body_holds_only_what_the_path_does_not() {
    let api = api();
    let put = &api["paths"]["/orders/{order_id}"]["put"];
    let schema = &put["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["properties"].as_object().unwrap().keys().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(schema["required"], json!(["note"]));
    assert_eq!(schema["properties"]["note"]["x-pii"], json!({ "pii": "personal", "mask": "redact" }));
    assert_eq!(names(put), ["order_id", "CorrelationId", "RequiredIdempotencyKey", "IfMatch"]);
    let one = &api["paths"]["/orders:place"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(one["type"], "string");
    let push = &api["paths"]["/push/{source}"]["post"]["requestBody"];
    assert_eq!(push["content"], json!({ "application/octet-stream": {}, "*/*": {} }));
}

#[test]
fn answers_have_etags_not_modified_streams_and_problems() {
    let api = api();
    let get = &api["paths"]["/orders/{order_id}"]["get"]["responses"];
    assert_eq!(get["200"]["headers"]["ETag"]["$ref"], "#/components/headers/ETag");
    assert_eq!(get["304"]["$ref"], "#/components/responses/NotModified");
    assert_eq!(get["default"]["$ref"], "#/components/responses/Problem");
    let watch = &api["paths"]["/orders/{order_id}:watch"]["get"]["responses"]["200"]["content"];
    let item = &watch["text/event-stream"]["schema"]["contentSchema"]["$ref"];
    assert_eq!(item, "#/components/schemas/order.v1.Order");
}

#[test]
fn security_is_the_bearer_except_for_public_methods() {
    let api = api();
    let item = &api["paths"]["/orders/{order_id}"];
    assert_eq!((&item["get"]["security"], &item["get"]["x-ordermesh-roles"]), (&json!([]), &Value::Null));
    assert_eq!(item["put"]["security"], json!([{ "bearer": [] }]));
    assert_eq!(item["put"]["x-ordermesh-roles"], json!(["customer"]));
    assert_eq!(item["put"]["summary"], "Places an order");
}

#[test]
fn schemas_follow_proto3_json() {
    let api = api();
    let order = &api["components"]["schemas"]["order.v1.Order"]["properties"];
    assert_eq!(order["orderId"]["readOnly"], true);
    assert_eq!((&order["total"]["type"], &order["total"]["format"]), (&json!("string"), &json!("int64")));
    assert_eq!(order["createTime"]["format"], "date-time");
    assert_eq!(order["updateMask"]["type"], "string");
    assert_eq!(order["data"]["contentEncoding"], "base64");
    assert_eq!(order["counts"]["additionalProperties"]["format"], "int64");
    assert_eq!(order["parts"]["items"]["$ref"], "#/components/schemas/order.v1.Order");
    assert_eq!(api["components"]["schemas"]["order.v1.State"]["enum"], json!(["STATE_UNSPECIFIED", "STATE_OPEN"]));
}

#[test]
fn every_reference_of_the_real_document_leads_somewhere() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../gen/openapi/openapi.json");
    let api: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut references = Vec::new();
    collect(&api, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let target = api.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
