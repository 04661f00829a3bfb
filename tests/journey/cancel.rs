//! Orders that are no longer wanted, in time and too late.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::world::{Faulty, PATIENCE, World, order_by, script, speed, state_of, text};

async fn cancel(world: &World, id: &str) -> Result<(StatusCode, Value)> {
    let path = format!("/api/v1/orders/{id}?reason=changed+my+mind");
    let answer = world.customer.request(Method::DELETE, &path).send().await?;
    Ok((answer.status(), answer.json().await?))
}

#[tokio::test]
async fn ord_04_inv_03_an_order_that_no_warehouse_has_accepted_is_cancelled_and_undone() -> Result<()> {
    let faulty = Faulty::open("cancel").await?;
    let world = &faulty.world;
    script(&world.system.wms(), &json!([{"op": "CreateOrder", "kind": "error500", "times": 1000}])).await?;
    let paid = world.place_until(&order(&[("CHAIR-OAK", 2)]), "PAYMENT_COMPLETED").await?;
    let id = text(&paid, "id");
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 2));
    let asked = eventually(PATIENCE, || async {
        let calls = world.system.wms().get("/_sim/calls").await?;
        Ok(calls["CreateOrder"].as_u64().filter(|calls| *calls >= 2))
    });
    asked.await.context("the warehouse is asked again and again")?;

    let (status, answer) = cancel(world, id).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(state_of(&answer), "CANCELLATION_PENDING");
    let cancelled = world.until(id, "CANCELLED").await?;
    assert_eq!(text(&cancelled, "stateReason"), "changed my mind");
    let (again, _) = cancel(world, id).await?;
    assert!(again == StatusCode::OK || again == StatusCode::CONFLICT, "{again}");
    faulty.mend().await?;
    world.books_agree().await?;
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 0));
    let moves = world.money_moves(id).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "void"]);
    Ok(())
}

#[tokio::test]
async fn ord_04_an_order_that_waits_for_its_customer_can_be_cancelled() -> Result<()> {
    let world = World::open("cancel-3ds").await?;
    let waiting = order_by("pm_sim_3ds_required", &[("LAMP-DESK", 1)]);
    let waiting = world.place_until(&waiting, "PAYMENT_ACTION_REQUIRED").await?;
    let (status, answer) = cancel(&world, text(&waiting, "id")).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    world.until(text(&waiting, "id"), "CANCELLED").await?;
    world.books_agree().await?;
    assert_eq!(world.stock("LAMP-DESK", "OAK").await?, (40, 0));
    Ok(())
}

#[tokio::test]
async fn ord_17_cancel_after_fulfilment_started_is_refused_and_nothing_is_given_back() -> Result<()> {
    let faulty = Faulty::open("too-late-to-cancel").await?;
    let world = &faulty.world;
    // No label: the parcel stays packed in the warehouse.
    script(&world.system.carrier(), &json!([{"op": "shipments.create", "kind": "error500", "times": 1000}])).await?;
    let begun = world.place_until(&order(&[("CHAIR-OAK", 1)]), "FULFILLMENT_IN_PROGRESS").await?;
    let id = text(&begun, "id");
    refused(world, id, "FULFILLMENT_IN_PROGRESS").await?;
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 1), "still set aside");
    let moves = world.money_moves(id).await?;
    assert!(moves.iter().all(|line| line["op"] == "authorize"), "{moves:?}");

    faulty.mend().await?;
    world.until(id, "DELIVERED").await?;
    refused(world, id, "DELIVERED").await?;
    let moves = world.money_moves(id).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "capture"]);
    world.books_agree().await
}

#[tokio::test]
async fn ord_04_an_order_that_the_warehouse_has_accepted_but_not_begun_is_called_off_by_a_saga() -> Result<()> {
    let faulty = Faulty::open("called-off").await?;
    let world = &faulty.world;
    let wms = world.system.wms();
    // Its time stands nearly still: it has accepted, and begins in hours.
    speed(&wms, 0.001).await?;
    let outcome = async {
        let accepted = world.place_until(&order(&[("CHAIR-OAK", 1)]), "FULFILLMENT_PENDING").await?;
        let id = text(&accepted, "id").to_owned();
        // It does not answer at first: the lock stays, and nothing is given back before it has said yes.
        script(&wms, &json!([{"op": "CancelOrder", "kind": "error500", "times": 2}])).await?;
        let (status, answer) = cancel(world, &id).await?;
        assert_eq!((status, state_of(&answer)), (StatusCode::OK, "CANCELLATION_PENDING".to_owned()), "{answer}");
        let (status, again) = cancel(world, &id).await?;
        assert_eq!(status, StatusCode::OK, "{again}");
        let cancelled = world.until(&id, "CANCELLED").await?;
        assert_eq!(text(&cancelled, "stateReason"), "changed my mind");
        anyhow::Ok(id)
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    let id = outcome?;
    world.books_agree().await?;
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 0));
    let moves = world.money_moves(&id).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "void"]);
    let sagas = world.csr.get("/api/v1/sagas?kinds=cancel").await?;
    let sagas: Vec<Value> = sagas["sagas"].as_array().cloned().unwrap_or_default();
    assert_eq!(sagas.len(), 1, "one, however often it was asked for");
    assert_eq!((text(&sagas[0], "state"), text(&sagas[0], "orderId")), ("SAGA_STATE_COMPLETED", id.as_str()));
    let saga = world.csr.get(&format!("/api/v1/sagas/{}", text(&sagas[0], "id"))).await?;
    let log = saga["log"].as_array().cloned().unwrap_or_default();
    let done: Vec<&str> =
        log.iter().filter(|entry| entry["outcome"] == "DONE").map(|entry| text(entry, "step")).collect();
    assert_eq!(done, ["call_off_warehouses", "give_back_money", "release_stock", "close_order"]);
    Ok(())
}

