//! Steps of many sagas are written by one statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use diesel::sql_types::{BigInt, Jsonb, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use pg::Conn;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

diesel::define_sql_function! { fn saga_advance(tenant: SqlUuid, items: Jsonb) -> Jsonb; }

#[derive(diesel::QueryableByName)]
struct Told {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// An order at version 1, as its placement leaves it.
async fn placed(world: &World) -> Result<Uuid> {
    let order = Uuid::now_v7();
    let mut admin = world.db.admin().await?;
    let tenant = world.tenant.uuid();
    admin
        .batch_execute(&format!(
            "SET search_path = om_order;
             INSERT INTO orders (tenant_id, order_id, order_number, version, customer_id, state, base_state, status_retail,
                 status_lifecycle, currency, total_minor, skus, doc)
               VALUES ('{tenant}', '{order}', 1, 1, '{order}', 2, 2, '', '', 'USD', 1, '{{}}', '');
             INSERT INTO events (tenant_id, stream_id, version, event_id, type, topic, payload, meta)
               VALUES ('{tenant}', '{order}', 1, '{order}', 'placed', 'test.v1', '', '{{}}')"
        ))
        .await?;
    Ok(order)
}

/// The next step of a saga, with an event of the order if there is one.
fn step(saga: Uuid, order: Option<Uuid>) -> Value {
    json!({
        "saga": saga, "seq": 0, "step": 1, "phase": "do", "status": "running", "attempts": 0, "delay_ms": 0, "state": {},
        "signals": 0, "meta": {}, "stream": order, "expected": order.map(|_| 1),
        "types": order.iter().map(|_| "moved").collect::<Vec<_>>(), "topics": order.iter().map(|_| "test.v1").collect::<Vec<_>>(),
        "payloads": order.iter().map(|_| "AA==").collect::<Vec<_>>(),
        "doc": order.map(|_| json!({"state": 3, "doc": "AA==", "rev": 1,
            "facts": {"retail": "", "lifecycle": "", "currency": "USD", "total": 1, "skus": []}})),
        "log_step": "first", "log_phase": "do", "log_outcome": "done", "log_detail": "",
    })
}

async fn advance(world: &World, items: Value) -> Result<Value, pg::Error> {
    counted(world, items, Arc::default()).await
}

/// The same, counting how often the transaction was begun.
async fn counted(world: &World, items: Value, begun: Arc<AtomicUsize>) -> Result<Value, pg::Error> {
    let tenant = world.tenant;
    world
        .pg
        .tx("test.advance", tenant, move |conn: &mut Conn| {
            begun.fetch_add(1, Ordering::Relaxed);
            let items = items.clone();
            Box::pin(async move { Ok(diesel::select(saga_advance(tenant.uuid(), items)).get_result(conn).await?) })
        })
        .await
}

async fn count(world: &World, from: &str) -> Result<i64> {
    let mut admin = world.db.admin().await?;
    let told: Told =
        diesel::sql_query(format!("SELECT count(*) AS n FROM om_order.{from}")).get_result(&mut admin).await?;
    Ok(told.n)
}

#[tokio::test]
async fn sag_07_of_two_sagas_at_one_order_in_a_batch_one_moves_and_the_other_looks_again() -> Result<()> {
    let world = World::start().await?;
    let (order, sagas) = (placed(&world).await?, world.begin(3).await?);
    let items = json!([
        step(sagas[0], Some(order)),
        step(sagas[1], Some(order)),
        step(sagas[2], None),
        step(Uuid::now_v7(), None)
    ]);
    assert_eq!(advance(&world, items).await?, json!(["ok", "conflict", "ok", "lost"]));
    let mut at = Vec::new();
    for saga in sagas {
        at.push(world.view(saga).await?.step);
    }
    assert_eq!(at, [1, 0, 1], "who conflicts has not moved");
    assert_eq!(count(&world, "events WHERE version = 2").await?, 1);
    assert_eq!(count(&world, "orders WHERE version = 2 AND state = 3").await?, 1);
    assert_eq!(count(&world, "saga_log").await?, 2);
    Ok(())
}

#[tokio::test]
async fn sag_02_a_step_whose_events_would_leave_a_gap_writes_nothing_of_its_batch() -> Result<()> {
    let world = World::start().await?;
    let (order, sagas) = (placed(&world).await?, world.begin(2).await?);
    let mut admin = world.db.admin().await?;
    admin.batch_execute("DELETE FROM om_order.events").await?;
    let refused = advance(&world, json!([step(sagas[0], Some(order)), step(sagas[1], None)])).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("disagree")));
    assert_eq!((count(&world, "events").await?, count(&world, "saga_log").await?), (0, 0));
    assert_eq!(count(&world, "sagas WHERE seq = 0").await?, 2);
    assert_eq!(count(&world, "orders WHERE version = 1").await?, 1);
    Ok(())
}

