//! The client against the provider's simulator, over real HTTP.

use reqwest::Client;
use serde_json::{Value, json};
use simulators::{Config, Simulators};

use ids::{OrderId, TenantId};

use super::super::store::Instrument;
use super::*;

const TRY: Duration = Duration::from_millis(400);

/// A provider, and our client of it.
struct World {
    stripe: Stripe,
    control: String,
    _simulators: Simulators,
}

impl World {
    async fn start() -> Self {
        let simulators = Simulators::start(Config::default()).await.expect("simulators start");
        let base = format!("http://{}", simulators.payments);
        let stripe = Stripe::new(&base, "sk_test_1".to_owned().into(), TRY).expect("a base URL");
        Self { stripe, control: format!("{base}/_sim"), _simulators: simulators }
    }

    async fn faults(&self, rules: Value) {
        let url = format!("{}/faults", self.control);
        let answer = Client::new().post(url).body(rules.to_string()).header("content-type", "application/json").send();
        assert!(answer.await.expect("control answers").status().is_success());
    }

    async fn asked(&self, path: &str) -> Value {
        let answer = Client::new().get(format!("{}/{path}", self.control)).send().await.expect("control answers");
        serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
    }

    async fn calls(&self, op: &str) -> u64 {
        self.asked("calls").await[op].as_u64().unwrap_or(0)
    }

    async fn effects(&self, op: &str) -> usize {
        let ledger = self.asked("ledger").await;
        ledger.as_array().expect("a list").iter().filter(|line| line["op"] == op).count()
    }
}

fn usd(minor: i64) -> Money {
    Money::new("USD".parse().expect("a currency"), minor)
}

fn ask(method: &str) -> Authorization<'static> {
    let instrument = Box::new(Instrument { method: method.to_owned(), mandate: String::new() });
    Authorization {
        tenant: TenantId::new(),
        payment: PaymentId::new(),
        order: OrderId::new(),
        amount: usd(5_000),
        instrument: Box::leak(instrument),
        attempt: 1,
        immediate: false,
        challenge: false,
    }
}

#[tokio::test]
async fn pay_01_a_hold_is_made_once_however_often_it_is_asked_for() {
    let world = World::start().await;
    let ask = ask("pm_sim_visa");
    let first = world.stripe.authorize(ask).await.expect("a hold");
    assert_eq!((first.phase, first.amount, first.received), (Phase::Held, usd(5_000), 0));
    assert_eq!(world.stripe.authorize(ask).await.expect("the same hold"), first);
    assert_eq!(world.stripe.find(ask.payment, None, &[]).await.expect("an answer"), Some(first.clone()));
    assert_eq!(world.stripe.find(ask.payment, Some(&first.reference), &[]).await.expect("an answer"), Some(first));
    assert_eq!(world.effects("authorize").await, 1);
}

#[tokio::test]
async fn pay_07_server_errors_are_tried_again_and_declines_are_not() {
    let world = World::start().await;
    let held = world.stripe.authorize(ask("pm_sim_flaky")).await.expect("a hold at the third try");
    assert_eq!(held.phase, Phase::Held);
    assert_eq!((world.calls("payment_intents.create").await, world.effects("authorize").await), (3, 1));
    let declined = world.stripe.authorize(ask("pm_sim_insufficient_funds")).await.expect("a decline is an answer");
    assert_eq!((declined.phase, declined.decline_reason.as_deref()), (Phase::Failed, Some("insufficient_funds")));
    assert_eq!(world.calls("payment_intents.create").await, 4);
}

#[tokio::test]
async fn pay_06_a_challenge_comes_with_the_place_to_go() {
    let world = World::start().await;
    let challenged = world.stripe.authorize(ask("pm_sim_3ds_required")).await.expect("an answer");
    assert_eq!(challenged.phase, Phase::RequiresAction);
    assert!(challenged.action_url.is_some_and(|url| url.starts_with("https://")));
}

#[tokio::test]
async fn an_unknown_method_is_refused_for_good() {
    let world = World::start().await;
    let refused = world.stripe.authorize(ask("pm_nobody")).await;
    assert!(matches!(&refused, Err(Trouble::Refused { code, .. }) if code == "resource_missing"), "{refused:?}");
    assert_eq!(world.calls("payment_intents.create").await, 1);
}

#[tokio::test]
async fn a_success_behind_our_time_out_is_found_by_the_next_try_with_the_same_key() {
    let world = World::start().await;
    let late = world.stripe.authorize(ask("pm_sim_timeout_then_success")).await.expect("the second try is answered");
    assert_eq!(late.phase, Phase::Held);
    assert_eq!((world.calls("payment_intents.create").await, world.effects("authorize").await), (2, 1));
}

