use anyhow::Result;
use contract::payment::v1::PaymentState;
use fault::Kind;
use futures::future::join_all;
use ids::{OrderId, PaymentId, ShipmentId, TenantId};
use jiff::Timestamp;
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts};

const STORED: &str = "SELECT count(*) AS n FROM webhook_events";
const HELD: &str = "payment_intent.amount_capturable_updated";

#[tokio::test]
async fn pay_10_one_event_pushed_by_fifty_at_once_is_folded_once() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let challenged = world.authorize(order, "pm_sim_3ds_required").await?;
    world.challenge(&challenged.provider_reference, "succeed").await?;
    let event = world.event("evt_1", HELD, &challenged.id).await?;
    for pushed in join_all((0..50).map(|_| world.push_signed(&event))).await {
        pushed?;
    }
    assert_eq!(world.get(&challenged.id).await?.state(), PaymentState::Authorized);
    assert_eq!((world.count(STORED).await?, world.events("PaymentAuthorized").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pay_10_an_event_may_come_before_our_own_answer() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "timeout_after", "delay_ms": 1500}])).await?;
    let (authorized, early) = tokio::join!(world.authorize(order, "pm_sim_visa"), async {
        eventually(SOON, || async { Ok((world.ledger("authorize", order).await?.len() == 1).then_some(())) }).await?;
        let id = world.inquire_id(order).await?;
        world.push_signed(&world.event("evt_1", HELD, &id).await?).await?;
        anyhow::Ok(world.get(&id).await?)
    });
    assert_eq!(early?.state(), PaymentState::Authorized);
    assert_eq!(authorized?.state(), PaymentState::Authorized);
    assert_eq!((world.ledger("authorize", order).await?, world.events("PaymentAuthorized").await?), (vec![ASKED], 1));
    Ok(())
}

#[tokio::test]
async fn pay_10_a_signature_that_is_missing_wrong_stale_or_of_another_tenant_is_refused() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let payment = world.authorize(order, "pm_sim_visa").await?;
    let event = world.event("evt_1", "payment_intent.canceled", &payment.id).await?;
    let now = Timestamp::now().as_second();
    let theirs = world.as_tenant(TenantId::new());
    let signatures = [
        String::new(),
        format!("t={now},v1={}", "0".repeat(64)),
        world.sign(&event, now - 400),
        world.sign(&event, now + 400),
        world.sign(b"{}", now),
        theirs.sign(&event, now),
    ];
    for signature in signatures {
        let fault = world.push(&event, &signature).await.expect_err("must be refused");
        assert_eq!((fault.kind(), fault.reason()), (Kind::Unauthenticated, "WEBHOOK_SIGNATURE"), "{signature}");
    }
    assert_eq!(world.count(STORED).await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_event_of_another_tenants_payment_changes_nothing() -> Result<()> {
    let (ours, order) = (World::start().await?, OrderId::new());
    let payment = ours.authorize(order, "pm_sim_3ds_required").await?;
    ours.challenge(&payment.provider_reference, "succeed").await?;
    let theirs = ours.as_tenant(TenantId::new());
    theirs.push_signed(&ours.event("evt_1", HELD, &payment.id).await?).await?;
    assert_eq!(ours.get(&payment.id).await?.state(), PaymentState::RequiresAction);
    assert_eq!(ours.count("SELECT count(*) AS n FROM webhook_events WHERE status = 'IGNORED'").await?, 1);
    Ok(())
}

#[tokio::test]
async fn pay_10_events_out_of_order_end_in_the_providers_figures() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    let early = world.event("evt_held", HELD, &held.id).await?;
    world.capture(order, ShipmentId::new(), 7_000, true).await?;
    let taken = world.event("evt_taken", "payment_intent.succeeded", &held.id).await?;
    let failed = String::from_utf8(early.clone())?.replace("requires_capture", "requires_payment_method");
    let failed = failed.replace("evt_held", "evt_failed").replace(HELD, "payment_intent.payment_failed");
    let given_back = json!({"id": "evt_back", "type": "charge.refunded", "data": {"object": {
        "object": "charge", "payment_intent": held.provider_reference, "amount": ASKED, "amount_captured": 7_000,
        "amount_refunded": 2_500, "currency": "usd", "metadata": {"tenant": world.tenant, "payment": held.id}}}});
    for event in [given_back.to_string().into_bytes(), taken, failed.into_bytes(), early] {
        world.push_signed(&event).await?;
    }
    let payment = world.get(&held.id).await?;
    assert_eq!((payment.state(), amounts(&payment)), (PaymentState::PartiallyRefunded, (ASKED, 7_000, 3_000, 2_500)));
    assert_eq!((world.count(STORED).await?, world.events("PaymentDeclined").await?), (4, 0));
    Ok(())
}

#[tokio::test]
async fn pay_10_an_event_of_a_payment_not_known_yet_is_parked_until_it_is() -> Result<()> {
    let (world, order, payment) = (World::start().await?, OrderId::new(), PaymentId::new());
    let intent = json!({"id": "pi_early", "object": "payment_intent", "amount": ASKED, "amount_received": 0, "currency": "usd",
        "status": "requires_capture", "metadata": {"tenant": world.tenant, "payment": payment}});
    let event = json!({"id": "evt_1", "type": HELD, "data": {"object": intent}}).to_string().into_bytes();
    world.push_signed(&event).await?;
    world.push_signed(&event).await?;
    assert_eq!(world.count("SELECT count(*) AS n FROM webhook_events WHERE status = 'PARKED'").await?, 1);
    let row = format!(
        "INSERT INTO payments (tenant_id, payment_id, order_id, state, amount, currency, provider) \
         VALUES ('{}', '{}', '{}', 'PROCESSING', {ASKED}, 'USD', 'stripe')",
        world.tenant.uuid(),
        payment.uuid(),
        order.uuid()
    );
    world.tamper(&row).await?;
    world.start_jobs();
    let id = payment.to_string();
    eventually(SOON, || async { Ok((world.get(&id).await?.state() == PaymentState::Authorized).then_some(())) })
        .await?;
    assert_eq!(world.count("SELECT count(*) AS n FROM webhook_events WHERE status = 'FOLDED'").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_late_success_after_a_void_is_let_go_by_the_job() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let lost = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(world.void(order).await?.state(), PaymentState::Voided);
    // A message of ours that was still on its way reaches the provider only now.
    let reference = world.late_authorization(&lost).await?;
    world.push_signed(&world.event("evt_1", HELD, &lost.id).await?).await?;
    assert_eq!(world.get(&lost.id).await?.provider_reference, reference);
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.ledger("void", order).await? == [ASKED]).then_some(())) }).await?;
    assert_eq!(world.events("PaymentAuthorized").await?, 0);
    Ok(())
}

#[tokio::test]
async fn events_that_say_nothing_about_payments_are_taken_and_junk_is_not() -> Result<()> {
    let world = World::start().await?;
    let other =
        json!({"id": "evt_1", "type": "customer.created", "data": {"object": {"object": "customer"}}}).to_string();
    world.push_signed(other.as_bytes()).await?;
    for junk in ["{}", "[1]", "\u{0}", r#"{"id":"","type":"x","data":{"object":{}}}"#] {
        let fault = world.push_signed(junk.as_bytes()).await.expect_err("must be refused");
        assert_eq!((fault.kind(), fault.violations()[0].field.as_str()), (Kind::Invalid, "payload"), "{junk}");
    }
    assert_eq!(world.count(STORED).await?, 1);
    Ok(())
}
