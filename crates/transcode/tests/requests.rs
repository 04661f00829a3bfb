//! What a REST request becomes, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{call, call_with, contract, fixture};
use http::Method;
use serde_json::json;
use transcode::{HeaderField, Input, Place};

fn pairs(wrong: &[(&str, &str)]) -> Vec<(String, String)> {
    wrong.iter().map(|(pointer, reason)| ((*pointer).to_owned(), (*reason).to_owned())).collect()
}

#[test]
fn ord_12_every_wrong_field_of_a_body_is_named_at_once() {
    let body = json!({
        "items": [{"sku": 7, "quantity": "many"}, {"sku": "A", "quantity": 2147483648_i64, "colour": "red"}],
        "currencyCode": ["USD"],
        "shippingAddress": {"city": false, "planet": "Mars"},
        "expectedTotal": {"amountMinor": "9223372036854775808"},
        "customer": "me"
    });
    let call = call(&contract(), Method::POST, "/api/v1/orders", &body.to_string());
    let mut wrong = call.wrong();
    wrong.sort();
    let mut expected = pairs(&[
        ("/items/0/sku", "TYPE_MISMATCH"),
        ("/items/0/quantity", "TYPE_MISMATCH"),
        ("/items/1/quantity", "OUT_OF_RANGE"),
        ("/items/1/colour", "UNKNOWN_FIELD"),
        ("/currencyCode", "TYPE_MISMATCH"),
        ("/shippingAddress/city", "TYPE_MISMATCH"),
        ("/shippingAddress/planet", "UNKNOWN_FIELD"),
        ("/expectedTotal/amountMinor", "OUT_OF_RANGE"),
        ("/customer", "UNKNOWN_FIELD"),
    ]);
    expected.sort();
    assert_eq!(wrong, expected);
    let fields: Vec<_> = call.outcome.unwrap_err().into_violations().into_iter().map(|v| v.field).collect();
    assert!(fields.contains(&"shipping_address.city".to_owned()), "{fields:?}");
    assert!(fields.contains(&"items[0].quantity".to_owned()), "{fields:?}");
}