#[tokio::test]
async fn an_outcome_behind_three_resets_is_unknown_and_an_inquiry_finds_it() {
    let world = World::start().await;
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset_after", "times": 3}])).await;
    let ask = ask("pm_sim_visa");
    let lost = world.stripe.authorize(ask).await;
    assert!(matches!(lost, Err(Trouble::Unknown)), "{lost:?}");
    let found = world.stripe.find(ask.payment, None, &[]).await.expect("an answer").expect("it happened");
    assert_eq!((found.phase, world.effects("authorize").await), (Phase::Held, 1));
    let never = world.stripe.find(PaymentId::new(), None, &[]).await.expect("an answer");
    assert_eq!(never, None);
}

#[tokio::test]
async fn captures_refunds_and_cancels_have_one_effect_per_key() {
    let world = World::start().await;
    let held = world.stripe.authorize(ask("pm_sim_visa")).await.expect("a hold");
    for _ in 0..2 {
        let part = world.stripe.capture(&held.reference, usd(2_000), false, "shp_1").await.expect("a capture");
        assert_eq!((part.phase, part.received), (Phase::Held, 2_000));
    }
    let too_much = world.stripe.capture(&held.reference, usd(4_000), false, "shp_2").await;
    assert!(matches!(&too_much, Err(Trouble::Refused { code, .. }) if code == "amount_too_large"), "{too_much:?}");
    let back = Refunding { reference: &held.reference, amount: usd(500), key: "rfd_1", ours: None };
    let first = world.stripe.refund(back).await.expect("a refund");
    assert_eq!(world.stripe.refund(back).await.expect("the same refund"), first);
    let gone = world.stripe.cancel(&held.reference, "void").await.expect("the rest is let go");
    assert_eq!((gone.phase, gone.received, gone.refunded), (Phase::Canceled, 2_000, 500));
    let again = world.stripe.cancel(&held.reference, "void again").await;
    let Err(Trouble::Refused { intent: Some(intent), .. }) = &again else { panic!("a refusal: {again:?}") };
    assert_eq!((intent.phase, intent.refunded), (Phase::Canceled, 500), "with what was given back");
    assert_eq!((world.effects("capture").await, world.effects("refund").await, world.effects("void").await), (1, 1, 1));
}

#[tokio::test]
async fn pay_11_what_was_given_back_is_read_from_the_charge_wherever_a_payment_is_shown() {
    let (world, ask) = (World::start().await, ask("pm_sim_visa"));
    let held = world.stripe.authorize(ask).await.expect("a hold");
    world.stripe.capture(&held.reference, usd(2_000), false, "shp_1").await.expect("a capture");
    let id = RefundId::new();
    let ours = Some((ask.tenant, ask.payment, id));
    let back = Refunding { reference: &held.reference, amount: usd(500), key: "rfd_1", ours };
    let refund = world.stripe.refund(back).await.expect("a refund");
    let known = world.stripe.find_refund(&held.reference, id).await.expect("an answer");
    assert_eq!(known, Some(refund));
    assert_eq!(world.stripe.find_refund(&held.reference, RefundId::new()).await.expect("an answer"), None);
    let by_id = world.stripe.find(ask.payment, Some(&held.reference), &[]).await.expect("an answer");
    let searched = world.stripe.find(ask.payment, None, &[]).await.expect("an answer");
    let listed = world.stripe.list(0, i64::MAX).await.expect("a list").pop().map(|one| one.snapshot);
    let later = world.stripe.capture(&held.reference, usd(1_000), false, "shp_2").await.expect("a capture");
    let raised = world.stripe.increment(&held.reference, usd(6_000), "inc_1").await.expect("more");
    for seen in [by_id, searched, listed, Some(later), Some(raised)] {
        assert_eq!(seen.map(|seen| seen.refunded), Some(500));
    }
}

#[tokio::test]
async fn a_provider_that_does_not_know_us_says_nothing_about_the_money() {
    let world = World::start().await;
    let base = world.control.trim_end_matches("/_sim").to_owned();
    let stranger = Stripe::new(&base, "wrong".to_owned().into(), TRY).expect("a base URL");
    assert!(matches!(stranger.authorize(ask("pm_sim_visa")).await, Err(Trouble::Unknown)));
}

#[test]
fn events_are_read_with_the_payment_they_belong_to() {
    let (tenant, payment) = (TenantId::new(), PaymentId::new());
    let metadata = json!({"tenant": tenant, "payment": payment});
    let charge = json!({"object": "charge", "payment_intent": "pi_1", "amount": 100, "amount_captured": 100,
        "amount_refunded": 40, "currency": "usd", "metadata": metadata});
    let event = json!({"id": "evt_1", "type": "charge.refunded", "data": {"object": charge}}).to_string();
    let event = read_event(event.as_bytes()).expect("an event");
    assert_eq!((event.tenant, event.payment), (Some(tenant), Some(payment)));
    let Report::Payment(seen) = event.report else { panic!("a report") };
    assert_eq!((seen.reference.as_str(), seen.received, seen.refunded), ("pi_1", 100, 40));
    let other =
        json!({"id": "evt_2", "type": "customer.created", "data": {"object": {"object": "customer"}}}).to_string();
    assert!(matches!(read_event(other.as_bytes()).expect("an event").report, Report::Nothing));
    assert!(read_event(b"{}").is_err());
}
