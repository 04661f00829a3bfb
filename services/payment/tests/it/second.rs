//! The second provider answers a refund with "received", and tells by notifications or when it is asked how it ended.

use anyhow::{Context as _, Result};
use contract::payment::v1::{DiscrepancyClass as Class, Payment, PaymentState, RefundFailed};
use ids::{OrderId, ShipmentId};
use jiff::Timestamp;
use serde_json::json;
use testkit::eventually;

use crate::fallback::without_the_first;
use crate::world::{ASKED, SOON, World, amounts, minor, reason};

const SLOW: &str = "pm_sim_refund_pending";

async fn captured(world: &World, order: OrderId, method: &str) -> Result<Payment> {
    let held = world.authorize(order, method).await?;
    assert_eq!(held.provider, "adyen");
    Ok(world.capture(order, ShipmentId::new(), ASKED, true).await?)
}

#[tokio::test]
async fn pay_04_a_refund_that_the_second_provider_only_received_is_pending_until_it_says_how_it_ended() -> Result<()> {
    let world = without_the_first().await?;
    for (outcome, state, back) in [("succeed", "SUCCEEDED", 4_000), ("fail", "FAILED", 0)] {
        let order = OrderId::new();
        let held = captured(&world, order, SLOW).await?;
        let (refund, _) = world.refund(&held.id, 4_000, outcome).await?;
        assert_eq!(refund.state, "PENDING", "{outcome}");
        assert_eq!(world.refund(&held.id, 4_000, outcome).await?.0.state, "PENDING", "the bank is not done with it");
        let under_way = world.get(&held.id).await?;
        assert_eq!((minor(&under_way.refund_pending), minor(&under_way.refunded)), (4_000, 0), "{outcome}");
        assert_eq!(reason(world.refund(&held.id, 6_001, "more").await), "REFUND_EXCEEDS_CAPTURE", "it has its place");
        world.end_refund_at_second(&held.provider_reference, outcome).await?;
        world.tamper("UPDATE payments SET check_at = now() - interval '1 s' WHERE check_at IS NOT NULL").await?;
        world.start_jobs();
        eventually(SOON, || async { Ok((world.get_refund(&refund.id).await?.state == state).then_some(())) }).await?;
        let payment = world.get(&held.id).await?;
        assert_eq!((minor(&payment.refund_pending), amounts(&payment)), (0, (ASKED, ASKED, 0, back)), "{outcome}");
        assert_eq!(world.ledger("refund", order).await?, [4_000], "asked for once");
    }
    assert_eq!((world.events("RefundSucceeded").await?, world.events("RefundFailed").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pay_10_what_the_second_provider_notifies_of_comes_over_the_wire_signed_and_has_one_effect() -> Result<()> {
    let (world, order, shipment) = (without_the_first().await?, OrderId::new(), ShipmentId::new());
    let door = world.open_door().await?;
    // Its answers get lost, so that only its notifications tell; at first they are signed by somebody else.
    door.let_in(Some("whsec_theirs"));
    world.faults(json!([{"op": "adyen.payments", "kind": "reset_after", "times": 3}])).await?;
    let id = world.authorize(order, SLOW).await?.id;
    door.turned_away(2).await?;
    assert_eq!((world.get(&id).await?.state(), world.events("PaymentAuthorized").await?), (PaymentState::Unknown, 0));
    assert_eq!(world.count("SELECT count(*) AS n FROM webhook_events").await?, 0);

    door.let_in(None);
    door.twice(1).await?;
    let held = world.get(&id).await?;
    assert_eq!((held.state(), amounts(&held)), (PaymentState::Authorized, (ASKED, 0, 0, 0)));
    // An answer in between: else all that got lost would open its breaker.
    world.inquire(order).await?;
    world.faults(json!([{"op": "adyen.captures", "kind": "reset_after", "times": 100}])).await?;
    assert_eq!(reason(world.capture(order, shipment, ASKED, true).await), "PAYMENT_OUTCOME_UNKNOWN");
    door.twice(2).await?;
    let taken = world.get(&id).await?;
    assert_eq!((taken.state(), amounts(&taken)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)));
    world.faults(json!([])).await?;
    world.inquire(order).await?;
    world.capture(order, shipment, ASKED, true).await?;

    let reference = &held.provider_reference;
    let mut refunds = Vec::new();
    for (minor, outcome, state) in [(4_000, "succeed", "SUCCEEDED"), (3_000, "fail", "FAILED")] {
        let (refund, _) = world.refund(&id, minor, outcome).await?;
        assert_eq!(refund.state, "PENDING");
        refunds.push((world.end_refund_at_second(reference, outcome).await?, refund.id.clone()));
        door.twice(2 + refunds.len()).await?;
        assert_eq!(world.get_refund(&refund.id).await?.state, state);
        assert_eq!(amounts(&world.get(&id).await?).3, 4_000, "{state}");
    }
    // What was done comes back after all.
    let (theirs, done) = &refunds[0];
    world.end_at_second(theirs, "fail").await?;
    let codes = door.twice(5).await?;
    assert_eq!(world.get_refund(done).await?.state, "FAILED");
    assert_eq!(amounts(&world.get(&id).await?), (ASKED, ASKED, 0, 0));
    let expected = [("AUTHORISATION", 1), ("CAPTURE", 1), ("REFUND", 2), ("REFUND_FAILED", 1)];
    assert_eq!(codes.iter().map(|(code, times)| (code.as_str(), *times)).collect::<Vec<_>>(), expected);

    // Each came twice and was told once.
    assert_eq!(door.again(None).await?, 204, "once more, days later");
    assert_eq!(door.again(Some(("AUTHORISATION", "CANCELLATION"))).await?, 401, "not what was signed");
    for (event, times) in [("PaymentAuthorized", 1), ("PaymentCaptured", 1), ("RefundSucceeded", 1)] {
        assert_eq!(world.events(event).await?, times, "{event}");
    }
    let failed: Vec<RefundFailed> = world.told().await?;
    let failed: Vec<_> = failed.iter().map(|told| (told.refund_id.as_str(), told.returned)).collect();
    assert_eq!(failed, [(refunds[1].1.as_str(), false), (done.as_str(), true)]);
    assert_eq!(world.count("SELECT count(*) AS n FROM webhook_events WHERE status = 'FOLDED'").await?, 5);
    assert_eq!(world.count("SELECT count(*) AS n FROM webhook_events").await?, 5);
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("capture", order).await?),
        (vec![ASKED], vec![ASKED])
    );
    Ok(())
}

