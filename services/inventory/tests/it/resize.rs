use anyhow::Result;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use inventory::{Reservation, ResizeReservation, State};

use crate::shop::{Shop, demand};

async fn resize(shop: &Shop, order: OrderId, lines: &[(&str, i32)], revision: i32) -> Result<Reservation, String> {
    let wish = ResizeReservation { order, demand: demand(lines), split: true, revision };
    shop.inventory.resize_reservation(&shop.ctx, wish).await.map_err(|fault| fault.reason().to_owned())
}

fn units(reservation: &Reservation) -> Vec<(&str, &str, i32)> {
    reservation.allocations.iter().map(|a| (a.sku.as_str(), a.warehouse.as_str(), a.quantity)).collect()
}

#[tokio::test]
async fn ord_05_an_order_holds_what_it_needs_after_a_change_and_nothing_else() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5, 5]).await?.stocked("B", &[4]).await?;
    let order = OrderId::new();
    let held = shop.reserve(order, &[("A", 3)], true).await?;
    let more = resize(&shop, order, &[("A", 7), ("B", 2)], 2).await.map_err(anyhow::Error::msg)?;
    assert_eq!(units(&more), [("A", "W1", 5), ("A", "W2", 2), ("B", "W1", 2)]);
    assert_eq!((more.id, more.state, more.version), (held.id, State::Held, held.version + 1));
    assert_eq!(shop.levels("A").await?, [(5, 5), (5, 2)]);
    // The same wish again changes nothing, an earlier one is refused.
    let again = resize(&shop, order, &[("A", 1)], 2).await.map_err(anyhow::Error::msg)?;
    assert_eq!(again, more);
    assert_eq!(resize(&shop, order, &[("A", 1)], 1).await, Err("RESERVATION_REVISION_STALE".to_owned()));

    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    assert_eq!(resize(&shop, order, &[("A", 11)], 3).await, Err("OUT_OF_STOCK".to_owned()));
    assert_eq!(shop.levels("A").await?, [(5, 5), (5, 2)], "all or nothing");
    let less = resize(&shop, order, &[("B", 1)], 4).await.map_err(anyhow::Error::msg)?;
    assert_eq!((units(&less), less.state), (vec![("B", "W1", 1)], State::Confirmed));
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(5, 0), (5, 0)], vec![(4, 1)]));
    shop.consume(order, ShipmentId::new(), "W1", &[("B", 1)]).await?;
    assert_eq!(resize(&shop, order, &[("B", 2)], 5).await, Err("RESERVATION_IN_FULFILLMENT".to_owned()));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn ord_05_what_was_given_back_or_never_held_is_not_resized() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let order = OrderId::new();
    assert_eq!(resize(&shop, order, &[("A", 1)], 1).await, Err("RESERVATION_NOT_FOUND".to_owned()));
    shop.reserve(order, &[("A", 3)], true).await?;
    shop.inventory.release_reservation(&shop.ctx, order, 1).await?;
    assert_eq!(resize(&shop, order, &[("A", 1)], 1).await, Err("RESERVATION_ENDED".to_owned()));
    assert_eq!(shop.levels("A").await?, [(5, 0)]);
    Ok(())
}

#[tokio::test]
async fn ord_05_changes_of_many_orders_at_once_never_hold_more_than_there_is() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[20]).await?.stocked("B", &[20]).await?;
    let orders: Vec<OrderId> = (0..10).map(|_| OrderId::new()).collect();
    for order in &orders {
        shop.reserve(*order, &[("A", 1)], true).await?;
    }
    let each = orders.iter().map(|order| resize(&shop, *order, &[("B", 3), ("A", 2)], 1));
    let outcomes = join_all(each).await;
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().err().is_none_or(|reason| reason == "OUT_OF_STOCK")));
    assert_eq!(done, 6, "three of twenty units each");
    let a = i32::try_from(done)? * 2 + i32::try_from(10 - done)?;
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(20, a)], vec![(20, 18)]));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn ord_05_what_an_order_has_stays_its_own_when_nothing_is_left_to_others() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?.stocked("B", &[5]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 4)], true).await?;
    // Kept back after the promise: one unit is there beyond it, and it is for nobody.
    shop.inventory.set_safety_stock(&shop.ctx, "A".into(), "W1".into(), 5).await?;
    let more = resize(&shop, order, &[("A", 4), ("B", 1)], 1).await.map_err(anyhow::Error::msg)?;
    assert_eq!(units(&more), [("A", "W1", 4), ("B", "W1", 1)]);
    assert_eq!(resize(&shop, order, &[("A", 5), ("B", 1)], 2).await, Err("OUT_OF_STOCK".to_owned()));
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(5, 4)], vec![(5, 1)]));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}