#[tokio::test]
async fn ord_17_a_cancellation_that_the_warehouse_refuses_is_taken_back_and_the_order_arrives() -> Result<()> {
    let faulty = Faulty::open("refused-by-the-warehouse").await?;
    let world = &faulty.world;
    let wms = world.system.wms();
    let before = wms.get("/_sim/calls").await?["CreateOrder"].as_u64().unwrap_or(0);
    // It works on what we believe it never got.
    script(&wms, &json!([{"op": "CreateOrder", "kind": "reset_after", "times": 1000}])).await?;
    let paid = world.place_until(&order(&[("CHAIR-OAK", 1)]), "PAYMENT_COMPLETED").await?;
    let id = text(&paid, "id");
    let asked = eventually(PATIENCE, || async {
        let calls = wms.get("/_sim/calls").await?;
        Ok(calls["CreateOrder"].as_u64().filter(|calls| *calls >= before + 3))
    });
    asked.await.context("the warehouse is asked again and again")?;
    let (status, answer) = cancel(world, id).await?;
    assert_eq!((status, state_of(&answer)), (StatusCode::OK, "CANCELLATION_PENDING".to_owned()));
    faulty.mend().await?;
    let arrived = world.until(id, "DELIVERED").await?;
    assert_eq!(text(&arrived, "stateReason"), "ORDER_IN_PICKING");
    let moves = world.money_moves(id).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "capture"]);
    world.books_agree().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ord_04_a_cancellation_at_any_moment_is_carried_out_or_refused_and_nothing_between() -> Result<()> {
    let world = World::open("any-moment").await?;
    let each = (0_u64..40).map(|moment| {
        let world = world.clone();
        async move {
            let placed = world.place(&order(&[("PEN-GEL", 3)])).await?;
            let id = text(&placed, "id");
            tokio::time::timeout(Duration::from_millis(moment * 5), std::future::pending::<()>()).await.ok();
            let (status, answer) = cancel(&world, id).await?;
            let ended = eventually(PATIENCE, || async {
                let order = world.order(id).await?;
                let end = ["CANCELLED", "DELIVERED", "FAILED", "PAYMENT_FAILED"].contains(&state_of(&order).as_str());
                Ok(end.then_some(order))
            });
            let ended = ended.await.with_context(|| format!("{id}, answered {status}"))?;
            let late = text(&ended, "stateReason") == "ORDER_IN_PICKING";
            match (status, state_of(&ended).as_str()) {
                (StatusCode::OK, "CANCELLED") => Ok(true),
                (StatusCode::OK, "DELIVERED") if late => Ok(false),
                (StatusCode::CONFLICT, "DELIVERED") => Ok(false),
                (_, state) => bail!("answered {status} {answer}, ended {state}: {:#?}", world.history(id).await?),
            }
        }
    });
    let answers = try_join_all(each).await?;
    let cancelled = answers.iter().filter(|cancelled| **cancelled).count();
    assert!(cancelled > 0, "none was in time");
    world.books_agree().await?;
    let left = i64::try_from(3 * (answers.len() - cancelled))?;
    assert_eq!(world.stock("PEN-GEL", "OAK").await?, (900 - left, 0));
    Ok(())
}

async fn refused(world: &World, id: &str, state: &str) -> Result<()> {
    let before = world.order(id).await?;
    let (status, problem) = cancel(world, id).await?;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem.to_string().contains("ORDER_STATE_FORBIDS"), "{problem}");
    let after = world.order(id).await?;
    assert_eq!(state_of(&after), state);
    assert_eq!(after["etag"], before["etag"], "a refusal changes nothing");
    Ok(())
}
