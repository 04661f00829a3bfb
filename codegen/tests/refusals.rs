//! Every rule that generation enforces: what breaks it is refused, and the message says where and why.
#![allow(clippy::unwrap_used, reason = "tests")]
mod support;

use support::read;

const METHOD: &str = "ordermesh/order/v1/order.proto: /ordermesh.order.v1.OrderService/GetOrder: ";

/// A policy that every rule accepts.
const FINE: &str = r#"option (ordermesh.options.v1.method) = {
  tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_CUSTOMER any_role: "customer" budget: {timeout_ms: 1000}
};"#;

/// A service with one method with these options, on messages with an id, an etag and more.
fn service(options: &str) -> String {
    service_returning(options, "Order")
}

/// The same with another response, such as "stream Order".
fn service_returning(options: &str, response: &str) -> String {
    format!(
        r#"
service OrderService {{
  // GetOrder returns an order; nothing else.
  rpc GetOrder(Request) returns ({response}) {{ {options} }}
}}
message Request {{ string order_id = 1; string etag = 2; Order order = 3; repeated string tags = 4; }}
message Order {{ string order_id = 1; string etag = 2; int64 total = 3; }}
"#
    )
}

fn method_options(policy: &str, http: &str) -> String {
    let http = if http.is_empty() { String::new() } else { format!("option (google.api.http) = {{{http}}};") };
    format!("option (ordermesh.options.v1.method) = {{{policy}}}; {http}")
}

fn policy(extra: &str) -> String {
    let base = r#"tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_CUSTOMER any_role: "customer""#;
    method_options(&format!("{base} {extra}"), "")
}

fn with_http(rule: &str) -> String {
    format!("{FINE} option (google.api.http) = {{{rule}}};")
}

#[track_caller]
fn refused(text: &str, problem: &str) {
    let message = read(text).expect_err("the contract is refused");
    assert!(message.contains(problem), "{message}\ndoes not say\n{problem}");
}

#[track_caller]
fn method_refused(options: &str, problem: &str) {
    let message = read(&service(options)).expect_err("the contract is refused");
    let named = message.lines().any(|line| line.trim_start().starts_with(METHOD) && line.contains(problem));
    assert!(named, "{message}\ndoes not say\n{METHOD}{problem}");
}

