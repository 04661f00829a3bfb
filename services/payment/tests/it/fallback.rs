use anyhow::Result;
use contract::payment::v1::{DiscrepancyClass as Class, PaymentState};
use fault::Kind;
use ids::{OrderId, ShipmentId, TenantId};
use jiff::Timestamp;
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, minor};

#[tokio::test]
async fn pay_09_while_the_first_provider_is_given_a_rest_the_second_holds_takes_and_gives_back() -> Result<()> {
    let world = World::with_fallback().await?;
    world
        .faults(json!([{"op": "payment_intents.create", "kind": "error500", "times": 100_000},
        {"op": "payment_intents.search", "kind": "error500", "times": 100_000}]))
        .await?;
    // Nobody knows what became of this one at the first provider, so the second is not asked for it.
    let lost = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!((lost.state(), lost.provider.as_str()), (PaymentState::Unknown, "stripe"));
    let order = OrderId::new();
    let asked = world.calls("payment_intents.create").await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((held.state(), held.provider.as_str()), (PaymentState::Authorized, "adyen"));
    assert_eq!(world.calls("payment_intents.create").await?, asked, "the first is left alone");
    let raised = world.increment(order, 500, "k1").await?;
    assert_eq!(amounts(&raised), (ASKED + 500, 0, 0, 0));
    world.capture(order, ShipmentId::new(), 4_000, false).await?;
    let taken = world.capture(order, ShipmentId::new(), 3_000, true).await?;
    assert_eq!((taken.state(), amounts(&taken)), (PaymentState::Captured, (ASKED + 500, 7_000, 3_500, 0)));
    // It says that it received it, and when asked again that it is done.
    for state in ["PENDING", "SUCCEEDED"] {
        assert_eq!(world.refund(&taken.id, 7_000, "k1").await?.0.state, state);
    }
    assert_eq!(world.get(&taken.id).await?.state(), PaymentState::Refunded);
    let declined = world.authorize(OrderId::new(), "pm_sim_insufficient_funds").await?;
    assert_eq!((declined.state(), declined.decline_reason.as_str()), (PaymentState::Declined, "insufficient_funds"));
    let order = OrderId::new();
    world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(world.void(order).await?.state(), PaymentState::Voided);
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("void", order).await?),
        (vec![ASKED], vec![ASKED])
    );
    Ok(())
}

#[tokio::test]
async fn pay_09_an_unknown_outcome_is_inquired_before_the_second_provider_is_asked() -> Result<()> {
    let world = World::with_fallback().await?;
    // It did it, and the answers got lost: found, and nobody else is asked.
    let order = OrderId::new();
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset_after", "times": 3}])).await?;
    let found = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((found.state(), found.provider.as_str()), (PaymentState::Authorized, "stripe"));
    // It did not do it, and says so: the second does.
    let order = OrderId::new();
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((held.state(), held.provider.as_str()), (PaymentState::Authorized, "adyen"));
    assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn pay_09_what_turns_up_at_the_first_provider_after_the_second_was_asked_is_let_go() -> Result<()> {
    let (world, order) = (World::with_fallback().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(held.provider, "adyen");
    // The first try arrives after all.
    let stray = world.late_authorization(&held).await?;
    assert_eq!(world.ledger("authorize", order).await?, [ASKED; 2]);
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.ledger("void", order).await? == [ASKED]).then_some(())) }).await?;
    let told = eventually(SOON, || async { Ok(stray_voided(&world, &held.id).await?.pop()) }).await?;
    assert_eq!(told, (ASKED, format!("stripe {stray}"), "service".to_owned()), "what was let go, whose, and by whom");
    let now = world.capture(order, ShipmentId::new(), ASKED, true).await?;
    assert_eq!((now.state(), amounts(&now)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)));
    assert_eq!(world.ledger("capture", order).await?, [ASKED]);
    Ok(())
}

/// (amount, note, kind of actor) of what the audit says was let go at a provider that was asked before.
async fn stray_voided(world: &World, payment: &str) -> Result<Vec<(i64, String, String)>> {
    let told = world.history(payment).await?.into_iter().filter(|event| event.action == "STRAY_VOIDED");
    Ok(told.map(|event| (minor(&event.amount), event.note, event.actor_kind)).collect())
}

#[tokio::test]
async fn pay_13_a_stray_whose_cancel_was_not_answered_is_told_once_and_one_that_others_cancelled_never() -> Result<()> {
    let world = World::with_fallback().await?;
    let mut strays = Vec::new();
    for _ in 0..2 {
        world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
        let held = world.authorize(OrderId::new(), "pm_sim_visa").await?;
        strays.push((world.late_authorization(&held).await?, held.id));
    }
    let [(ours, lost), (theirs, other)] = &strays[..] else { unreachable!("two were made") };
    world.behind_our_back(&format!("payment_intents/{theirs}/cancel")).await?;
    let cancel = json!([{"op": "payment_intents.cancel", "match": ours, "kind": "reset_after", "times": 3}]);
    world.faults(cancel).await?;
    world.start_jobs();
    let left = "SELECT count(*) AS n FROM payments WHERE stray IS NOT NULL";
    eventually(SOON, || async {
        world.tamper("UPDATE payments SET check_at = now() - interval '1 s' WHERE stray IS NOT NULL").await?;
        Ok((world.count(left).await? == 0).then_some(()))
    })
    .await?;
    assert!(world.calls("payment_intents.cancel").await? > 4, "it was asked once more after its answers got lost");
    assert_eq!(stray_voided(&world, lost).await?, [(ASKED, format!("stripe {ours}"), "service".to_owned())]);
    assert_eq!(stray_voided(&world, other).await?, []);
    Ok(())
}

