//! Sagas as operators see and steer them, and what goes on without them.

use anyhow::{Context as _, Result};
use diesel_async::SimpleAsyncConnection as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::watch::followed;
use super::world::{Faulty, PATIENCE, World, list, order_by, script, state_of, text};

pub(super) async fn operate(world: &World, id: &str, verb: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let path = format!("/api/v1/admin/sagas/{id}:{verb}");
    let answer = world.admin.request(Method::POST, &path).json(body).send().await?;
    Ok((answer.status(), answer.json().await?))
}

pub(super) async fn listed(world: &World, filter: &str) -> Result<Vec<Value>> {
    Ok(list(&world.csr.get(&format!("/api/v1/sagas?{filter}")).await?, "sagas"))
}

/// How many events of a kind the order service published about this shop.
pub(super) async fn published(world: &World, name: &str) -> Result<usize> {
    let sql = "SELECT to_jsonb(type) AS row FROM om_order.events WHERE tenant_id = $1";
    let all = world.rows(sql).await?;
    Ok(all.iter().filter(|row| row.as_str().is_some_and(|full| full.ends_with(&format!(".{name}")))).count())
}

#[tokio::test]
async fn sag_06_operators_find_a_waiting_saga_watch_it_live_and_turn_it_back_with_name_and_reason() -> Result<()> {
    let world = World::open("operators").await?;
    let body = order_by("pm_sim_3ds_required", &[("TEE-S", 1)]);
    let waiting = world.place_until(&body, "PAYMENT_ACTION_REQUIRED").await?;
    let id = text(&waiting, "id");
    let found = listed(&world, "states=SAGA_STATE_WAITING&kinds=place&step=authorize_payment").await?;
    assert_eq!(found.iter().map(|saga| text(saga, "id")).collect::<Vec<_>>(), [id]);
    assert!(listed(&world, "states=SAGA_STATE_NEEDS_ATTENTION").await?.is_empty());

    let (watcher, watched_id) = (world.csr.clone(), id.to_owned());
    let watching =
        tokio::spawn(async move { followed(&watcher, &format!("/api/v1/sagas/{watched_id}:watch"), None).await });
    let (status, problem) = operate(&world, id, "compensate", &json!({"reason": ""})).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    let (status, problem) = operate(&world, id, "resolve", &json!({"reason": "no"})).await?;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert_eq!(published(&world, "SagaDecided").await?, 0, "what was refused is no decision");
    let reason = json!({"reason": "the customer called"});
    let (status, turned) = operate(&world, id, "compensate", &reason).await?;
    assert_eq!(status, StatusCode::OK, "{turned}");
    let ended = world.until(id, "FAILED").await?;
    assert_eq!(text(&ended, "stateReason"), "COMPENSATED_BY_OPERATOR");

    let seen = watching.await??;
    let last = seen.last().context("something was seen")?;
    assert_eq!((text(&seen[0], "state"), text(last, "state")), ("SAGA_STATE_WAITING", "SAGA_STATE_COMPENSATED"));
    let log = list(last, "log");
    let said = log.iter().find(|entry| entry["outcome"] == "FORCED_BACK").context("the decision is in the log")?;
    assert_eq!(text(said, "detail"), "the customer called");
    assert!(text(&said["actor"], "id").starts_with("usr_"), "{said}");
    let (status, _) = operate(&world, id, "compensate", &reason).await?;
    assert_eq!((status, published(&world, "SagaDecided").await?), (StatusCode::OK, 1), "once, however often said");
    world.books_agree().await?;
    assert_eq!(world.stock("TEE-S", "OAK").await?.1, 0);
    Ok(())
}

#[tokio::test]
async fn sag_03_an_order_its_payment_and_each_parcel_are_driven_under_ids_of_their_own() -> Result<()> {
    let world = World::open("three-sagas").await?;
    let arrived = world.place_until(&order(&[("TEE-S", 1)]), "DELIVERED").await?;
    let id = text(&arrived, "id");
    let saga = world.csr.get(&format!("/api/v1/sagas/{id}")).await?;
    assert_eq!((text(&saga, "kind"), text(&saga, "orderId")), ("place", id));
    let parts = list(&saga, "parts");
    let kinds: Vec<&str> = parts.iter().map(|part| text(part, "kind")).collect();
    assert_eq!(kinds, ["payment", "ship"]);
    let payment = world.csr.get(&format!("/api/v1/payments/{}", text(&parts[0], "id"))).await?;
    let parcel = world.csr.get(&format!("/api/v1/shipments/{}", text(&parts[1], "id"))).await?;
    assert_eq!((text(&payment, "orderId"), text(&parcel, "orderId")), (id, id));
    let ship = "SELECT jsonb_build_object('id', replace(saga_id::text, '-', ''), 'kind', kind, 'status', status) AS row \
                FROM om_shipping.sagas WHERE tenant_id = $1";
    let ship = world.rows(ship).await?;
    assert_eq!(ship.len(), 1);
    assert_eq!(text(&parts[1], "id").trim_start_matches("shp_"), text(&ship[0], "id"));
    assert_eq!((text(&ship[0], "kind"), text(&ship[0], "status")), ("ship", "completed"));
    Ok(())
}

