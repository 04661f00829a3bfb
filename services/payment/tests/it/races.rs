//! What happens in the same moment, many times over.

use std::sync::Arc;

use anyhow::Result;
use contract::payment::v1::{Payment, PaymentState};
use ctx::Role;
use fault::Fault;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use ids::{OrderId, ShipmentId};
use serde_json::json;
use testkit::eventually;
use tokio::sync::Barrier;

use crate::world::{ASKED, SOON, World, amounts, minor};

const ROUNDS: usize = 25;
/// Rounds of the race that shops elsewhere lost once in twenty (medusa#13301).
const MANY: usize = 240;
/// Rounds that run at the same time.
const AT_ONCE: usize = 16;
const HELD: &str = "payment_intent.amount_capturable_updated";
const TAKEN: &str = "payment_intent.succeeded";

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

/// Runs many rounds of a race, several at a time, each over a payment of its own.
async fn race<F: Future<Output = Result<()>>>(round: impl Fn(usize) -> F) -> Result<()> {
    stream::iter(0..MANY).map(round).buffer_unordered(AT_ONCE).try_collect().await
}

/// Begins at the same moment as the others at the barrier.
fn at_once<T: Send + 'static>(
    start: &Arc<Barrier>,
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = Result<T>> {
    let start = Arc::clone(start);
    let running = tokio::spawn(async move {
        start.wait().await;
        work.await
    });
    async move { Ok(running.await?) }
}

/// How many payments were told to be held or taken another number of times than once.
async fn told_otherwise_than_once(world: &World, event: &str) -> Result<i64> {
    let per_payment = format!(
        "SELECT count(*) AS n FROM (SELECT count(e.type) AS times FROM payments p LEFT JOIN events e \
         ON e.stream_id = p.payment_id AND e.type = 'ordermesh.payment.v1.{event}' \
         WHERE '{event}' = 'PaymentAuthorized' OR p.immediate GROUP BY p.payment_id) AS told WHERE times <> 1"
    );
    world.count(&per_payment).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pay_10_the_customers_return_and_the_webhook_in_the_same_moment_are_one_authorization() -> Result<()> {
    let world = World::start().await?;
    race(|round| {
        let world = world.clone();
        async move {
            // Every other one takes the money at once.
            let (order, immediate) = (OrderId::new(), round % 2 == 1);
            let challenged = world.authorize_round(order, 1, "pm_sim_3ds_required", immediate).await?;
            world.challenge(&challenged.provider_reference, "succeed").await?;
            let (kind, state) = match immediate {
                true => (TAKEN, PaymentState::Captured),
                false => (HELD, PaymentState::Authorized),
            };
            let (start, id) = (Arc::new(Barrier::new(3)), challenged.id);
            let event = (format!("evt_{round}"), id.clone());
            let [one, two, three] = [(); 3].map(|()| world.clone());
            let (back, pushed, inquired) = tokio::try_join!(
                at_once(&start, async move { one.complete_action(&id, Role::Csr).await }),
                // The provider reads its books when it is asked, and before it notifies.
                at_once(&start, async move {
                    let event = two.event(&event.0, kind, &event.1).await.map_err(Fault::internal)?;
                    two.push_signed(&event).await
                }),
                at_once(&start, async move { three.inquire(order).await })
            )?;
            pushed?;
            assert_eq!((back?.state(), inquired?.state()), (state, state), "round {round}");
            Ok(())
        }
    })
    .await?;
    let (held, taken) = (i64::try_from(MANY)?, i64::try_from(MANY / 2)?);
    assert_eq!((world.events("PaymentAuthorized").await?, world.events("PaymentCaptured").await?), (held, taken));
    for event in ["PaymentAuthorized", "PaymentCaptured"] {
        assert_eq!(told_otherwise_than_once(&world, event).await?, 0, "{event}");
    }
    let first =
        "SELECT count(*) AS n FROM payment_log WHERE action IN ('AUTHORIZED', 'CAPTURED') AND actor_kind = 'provider'";
    let webhooks_first = world.count(first).await?;
    assert!((1..held).contains(&webhooks_first), "it is a race: the webhook won {webhooks_first} of {held}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pay_10_a_webhook_before_our_own_commit_and_our_late_answer_agree() -> Result<()> {
    let world = World::start().await?;
    let orders: Vec<OrderId> = (0..MANY).map(|_| OrderId::new()).collect();
    let late = |(round, order): (usize, &OrderId)| json!({"op": "payment_intents.create", "match": order, "kind": "timeout_after", "delay_ms": 20 + 10 * (round % 5)});
    world.faults(orders.iter().enumerate().map(late).collect()).await?;
    race(|round| {
        let (world, order) = (world.clone(), orders[round]);
        async move {
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
            Ok(())
        }
    })
    .await?;
    assert_eq!(world.events("PaymentAuthorized").await?, i64::try_from(MANY)?);
    assert_eq!(told_otherwise_than_once(&world, "PaymentAuthorized").await?, 0);
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
