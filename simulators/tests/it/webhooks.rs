//! Events: signed, retried, and sent to the tenant they concern.

use std::net::SocketAddr;

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{Desk, Receiver, TENANT, eventually, start};

async fn authorize(payments: SocketAddr, tenant: &str, method: &str) {
    let form = [
        ("amount", "500"),
        ("currency", "usd"),
        ("payment_method", method),
        ("capture_method", "manual"),
        ("confirm", "true"),
        ("metadata[tenant]", tenant),
    ];
    let request =
        Client::new().post(format!("http://{payments}/v1/payment_intents")).bearer_auth("sk_test").form(&form);
    request.send().await.unwrap();
}

#[tokio::test]
async fn payment_events_are_signed_and_retried_until_taken() {
    let sims = start(0.0).await;
    let receiver = Receiver::start(2).await;
    sims.set_webhooks(vec![receiver.endpoint()]);
    authorize(sims.payments, TENANT, "pm_sim_visa").await;
    let event = receiver.wait_for(1).await.remove(0);
    assert!(event.signed_with("Stripe-Signature", "whsec_pay"));
    assert!(!event.signed_with("Stripe-Signature", "other"));
    let body = event.json();
    assert_eq!(body["type"], "payment_intent.amount_capturable_updated");
    assert_eq!(body["data"]["object"]["status"], "requires_capture");
    assert!(body["id"].as_str().unwrap().starts_with("evt_"));

    authorize(sims.payments, TENANT, "pm_sim_declined").await;
    let event = receiver.wait_for(2).await.remove(1);
    assert_eq!(event.json()["type"], "payment_intent.payment_failed");
    let desk = Desk(sims.payments);
    eventually(async || (desk.get("calls").await["webhook.delivered"] == 2).then_some(())).await;
}

#[tokio::test]
async fn a_tenant_without_an_endpoint_gets_none_until_it_is_set_at_run_time() {
    let sims = start(0.0).await;
    let receiver = Receiver::start(0).await;
    let desk = Desk(sims.payments);
    authorize(sims.payments, TENANT, "pm_sim_visa").await;
    assert_eq!(desk.get("calls").await["webhook.no_endpoint"], 1);
    let endpoint = serde_json::to_value(receiver.endpoint()).unwrap();
    desk.post("webhooks", json!([endpoint])).await;
    authorize(sims.payments, "tnt_other", "pm_sim_visa").await;
    authorize(sims.payments, TENANT, "pm_sim_insufficient_funds").await;
    let events = receiver.wait_for(1).await;
    assert_eq!(events[0].json()["type"], "payment_intent.payment_failed");
}

#[tokio::test]
async fn every_scan_is_an_event_signed_by_the_carrier() {
    let sims = start(0.0).await;
    let receiver = Receiver::start(0).await;
    sims.add_webhook(receiver.endpoint());
    let place = json!({"name": "N", "line1": "L", "city": "C", "postal_code": "1", "country": "US"});
    let parcel = json!({"reference": "shp_1", "tenant": TENANT, "service": "EXPRESS",
                        "from": place, "to": place, "weight_grams": 1});
    let base = format!("http://{}/v1/shipments", sims.carrier);
    let client = Client::new();
    let bought = client.post(&base).bearer_auth("k").json(&parcel).send().await;
    let bought: Value = bought.unwrap().json().await.unwrap();
    let url = format!("{base}/{}/handover", bought["id"].as_str().unwrap());
    client.post(url).bearer_auth("k").send().await.unwrap();
    let events = receiver.wait_for(4).await;
    // Deliveries run side by side, so they may overtake each other.
    let mut codes: Vec<_> = events.iter().map(|e| e.json()["code"].take()).collect();
    codes.sort_by_key(|code| code.as_str().map(str::to_owned));
    assert_eq!(codes, ["DELIVERED", "IN_TRANSIT", "OUT_FOR_DELIVERY", "PICKED_UP"]);
    for event in &events {
        assert!(event.signed_with("X-Carrier-Signature", "whsec_car"));
        assert_eq!(event.json()["reference"], "shp_1");
        assert_eq!(event.json()["tracking_number"], bought["tracking_number"]);
    }
}

#[tokio::test]
async fn a_shutdown_ends_waiting_events_and_held_back_answers() {
    let sims = start(1.0).await;
    let receiver = Receiver::start(usize::MAX).await;
    sims.set_webhooks(vec![receiver.endpoint()]);
    authorize(sims.payments, TENANT, "pm_sim_visa").await;
    let mut held_back = std::pin::pin!(authorize(sims.payments, TENANT, "pm_sim_timeout_then_success"));
    let desk = Desk(sims.payments);
    tokio::select! {
        () = &mut held_back => panic!("it answered too early"),
        () = eventually(async || (desk.ops().await.len() == 2).then_some(())) => {}
    }
    let payments = sims.payments;
    let limit = std::time::Duration::from_secs(4);
    let ended = async { tokio::join!(sims.shutdown(), held_back) };
    tokio::time::timeout(limit, ended).await.unwrap();
    assert!(tokio::net::TcpStream::connect(payments).await.is_err());
}

