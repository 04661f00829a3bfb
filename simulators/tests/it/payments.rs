//! Payments: intents, captures, refunds, test tokens, idempotency and faults.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{Desk, TENANT, start};

struct Stripe {
    base: String,
    client: Client,
}

impl Stripe {
    fn new(addr: SocketAddr) -> Self {
        Self { base: format!("http://{addr}/v1"), client: Client::new() }
    }

    fn post(&self, path: &str, key: &str, form: &[(&str, &str)]) -> RequestBuilder {
        self.client
            .post(format!("{}/{path}", self.base))
            .bearer_auth("sk_test")
            .header("Idempotency-Key", key)
            .form(form)
    }

    fn create(&self, key: &str, method: &str) -> RequestBuilder {
        let form = [
            ("amount", "1000"),
            ("currency", "usd"),
            ("payment_method", method),
            ("capture_method", "manual"),
            ("confirm", "true"),
            ("payment_method_options[card][request_multicapture]", "if_available"),
            ("payment_method_options[card][request_incremental_authorization]", "if_available"),
            ("metadata[tenant]", TENANT),
            ("metadata[payment]", "pay_1"),
        ];
        self.post("payment_intents", key, &form)
    }

    async fn authorized(&self) -> String {
        let intent = body(self.create("k-auth", "pm_sim_visa").send().await.unwrap()).await;
        intent["id"].as_str().unwrap().to_owned()
    }

    async fn capture(&self, id: &str, key: &str, amount: &str, last: &str) -> Response {
        let form = [("amount_to_capture", amount), ("final_capture", last)];
        let path = format!("payment_intents/{id}/capture");
        self.post(&path, key, &form).send().await.unwrap()
    }

    async fn cancel(&self, id: &str) -> Response {
        let path = format!("payment_intents/{id}/cancel");
        self.post(&path, "k-void", &[]).send().await.unwrap()
    }

    async fn refund(&self, id: &str, key: &str, amount: &str) -> Response {
        let form = [("payment_intent", id), ("amount", amount)];
        self.post("refunds", key, &form).send().await.unwrap()
    }

    async fn search(&self) -> Value {
        let request = self
            .client
            .get(format!("{}/payment_intents/search", self.base))
            .bearer_auth("sk_test")
            .query(&[("query", "metadata['payment']:'pay_1'")]);
        body(request.send().await.unwrap()).await["data"].take()
    }
}

async fn body(response: Response) -> Value {
    response.json().await.unwrap()
}

#[tokio::test]
async fn pay_01_an_authorization_holds_the_amount_and_is_found_by_id_and_by_metadata() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let response = stripe.create("k", "pm_sim_visa").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let intent = body(response).await;
    assert_eq!(intent["object"], "payment_intent");
    assert_eq!(intent["status"], "requires_capture");
    assert_eq!(intent["amount_capturable"], 1000);
    assert_eq!(intent["metadata"]["payment"], "pay_1");
    let url = format!("{}/payment_intents/{}", stripe.base, intent["id"].as_str().unwrap());
    let shown = stripe.client.get(url).bearer_auth("sk_x").send().await;
    assert_eq!(body(shown.unwrap()).await, intent);
    assert_eq!(stripe.search().await, json!([intent]));
    let ledger = Desk(sims.payments).get("ledger").await;
    assert_eq!(ledger[0]["op"], "authorize");
    assert_eq!(ledger[0]["key"], "k");
    assert_eq!(ledger[0]["amount"], 1000);
}

#[tokio::test]
async fn a_call_without_a_secret_key_is_unauthorized() {
    let sims = start(0.0).await;
    let url = format!("http://{}/v1/payment_intents", sims.payments);
    let response = Client::new().post(url).body("amount=1").send().await;
    assert_eq!(response.unwrap().status(), 401);
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_one_effect() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let first = stripe.create("k", "pm_sim_visa").send().await.unwrap();
    assert!(!first.headers().contains_key("Idempotent-Replayed"));
    let again = stripe.create("k", "pm_sim_visa").send().await.unwrap();
    assert_eq!(again.headers()["Idempotent-Replayed"], "true");
    assert_eq!(body(first).await, body(again).await);
    let other = stripe.create("k", "pm_sim_declined").send().await.unwrap();
    assert_eq!(other.status(), 400);
    assert_eq!(body(other).await["error"]["type"], "idempotency_error");
    let desk = Desk(sims.payments);
    assert_eq!(desk.ops().await, ["authorize"]);
    assert_eq!(desk.get("calls").await["payment_intents.create"], 3);
}

