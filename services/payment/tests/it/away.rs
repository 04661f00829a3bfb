use anyhow::Result;
use contract::payment::v1::PaymentState;
use ids::{OrderId, ShipmentId};
use serde_json::json;

use crate::world::{ASKED, World, amounts};

#[tokio::test]
async fn pay_19_a_stored_method_is_charged_by_its_token_under_the_mandate_while_the_customer_is_away() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    // A challenge that is asked for is not made: nobody is there to pass it.
    let held = world.authorize_away(order, "pm_sim_visa", "mandate_1").await?;
    assert_eq!(held.state(), PaymentState::Authorized);
    assert_eq!(world.mandates(order).await?, ["mandate_1"]);
    let taken = world.capture(order, ShipmentId::new(), ASKED, true).await?;
    assert_eq!(amounts(&taken), (ASKED, ASKED, 0, 0));

    // A bank that insists declines it; a later attempt is under the same mandate.
    let order = OrderId::new();
    let declined = world.authorize_away(order, "pm_sim_3ds_required", "mandate_1").await?;
    assert_eq!((declined.state(), &*declined.decline_reason), (PaymentState::Declined, "authentication_required"));
    let again = world.reauthorize(&declined.id, 2, "pm_sim_visa").await?;
    assert_eq!(again.state(), PaymentState::Authorized);
    assert_eq!(world.mandates(order).await?, ["mandate_1"]);
    Ok(())
}

#[tokio::test]
async fn pay_19_a_charge_whose_answer_got_lost_is_asked_again_under_the_same_mandate_also_at_the_second() -> Result<()>
{
    let (world, order) = (World::with_fallback().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let held = world.authorize_away(order, "pm_sim_visa", "sub_7").await?;
    assert_eq!((held.state(), &*held.provider), (PaymentState::Authorized, "adyen"));
    assert_eq!(world.mandates(order).await?, ["sub_7"]);
    let fault = world.authorize_away(OrderId::new(), "pm_sim_visa", "4242 4242 4242 4242").await;
    assert_eq!(crate::world::reason(fault), "CARD_NUMBER_REFUSED");
    Ok(())
}