#[tokio::test]
async fn pay_10_the_second_provider_notifies_at_its_own_url_in_its_own_shape_and_signature() {
    let receiver = Receiver::start(0).await;
    let sims = start(0.0).await;
    sims.set_webhooks(vec![receiver.endpoint()]);
    let body = json!({"amount": {"value": 1000, "currency": "USD"},
        "paymentMethod": {"storedPaymentMethodId": "pm_sim_visa"}, "additionalData": {"manualCapture": "true"},
        "metadata": {"tenant": TENANT, "payment": "pay_1"}});
    let url = format!("http://{}/adyen/v71/payments", sims.payments);
    let asked = reqwest::Client::new().post(url).header("X-API-Key", "AQE_test").json(&body).send().await;
    let payment: Value = asked.unwrap().json().await.unwrap();
    let told = receiver.wait_for(1).await.remove(0);
    let signature = told.headers["HmacSignature"].to_str().unwrap();
    let (at, digest) = signature.split_once(':').unwrap();
    assert_eq!(digest, crate::support::digest("whsec_second", &format!("{at}:{}", told.body)));
    assert!(!told.headers.contains_key("Stripe-Signature"));
    let item =
        serde_json::from_str::<Value>(&told.body).unwrap()["notificationItems"][0]["NotificationRequestItem"].take();
    assert_eq!((&item["eventCode"], &item["payment"]), (&json!("AUTHORISATION"), &payment));
}

/// Calls of the second provider's API, whose answers are JSON.
async fn second(payments: SocketAddr, path: &str, body: Option<Value>) -> Value {
    let url = format!("http://{payments}/adyen/v71/payments{path}");
    let request = match &body {
        Some(body) => Client::new().post(url).json(body),
        None => Client::new().get(url),
    };
    request.header("X-API-Key", "AQE_test").send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn pay_04_the_second_provider_only_receives_a_refund_and_notifies_of_how_it_ended() {
    let receiver = Receiver::start(0).await;
    let (sims, amount) = (start(0.0).await, json!({"value": 100, "currency": "USD"}));
    sims.set_webhooks(vec![receiver.endpoint()]);
    let told = async |count: usize| {
        let mut received = receiver.wait_for(count).await;
        received.remove(count - 1).json()["notificationItems"][0]["NotificationRequestItem"].take()
    };
    let (mut seen, desk) = (0, Desk(sims.payments));
    let slow = "pm_sim_refund_pending";
    // At a bank that is done at once, at one that never does it, and at one that does it and sends the money back.
    let cases = [
        ("pm_sim_visa", vec![(None, "REFUND", "true", "succeeded")]),
        (slow, vec![(Some("fail"), "REFUND", "false", "failed")]),
        (
            slow,
            vec![(Some("succeed"), "REFUND", "true", "succeeded"), (Some("fail"), "REFUND_FAILED", "true", "failed")],
        ),
    ];
    for (method, ends) in cases {
        let body = json!({"amount": {"value": 1000, "currency": "USD"}, "paymentMethod": {"storedPaymentMethodId": method},
            "additionalData": {"manualCapture": "false"}, "metadata": {"tenant": TENANT, "payment": "pay_1"}});
        let payment = second(sims.payments, "", Some(body)).await["pspReference"].as_str().unwrap().to_owned();
        seen += 1;
        assert_eq!(told(seen).await["eventCode"], "CAPTURE");
        let path = format!("/{payment}/refunds");
        let body = json!({"amount": amount, "paymentPspReference": payment, "reference": "rfd_1"});
        let refund = second(sims.payments, &path, Some(body)).await;
        assert_eq!(refund["status"], "received", "{method}");
        let shown = async || second(sims.payments, &path, None).await["refunds"][0]["status"].take();
        for (end, code, success, status) in ends {
            if let Some(end) = end {
                let id = refund["pspReference"].as_str().unwrap();
                desk.post(&format!("adyen/refunds/{id}"), json!({"outcome": end})).await;
            }
            seen += 1;
            let item = told(seen).await;
            assert_eq!((&item["eventCode"], &item["success"]), (&json!(code), &json!(success)), "{method}");
            let named = json!([item["refund"]["reference"], item["refund"]["pspReference"]]);
            assert_eq!(named, json!(["rfd_1", refund["pspReference"]]));
            assert_eq!(shown().await, status, "{method}");
        }
    }
}
