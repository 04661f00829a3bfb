use anyhow::Result;
use contract::payment::v1::PaymentState;
use ids::OrderId;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use testkit::eventually;

use crate::world::{SOON, World};

#[tokio::test]
async fn pay_08_the_breaker_opens_half_opens_and_closes_and_its_gauge_says_so() -> Result<()> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (handle, _guard) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let world = World::start().await?;
    let open = |value: &str| handle.render().contains(&format!("payment_breaker_open{{provider=\"stripe\"}} {value}"));
    assert!(open("0"), "{}", handle.render());
    world
        .faults(json!([{"op": "payment_intents.create", "kind": "error500", "times": 100_000},
            {"op": "payment_intents.search", "kind": "error500", "times": 100_000}]))
        .await?;
    for _ in 0..2 {
        assert_eq!(world.authorize(OrderId::new(), "pm_sim_visa").await?.state(), PaymentState::Unknown);
    }
    assert!(open("1") && handle.render().contains("payment_breaker_opened_total{provider=\"stripe\"} 1"));
    let calls = world.calls("payment_intents.create").await?;
    assert_eq!(calls, 5, "the fifth failure opened it");
    let order = OrderId::new();
    assert_eq!(world.authorize(order, "pm_sim_visa").await?.state(), PaymentState::Unknown);
    assert_eq!(world.calls("payment_intents.create").await?, calls, "nobody is asked while it is open");
    world.faults(json!([])).await?;
    // The job probes, with a question and not with somebody's money.
    world.start_jobs();
    eventually(SOON, || async { Ok(open("0").then_some(())) }).await?;
    assert_eq!(world.calls("payment_intents.create").await?, calls);
    assert_eq!(world.inquire(order).await?.state(), PaymentState::Authorized);
    Ok(())
}

#[tokio::test]
async fn pay_20_speed_and_availability_of_each_provider_are_measured() -> Result<()> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (handle, _guard) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let world = World::with_fallback().await?;
    world.authorize(OrderId::new(), "pm_sim_visa").await?;
    world.faults(json!([{"op": "payment_intents.create", "kind": "delay", "delay_ms": 700}])).await?;
    world.authorize(OrderId::new(), "pm_sim_visa").await?;
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let elsewhere = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!(elsewhere.provider, "adyen");
    let told = handle.render();
    let calls = |provider: &str, outcome: &str| {
        format!("payment_provider_calls_total{{provider=\"{provider}\",op=\"authorize\",outcome=\"{outcome}\"}}")
    };
    for (provider, outcome, count) in
        [("stripe", "good", 1), ("stripe", "slow", 1), ("stripe", "failed", 3), ("adyen", "good", 1)]
    {
        let line = format!("{} {count}", calls(provider, outcome));
        assert!(told.contains(&line), "{line}\n{told}");
    }
    assert!(told.contains("payment_provider_duration_seconds"));
    assert!(told.contains("payment_fallbacks_total{provider=\"adyen\"} 1"));
    Ok(())
}

#[tokio::test]
async fn pay_16_a_payment_needs_one_question_to_the_provider() -> Result<()> {
    let world = World::start().await?;
    for count in 1..=20 {
        assert_eq!(world.authorize(OrderId::new(), "pm_sim_visa").await?.state(), PaymentState::Authorized);
        let asked = world.calls("payment_intents.create").await?;
        let besides = world.calls("payment_intents.search").await? + world.calls("payment_intents.get").await?;
        assert_eq!((asked, besides), (count, 0));
    }
    Ok(())
}
