//! An order whose payment failed and that is paid again: each round has a payment of its own (PAY-18).

use anyhow::Result;
use contract::payment::v1::PaymentState as S;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, reason};

#[tokio::test]
async fn pay_18_a_later_round_pays_with_another_card_and_the_former_stays_what_it_was() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let declined = world.authorize(order, "pm_sim_declined").await?;
    world.void(order).await?;
    assert_eq!(reason(world.inquire_round(order, 2).await), "PAYMENT_NOT_FOUND", "nobody asked for it yet");
    for paid in join_all((0..10).map(|_| world.authorize_round(order, 2, "pm_sim_visa", false))).await {
        assert_eq!((paid?.round, world.inquire_round(order, 2).await?.order_id), (2, order.to_string()));
    }
    let paid = world.inquire_round(order, 2).await?;
    assert_eq!((paid.state(), paid.attempt, paid.id == declined.id), (S::Authorized, 1, false));
    assert_eq!(world.inquire(order).await?.state(), S::Declined);
    // What the first round still had on its way comes late.
    assert_eq!(world.void(order).await?.id, declined.id);
    assert_eq!(reason(world.authorize(order, "pm_sim_visa").await), "PAYMENT_VOIDED");
    assert_eq!(world.get(&paid.id).await?.state(), S::Authorized);
    assert_eq!((world.ledger("authorize", order).await?, world.ledger("void", order).await?), (vec![ASKED], vec![]));
    // Parcels are paid by the round that holds the money.
    assert_eq!(world.capture(order, ShipmentId::new(), ASKED, true).await?.id, paid.id);
    // A void that comes before its round refuses it.
    assert_eq!(world.void_round(order, 3).await?.state(), S::Voided);
    assert_eq!(reason(world.authorize_round(order, 3, "pm_sim_visa", false).await), "PAYMENT_VOIDED");
    Ok(())
}

#[tokio::test]
async fn pay_18_a_success_of_the_former_round_races_the_new_one_and_the_order_is_charged_once() -> Result<()> {
    let world = World::start().await?;
    for turn in 0..16_u64 {
        let (order, at_once) = (OrderId::new(), turn % 2 == 1);
        let delay = json!([{"op": "payment_intents.create", "kind": "delay", "delay_ms": 150 + 40 * turn, "times": 1}]);
        world.faults(delay).await?;
        let began = world.count("SELECT count(*) AS n FROM payments").await? + 1;
        let (former, later) = tokio::join!(world.authorize_round(order, 1, "pm_sim_visa", at_once), async {
            eventually(SOON, || async {
                Ok((world.count("SELECT count(*) AS n FROM payments").await? == began).then_some(()))
            })
            .await?;
            for _ in 0..turn % 5 {
                drop(world.inquire(order).await);
            }
            // The undo of the former run may say so late, or never have come: the new round says so itself.
            if turn % 3 == 0 {
                drop(world.void(order).await);
            }
            anyhow::Ok(world.authorize_round(order, 2, "pm_sim_visa", at_once).await?)
        });
        let later = later?;
        let held = if at_once { S::Captured } else { S::Authorized };
        assert_eq!((later.state(), later.round), (held, 2), "turn {turn}");
        // Whoever learns of the late success lets it go: the call itself, or else the void.
        drop(former);
        let former = world.void(order).await?;
        assert!(matches!(former.state(), S::Voided | S::Refunded), "turn {turn}: {:?}", former.state());
        let (authorized, voided) = (world.ledger("authorize", order).await?, world.ledger("void", order).await?);
        let back = world.ledger("refund", order).await?;
        assert_eq!(authorized.len() - voided.len() - back.len(), 1, "turn {turn}: {authorized:?} {voided:?} {back:?}");
        assert_eq!(world.get(&later.id).await?.state(), held, "turn {turn}");
    }
    Ok(())
}

