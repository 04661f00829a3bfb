//! Every step of the sagas fails in every way the outside world knows; orders end as if nothing had been.

use anyhow::{Context as _, Result};
use futures::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{eventually, order};

use crate::journey::world::{Faulty, PATIENCE, World, script, text};

/// How every call outside fails, and how often before it works.
const KINDS: [(&str, u32); 4] = [("error500", 3), ("reset", 3), ("reset_after", 2), ("timeout_before", 1)];
const PAYMENTS: [&str; 1] = ["payment_intents.create"];
/// Their scripts cannot name a tenant, so that every order of the test meets some of these.
const PAYMENTS_OF_ALL: [&str; 3] = ["payment_intents.capture", "payment_intents.search", "payment_intents.get"];
const WMS: [&str; 3] = ["CreateOrder", "GetStatus", "ReleaseShipment"];
const CARRIER: [&str; 2] = ["shipments.create", "shipments.find"];
const CARRIER_OF_ALL: [&str; 1] = ["shipments.handover"];

fn rule(op: &str, tenant: &str, kind: &str, times: u32) -> Value {
    // Longer than we wait for the payment provider, shorter than a test may take.
    json!({"op": op, "match": tenant, "kind": kind, "times": times, "delay_ms": 5_500})
}

fn rules(ops: &[&str], of_all: &[&str], shops: &[(World, &str, u32)]) -> Value {
    let of_shop = |(world, kind, times): &(World, &str, u32)| {
        let tenant = world.shop.id.clone();
        ops.iter().map(move |op| rule(op, &tenant, kind, *times)).collect::<Vec<_>>()
    };
    let mut rules: Vec<Value> = shops.iter().flat_map(of_shop).collect();
    for (_, kind, times) in shops {
        rules.extend(of_all.iter().map(|op| rule(op, "", kind, *times)));
    }
    rules.into()
}

#[tokio::test]
async fn sag_01_every_call_outside_fails_in_every_way_and_every_order_arrives_once() -> Result<()> {
    let faulty = Faulty::open("torture").await?;
    let shops = KINDS.map(|(kind, times)| {
        let faulty = &faulty;
        async move { anyhow::Ok((faulty.another(&format!("torture-{}", kind.replace('_', "-"))).await?, kind, times)) }
    });
    let shops = try_join_all(shops).await?;
    let system = faulty.world.system;
    script(&system.payments(), &rules(&PAYMENTS, &PAYMENTS_OF_ALL, &shops)).await?;
    script(&system.wms(), &rules(&WMS, &[], &shops)).await?;
    script(&system.carrier(), &rules(&CARRIER, &CARRIER_OF_ALL, &shops)).await?;
    let ways = shops.iter().map(|(world, kind, _)| async move {
        // Two parcels, so that there are two captures.
        world.product("ODD-777", 777, &[("OAK", 1), ("NJ", 3)]).await?;
        world.place_until(&order(&[("ODD-777", 4)]), "DELIVERED").await.with_context(|| format!("with {kind}"))?;
        world.books_agree().await.with_context(|| format!("with {kind}"))
    });
    for way in join_all(ways).await {
        way?;
    }
    for (simulator, most) in [(system.payments(), PAYMENTS.len()), (system.wms(), WMS.len())] {
        let left = simulator.get("/_sim/faults").await?;
        let left: Vec<&Value> = left.as_array().map(|left| left.iter().collect()).unwrap_or_default();
        // A breaker that opened, or an inquiry that found what was done, may save a call its last failures, not its first.
        let whole =
            |rule: &Value| KINDS.iter().any(|(kind, times)| text(rule, "kind") == *kind && rule["times"] == *times);
        let ours = left.iter().filter(|rule| !text(rule, "match").is_empty() && whole(rule)).count();
        assert_eq!(ours, 0, "of {most} calls some never failed: {left:?}");
    }
    Ok(())
}

#[tokio::test]
async fn sag_01_whatever_fails_while_an_order_is_undone_everything_is_given_back() -> Result<()> {
    let faulty = Faulty::open("undo").await?;
    let system = faulty.world.system;
    let shops = KINDS.map(|(kind, times)| {
        let faulty = &faulty;
        async move { anyhow::Ok((faulty.another(&format!("undo-{}", kind.replace('_', "-"))).await?, kind, times)) }
    });
    let shops = try_join_all(shops).await?;
    let mut wms = rules(&["CancelOrder"], &[], &shops);
    let never = |(world, ..): &(World, &str, u32)| rule("CreateOrder", &world.shop.id, "reset", 100_000);
    wms.as_array_mut().context("a list")?.extend(shops.iter().map(never));
    script(&system.wms(), &wms).await?;
    let refused = ["payment_intents.cancel", "payment_intents.get", "payment_intents.search"];
    script(&system.payments(), &rules(&[], &refused, &shops)).await?;
    let ways = shops.iter().map(|(world, kind, _)| async move {
        let paid = world.place_until(&order(&[("CHAIR-OAK", 1)]), "PAYMENT_COMPLETED").await?;
        let path = format!("/api/v1/orders/{}?reason=torture", text(&paid, "id"));
        let answer = world.customer.request(Method::DELETE, &path).send().await?;
        anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
        world.until(text(&paid, "id"), "CANCELLED").await.with_context(|| format!("with {kind}"))?;
        world.books_agree().await.with_context(|| format!("with {kind}"))?;
        anyhow::ensure!(world.stock("CHAIR-OAK", "OAK").await? == (25, 0), "with {kind}");
        Ok(())
    });
    for way in join_all(ways).await {
        way?;
    }
    Ok(())
}

#[tokio::test]
async fn sag_01_an_order_whose_payment_never_comes_about_ends_and_keeps_nothing() -> Result<()> {
    let faulty = Faulty::open("never-paid").await?;
    let world = &faulty.world;
    // Held there and never told, not by an event either: the worst of all.
    let endpoint = json!([{"tenant": world.shop.id}]);
    world.system.payments().request(Method::PUT, "/_sim/webhooks").json(&endpoint).send().await?.error_for_status()?;
    let lost = rule("payment_intents.create", &world.shop.id, "reset_after", 1);
    let away = rule("payment_intents.create", &world.shop.id, "error500", 100_000);
    let silent = ["payment_intents.search", "payment_intents.get"].map(|op| rule(op, "", "reset", 100_000));
    let rules: Vec<Value> = [lost, away].into_iter().chain(silent.clone()).collect();
    script(&world.system.payments(), &rules.into()).await?;
    let placed = world.place(&order(&[("LAMP-DESK", 1)])).await?;
    let id = text(&placed, "id");
    let undoing = eventually(PATIENCE, || async {
        let saga = world.csr.get(&format!("/api/v1/sagas/{id}")).await?;
        Ok((text(&saga, "state") == "SAGA_STATE_COMPENSATING").then_some(()))
    });
    undoing.await.context("the tries are used up")?;
    faulty.mend().await?;
    world.until(id, "FAILED").await?;
    world.books_agree().await?;
    assert_eq!(world.stock("LAMP-DESK", "OAK").await?, (40, 0));
    let moves = world.money_moves(id).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "void"]);
    Ok(())
}