#[tokio::test]
async fn declined_cards_are_refused_with_their_reason_and_replayed() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    for (method, reason) in
        [("pm_sim_declined", "generic_decline"), ("pm_sim_insufficient_funds", "insufficient_funds")]
    {
        for _ in 0..2 {
            let response = stripe.create(method, method).send().await.unwrap();
            assert_eq!(response.status(), 402);
            let error = body(response).await["error"].take();
            assert_eq!(error["type"], "card_error");
            assert_eq!(error["code"], "card_declined");
            assert_eq!(error["decline_code"], reason);
            let status = &error["payment_intent"]["status"];
            assert_eq!(status, "requires_payment_method");
        }
    }
    let unknown = stripe.create("k3", "pm_card_visa").send().await.unwrap();
    assert_eq!(unknown.status(), 400);
    assert_eq!(body(unknown).await["error"]["code"], "resource_missing");
    assert!(Desk(sims.payments).ops().await.is_empty());
}

#[tokio::test]
async fn a_timeout_that_succeeded_is_found_by_inquiry_and_replayed_at_once() {
    let sims = start(1.0).await;
    let stripe = Stripe::new(sims.payments);
    let hasty = Duration::from_secs(2);
    let slow = stripe.create("k", "pm_sim_timeout_then_success");
    assert!(slow.timeout(hasty).send().await.unwrap_err().is_timeout());
    let found = stripe.search().await;
    assert_eq!(found[0]["status"], "requires_capture");
    let again = stripe.create("k", "pm_sim_timeout_then_success").send();
    let again = again.await.unwrap();
    assert_eq!(again.headers()["Idempotent-Replayed"], "true");
    assert_eq!(body(again).await["id"], found[0]["id"]);
    assert_eq!(Desk(sims.payments).ops().await, ["authorize"]);
}

#[tokio::test]
async fn a_speed_change_ends_a_held_back_answer() {
    let sims = start(1.0).await;
    let stripe = Stripe::new(sims.payments);
    let slow = stripe.create("k", "pm_sim_timeout_then_success");
    let slow = tokio::spawn(slow.timeout(Duration::from_secs(20)).send());
    crate::support::eventually(async || (stripe.search().await != json!([])).then_some(())).await;
    let desk = Desk(sims.payments);
    desk.post("speed", json!({"factor": 0})).await;
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_flaky_token_fails_twice_per_key_without_effect() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = stripe.create("k", "pm_sim_flaky").send().await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [500, 500, 200]);
    assert_eq!(Desk(sims.payments).ops().await, ["authorize"]);
}

#[tokio::test]
async fn partial_captures_keep_the_rest_until_the_final_one() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let id = stripe.authorized().await;
    let first = body(stripe.capture(&id, "c1", "300", "false").await).await;
    assert_eq!(first["status"], "requires_capture");
    assert_eq!(first["amount_capturable"], 700);
    let over = stripe.capture(&id, "c2", "701", "true").await;
    assert_eq!(over.status(), 400);
    assert_eq!(body(over).await["error"]["code"], "amount_too_large");
    let last = body(stripe.capture(&id, "c3", "200", "true").await).await;
    assert_eq!(last["status"], "succeeded");
    assert_eq!(last["amount_received"], 500);
    assert_eq!(last["amount_capturable"], 0);
    let late = body(stripe.capture(&id, "c4", "1", "true").await).await;
    assert_eq!(late["error"]["code"], "payment_intent_unexpected_state");
}

#[tokio::test]
async fn a_refund_over_what_was_captured_is_refused() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let id = stripe.authorized().await;
    stripe.capture(&id, "c", "600", "true").await;
    let part = body(stripe.refund(&id, "r1", "200").await).await;
    assert_eq!(part["object"], "refund");
    assert_eq!(part["status"], "succeeded");
    assert_eq!(part["payment_intent"], *id);
    let over = stripe.refund(&id, "r2", "401").await;
    assert_eq!(over.status(), 400);
    assert_eq!(body(over).await["error"]["code"], "amount_too_large");
    assert_eq!(stripe.refund(&id, "r3", "400").await.status(), 200);
    let none_left = body(stripe.refund(&id, "r4", "1").await).await;
    assert_eq!(none_left["error"]["code"], "charge_already_refunded");
    let ops = Desk(sims.payments).ops().await;
    assert_eq!(ops, ["authorize", "capture", "refund", "refund"]);
}

