//! What happens in the same moment, many times over.

use anyhow::Result;
use contract::payment::v1::{Payment, PaymentState};
use ctx::Role;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, minor};

const ROUNDS: usize = 25;
const HELD: &str = "payment_intent.amount_capturable_updated";

async fn captured(world: &World, order: OrderId) -> Result<Payment> {
    world.authorize(order, "pm_sim_visa").await?;
    Ok(world.capture(order, ShipmentId::new(), ASKED, true).await?)
}

#[tokio::test]
async fn pay_04_two_refunds_that_together_exceed_the_capture_never_both_happen() -> Result<()> {
    let world = World::start().await?;
    for round in 0..ROUNDS {
        let order = OrderId::new();
        let id = captured(&world, order).await?.id;
        let (first, second) = (format!("a{round}"), format!("b{round}"));
        let (one, two) = tokio::join!(world.refund(&id, 6_000, &first), world.refund(&id, 6_000, &second));
        let refused = match (one, two) {
            (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!((refused.reason(), &*refused.metadata()["remaining_minor"]), ("REFUND_EXCEEDS_CAPTURE", "4000"));
        assert_eq!(world.ledger("refund", order).await?, [6_000], "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn pay_10_the_customers_return_and_the_webhook_in_the_same_moment_are_one_authorization() -> Result<()> {
    let world = World::start().await?;
    for round in 0..ROUNDS {
        let order = OrderId::new();
        let challenged = world.authorize(order, "pm_sim_3ds_required").await?;
        world.challenge(&challenged.provider_reference, "succeed").await?;
        let event = world.event(&format!("evt_{round}"), HELD, &challenged.id).await?;
        let (back, pushed, inquired) = tokio::join!(
            world.complete_action(&challenged.id, Role::Csr),
            world.push_signed(&event),
            world.inquire(order)
        );
        pushed?;
        assert_eq!((back?.state(), inquired?.state()), (PaymentState::Authorized, PaymentState::Authorized));
        let told = i64::try_from(round + 1)?;
        assert_eq!(world.events("PaymentAuthorized").await?, told, "told once in round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn pay_10_a_webhook_before_our_own_commit_and_our_late_answer_agree() -> Result<()> {
    let world = World::start().await?;
    for round in 0..ROUNDS {
        let order = OrderId::new();
        world
            .faults(
                json!([{"op": "payment_intents.create", "kind": "timeout_after", "delay_ms": 20 + 10 * (round % 5)}]),
            )
            .await?;
        let (authorized, pushed) = tokio::join!(world.authorize(order, "pm_sim_visa"), async {
            eventually(SOON, || async { Ok((!world.ledger("authorize", order).await?.is_empty()).then_some(())) })
                .await?;
            let id = world.inquire_id(order).await?;
            world.push_signed(&world.event(&format!("evt_{round}"), HELD, &id).await?).await?;
            anyhow::Ok(())
        });
        pushed?;
        assert_eq!(authorized?.state(), PaymentState::Authorized, "round {round}");
        assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
        assert_eq!(world.events("PaymentAuthorized").await?, i64::try_from(round + 1)?);
    }
    Ok(())
}

#[tokio::test]
async fn pay_10_a_success_after_our_last_try_is_found_by_whoever_looks_first_and_told_once() -> Result<()> {
    let world = World::start().await?;
    for round in 0..ROUNDS {
        let order = OrderId::new();
        world.faults(json!([{"op": "payment_intents.create", "kind": "reset_after", "times": 3}])).await?;
        assert_eq!(world.authorize(order, "pm_sim_visa").await?.state(), PaymentState::Unknown);
        world.faults(json!([])).await?;
        let id = world.inquire_id(order).await?;
        let event = world.event(&format!("evt_{round}"), HELD, &id).await?;
        let (pushed, asked, inquired) =
            tokio::join!(world.push_signed(&event), world.authorize(order, "pm_sim_visa"), world.inquire(order));
        pushed?;
        let known = [PaymentState::Authorized, PaymentState::Unknown];
        assert!(known.contains(&asked?.state()) && known.contains(&inquired?.state()));
        assert_eq!(world.get(&id).await?.state(), PaymentState::Authorized, "round {round}");
        assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
        assert_eq!(world.events("PaymentAuthorized").await?, i64::try_from(round + 1)?);
    }
    Ok(())
}

#[tokio::test]
async fn pay_04_a_success_after_our_cancel_is_always_let_go() -> Result<()> {
    let world = World::start().await?;
    let orders: Vec<OrderId> = (0..ROUNDS).map(|_| OrderId::new()).collect();
    for (round, order) in orders.iter().enumerate() {
        world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
        let lost = world.authorize(*order, "pm_sim_visa").await?;
        world.faults(json!([])).await?;
        // The first request arrives while the order is being cancelled.
        let (voided, late) = tokio::join!(world.void(*order), world.late_authorization(&lost));
        late?;
        assert!(voided.is_ok_and(|payment| payment.state() == PaymentState::Voided));
        if round % 2 == 0 {
            world.push_signed(&world.event(&format!("evt_{round}"), HELD, &lost.id).await?).await?;
        }
    }
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s' WHERE check_at IS NOT NULL").await?;
    world.start_jobs();
    eventually(SOON, || async {
        let voids = join_all(orders.iter().map(|order| world.ledger("void", *order))).await;
        let all = voids.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(all.iter().all(|void| *void == [ASKED]).then_some(()))
    })
    .await?;
    for order in orders {
        assert_eq!(amounts(&world.inquire(order).await?), (ASKED, 0, ASKED, 0));
    }
    assert_eq!(world.events("PaymentAuthorized").await?, 0);
    Ok(())
}

#[tokio::test]
async fn pay_10_of_two_changes_of_one_payment_in_one_batch_the_second_comes_too_late() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    // Without events, whose key would refuse the second as well.
    let written = world.count(
        "SELECT count(*) AS n FROM payments p, jsonb_build_object('payment', p.payment_id, 'revision', p.revision, 'doc',
             to_jsonb(p) || '{\"unresolved\": false, \"captured\": 1}', 'types', '{}'::text[], 'topics', '{}'::text[],
             'payloads', '{}'::text[], 'meta', '{}'::jsonb) AS item,
           jsonb_array_elements(payments_settle(p.tenant_id, jsonb_build_array(item, item))) AS answer WHERE answer <> 'null'",
    );
    assert_eq!(written.await?, 1);
    assert_eq!(world.count("SELECT count(*) AS n FROM payment_log WHERE action = 'CAPTURED'").await?, 1);
    Ok(())
}

#[tokio::test]
async fn pay_02_a_capture_and_a_renewal_in_the_same_moment_never_share_a_hold() -> Result<()> {
    let world = World::start().await?;
    for round in 0..ROUNDS {
        let (order, shipment) = (OrderId::new(), ShipmentId::new());
        let held = world.authorize(order, "pm_sim_visa").await?;
        world.tamper("UPDATE payments SET hold = 1, revision = revision + 1 WHERE state = 'AUTHORIZED'").await?;
        world.faults(json!([{"op": "payment_intents.capture", "kind": "delay", "delay_ms": 5 * (round % 5)}])).await?;
        let (taken, renewed) =
            tokio::join!(world.capture(order, shipment, ASKED, true), world.reauthorize(&held.id, 2, ""));
        world.faults(json!([])).await?;
        if let Err(fault) = taken {
            assert_ne!(fault.reason(), "CAPTURE_REFUSED", "round {round}: the hold was let go under it");
        }
        drop(renewed);
        // Once both have spoken, the parcel's money is taken from the hold that there is.
        let now = world.capture(order, shipment, ASKED, true).await?;
        assert_eq!((now.state(), amounts(&now)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)), "round {round}");
        let (authorized, voided) = (world.ledger("authorize", order).await?, world.ledger("void", order).await?);
        assert_eq!((authorized.len(), now.attempt), (voided.len() + 1, i32::try_from(authorized.len())?));
        assert_eq!(world.ledger("capture", order).await?, [ASKED], "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn pay_04_a_capture_and_a_void_or_a_refund_and_a_dispute_at_once_keep_their_limits() -> Result<()> {
    let world = World::start().await?;
    for round in 0..ROUNDS {
        let order = OrderId::new();
        world.authorize(order, "pm_sim_visa").await?;
        let (taken, voided) = tokio::join!(world.capture(order, ShipmentId::new(), 6_000, false), world.void(order));
        drop((taken, voided));
        let now = world.void(order).await?;
        let (authorized, captured, let_go, back) = amounts(&now);
        assert_eq!((captured + let_go, back), (authorized, captured), "round {round}");
        let sum = |lines: Vec<i64>| lines.into_iter().sum::<i64>();
        let ledger = async |op: &str| anyhow::Ok(sum(world.ledger(op, order).await?));
        assert_eq!(
            (ledger("capture").await?, ledger("refund").await?, ledger("void").await?),
            (captured, back, let_go)
        );

        let paid = self::captured(&world, OrderId::new()).await?;
        let (event, key) = (format!("evt_{round}"), format!("k{round}"));
        let dispute = World::dispute(&event, &format!("dp_{round}"), &paid.provider_reference, 7_000, "needs_response");
        let (refunded, pushed) = tokio::join!(world.refund(&paid.id, 6_000, &key), world.push_signed(&dispute));
        pushed?;
        let now = world.get(&paid.id).await?;
        let (refunds, disputed) = match refunded {
            Ok(_) => (6_000, 4_000),
            Err(fault) if fault.reason() == "REFUND_EXCEEDS_CAPTURE" => (0, 7_000),
            Err(fault) => return Err(fault.into()),
        };
        assert_eq!((amounts(&now).3, minor(&now.disputed)), (refunds, disputed), "round {round}");
    }
    Ok(())
}