#[test]
fn a_contract_that_follows_the_rules_is_read() {
    let ir = read(&service(&with_http(r#"get: "/api/v1/orders/{order_id}""#))).unwrap();
    let (service, method) = ir.methods().next().unwrap();
    assert_eq!(
        (service.context.as_str(), method.path.as_str()),
        ("order", "/ordermesh.order.v1.OrderService/GetOrder")
    );
    assert_eq!((method.policy.per_try_ms, method.policy.max_request_bytes), (1000, 65_536));
    assert_eq!(method.comment, "GetOrder returns an order; nothing else.");
}

#[test]
fn a_method_without_policy_is_refused() {
    method_refused("", "has no option (ordermesh.options.v1.method)");
}

#[test]
fn an_unspecified_tenant_mode_or_exposure_is_refused() {
    let options = method_options(r#"exposure: EXPOSURE_CUSTOMER any_role: "customer" budget: {timeout_ms: 1}"#, "");
    method_refused(&options, "policy says no tenant mode");
    let options = method_options(r#"tenant: TENANT_MODE_REQUIRED any_role: "customer" budget: {timeout_ms: 1}"#, "");
    method_refused(&options, "policy says no exposure");
}

#[test]
fn all_problems_are_named_at_once() {
    let message = read(&service(&method_options("budget: {timeout_ms: -1}", ""))).unwrap_err();
    assert!(message.starts_with("the contract has 3 problem(s):"), "{message}");
}

#[test]
fn an_internal_method_needs_callers_and_has_no_route() {
    let options =
        method_options("tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_INTERNAL budget: {timeout_ms: 1}", "");
    method_refused(&options, "is EXPOSURE_INTERNAL but names no callers");
    let policy = r#"tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_INTERNAL callers: "order" budget: {timeout_ms: 1}"#;
    method_refused(&method_options(policy, r#"get: "/x""#), "is EXPOSURE_INTERNAL but has a google.api.http rule");
}

#[test]
fn customer_and_admin_methods_need_roles_or_callers() {
    for exposure in ["CUSTOMER", "ADMIN"] {
        let policy = format!("tenant: TENANT_MODE_REQUIRED exposure: EXPOSURE_{exposure} budget: {{timeout_ms: 1}}");
        method_refused(&method_options(&policy, ""), "needs any_role or callers");
    }
}

#[test]
fn a_caller_must_be_a_known_context() {
    method_refused(
        &policy(r#"callers: "billing" budget: {timeout_ms: 1}"#),
        r#"caller "billing" is no context (known: order)"#,
    );
}

#[test]
fn a_call_must_end() {
    method_refused(&policy(""), "budget.timeout_ms must be set");
}

#[test]
fn tries_must_fit_into_the_timeout() {
    let budget = "idempotency: {natural: true} budget: {timeout_ms: 1000 per_try_ms: 400 max_retries: 2}";
    method_refused(&policy(budget), "(max_retries 2 + 1) * per_try_ms 400 exceeds timeout_ms 1000");
    method_refused(&policy("budget: {timeout_ms: 10 per_try_ms: 11}"), "per_try_ms 11 exceeds timeout_ms 10");
    let unset = "idempotency: {natural: true} budget: {timeout_ms: 1000 max_retries: 1}";
    method_refused(&policy(unset), "(max_retries 1 + 1) * per_try_ms 1000 exceeds timeout_ms 1000");
}

#[test]
fn only_safe_or_idempotent_methods_are_retried() {
    let budget = "budget: {timeout_ms: 1000 per_try_ms: 400 max_retries: 1}";
    let problem = "max_retries is 1 but the method is neither a GET nor idempotent";
    method_refused(&policy(budget), problem);
    let put = format!(r#"{} option (google.api.http) = {{put: "/x/{{order_id}}" body: "*"}};"#, policy(budget));
    method_refused(&put, problem);
    for idempotency in ["natural: true", "required: true", "ttl_s: 86400"] {
        read(&service(&policy(&format!("idempotency: {{{idempotency}}} {budget}")))).unwrap();
    }
    let get = format!(r#"{} option (google.api.http) = {{get: "/x/{{order_id}}"}};"#, policy(budget));
    read(&service(&get)).unwrap();
}

#[test]
fn stored_answers_live_at_least_a_day() {
    method_refused(&policy("idempotency: {ttl_s: 60} budget: {timeout_ms: 1}"), "idempotency.ttl_s 60 is under 86400");
}

#[test]
fn fields_that_a_policy_names_must_exist() {
    let budget = "budget: {timeout_ms: 1}";
    let no_etag = r#"etag_field "version" is no string field of ordermesh.order.v1.Order"#;
    method_refused(&policy(&format!(r#"etag_field: "version" {budget}"#)), no_etag);
    method_refused(&policy(&format!(r#"etag_field: "total" {budget}"#)), r#"etag_field "total" is no string field"#);
    let no_match = r#"if_match_field "version" is no string field of ordermesh.order.v1.Request"#;
    method_refused(&policy(&format!(r#"if_match_field: "version" {budget}"#)), no_match);
    let resume = policy(&format!(r#"stream_resume_field: "total" {budget}"#));
    let text = service_returning(&resume, "stream Order");
    refused(&text, &format!(r#"{METHOD}stream_resume_field "total" is no string field of ordermesh.order.v1.Order"#));
    let resume = policy(&format!(r#"stream_resume_field: "etag" {budget}"#));
    method_refused(&resume, "stream_resume_field is set but the answer is no stream");
    read(&service_returning(&resume, "stream Order")).unwrap();
}

#[test]
fn path_variables_must_be_scalar_fields_of_the_request() {
    let missing = r#"GET /x/{id}: path variable "id" is no field of ordermesh.order.v1.Request"#;
    method_refused(&with_http(r#"get: "/x/{id}""#), missing);
    method_refused(&with_http(r#"get: "/x/{order.nothing}""#), r#"path variable "order.nothing" is no field"#);
    method_refused(&with_http(r#"get: "/x/{order}""#), r#"path variable "order" is no single scalar"#);
    method_refused(&with_http(r#"get: "/x/{tags}""#), r#"path variable "tags" is no single scalar"#);
    method_refused(&with_http(r#"get: "/x/{order_id""#), "unclosed '{'");
    read(&service(&with_http(r#"get: "/x/{order.order_id}""#))).unwrap();
}

#[test]
fn the_body_must_be_a_field_of_the_request_and_get_has_none() {
    let missing = r#"POST /x: body "nothing" is no field of ordermesh.order.v1.Request"#;
    method_refused(&with_http(r#"post: "/x" body: "nothing""#), missing);
    method_refused(&with_http(r#"get: "/x" body: "*""#), "GET /x: GET has no body (AIP-127)");
    let more = r#"post: "/x" body: "*" additional_bindings {put: "/y" body: "nothing"}"#;
    method_refused(&with_http(more), r#"PUT /y: body "nothing" is no field"#);
    method_refused(&with_http(r#"get: "/x" response_body: "etag""#), "GET /x: response_body is not offered");
}

#[test]
fn two_methods_cannot_have_one_route() {
    let rule = r#"get: "/x/{order_id}" additional_bindings {get: "/x/{etag}"}"#;
    method_refused(&with_http(rule), "GET /x/{etag} is taken by /ordermesh.order.v1.OrderService/GetOrder");
}

#[test]
fn an_events_key_must_be_a_scalar_string() {
    let event = |key: &str| {
        let options = format!(r#"option (ordermesh.options.v1.event) = {{topic: "order.v1" key_field: "{key}"}};"#);
        format!("message Placed {{ {options} string order_id = 1; int64 number = 2; repeated string tags = 3; }}")
    };
    let place = "ordermesh/order/v1/order.proto: ordermesh.order.v1.Placed: ";
    for key in ["missing", "number", "tags"] {
        let problem = format!(r#"{place}event's key_field "{key}" is no scalar string field"#);
        refused(&event(key), &problem);
    }
    refused(&event(""), &format!("{place}event has no key_field"));
    refused(&event("order_id").replace("order.v1\"", "\""), &format!("{place}event has no topic"));
    read(&event("order_id")).unwrap();
}

#[test]
fn an_events_consumers_must_be_known_contexts() {
    let options = r#"option (ordermesh.options.v1.event) = {topic: "t" key_field: "id" consumers: "billing"};"#;
    let text = format!("{} message Placed {{ {options} string id = 1; }}", service(FINE));
    refused(&text, r#"event's consumer "billing" is no context (known: order)"#);
}

#[test]
fn a_sensitive_field_must_say_how_it_is_shown() {
    let field = |kind: &str, policy: &str| {
        format!("message Person {{ {kind} x = 1 [(ordermesh.options.v1.field) = {{{policy}}}]; }}")
    };
    let place = "ordermesh/order/v1/order.proto: ordermesh.order.v1.Person.x: ";
    refused(&field("string", "pii: PII_CONTACT"), &format!("{place}is sensitive (pii) but has no mask"));
    refused(&field("string", "mask: MASK_REDACT"), &format!("{place}has a mask but no pii"));
    let number = field("int32", "pii: PII_CONTACT mask: MASK_LAST4");
    refused(&number, &format!("{place}is no string: only MASK_REDACT fits"));
    let inside = "message Person { oneof o { string x = 1 [(ordermesh.options.v1.field) = {pii: PII_SECRET mask: MASK_REDACT}]; } }";
    refused(inside, &format!("{place}is sensitive but inside a oneof"));
}