#[tokio::test]
async fn a_void_releases_the_hold_and_is_refused_after_capture() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let id = stripe.authorized().await;
    let void = body(stripe.cancel(&id).await).await;
    assert_eq!(void["status"], "canceled");
    assert_eq!(void["amount_capturable"], 0);
    assert_eq!(stripe.capture(&id, "c", "1", "true").await.status(), 400);

    let taken = stripe.create("k2", "pm_sim_visa").send().await.unwrap();
    let taken = body(taken).await["id"].as_str().unwrap().to_owned();
    stripe.capture(&taken, "c2", "1000", "true").await;
    let path = format!("payment_intents/{taken}/cancel");
    let late = stripe.post(&path, "v2", &[]).send().await.unwrap();
    assert_eq!(late.status(), 400);
    let code = body(late).await["error"]["code"].take();
    assert_eq!(code, "payment_intent_unexpected_state");
}

#[tokio::test]
async fn three_d_secure_waits_for_the_customer() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    for (key, outcome, status) in [("k1", "succeed", "requires_capture"), ("k2", "fail", "requires_payment_method")] {
        let intent = stripe.create(key, "pm_sim_3ds_required").send().await;
        let intent = body(intent.unwrap()).await;
        assert_eq!(intent["status"], "requires_action");
        assert!(intent["next_action"]["redirect_to_url"]["url"].is_string());
        let id = intent["id"].as_str().unwrap();
        let path = format!("payment_intents/{id}/complete_action");
        let desk = Desk(sims.payments);
        desk.post(&path, json!({"outcome": outcome})).await;
        let found = stripe.search().await;
        let found = found.as_array().unwrap().iter().find(|i| i["id"] == id);
        assert_eq!(found.unwrap()["status"], status);
    }
    assert_eq!(Desk(sims.payments).ops().await, ["authorize"]);
}

#[tokio::test]
async fn fault_scripts_fail_before_or_after_the_effect_as_often_as_told() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let desk = Desk(sims.payments);
    let op = "payment_intents.create";
    let try_once = async |key: &str| {
        let request = stripe.create(key, "pm_sim_visa");
        request.timeout(Duration::from_secs(3)).send().await
    };

    desk.fault(json!({"op": op, "match": "order-1", "kind": "error500", "times": 2})).await;
    assert_eq!(try_once("order-2").await.unwrap().status(), 200);
    assert_eq!(try_once("order-1").await.unwrap().status(), 500);
    assert_eq!(try_once("order-1").await.unwrap().status(), 500);
    assert_eq!(try_once("order-1").await.unwrap().status(), 200);
    assert_eq!(desk.ops().await.len(), 2);

    desk.fault(json!({"op": op, "kind": "reset", "times": 1})).await;
    assert!(!try_once("order-3").await.unwrap_err().is_timeout());
    assert_eq!(desk.ops().await.len(), 2);

    desk.fault(json!({"op": op, "kind": "reset_after", "times": 1})).await;
    assert!(!try_once("order-3").await.unwrap_err().is_timeout());
    assert_eq!(desk.ops().await.len(), 3);

    desk.fault(json!({"op": op, "kind": "timeout_before", "times": 1})).await;
    assert!(try_once("order-4").await.unwrap_err().is_timeout());
    assert_eq!(desk.ops().await.len(), 3);

    desk.fault(json!({"op": op, "kind": "timeout_after", "times": 1})).await;
    assert!(try_once("order-4").await.unwrap_err().is_timeout());
    assert_eq!(desk.ops().await.len(), 4);
    let replay = try_once("order-4").await.unwrap();
    assert_eq!(replay.headers()["Idempotent-Replayed"], "true");

    desk.fault(json!({"kind": "delay", "delay_ms": 5})).await;
    assert_eq!(try_once("order-5").await.unwrap().status(), 200);
    assert_eq!(desk.get("faults").await, json!([]));
}

