use anyhow::Result;
use contract::payment::v1::PaymentState;
use futures::future::join_all;
use ids::{OrderId, TenantId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World};

const OLD: &str = "UPDATE data_keys SET created_at = now() - interval '91 days'";
const VERSIONS: &str = "SELECT count(DISTINCT version) AS n FROM data_keys";
/// Values that the first version of a key sealed.
const FIRST: &str = "SELECT (SELECT count(*) FROM attempts WHERE substring(instrument FOR 5) = '\\x0100000001') + \
    (SELECT count(*) FROM webhook_events WHERE substring(body FOR 5) = '\\x0100000001') AS n";
const EVENT: &str = "payment_intent.amount_capturable_updated";

#[tokio::test]
async fn pay_12_tokens_and_events_are_sealed_per_tenant_and_no_table_shows_them() -> Result<()> {
    let world = World::start().await?;
    let order = OrderId::new();
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.push_signed(&world.event("evt_1", EVENT, &held.id).await?).await?;
    world.as_tenant(TenantId::new()).authorize(OrderId::new(), "pm_sim_visa").await?;
    world.reauthorize(&world.authorize(OrderId::new(), "pm_sim_declined").await?.id, 2, "pm_sim_visa").await?;
    let hex = hex::encode("pm_sim");
    let all = world.dump().await?;
    assert!(!all.contains("pm_sim") && !all.contains(&hex), "a token is readable");
    assert!(!all.contains(&hex::encode(EVENT)), "an event is readable");
    assert_eq!(world.count("SELECT count(DISTINCT tenant_id) AS n FROM data_keys").await?, 2, "a key per tenant");
    // Values that were exchanged between rows do not open: the row is part of the seal.
    let other = OrderId::new();
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    assert_eq!(world.authorize(other, "pm_sim_declined").await?.state(), PaymentState::Unknown);
    let id = world.inquire_id(other).await?;
    let theirs = format!(
        "UPDATE attempts SET instrument = (SELECT instrument FROM attempts a JOIN payments USING (tenant_id, payment_id) \
         WHERE order_id = '{}') WHERE payment_id = (SELECT payment_id FROM payments WHERE order_id = '{}')",
        order.uuid(),
        other.uuid()
    );
    world.tamper(&theirs).await?;
    let fault = world.inquire(other).await.expect_err("it does not open");
    assert_eq!(fault.kind(), fault::Kind::Internal);
    assert_eq!(
        (world.get(&id).await?.state(), world.ledger("authorize", other).await?),
        (PaymentState::Unknown, vec![])
    );
    Ok(())
}

#[tokio::test]
async fn pay_12_a_data_key_turns_while_orders_are_paid_and_old_values_are_sealed_anew() -> Result<()> {
    let world = World::start().await?;
    let lost = OrderId::new();
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    assert_eq!(world.authorize(lost, "pm_sim_visa").await?.state(), PaymentState::Unknown);
    let held = world.authorize(OrderId::new(), "pm_sim_visa").await;
    world.inquire(lost).await?;
    drop(held);
    let known = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    world.push_signed(&world.event("evt_1", EVENT, &known.id).await?).await?;
    assert!(world.count(FIRST).await? >= 3);
    world.tamper(OLD).await?;
    world.start_jobs();
    // Nobody waits for the keys.
    for paid in join_all((0..20).map(|_| world.authorize(OrderId::new(), "pm_sim_visa"))).await {
        assert_eq!(paid?.state(), PaymentState::Authorized);
    }
    eventually(SOON, || async {
        Ok((world.count(VERSIONS).await? == 2 && world.count(FIRST).await? == 0).then_some(()))
    })
    .await?;
    // What was sealed anew opens: the token is taken over by the next attempt.
    let declined = world.authorize(OrderId::new(), "pm_sim_declined").await?;
    let again = world.reauthorize(&declined.id, 2, "pm_sim_visa").await?;
    assert_eq!(again.state(), PaymentState::Authorized);
    assert_eq!(world.ledger("authorize", lost).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn pay_12_the_master_key_turns_process_by_process_and_the_old_one_is_of_no_use_then() -> Result<()> {
    let world = World::start().await?;
    let old = world.settings.master_keys.expose_secret().to_owned();
    let new = "ab".repeat(32);
    let keys = |lines: &[&str]| SecretString::from(lines.join("\n"));
    let declined = world.authorize(OrderId::new(), "pm_sim_declined").await?;
    // First everybody can open with the new one, then it wraps.
    let (ready, turned) = (world.another(keys(&[&old, &new])).await?, world.another(keys(&[&new, &old])).await?);
    let masters = "SELECT count(DISTINCT master) AS n FROM data_keys";
    let fresh = turned.as_tenant(TenantId::new());
    fresh.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!(world.count(masters).await?, 2);
    let seen = ready.as_tenant(fresh.tenant).authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!(seen.state(), PaymentState::Authorized, "a process that is not restarted yet goes on");
    turned.start_jobs();
    eventually(SOON, || async { Ok((world.count(masters).await? == 1).then_some(())) }).await?;
    let only = world.another(keys(&[&new])).await?;
    assert_eq!(only.reauthorize(&declined.id, 2, "pm_sim_visa").await?.state(), PaymentState::Authorized);
    let late = world.another(keys(&[&old])).await?;
    let fault = late.authorize(OrderId::new(), "pm_sim_visa").await.expect_err("the old key opens nothing");
    assert_eq!(fault.kind(), fault::Kind::Internal);
    Ok(())
}