#[test]
fn values_are_never_repeated_back() {
    let body = r#"{"tenant":"t","email":{"secret":"hunter2"},"password":["hunter2"]}"#;
    let call = call(&contract(), Method::POST, "/api/v1/sessions", body);
    let text = format!("{:?}", call.outcome.unwrap_err());
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_hostile_body_does_not_make_a_huge_answer() {
    let members: Vec<String> = (0..5000).map(|n| format!("\"unknown{n}\":1")).collect();
    let call = call(&contract(), Method::POST, "/api/v1/orders", &format!("{{{}}}", members.join(",")));
    let problems = call.outcome.unwrap_err();
    assert_eq!(problems.violations().len(), 100);
    assert!(problems.truncated());
}

#[test]
fn both_names_of_a_field_are_understood_but_not_together() {
    let router = fixture();
    let call_one = call(&router, Method::PUT, "/v1/things/x", r#"{"inner":{"display_name":"a"},"small_ratio":1.5}"#);
    assert_eq!(call_one.json(), json!({"inner": {"id": "x", "displayName": "a"}, "smallRatio": 1.5}));
    let twice = call(&router, Method::PUT, "/v1/things/x", r#"{"inner":{"display_name":"a","displayName":"a"}}"#);
    assert_eq!(twice.wrong(), pairs(&[("/inner/displayName", "DUPLICATE_KEY")]));
}

#[test]
fn proto3_json_forms_are_read() {
    let body = json!({
        "number": 1e2, "big": "18446744073709551615", "ratio": "NaN", "flag": true, "blob": "-_8",
        "colour": "COLOUR_RED", "colours": [1, "COLOUR_UNSPECIFIED"], "tags": ["a", ""],
        "labels": {"k": "v"}, "byNumber": {"-7": {"id": "seven"}}, "rightSide": "5", "maybe": 0,
        "at": "2026-01-31T12:00:00.5Z", "wait": "1.5s", "extra": {"a": [null, 1]}, "anything": null,
        "wrapped": "8", "wrappedFlag": false, "updateMask": "inner.displayName,tags", "leftSide": null
    });
    let call = call(&fixture(), Method::PUT, "/v1/things/x", &body.to_string());
    let expected = json!({
        "inner": {"id": "x"},
        "number": 100, "big": "18446744073709551615", "ratio": "NaN", "flag": true, "blob": "+/8=",
        "colour": "COLOUR_RED", "colours": ["COLOUR_RED", "COLOUR_UNSPECIFIED"], "tags": ["a", ""],
        "labels": {"k": "v"}, "byNumber": {"-7": {"id": "seven"}}, "rightSide": "5", "maybe": 0,
        "at": "2026-01-31T12:00:00.500Z", "wait": "1.500s", "extra": {"a": [null, 1.0]}, "anything": null,
        "wrapped": "8", "wrappedFlag": false, "updateMask": "inner.displayName,tags"
    });
    assert_eq!(call.json(), expected);
}

#[test]
fn well_known_types_maps_and_oneofs_are_checked() {
    let body = json!({
        "leftSide": "a", "rightSide": 1, "at": "yesterday", "wait": "1h", "byNumber": {"x": {}, "1": 2},
        "wrapped": "x", "tags": [null], "colours": ["RED", 99], "labels": [], "number": [], "extra": 1,
        "packed": {"@type": "type.googleapis.com/unknown.Type"}
    });
    let mut wrong = call(&fixture(), Method::PUT, "/v1/things/x", &body.to_string()).wrong();
    wrong.sort();
    let mut expected = pairs(&[
        ("/rightSide", "ONEOF_CONFLICT"),
        ("/at", "TYPE_MISMATCH"),
        ("/wait", "TYPE_MISMATCH"),
        ("/byNumber/x", "TYPE_MISMATCH"),
        ("/byNumber/1", "TYPE_MISMATCH"),
        ("/wrapped", "TYPE_MISMATCH"),
        ("/tags/0", "TYPE_MISMATCH"),
        ("/colours/0", "UNKNOWN_ENUM_VALUE"),
        ("/colours/1", "UNKNOWN_ENUM_VALUE"),
        ("/labels", "TYPE_MISMATCH"),
        ("/number", "TYPE_MISMATCH"),
        ("/extra", "TYPE_MISMATCH"),
        ("/packed", "TYPE_MISMATCH"),
    ]);
    expected.sort();
    assert_eq!(wrong, expected);
}

#[test]
fn a_lenient_caller_may_send_what_nobody_knows() {
    let input =
        Input { body: br#"{"new":1,"inner":{"other":2},"colour":"COLOUR_BLUE"}"#, lenient: true, ..Input::default() };
    let call = call_with(&fixture(), Method::PUT, "/v1/things/x", &input);
    assert_eq!(call.json(), json!({"inner": {"id": "x"}}));
    let input = Input { lenient: true, ..Input::default() };
    call_with(&contract(), Method::GET, "/api/v1/orders?colour=red", &input).message();
}

#[test]
fn an_id_in_path_and_body_must_be_the_same() {
    let router = contract();
    let same = call(&router, Method::PATCH, "/api/v1/orders/a", r#"{"orderId":"a","note":"n"}"#);
    assert_eq!(same.json()["orderId"], "a");
    let other = call(&router, Method::PATCH, "/api/v1/orders/a", r#"{"orderId":"b","note":"n"}"#);
    assert_eq!(other.wrong(), pairs(&[("/orderId", "PATH_MISMATCH")]));
    let nested = call(&router, Method::PUT, "/api/v1/products/A", r#"{"sku":"B"}"#);
    assert_eq!(nested.wrong(), pairs(&[("/sku", "PATH_MISMATCH")]));
    let typed = call(&fixture(), Method::GET, "/v1/numbers/many", "");
    assert_eq!(typed.wrong(), pairs(&[("/number", "TYPE_MISMATCH")]));
    assert_eq!(typed.outcome.unwrap_err().violations()[0].place, Place::Path);
}

#[test]
fn a_body_field_is_the_resource_itself() {
    let call_one = call(&contract(), Method::PUT, "/api/v1/products/A", r#"{"displayName":"Tea"}"#);
    assert_eq!(call_one.json(), json!({"product": {"sku": "A", "displayName": "Tea"}}));
    let wrong = call(&contract(), Method::PUT, "/api/v1/products/A", r#"{"product":{}}"#);
    assert_eq!(wrong.wrong(), pairs(&[("/product", "UNKNOWN_FIELD")]));
    assert_eq!(wrong.outcome.unwrap_err().violations()[0].field, "product.product");
    let list = call(&fixture(), Method::POST, "/v1/things:tag?name=n", r#"["a","b"]"#);
    assert_eq!(list.json(), json!({"name": "n", "tags": ["a", "b"]}));
}

#[test]
fn an_empty_body_is_an_empty_object() {
    let router = contract();
    assert_eq!(call(&router, Method::POST, "/api/v1/orders", "").json(), json!({}));
    assert_eq!(call(&router, Method::POST, "/api/v1/orders", " \n").json(), json!({}));
    assert_eq!(call(&router, Method::POST, "/api/v1/orders", "[]").wrong(), pairs(&[("", "TYPE_MISMATCH")]));
    assert_eq!(call(&router, Method::GET, "/api/v1/orders", "{}").wrong(), pairs(&[("", "BODY_NOT_ALLOWED")]));
}

#[test]
fn a_patch_without_mask_changes_what_its_body_names() {
    let router = contract();
    let etag = [HeaderField { header: "if-match", field: "etag", value: "7", wins: false }];
    let input = Input {
        body: br#"{"orderId":"a","etag":"7","note":"","shippingAddress":{"city":"X"}}"#,
        headers: &etag,
        ..Input::default()
    };
    let call_one = call_with(&router, Method::PATCH, "/api/v1/orders/a", &input);
    assert_eq!(call_one.json()["updateMask"], "note,shippingAddress");
    let given = call(&router, Method::PATCH, "/api/v1/orders/a", r#"{"note":"n","updateMask":"note"}"#);
    assert_eq!(given.json()["updateMask"], "note");
    let put = call(&router, Method::PUT, "/api/v1/orders/a", r#"{"note":"n"}"#);
    assert!(put.json().get("updateMask").is_none());
    let field = call(&fixture(), Method::PATCH, "/v1/things/x", r#"{"displayName":"n","child":{}}"#);
    assert_eq!(field.json()["updateMask"], "displayName,child");
}

#[test]
fn if_match_becomes_the_version_and_must_agree_with_the_body() {
    let router = contract();
    let headers = [HeaderField { header: "if-match", field: "etag", value: "7", wins: false }];
    let input = |body: &'static str| Input { body: body.as_bytes(), headers: &headers, ..Input::default() };
    let call_one = call_with(&router, Method::POST, "/api/v1/orders/a:cancel", &input(r#"{"reason":"r"}"#));
    assert_eq!(call_one.json(), json!({"orderId": "a", "reason": "r", "etag": "7"}));
    let other = call_with(&router, Method::POST, "/api/v1/orders/a:cancel", &input(r#"{"etag":"8"}"#));
    assert_eq!(other.wrong(), pairs(&[("", "HEADER_MISMATCH")]));
}

#[test]
fn raw_bodies_arrive_byte_for_byte() {
    let body = b"{\"a\" : 1,\xff}";
    let input = Input { body, content_type: Some("application/json; v=1"), ..Input::default() };
    let call = call_with(&contract(), Method::POST, "/api/v1/webhooks/payments/stripe/tnt_1", &input);
    let payload = call.message().get_field_by_name("payload").unwrap();
    let payload = payload.as_message().unwrap();
    assert_eq!(payload.get_field_by_name("data").unwrap().as_bytes().unwrap().as_ref(), body);
    assert_eq!(payload.get_field_by_name("content_type").unwrap().as_str(), Some("application/json; v=1"));
    assert_eq!(call.message().get_field_by_name("tenant_id").unwrap().as_str(), Some("tnt_1"));
    let whole = call_with(&fixture(), Method::POST, "/v1/upload", &input);
    assert_eq!(whole.message().get_field_by_name("data").unwrap().as_bytes().unwrap().as_ref(), body);
}

#[test]
fn query_parameters_are_typed_nested_repeated_and_maps() {
    let uri = "/v1/search?number=7&tags=a+b&tags=c%26&inner.child.displayName=x&labels[k]=v&labels.l.m=w\
               &byNumber[2].x=1";
    let call_one = call(&fixture(), Method::GET, uri, "");
    assert_eq!(call_one.wrong(), pairs(&[("/byNumber[2].x", "UNKNOWN_PARAMETER")]));
    let uri = "/v1/search?number=7&tags=a+b&tags=c%26&inner.child.displayName=x&labels[k]=v&labels.l.m=w\
               &colour=1&colours=COLOUR_RED&at=2026-01-31T12:00:00Z&wait=2s&wrapped=3&wrapped_flag=true\
               &update_mask=inner.displayName,tags&maybe=0&flag=true&blob=AA==";
    let expected = json!({
        "number": 7, "tags": ["a b", "c&"], "inner": {"child": {"displayName": "x"}},
        "labels": {"k": "v", "l.m": "w"}, "colour": "COLOUR_RED", "colours": ["COLOUR_RED"],
        "at": "2026-01-31T12:00:00Z", "wait": "2s", "wrapped": "3", "wrappedFlag": true,
        "updateMask": "inner.displayName,tags", "maybe": 0, "flag": true, "blob": "AA=="
    });
    assert_eq!(call(&fixture(), Method::GET, uri, "").json(), expected);
    let states = call(&contract(), Method::GET, "/api/v1/orders?states=ORDER_STATE_PENDING&states=2&page_size=5", "");
    assert_eq!(states.json(), json!({"states": ["ORDER_STATE_PENDING", "ORDER_STATE_PENDING"], "pageSize": 5}));
}

#[test]
fn doubtful_query_parameters_are_refused() {
    let cases = [
        ("number=1&number=2", "/number", "GIVEN_TWICE"),
        ("small_ratio=1&smallRatio=1", "/smallRatio", "BOTH_SPELLINGS"),
        ("tags=1&number=x", "/number", "TYPE_MISMATCH"),
        ("number=", "/number", "TYPE_MISMATCH"),
        ("flag=yes", "/flag", "TYPE_MISMATCH"),
        ("colour=BLUE", "/colour", "UNKNOWN_ENUM_VALUE"),
        ("colour=9", "/colour", "UNKNOWN_ENUM_VALUE"),
        ("inner=x", "/inner", "TYPE_MISMATCH"),
        ("extra=x", "/extra", "TYPE_MISMATCH"),
        ("nobody=x", "/nobody", "UNKNOWN_PARAMETER"),
        ("inner.nobody=x", "/inner.nobody", "UNKNOWN_PARAMETER"),
        ("name.x=1", "/name.x", "UNKNOWN_PARAMETER"),
        ("labels=x", "/labels", "UNKNOWN_PARAMETER"),
        ("leftSide=a&rightSide=1", "/rightSide", "ONEOF_CONFLICT"),
        (
            "inner.child.child.child.child.child.child.child.child.id=1",
            "/inner.child.child.child.child.child.child.child.child.id",
            "TOO_DEEP",
        ),
        ("name=%ff", "/name", "INVALID_UTF8"),
        ("name=%2", "/name", "INVALID_UTF8"),
    ];
    let router = fixture();
    for (query, pointer, reason) in cases {
        let call = call(&router, Method::GET, &format!("/v1/search?{query}"), "");
        assert_eq!(call.wrong(), pairs(&[(pointer, reason)]), "{query}");
    }
}

#[test]
fn parameters_may_not_reach_what_the_body_or_path_carries() {
    let router = fixture();
    let whole = call(&router, Method::PUT, "/v1/things/x?number=1", "{}");
    assert_eq!(whole.wrong(), pairs(&[("/number", "QUERY_NOT_ALLOWED")]));
    let field = call(&router, Method::PATCH, "/v1/things/x?inner.id=1", "{}");
    assert_eq!(field.wrong(), pairs(&[("/inner.id", "QUERY_NOT_ALLOWED")]));
    let path = call(&router, Method::GET, "/v1/numbers/1?number=2", "");
    assert_eq!(path.wrong(), pairs(&[("/number", "PATH_MISMATCH")]));
    call(&router, Method::GET, "/v1/numbers/1?number=1", "").message();
    let many = vec!["tags=a"; 300].join("&");
    assert_eq!(call(&router, Method::GET, &format!("/v1/search?{many}"), "").wrong()[0].1, "TOO_MANY_PARAMETERS");
}

#[test]
fn fields_that_services_name_are_found_in_the_request() {
    let router = contract();
    let locate = |verb, uri: &str, field: &str| call(&router, verb, uri, "").route.locate(field);
    let body = |pointer: &str| (pointer.to_owned(), Place::Body);
    assert_eq!(locate(Method::POST, "/api/v1/orders", "items[3].quantity"), body("/items/3/quantity"));
    assert_eq!(locate(Method::POST, "/api/v1/orders", "shipping_address.city"), body("/shippingAddress/city"));
    assert_eq!(locate(Method::POST, "/api/v1/products", "product.display_name"), body("/displayName"));
    assert_eq!(locate(Method::POST, "/api/v1/products", "display_name"), body("/displayName"));
    assert_eq!(locate(Method::GET, "/api/v1/orders", "page_size"), ("/pageSize".to_owned(), Place::Query));
    assert_eq!(locate(Method::GET, "/api/v1/orders/x", "order_id"), ("/orderId".to_owned(), Place::Path));
    assert_eq!(locate(Method::POST, "/api/v1/orders", "no.such[0]"), body("/no/such/0"));
}

#[test]
fn a_header_that_wins_replaces_the_parameter() {
    let headers = [HeaderField { header: "last-event-id", field: "etag", value: "8", wins: true }];
    let input = Input { headers: &headers, ..Input::default() };
    let call = call_with(&contract(), Method::GET, "/api/v1/orders/a:watch?etag=7", &input);
    assert_eq!(call.json(), json!({"orderId": "a", "etag": "8"}));
}