#[tokio::test]
async fn a_reset_forgets_intents_answers_and_counters() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    stripe.authorized().await;
    let desk = Desk(sims.payments);
    desk.post("reset", json!(null)).await;
    assert_eq!(stripe.search().await, json!([]));
    assert_eq!(desk.get("ledger").await, json!([]));
    let calls = desk.get("calls").await;
    assert_eq!(calls, json!({"payment_intents.search": 1}));
}

#[tokio::test]
async fn a_charge_is_shown_whole_only_where_it_is_asked_for() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let id = stripe.authorized().await;
    stripe.capture(&id, "c", "600", "true").await;
    stripe.refund(&id, "r", "200").await;
    let show = async |path: &str| {
        let request = stripe.client.get(format!("{}/{path}", stripe.base)).bearer_auth("sk_test");
        body(request.send().await.unwrap()).await
    };
    let (plain, whole) = (format!("payment_intents/{id}"), format!("payment_intents/{id}?expand[]=latest_charge"));
    assert!(show(&plain).await["latest_charge"].is_string());
    assert_eq!(show(&whole).await["latest_charge"]["amount_refunded"], 200);
    assert_eq!(show(&whole).await["amount_refunded"], Value::Null, "Stripe says it on the charge alone");
    let period = "payment_intents?created[gte]=0&created[lt]=9999999999";
    assert!(show(period).await["data"][0]["latest_charge"].is_string());
    let listed = show(&format!("{period}&expand[]=data.latest_charge")).await;
    assert_eq!(listed["data"][0]["latest_charge"]["amount_captured"], 600);
    let refused = body(stripe.cancel(&id).await).await;
    assert!(refused["error"]["payment_intent"]["latest_charge"].is_string());
}

#[tokio::test]
async fn parts_and_increments_must_be_asked_for_when_the_intent_is_made() {
    let sims = start(0.0).await;
    let stripe = Stripe::new(sims.payments);
    let form = [
        ("amount", "1000"),
        ("currency", "usd"),
        ("payment_method", "pm_sim_visa"),
        ("capture_method", "manual"),
        ("confirm", "true"),
    ];
    let intent = body(stripe.post("payment_intents", "k", &form).send().await.unwrap()).await;
    let id = intent["id"].as_str().unwrap();
    assert_eq!(stripe.capture(id, "c1", "300", "false").await.status(), 400);
    let path = format!("payment_intents/{id}/increment_authorization");
    assert_eq!(stripe.post(&path, "i1", &[("amount", "1500")]).send().await.unwrap().status(), 400);
    assert_eq!(stripe.capture(id, "c2", "300", "true").await.status(), 200);
}

#[tokio::test]
async fn refunds_are_pending_at_a_slow_bank_and_fail_when_it_says_so() {
    let sims = start(0.0).await;
    let (stripe, desk) = (Stripe::new(sims.payments), Desk(sims.payments));
    let slow = body(stripe.create("k", "pm_sim_refund_pending").send().await.unwrap()).await;
    let id = slow["id"].as_str().unwrap();
    stripe.capture(id, "c", "600", "true").await;
    let refund = body(stripe.refund(id, "r", "200").await).await;
    assert_eq!(refund["status"], "pending");
    desk.post(&format!("refunds/{}", refund["id"].as_str().unwrap()), json!({"outcome": "fail"})).await;
    let url = format!("{}/refunds?payment_intent={id}", stripe.base);
    let listed = body(stripe.client.get(url).bearer_auth("sk_test").send().await.unwrap()).await;
    assert_eq!((&listed["data"][0]["status"], &listed["data"][0]["id"]), (&json!("failed"), &refund["id"]));
    assert_eq!(stripe.refund(id, "r2", "600").await.status(), 200, "the money is there again");
    assert_eq!(desk.ops().await, ["authorize", "capture", "refund", "refund_failed", "refund"]);
}

#[tokio::test]
async fn pay_12_the_second_provider_takes_no_key_of_the_first() {
    let sims = start(0.0).await;
    let url = format!("http://{}/adyen/v71/payments/psp_1", sims.payments);
    for (key, status) in [("sk_test", 401), ("AQE_test", 404)] {
        let answer = Client::new().get(&url).header("X-API-Key", key).send().await.unwrap();
        assert_eq!(answer.status(), status, "{key}");
    }
}
