use anyhow::Result;
use contract::payment::v1::{DiscrepancyClass as Class, Payment, PaymentState};
use ids::{OrderId, PaymentId, ShipmentId};
use serde_json::json;

use crate::world::{ASKED, World, amounts, reason, usd};

async fn captured(world: &World) -> Result<Payment> {
    let order = OrderId::new();
    world.authorize(order, "pm_sim_visa").await?;
    Ok(world.capture(order, ShipmentId::new(), ASKED, true).await?)
}

#[tokio::test]
async fn pay_11_a_day_without_differences_says_so_and_a_day_never_run_has_no_report() -> Result<()> {
    let (world, today) = (World::start().await?, World::today());
    assert_eq!(reason(world.report(&today).await), "REPORT_NOT_FOUND");
    captured(&world).await?;
    world.authorize(OrderId::new(), "pm_sim_visa").await?;
    world.authorize(OrderId::new(), "pm_sim_declined").await?;
    let report = world.reconcile(&today).await?;
    assert_eq!((report.ours, report.theirs), (3, 3));
    let classes = [report.missing_ours, report.missing_theirs, report.amount_differs, report.state_differs];
    assert_eq!((classes, world.discrepancies().await?.len()), ([0; 4], 0));
    assert_eq!(world.report(&today).await?, report);
    for day in ["2999-01-01", "yesterday"] {
        let fault = world.reconcile(day).await.expect_err("no such day");
        assert_eq!(fault.violations()[0].field, "day");
    }
    Ok(())
}

#[tokio::test]
async fn pay_11_each_class_of_difference_is_listed_and_driven_again_until_nothing_differs() -> Result<()> {
    let (world, today) = (World::start().await?, World::today());
    // The provider holds money for a payment that we never heard of.
    let order_id = OrderId::new();
    let stray = Payment {
        id: PaymentId::new().to_string(),
        order_id: order_id.to_string(),
        amount: Some(usd(ASKED)),
        ..Payment::default()
    };
    world.late_authorization(&stray).await?;
    // We believe in one that the provider does not have, missed a capture, and missed the end of a challenge.
    let (gone, missed) = (captured(&world).await?, captured(&world).await?);
    let challenged = world.authorize(OrderId::new(), "pm_sim_3ds_required").await?;
    world.challenge(&challenged.provider_reference, "fail").await?;
    let uuid = |payment: &Payment| payment.id.parse::<PaymentId>().expect("an id").uuid();
    let tampered = format!(
        "UPDATE payments SET provider_reference = 'pi_gone' WHERE payment_id = '{}'; \
         UPDATE payments SET captured = 0, closed = false, state = 'AUTHORIZED' WHERE payment_id = '{}'",
        uuid(&gone),
        uuid(&missed)
    );
    world.tamper(&tampered).await?;
    let report = world.reconcile(&today).await?;
    // The intent of the payment whose reference was changed is in the books under its old name as well.
    let classes = [report.missing_ours, report.missing_theirs, report.amount_differs, report.state_differs];
    assert_eq!(classes, [2, 1, 1, 1]);
    assert_eq!(world.reconcile(&today).await?.missing_ours, 2, "the same day again finds the same");
    let found = world.discrepancies().await?;
    let of = |class: Class| found.iter().filter(move |one| one.class() == class);
    assert_eq!((found.len(), of(Class::MissingTheirs).next().map(|one| one.payment_id.as_str())), (5, Some(&*gone.id)));
    for class in [Class::AmountDiffers, Class::StateDiffers] {
        let one = of(class).next().expect("one of the class");
        let ended = world.settle(&one.id, false).await?;
        assert_eq!(
            (ended.state.as_str(), ended.resolution.as_str(), ended.reason.as_str()),
            ("RESOLVED", "REDRIVEN", "looked at it")
        );
        assert!(!ended.resolved_by.is_empty());
        assert_eq!(world.settle(&one.id, false).await?, ended, "once more changes nothing");
    }
    assert_eq!(amounts(&world.get(&missed.id).await?), (ASKED, ASKED, 0, 0));
    assert_eq!(world.get(&challenged.id).await?.state(), PaymentState::Declined);
    for one in of(Class::MissingOurs) {
        assert_eq!(world.settle(&one.id, false).await?.resolution, "REDRIVEN");
    }
    assert_eq!(world.ledger("void", order_id).await?, [ASKED], "money that nobody wants is let go");
    let lost = of(Class::MissingTheirs).next().expect("one of the class");
    assert_eq!(reason(world.settle(&lost.id, false).await), "DISCREPANCY_REMAINS");
    assert_eq!(world.settle(&lost.id, true).await?.resolution, "ACCEPTED");
    assert_eq!(reason(world.settle(&format!("dsc_{}", "0".repeat(32)), true).await), "DISCREPANCY_NOT_FOUND");
    let report = world.reconcile(&today).await?;
    let classes = [report.missing_ours, report.missing_theirs, report.amount_differs, report.state_differs];
    assert_eq!((classes, world.discrepancies().await?.len()), ([0; 4], 0));
    Ok(())
}

