//! Which path and method belong to which rpc.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{contract, fixture};
use http::Method;
use transcode::{Resolution, Router};

/// Method name and variables, or what happened instead.
fn resolve(router: &Router, verb: Method, path: &str) -> String {
    match router.resolve(&verb, path) {
        Resolution::Route(route, captures) => {
            let values: Vec<_> = captures.into_iter().map(|capture| capture.value).collect();
            format!("{} {}", route.name(), values.join(",")).trim_end().to_owned()
        }
        Resolution::MethodNotAllowed(verbs) => {
            let verbs: Vec<_> = verbs.iter().map(Method::as_str).collect();
            format!("405 {}", verbs.join(","))
        }
        Resolution::NotFound => "404".to_owned(),
        Resolution::Malformed => "400".to_owned(),
    }
}

#[test]
fn gw_08_every_annotated_rpc_of_the_contract_has_a_route() {
    let router = contract();
    assert!(router.routes().len() > 30, "{}", router.routes().len());
    for route in router.routes() {
        assert!(route.template().starts_with("/api/v1/"), "{}", route.template());
    }
}

#[test]
fn paths_with_and_without_verbs_are_told_apart() {
    let router = contract();
    let id = "ord_0193";
    let at = |verb, path: &str| resolve(&router, verb, path);
    assert_eq!(at(Method::POST, "/api/v1/orders"), "CreateOrder");
    assert_eq!(at(Method::GET, "/api/v1/orders"), "ListOrders");
    assert_eq!(at(Method::POST, "/api/v1/orders:quote"), "QuoteOrder");
    assert_eq!(at(Method::GET, &format!("/api/v1/orders/{id}")), format!("GetOrder {id}"));
    assert_eq!(at(Method::GET, &format!("/api/v1/orders/{id}:watch")), format!("WatchOrder {id}"));
    assert_eq!(at(Method::POST, &format!("/api/v1/orders/{id}:cancel")), format!("CancelOrder {id}"));
    assert_eq!(at(Method::PUT, &format!("/api/v1/orders/{id}")), format!("UpdateOrder {id}"));
    assert_eq!(at(Method::DELETE, &format!("/api/v1/orders/{id}")), format!("CancelOrder {id}"));
    assert_eq!(at(Method::GET, &format!("/api/v1/orders/{id}/history")), format!("ListOrderEvents {id}"));
}

#[test]
fn an_unknown_verb_is_no_route_where_verbs_exist_and_part_of_the_id_elsewhere() {
    let router = contract();
    assert_eq!(resolve(&router, Method::GET, "/api/v1/orders/7:foo"), "404");
    assert_eq!(resolve(&router, Method::POST, "/api/v1/orders:foo"), "404");
    assert_eq!(resolve(&router, Method::GET, "/api/v1/orders/7%3Afoo"), "GetOrder 7:foo");
    // Refunds have no verbs.
    assert_eq!(resolve(&router, Method::GET, "/api/v1/refunds/a:b"), "GetRefund a:b");
    assert_eq!(resolve(&router, Method::POST, "/api/v1/orders/a:b:cancel"), "CancelOrder a:b");
}

#[test]
fn a_known_path_with_another_method_lists_what_is_allowed() {
    let router = contract();
    assert_eq!(resolve(&router, Method::DELETE, "/api/v1/orders"), "405 GET,HEAD,OPTIONS,POST");
    assert_eq!(resolve(&router, Method::GET, "/api/v1/orders/7:cancel"), "405 OPTIONS,POST");
    assert_eq!(resolve(&router, Method::POST, "/api/v1/orders/7"), "405 DELETE,GET,HEAD,OPTIONS,PATCH,PUT");
    assert_eq!(resolve(&router, Method::HEAD, "/api/v1/orders:quote"), "405 OPTIONS,POST");
}

#[test]
fn head_is_answered_wherever_get_is() {
    let router = contract();
    for route in router.routes().iter().filter(|route| *route.verb() == Method::GET) {
        let path = route.template().replace(['{', '}'], "");
        assert_eq!(resolve(&router, Method::HEAD, &path), resolve(&router, Method::GET, &path), "{path}");
    }
}

#[test]
fn paths_that_nobody_declared_are_not_found() {
    let router = contract();
    for path in
        ["/", "/api/v1", "/api/v1/", "/api/v1/orders/", "/api/v1//orders", "/api/v2/orders", "/api/v1/orders/a/b"]
    {
        assert_eq!(resolve(&router, Method::GET, path), "404", "{path}");
    }
    assert_eq!(resolve(&router, Method::GET, "/api/v1/orders/../orders"), "404");
    assert_eq!(resolve(&router, Method::POST, "/ordermesh.order.v1.OrderService/CreateOrder"), "404");
}

#[test]
fn broken_encoding_and_bad_utf8_are_malformed() {
    let router = contract();
    assert_eq!(resolve(&router, Method::GET, "/api/v1/orders/%zz"), "400");
    assert_eq!(resolve(&router, Method::GET, "/api/v1/orders/%ff"), "400");
    assert_eq!(resolve(&router, Method::OPTIONS, "*"), "400");
}

#[test]
fn encoded_slashes_stay_inside_their_variable() {
    let router = fixture();
    assert_eq!(resolve(&router, Method::GET, "/v1/things/a%2Fb"), "GetThing a/b");
    assert_eq!(resolve(&router, Method::GET, "/v1/shelves/a%2Fb/things/c%20d"), "GetThing shelves/a%2Fb/things/c d");
}

#[test]
fn tails_take_any_number_of_segments() {
    let router = fixture();
    assert_eq!(resolve(&router, Method::GET, "/v1/files/a/b/c"), "GetThing a/b/c");
    assert_eq!(resolve(&router, Method::GET, "/v1/files"), "GetThing");
}

#[test]
fn custom_methods_are_routed() {
    let router = fixture();
    assert_eq!(resolve(&router, Method::from_bytes(b"REPORT").unwrap(), "/v1/things/x"), "GetThing x");
}