/// Nobody drives sagas of orders while this is so.
pub(super) const STOP: &str =
    "UPDATE om_order.shard_leases SET owner = gen_random_uuid(), lease_until = 'infinity', yields = false";
pub(super) const GO: &str = "UPDATE om_order.shard_leases SET lease_until = '-infinity'";

#[tokio::test]
async fn sag_04_what_follows_the_warehouses_word_needs_no_orchestrator() -> Result<()> {
    let faulty = Faulty::open("choreography").await?;
    let world = &faulty.world;
    // Nothing is packed before the orchestrator stands still.
    script(&world.system.carrier(), &json!([{"op": "shipments.create", "kind": "error500", "times": 100_000}])).await?;
    let taken = world.place_until(&order(&[("TEE-M", 1)]), "FULFILLMENT_IN_PROGRESS").await?;
    let mut admin = world.system.db.admin().await?;
    admin.batch_execute(STOP).await?;
    let outcome = async {
        let stuck = world.place(&order(&[("TEE-M", 1)])).await?;
        faulty.mend().await?;
        world.until(text(&taken, "id"), "DELIVERED").await?;
        assert_eq!(state_of(&world.order(text(&stuck, "id")).await?), "PENDING", "nobody drives it");
        anyhow::Ok(stuck)
    };
    let outcome = outcome.await;
    admin.batch_execute(GO).await?;
    let stuck = outcome?;
    let moves = world.money_moves(text(&taken, "id")).await?;
    assert_eq!(moves.iter().map(|line| text(line, "op")).collect::<Vec<_>>(), ["authorize", "capture"]);
    world.until(text(&stuck, "id"), "DELIVERED").await?;
    world.books_agree().await
}

#[tokio::test]
async fn pay_02_a_hold_that_ends_before_the_goods_leave_is_renewed_or_shown_to_a_person() -> Result<()> {
    let faulty = Faulty::open("holds").await?;
    let strict = faulty.another("holds-strict").await?;
    strict.policy(|policy| policy["holdExpiry"] = json!("HOLD_EXPIRY_ATTENTION")).await?;
    let world = &faulty.world;
    script(&world.system.carrier(), &json!([{"op": "shipments.create", "kind": "error500", "times": 100_000}])).await?;
    let renewed = world.place_until(&order(&[("TEE-M", 1)]), "FULFILLMENT_IN_PROGRESS").await?;
    let shown = strict.place_until(&order(&[("TEE-M", 1)]), "FULFILLMENT_IN_PROGRESS").await?;
    let ids = [&renewed, &shown].map(|order| format!("'{}'::uuid", text(order, "id").trim_start_matches("ord_")));
    let age = format!(
        "UPDATE om_payment.payments SET authorized_at = now() - interval '6 days 1 s', hold_at = now() \
         WHERE order_id IN ({})",
        ids.join(",")
    );
    world.system.db.admin().await?.batch_execute(&age).await?;

    let again = eventually(PATIENCE, || async {
        let sagas = listed(world, "kinds=renew_hold&states=SAGA_STATE_COMPLETED").await?;
        Ok(sagas.into_iter().next())
    });
    let saga = again.await.context("the hold is renewed")?;
    assert_eq!(text(&saga, "orderId"), text(&renewed, "id"));
    let moves = world.money_moves(text(&renewed, "id")).await?;
    assert_eq!(moves.iter().map(|line| text(line, "op")).collect::<Vec<_>>(), ["authorize", "void", "authorize"]);

    let shows = eventually(PATIENCE, || async {
        let sagas = listed(&strict, "kinds=renew_hold&states=SAGA_STATE_NEEDS_ATTENTION").await?;
        Ok(sagas.into_iter().next())
    });
    let saga = shows.await.context("a person is called")?;
    assert_eq!((text(&saga, "orderId"), text(&saga, "step")), (text(&shown, "id"), "decide"));
    let told =
        eventually(PATIENCE, || async { Ok((published(&strict, "SagaNeedsAttention").await? == 1).then_some(())) });
    told.await.context("people are told")?;
    let (status, ended) = operate(&strict, text(&saga, "id"), "resolve", &json!({"reason": "it leaves today"})).await?;
    assert_eq!((status, text(&ended, "state")), (StatusCode::OK, "SAGA_STATE_RESOLVED"));
    faulty.mend().await?;
    world.until(text(&renewed, "id"), "DELIVERED").await?;
    strict.until(text(&shown, "id"), "DELIVERED").await?;
    let moves = strict.money_moves(text(&shown, "id")).await?;
    assert_eq!(moves.iter().map(|line| text(line, "op")).collect::<Vec<_>>(), ["authorize", "capture"]);
    Ok(())
}
