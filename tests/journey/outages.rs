//! The outside world is away for a while.

use anyhow::{Context as _, Result};
use serde_json::json;
use testkit::{Rest, eventually, order};

use super::world::{Faulty, PATIENCE, script, state_of, text};

async fn asked(simulator: &Rest, op: &str, times: u64) -> Result<()> {
    let asked = eventually(PATIENCE, || async {
        let calls = simulator.get("/_sim/calls").await?;
        Ok(calls[op].as_u64().filter(|calls| *calls >= times))
    });
    asked.await.with_context(|| format!("{op} is tried {times} times"))?;
    Ok(())
}

async fn calls(simulator: &Rest, op: &str) -> Result<u64> {
    Ok(simulator.get("/_sim/calls").await?[op].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn orders_are_taken_while_the_payment_provider_is_away_and_go_on_when_it_is_back() -> Result<()> {
    let faulty = Faulty::open("no-provider").await?;
    let world = &faulty.world;
    let payments = world.system.payments();
    let before = calls(&payments, "payment_intents.create").await?;
    script(&payments, &json!([{"op": "*", "kind": "reset", "times": 100_000}])).await?;
    let placed = world.place(&order(&[("TEE-M", 1)])).await?;
    asked(&payments, "payment_intents.create", before + 2).await?;
    let now = world.order(text(&placed, "id")).await?;
    assert_eq!(state_of(&now), "PAYMENT_PROCESSING");
    faulty.mend().await?;
    world.until(text(&placed, "id"), "DELIVERED").await?;
    world.books_agree().await
}

#[tokio::test]
async fn a_warehouse_system_that_was_away_gets_every_order_once() -> Result<()> {
    let faulty = Faulty::open("no-warehouse").await?;
    let world = &faulty.world;
    let wms = world.system.wms();
    let before = calls(&wms, "CreateOrder").await?;
    // It takes the order in and its answer is lost; then it is away altogether.
    let faults = json!([
        {"op": "CreateOrder", "kind": "reset_after", "times": 1},
        {"op": "*", "kind": "reset", "times": 100_000},
    ]);
    script(&wms, &faults).await?;
    let placed = world.place(&order(&[("TEE-M", 1)])).await?;
    asked(&wms, "CreateOrder", before + 3).await?;
    let now = world.order(text(&placed, "id")).await?;
    assert_eq!(state_of(&now), "PAYMENT_COMPLETED");
    faulty.mend().await?;
    world.until(text(&placed, "id"), "DELIVERED").await?;
    world.books_agree().await
}
