use anyhow::Result;
use diesel_async::SimpleAsyncConnection;
use ids::{FulfillmentId, OrderId};
use inventory::{AllocateReservation, State};

use crate::shop::Shop;

const UP: &str = include_str!("../../../../migrations/inventory/20261121023000_stock_control/up.sql");
const DOWN: &str = include_str!("../../../../migrations/inventory/20261121023000_stock_control/down.sql");

#[tokio::test]
async fn the_control_of_stock_can_be_taken_away_and_made_again() -> Result<()> {
    let shop = Shop::open().await?;
    let mut admin = shop.db.admin().await?;
    for statements in ["SET search_path = om_inventory", DOWN, UP] {
        admin.batch_execute(statements).await?;
    }
    let shop = shop.stocked("A", &[2]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 2)], false).await?;
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    let allocate = AllocateReservation { order, warehouse: "W1".to_owned(), fulfillment: FulfillmentId::new() };
    assert_eq!(shop.inventory.allocate_reservation(&shop.ctx, allocate).await?.state, State::Allocated);
    Ok(())
}