/// A system whose first provider is away and given a rest.
pub async fn without_the_first() -> Result<World> {
    let world = World::with_fallback().await?;
    let away = |op| json!({"op": op, "kind": "error500", "times": 100_000});
    world.faults(json!([away("payment_intents.create"), away("payment_intents.search")])).await?;
    world.authorize(OrderId::new(), "pm_sim_visa").await?;
    Ok(world)
}

#[tokio::test]
async fn pay_11_what_the_second_provider_does_not_have_is_missing_there_and_the_rest_of_the_day_is_compared()
-> Result<()> {
    let world = without_the_first().await?;
    let (gone, held) = (OrderId::new(), OrderId::new());
    let lost = world.authorize(gone, "pm_sim_visa").await?;
    assert_eq!(
        (lost.provider.as_str(), world.authorize(held, "pm_sim_visa").await?.provider.as_str()),
        ("adyen", "adyen")
    );
    let tampered = format!(
        "UPDATE payments SET provider_reference = 'psp_gone' WHERE order_id = '{}'; \
         UPDATE payments SET authorized = 0, state = 'PROCESSING', authorized_at = NULL WHERE order_id = '{}'",
        gone.uuid(),
        held.uuid()
    );
    world.tamper(&tampered).await?;
    let report = world.reconcile_with("adyen", &World::today()).await?;
    let classes = [report.missing_ours, report.missing_theirs, report.amount_differs, report.state_differs];
    assert_eq!(classes, [1, 1, 1, 0]);
    let found = world.discrepancies().await?;
    let missing = found.iter().find(|one| one.class() == Class::MissingTheirs);
    assert_eq!(missing.map(|one| one.payment_id.as_str()), Some(lost.id.as_str()));
    Ok(())
}

#[tokio::test]
async fn frd_01_frd_02_what_the_second_providers_bank_said_of_address_and_code_is_kept() -> Result<()> {
    let world = without_the_first().await?;
    for (method, results) in [
        ("pm_sim_visa", ["PASS", "PASS"]),
        ("pm_sim_avs_fail", ["FAIL", "PASS"]),
        ("pm_sim_cvc_fail", ["PASS", "FAIL"]),
        // Nobody checked what was not held.
        ("pm_sim_declined", ["", ""]),
    ] {
        let payment = world.authorize(OrderId::new(), method).await?;
        assert_eq!(payment.provider, "adyen");
        assert_eq!([payment.avs_result.as_str(), payment.cvv_result.as_str()], results, "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn pay_10_the_second_provider_notifies_in_its_own_way_and_only_what_it_signed_for_this_tenant_is_believed()
-> Result<()> {
    let world = without_the_first().await?;
    let held = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    world.cancelled_at_second(&held.provider_reference).await?;
    let body = world.notification("ntf_1", "CANCELLATION", &held.provider_reference).await?;
    let (now, theirs) = (Timestamp::now().as_second(), world.as_tenant(TenantId::new()));
    let signatures = [
        String::new(),
        "x".to_owned(),
        format!("{now}:{}", "0".repeat(64)),
        world.sign_second(&body, now - 400),
        world.sign_second(&body, now + 400),
        world.sign_second(b"{}", now),
        theirs.sign_second(&body, now),
        world.sign(&body, now),
        world.sign_second(&body, now - 400).replace(&(now - 400).to_string(), &now.to_string()),
    ];
    for signature in signatures {
        let fault = world.push_to("adyen", &body, &signature).await.expect_err("must be refused");
        assert_eq!((fault.kind(), fault.reason()), (Kind::Unauthenticated, "WEBHOOK_SIGNATURE"), "{signature}");
    }
    let as_first = world.push_to("stripe", &body, &world.sign_second(&body, now)).await;
    assert_eq!(as_first.expect_err("not its URL").reason(), "WEBHOOK_SIGNATURE");
    let elsewhere = theirs.push_to("adyen", &body, &theirs.sign_second(&body, now)).await;
    elsewhere?;
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Authorized, "another tenant's endpoint");
    for _ in 0..2 {
        world.push_to("adyen", &body, &world.sign_second(&body, now)).await?;
    }
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Voided);
    let stored = "SELECT count(*) AS n FROM webhook_events WHERE provider = 'adyen' AND status = 'FOLDED'";
    assert_eq!((world.count(stored).await?, world.events("PaymentVoided").await?), (1, 1));
    let junk = world.push_to("adyen", b"{}", &world.sign_second(b"{}", now)).await.expect_err("must be refused");
    assert_eq!((junk.kind(), junk.violations()[0].field.as_str()), (Kind::Invalid, "payload"));
    let alone = World::start().await?;
    let fault = alone.push_to("adyen", &body, &alone.sign_second(&body, now)).await.expect_err("it is not set up");
    assert_eq!(fault.reason(), "UNKNOWN_PROVIDER");
    Ok(())
}