#[tokio::test]
async fn pay_18_a_hold_of_the_former_round_that_turns_up_after_all_is_let_go_by_the_job() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let lost = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((lost.state(), world.void(order).await?.state()), (S::Unknown, S::Voided));
    let paid = world.authorize_round(order, 2, "pm_sim_visa", false).await?;
    assert_eq!(paid.state(), S::Authorized);
    world.late_authorization(&lost).await?;
    assert_eq!(world.ledger("authorize", order).await?, [ASKED, ASKED], "both are held just now");
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s' WHERE check_at IS NOT NULL").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.ledger("void", order).await? == [ASKED]).then_some(())) }).await?;
    eventually(SOON, || async { Ok((amounts(&world.get(&lost.id).await?).2 == ASKED).then_some(())) }).await?;
    assert_eq!(
        (world.get(&paid.id).await?.state(), amounts(&world.get(&paid.id).await?)),
        (S::Authorized, (ASKED, 0, 0, 0))
    );
    Ok(())
}

#[tokio::test]
async fn pay_18_money_from_outside_pays_for_the_rounds_to_come_and_nobody_is_charged() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let declined = world.authorize(order, "pm_sim_declined").await?;
    world.void(order).await?;
    assert_eq!(world.mark_paid(&declined.id, "cheque 118").await?.state(), S::Captured);
    let paid = world.authorize_round(order, 2, "pm_sim_visa", false).await?;
    assert_eq!((&paid.id, paid.marked_paid, paid.state()), (&declined.id, true, S::Captured));
    assert_eq!(world.inquire_round(order, 2).await?.id, declined.id);
    assert_eq!(world.capture(order, ShipmentId::new(), ASKED, true).await?.id, declined.id);
    assert_eq!((world.ledger("authorize", order).await?, world.ledger("capture", order).await?), (vec![], vec![]));

    // Where another round has begun, or the order gave its money back, it is too late for that.
    let other = OrderId::new();
    let failed = world.authorize(other, "pm_sim_declined").await?;
    let again = world.authorize_round(other, 2, "pm_sim_visa", false).await?;
    assert_eq!(reason(world.mark_paid(&failed.id, "cheque 119").await), "MARK_PAID_REFUSED");
    world.void_round(other, 2).await?;
    assert_eq!(reason(world.mark_paid(&again.id, "cheque 119").await), "MARK_PAID_REFUSED");
    Ok(())
}

#[tokio::test]
async fn pay_07_a_card_that_was_refused_for_good_is_not_tried_again_and_another_is() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let stolen = world.authorize(order, "pm_sim_stolen_card").await?;
    assert_eq!((stolen.state(), stolen.decline_reason.as_str()), (S::Declined, "stolen_card"));
    assert_eq!(world.authorize(order, "pm_sim_stolen_card").await?, stolen, "the same call again is the same answer");
    let asked = world.calls("payment_intents.create").await?;
    let fault = world.authorize_round(order, 2, "pm_sim_stolen_card", false).await.expect_err("the bank took it in");
    assert_eq!((fault.kind(), fault.reason()), (fault::Kind::Precondition, "PAYMENT_METHOD_REFUSED"));
    assert_eq!(fault.metadata()["code"].as_str(), "stolen_card");
    assert_eq!(reason(world.reauthorize(&stolen.id, 2, "").await), "PAYMENT_METHOD_REFUSED");
    assert_eq!(world.calls("payment_intents.create").await?, asked, "nobody is asked");
    assert_eq!(world.count("SELECT count(*) AS n FROM payments").await?, 1);
    // An empty card is another matter, and does not make the stolen one better.
    assert_eq!(world.reauthorize(&stolen.id, 2, "pm_sim_insufficient_funds").await?.state(), S::Declined);
    assert_eq!(reason(world.reauthorize(&stolen.id, 3, "pm_sim_stolen_card").await), "PAYMENT_METHOD_REFUSED");
    assert_eq!(world.reauthorize(&stolen.id, 3, "").await?.state(), S::Declined, "it may be filled by now");
    assert_eq!(reason(world.authorize_round(order, 2, "pm_sim_stolen_card", false).await), "PAYMENT_METHOD_REFUSED");
    assert_eq!(world.authorize_round(order, 2, "pm_sim_visa", false).await?.state(), S::Authorized);
    // What one shop's bank says of a card is no matter of another order's.
    assert_eq!(world.authorize(OrderId::new(), "pm_sim_stolen_card").await?.state(), S::Declined);
    Ok(())
}
