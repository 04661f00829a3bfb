//! Wrong decisions about sagas and wrong policies through REST: a typed refusal that names the field, and nothing changed.

use ctx::Role;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::Rest;

use super::bad_input::{post, refused};
use super::rest::ask;
use super::world::World;

async fn put(rest: &Rest, path: &str, body: &Value) -> super::rest::Said {
    ask(rest.request(Method::PUT, path).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sag_06_a_decision_about_a_saga_is_refused_for_each_wrong_field() {
    let world = World::get().await;
    let admin = world.rest(Some((Role::TenantAdmin, &world.desk)));
    let before = world.rows(&world.desk).await;
    let saga = &world.desk.order;
    for operation in ["retry", "skip", "compensate", "resolve"] {
        let at = |saga: &str| format!("/api/v1/admin/sagas/{saga}:{operation}");
        let body = |reason: &str| json!({"reason": reason, "step": "no_such_step"});
        let body = |reason: &str| match (operation, body(reason)) {
            ("skip", body) => body,
            (_, mut body) => {
                body.as_object_mut().expect("an object").remove("step");
                body
            }
        };
        for reason in ["", "   ", "a\u{7}b", &"x".repeat(201)] {
            let said = post(&admin, &at(saga), body(reason).to_string()).await;
            refused(&format!("{operation} for {reason:?}"), &said, 400, "reason");
        }
        for id in ["sag_1", "usr_0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b", "%20"] {
            let said = post(&admin, &at(id), body("").to_string()).await;
            refused(&format!("{operation} of {id}"), &said, 400, "saga_id");
            refused(&format!("{operation} of {id}: every wrong field at once"), &said, 400, "reason");
        }
    }
    let skip = format!("/api/v1/admin/sagas/{saga}:skip");
    refused("skip nothing", &post(&admin, &skip, json!({"reason": "why not"}).to_string()).await, 400, "step");
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_02_an_unknown_way_to_treat_an_expired_hold_is_refused() {
    let world = World::get().await;
    let admin = world.rest(Some((Role::TenantAdmin, &world.alpha)));
    let policy = ask(admin.request(Method::GET, "/api/v1/policy")).await.json;
    for wrong in [json!(99), json!(-1), json!("HOLD_EXPIRY_NEVER"), json!(true), json!([])] {
        let mut body = policy.clone();
        body["holdExpiry"] = wrong.clone();
        let said = put(&admin, "/api/v1/policy", &body).await;
        refused(&format!("holdExpiry {wrong}"), &said, 400, "policy.hold_expiry");
    }
    let after = ask(admin.request(Method::GET, "/api/v1/policy")).await.json;
    assert_eq!(after["holdExpiry"], policy["holdExpiry"]);
}
