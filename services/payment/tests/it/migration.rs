use anyhow::Result;
use contract::payment::v1::PaymentState;
use ids::OrderId;

use crate::world::World;

const UP: &str = include_str!("../../../../migrations/payment/20261121010000_payments/up.sql");
const DOWN: &str = include_str!("../../../../migrations/payment/20261121010000_payments/down.sql");

#[tokio::test]
async fn the_tables_can_be_taken_away_and_made_again() -> Result<()> {
    let world = World::start().await?;
    world.tamper(DOWN).await?;
    world.tamper(UP).await?;
    assert_eq!(world.authorize(OrderId::new(), "pm_sim_visa").await?.state(), PaymentState::Authorized);
    Ok(())
}
