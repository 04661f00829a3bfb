use anyhow::Result;
use contract::payment::v1::PaymentState;
use ids::{OrderId, ShipmentId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts};

#[tokio::test]
async fn pay_09_while_the_first_provider_is_given_a_rest_the_second_holds_takes_and_gives_back() -> Result<()> {
    let world = World::with_fallback().await?;
    world
        .faults(json!([{"op": "payment_intents.create", "kind": "error500", "times": 100_000},
        {"op": "payment_intents.search", "kind": "error500", "times": 100_000}]))
        .await?;
    // Nobody knows what became of this one at the first provider, so the second is not asked for it.
    let lost = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!((lost.state(), lost.provider.as_str()), (PaymentState::Unknown, "stripe"));
    let order = OrderId::new();
    let asked = world.calls("payment_intents.create").await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((held.state(), held.provider.as_str()), (PaymentState::Authorized, "adyen"));
    assert_eq!(world.calls("payment_intents.create").await?, asked, "the first is left alone");
    let raised = world.increment(order, 500, "k1").await?;
    assert_eq!(amounts(&raised), (ASKED + 500, 0, 0, 0));
    world.capture(order, ShipmentId::new(), 4_000, false).await?;
    let taken = world.capture(order, ShipmentId::new(), 3_000, true).await?;
    assert_eq!((taken.state(), amounts(&taken)), (PaymentState::Captured, (ASKED + 500, 7_000, 3_500, 0)));
    world.refund(&taken.id, 7_000, "k1").await?;
    assert_eq!(world.get(&taken.id).await?.state(), PaymentState::Refunded);
    let declined = world.authorize(OrderId::new(), "pm_sim_insufficient_funds").await?;
    assert_eq!((declined.state(), declined.decline_reason.as_str()), (PaymentState::Declined, "insufficient_funds"));
    let order = OrderId::new();
    world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(world.void(order).await?.state(), PaymentState::Voided);
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("void", order).await?),
        (vec![ASKED], vec![ASKED])
    );
    Ok(())
}

#[tokio::test]
async fn pay_09_an_unknown_outcome_is_inquired_before_the_second_provider_is_asked() -> Result<()> {
    let world = World::with_fallback().await?;
    // It did it, and the answers got lost: found, and nobody else is asked.
    let order = OrderId::new();
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset_after", "times": 3}])).await?;
    let found = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((found.state(), found.provider.as_str()), (PaymentState::Authorized, "stripe"));
    // It did not do it, and says so: the second does.
    let order = OrderId::new();
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((held.state(), held.provider.as_str()), (PaymentState::Authorized, "adyen"));
    assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn pay_09_what_turns_up_at_the_first_provider_after_the_second_was_asked_is_let_go() -> Result<()> {
    let (world, order) = (World::with_fallback().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(held.provider, "adyen");
    // The first try arrives after all.
    let stray = world.late_authorization(&held).await?;
    assert_eq!(world.ledger("authorize", order).await?, [ASKED; 2]);
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.ledger("void", order).await? == [ASKED]).then_some(())) }).await?;
    assert!(!stray.is_empty());
    let now = world.capture(order, ShipmentId::new(), ASKED, true).await?;
    assert_eq!((now.state(), amounts(&now)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)));
    assert_eq!(world.ledger("capture", order).await?, [ASKED]);
    Ok(())
}