#[tokio::test]
async fn pay_04_only_the_provider_that_was_asked_for_a_refund_says_how_it_ended() -> Result<()> {
    let world = without_the_first().await?;
    let held = captured(&world, OrderId::new(), SLOW).await?;
    let (refund, _) = world.refund(&held.id, 4_000, "k1").await?;
    let metadata = json!({"tenant": world.tenant, "payment": held.id, "refund": refund.id});
    let object = json!({"object": "refund", "id": "re_1", "status": "succeeded", "metadata": metadata});
    world.push_signed(&World::refund_event("evt_1", "refund.updated", &object)).await?;
    assert_eq!(
        (world.get_refund(&refund.id).await?.state.as_str(), world.events("RefundSucceeded").await?),
        ("PENDING", 0)
    );
    assert_eq!(world.count("SELECT count(*) AS n FROM webhook_events WHERE status = 'IGNORED'").await?, 1);
    Ok(())
}

#[tokio::test]
async fn pay_04_a_refund_that_succeeds_before_its_answer_comes_is_done_once() -> Result<()> {
    let (world, order) = (without_the_first().await?, OrderId::new());
    let held = captured(&world, order, "pm_sim_visa").await?;
    let door = world.open_door().await?;
    door.let_in(None);
    world.faults(json!([{"op": "adyen.refunds", "kind": "timeout_after", "delay_ms": 500}])).await?;
    let (answered, told) = tokio::join!(world.refund(&held.id, 4_000, "k1"), door.twice(1));
    told?;
    let refund = answered?.0;
    assert_eq!(world.get_refund(&refund.id).await?.state, "SUCCEEDED");
    assert_eq!((world.events("RefundSucceeded").await?, world.ledger("refund", order).await?), (1, vec![4_000]));
    let payment = world.get(&held.id).await?;
    assert_eq!((minor(&payment.refund_pending), minor(&payment.refunded)), (0, 4_000));
    Ok(())
}

#[tokio::test]
async fn pay_11_a_refund_that_came_back_untold_at_the_second_provider_is_found_in_its_books() -> Result<()> {
    let world = without_the_first().await?;
    let held = captured(&world, OrderId::new(), "pm_sim_visa").await?;
    world.refund(&held.id, 4_000, "k1").await?;
    let (refund, _) = world.refund(&held.id, 4_000, "k1").await?;
    assert_eq!(refund.state, "SUCCEEDED", "the same key asks what became of it");
    world.end_refund_at_second(&held.provider_reference, "fail").await?;
    assert_eq!(world.reconcile_with("adyen", &World::today()).await?.amount_differs, 1);
    let found = world.discrepancies().await?.pop().context("a discrepancy")?;
    assert_eq!((found.class(), found.payment_id.as_str()), (Class::AmountDiffers, held.id.as_str()));
    assert_eq!(world.settle(&found.id, false).await?.resolution, "REDRIVEN");
    assert_eq!(amounts(&world.get(&held.id).await?), (ASKED, ASKED, 0, 0));
    Ok(())
}

#[tokio::test]
async fn pay_04_a_notification_that_does_not_say_how_a_refund_ended_ends_nothing() -> Result<()> {
    let world = without_the_first().await?;
    let held = captured(&world, OrderId::new(), SLOW).await?;
    let (refund, _) = world.refund(&held.id, 4_000, "k1").await?;
    let told = async |id: &str, code: &str, success: &str| -> Result<String> {
        let mut body: serde_json::Value =
            serde_json::from_slice(&world.notification(id, code, &held.provider_reference).await?)?;
        let item = &mut body["notificationItems"][0]["NotificationRequestItem"];
        item["success"] = success.into();
        item["refund"] = json!({"pspReference": "re_1", "reference": refund.id});
        let body = body.to_string().into_bytes();
        world.push_to("adyen", &body, &world.sign_second(&body, Timestamp::now().as_second())).await?;
        Ok(world.get_refund(&refund.id).await?.state)
    };
    for (id, code, success) in
        [("ntf_1", "REFUND", ""), ("ntf_2", "REFUND", "maybe"), ("ntf_3", "REPORT_AVAILABLE", "true")]
    {
        assert_eq!(told(id, code, success).await?, "PENDING", "{code} {success}");
    }
    assert_eq!(told("ntf_4", "REFUNDED_REVERSED", "true").await?, "FAILED");
    assert_eq!(told("ntf_5", "REFUND", "true").await?, "FAILED", "what failed stays so");
    Ok(())
}
