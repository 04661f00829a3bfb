//! An order as it is watched live.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::Value;
use testkit::{Rest, order};

use super::world::{Faulty, PATIENCE, World, number, speed, state_of, text};

async fn watched(world: &World, id: &str, resume: Option<&str>) -> Result<Vec<Value>> {
    followed(&world.customer, &format!("/api/v1/orders/{id}:watch"), resume).await
}

/// What a stream of server-sent events said, up to its end.
pub(super) async fn followed(who: &Rest, path: &str, resume: Option<&str>) -> Result<Vec<Value>> {
    let mut request = who.request(Method::GET, path).header("accept", "text/event-stream");
    request = request.timeout(PATIENCE);
    if let Some(seen) = resume {
        request = request.header("last-event-id", seen);
    }
    let mut answer = request.send().await?;
    assert!(answer.headers()["content-type"].to_str()?.starts_with("text/event-stream"));
    let started = Instant::now();
    let mut text = String::new();
    while !text.contains("event: end") {
        if started.elapsed() > PATIENCE {
            bail!("the stream has no end: {text}");
        }
        let chunk = answer.chunk().await?.context("the stream broke off")?;
        text.push_str(std::str::from_utf8(&chunk)?);
    }
    let events = text.split("\n\n").filter(|event| event.contains("event: message"));
    events
        .map(|event| {
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).context("no data")?;
            Ok(serde_json::from_str(data)?)
        })
        .collect()
}

#[tokio::test]
async fn evt_09_who_watches_an_order_sees_every_state_from_the_warehouse_to_the_door() -> Result<()> {
    let faulty = Faulty::open("watch").await?;
    let outside = [faulty.world.system.wms(), faulty.world.system.carrier()];
    // Two states within one look would be shown as one: they last for seconds, however busy the machine is.
    for simulator in &outside {
        speed(simulator, 1.0).await?;
    }
    let placed = faulty.world.place(&order(&[("TEE-M", 1)])).await?;
    let seen = watched(&faulty.world, text(&placed, "id"), None).await;
    for simulator in &outside {
        speed(simulator, 10.0).await?;
    }
    let seen = seen?;
    let mut states: Vec<String> = seen.iter().map(state_of).collect();
    states.dedup();
    let slow = ["FULFILLMENT_PENDING", "FULFILLMENT_IN_PROGRESS", "SHIPPED", "DELIVERED"];
    assert!(states.ends_with(&slow.map(str::to_owned)), "{states:?}");
    let versions: Vec<i64> = seen.iter().map(|order| number(&order["etag"])).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    // Who comes back with the last version is told the end and nothing twice.
    let last = text(seen.last().context("something was seen")?, "etag");
    assert!(watched(&faulty.world, text(&placed, "id"), Some(last)).await?.is_empty());
    Ok(())
}