#[tokio::test]
async fn sag_07_many_sagas_hear_of_what_they_wait_for_and_nobody_else_does() -> Result<()> {
    let world = World::start().await?;
    let sagas = world.begin(4).await?;
    let mut admin = world.db.admin().await?;
    let wait =
        "UPDATE om_order.sagas SET status = 'waiting', step = 1, wake_at = now() + interval '1 h' WHERE saga_id =";
    admin.batch_execute(&format!("{wait} '{}'", sagas[0])).await?;
    admin.batch_execute(&format!("UPDATE om_order.sagas SET step = 2 WHERE saga_id = '{}'", sagas[2])).await?;
    admin
        .batch_execute(&format!("UPDATE om_order.sagas SET status = 'completed' WHERE saga_id = '{}'", sagas[3]))
        .await?;
    let (tenant, mut all) = (world.tenant, sagas.clone());
    all.extend([sagas[0], Uuid::now_v7()]);
    let heard = world.pg.tx("test.wake", tenant, move |conn: &mut Conn| {
        let all = all.clone();
        Box::pin(async move { saga::wake_all(conn, tenant, all, 1).await })
    });
    assert_eq!(heard.await?, 2, "the one that waits and the one on its way there; twice named is once");
    let heard = "sagas WHERE signals = 1 AND saga_id =";
    assert_eq!(count(&world, &format!("{heard} '{}' AND wake_at <= now()", sagas[0])).await?, 1);
    assert_eq!(count(&world, &format!("{heard} '{}'", sagas[1])).await?, 1);
    assert_eq!(count(&world, "sagas WHERE signals = 0").await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sag_07_steps_and_signals_of_the_same_sagas_never_wait_for_each_other_in_a_circle() -> Result<()> {
    const TURNS: usize = 60;
    let world = World::start().await?;
    let sagas = world.begin(100).await?;
    let tenant = world.tenant;
    // PostgreSQL cuts a circle and we begin again.
    let begun = Arc::new(AtomicUsize::new(0));
    let steps = async {
        for seq in 0..TURNS {
            let mut items: Vec<Value> = sagas.iter().map(|saga| step(*saga, None)).collect();
            for item in &mut items {
                item["seq"] = seq.into();
                // Nothing stops it: it goes on at the same step.
                item["step"] = 0.into();
            }
            items.rotate_left(seq);
            counted(&world, items.into(), Arc::clone(&begun)).await?;
        }
        anyhow::Ok(())
    };
    let signals = async {
        for turn in 0..TURNS {
            let begun = Arc::clone(&begun);
            let mut all = sagas.clone();
            all.rotate_right(turn);
            all.reverse();
            let woken = world.pg.tx("test.wake", tenant, move |conn: &mut Conn| {
                begun.fetch_add(1, Ordering::Relaxed);
                let all = all.clone();
                Box::pin(async move { saga::wake_all(conn, tenant, all, 2).await })
            });
            anyhow::ensure!(woken.await? == 100);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(steps, signals)?;
    let moved = format!("sagas WHERE seq = {TURNS} AND signals = {TURNS}");
    assert_eq!(count(&world, &moved).await?, 100, "nothing was lost");
    assert_eq!(AtomicUsize::load(&begun, Ordering::Relaxed), 2 * TURNS, "nothing was begun twice");
    Ok(())
}
