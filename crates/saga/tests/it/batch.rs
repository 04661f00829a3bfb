//! Steps of many sagas are written by one statement.

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
    let tenant = world.tenant;
    world
        .pg
        .tx("test.advance", tenant, move |conn: &mut Conn| {
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