#[tokio::test]
async fn pay_11_a_provider_that_does_not_show_its_books_changes_nothing() -> Result<()> {
    let (world, today) = (World::start().await?, World::today());
    captured(&world).await?;
    let before = world.reconcile(&today).await?;
    world.faults(json!([{"op": "payment_intents.list", "kind": "error500", "times": 100}])).await?;
    assert_eq!(reason(world.reconcile(&today).await), "PROVIDER_SILENT");
    assert_eq!(world.report(&today).await?, before);
    Ok(())
}

#[tokio::test]
async fn pay_11_money_that_a_payment_still_waits_for_is_no_difference() -> Result<()> {
    let (world, order, today) = (World::start().await?, OrderId::new(), World::today());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset_after", "times": 3}])).await?;
    assert_eq!(world.authorize(order, "pm_sim_visa").await?.state(), PaymentState::Unknown);
    let report = world.reconcile(&today).await?;
    assert_eq!((report.theirs, report.missing_ours), (1, 0));
    assert_eq!(world.inquire(order).await?.state(), PaymentState::Authorized);
    Ok(())
}

#[tokio::test]
async fn pay_11_money_that_a_payment_wants_by_now_is_not_let_go() -> Result<()> {
    let (world, order, today) = (World::start().await?, OrderId::new(), World::today());
    let held = world.authorize(order, "pm_sim_visa").await?;
    let known = |rest: &str| format!("UPDATE payments SET revision = revision + 1, {rest}");
    world.tamper(&known("provider_reference = 'pi_other'")).await?;
    assert_eq!(world.reconcile(&today).await?.missing_ours, 1);
    let found = world.discrepancies().await?;
    let stray = found.iter().find(|one| one.class() == Class::MissingOurs).expect("one of the class");
    assert_eq!(stray.payment_id, held.id);
    // While nobody knows whether it is the one that is waited for, it is left alone.
    world.tamper(&known("provider_reference = NULL, authorized = 0, unknown = true, state = 'UNKNOWN'")).await?;
    assert_eq!(reason(world.settle(&stray.id, false).await), "DISCREPANCY_REMAINS");
    assert_eq!(world.inquire(order).await?.state(), PaymentState::Authorized);
    assert_eq!(world.settle(&stray.id, false).await?.resolution, "GONE");
    assert_eq!(world.ledger("void", order).await?, [0; 0]);
    assert_eq!(world.capture(order, ShipmentId::new(), ASKED, true).await?.state(), PaymentState::Captured);
    Ok(())
}

#[tokio::test]
async fn pay_11_pay_13_what_an_earlier_attempt_took_is_found_given_back_and_audited() -> Result<()> {
    let (world, today) = (World::start().await?, World::today());
    let taken = captured(&world).await?;
    world
        .tamper(
            "UPDATE payments SET old_references = ARRAY[provider_reference], provider_reference = NULL, attempt = 2,
             authorized = 0, captured = 0, closed = false, state = 'DECLINED', decline_reason = 'lost',
             revision = revision + 1",
        )
        .await?;
    assert_eq!(world.reconcile(&today).await?.missing_ours, 1);
    let found = world.discrepancies().await?;
    assert_eq!(world.settle(&found[0].id, false).await?.resolution, "REDRIVEN");
    assert_eq!(world.ledger("refund", taken.order_id.parse()?).await?, [ASKED]);
    let last = world.history(&taken.id).await?.pop().expect("an entry");
    assert_eq!((last.action.as_str(), last.actor_kind.as_str()), ("STRAY_REFUNDED", "user"));
    assert_eq!(last.amount, Some(usd(ASKED)));
    assert_eq!(last.note, format!("{}: looked at it", taken.provider_reference));
    assert_eq!(world.reconcile(&today).await?.missing_ours, 0);
    Ok(())
}
