use anyhow::Result;
use fault::Kind;
use futures::FutureExt;
use ids::{OrderId, ShipmentId};
use inventory::State;

use crate::shop::{HOLD_S, Shop, wish};

#[tokio::test]
async fn inv_02_an_order_is_held_as_a_whole_or_not_at_all() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?.stocked("B", &[1]).await?;
    let short = shop.reserve(OrderId::new(), &[("A", 1), ("B", 2), ("NONE", 1)], true).await.expect_err("B is short");
    assert_eq!((short.kind(), short.reason()), (Kind::Precondition, "OUT_OF_STOCK"));
    assert_eq!(short.metadata()["skus"], "B,NONE");
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(5, 0)], vec![(1, 0)]));

    let order = OrderId::new();
    let held = shop.reserve(order, &[("A", 1), ("B", 1), ("A", 2)], true).await?;
    assert_eq!((held.state, held.allocations.len()), (State::Held, 2));
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(5, 3)], vec![(1, 1)]));
    assert_eq!(shop.inventory.get_reservation(&shop.ctx, order).await?, held);
    let again = shop.reserve(order, &[("A", 1)], true).await?;
    assert_eq!(again, held);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_05_units_come_from_one_warehouse_if_they_can_and_from_several_if_they_must() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[2, 1, 4]).await?;
    let whole = shop.reserve(OrderId::new(), &[("A", 3)], true).await?;
    assert_eq!(whole.allocations.iter().map(|a| (a.warehouse.as_str(), a.quantity)).collect::<Vec<_>>(), [("W3", 3)]);
    let apart = shop.reserve(OrderId::new(), &[("A", 3)], false).await.expect_err("no single warehouse has three");
    assert_eq!(apart.reason(), "OUT_OF_STOCK");
    let split = shop.reserve(OrderId::new(), &[("A", 4)], true).await?;
    let parts: Vec<_> = split.allocations.iter().map(|a| (a.warehouse.as_str(), a.quantity)).collect();
    assert_eq!(parts, [("W1", 2), ("W2", 1), ("W3", 1)]);
    assert_eq!(shop.levels("A").await?, [(2, 2), (1, 1), (4, 4)]);
    Ok(())
}

#[tokio::test]
async fn inv_03_a_release_gives_back_once_and_refuses_a_late_reservation() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 3)], true).await?;
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    for _ in 0..2 {
        assert_eq!(shop.inventory.release_reservation(&shop.ctx, order, 1).await?.state, State::Released);
        assert_eq!(shop.levels("A").await?, [(5, 0)]);
    }
    let late = shop.reserve(order, &[("A", 1)], true).await.expect_err("the order was undone");
    assert_eq!((late.kind(), late.reason()), (Kind::Precondition, "RESERVATION_RELEASED"));

    let unseen = OrderId::new();
    let mark = shop.inventory.release_reservation(&shop.ctx, unseen, 1).await?;
    assert_eq!((mark.state, mark.allocations.len()), (State::Released, 0));
    assert_eq!(shop.reserve(unseen, &[("A", 1)], true).await.expect_err("marked").reason(), "RESERVATION_RELEASED");
    let ended = shop.inventory.confirm_reservation(&shop.ctx, order).await.expect_err("given back");
    assert_eq!((ended.reason(), ended.metadata()["state"].as_str()), ("RESERVATION_ENDED", "RELEASED"));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_04_a_confirmed_hold_does_not_run_out_and_an_unconfirmed_does() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let (kept, lost) = (OrderId::new(), OrderId::new());
    shop.reserve(kept, &[("A", 1)], true).await?;
    let first = shop.reserve(lost, &[("A", 3)], true).await?;
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, kept).await?.state, State::Confirmed);
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, kept).await?.state, State::Confirmed);
    shop.sql("UPDATE reservations SET expires_at = now() - interval '1 second'").await?;
    assert_eq!(shop.inventory.expire_reservations().await?, 1);
    assert_eq!(shop.inventory.expire_reservations().await?, 0);
    assert_eq!(shop.levels("A").await?, [(5, 1)]);
    let ended = shop.inventory.confirm_reservation(&shop.ctx, lost).await.expect_err("it ran out");
    assert_eq!((ended.reason(), ended.metadata()["state"].as_str()), ("RESERVATION_ENDED", "EXPIRED"));

    let second = shop.reserve(lost, &[("A", 2)], true).await?;
    assert_eq!(second.state, State::Held);
    assert_ne!(second.id, first.id);
    assert_eq!(shop.levels("A").await?, [(5, 3)]);
    shop.outlive_holds().await?;
    shop.inventory.expire_reservations().await?;
    assert_eq!(shop.inventory.release_reservation(&shop.ctx, lost, 1).await?.state, State::Released);
    assert_eq!(shop.levels("A").await?, [(5, 1)]);
    assert_eq!(shop.reserve(lost, &[("A", 1)], true).await.expect_err("undone").reason(), "RESERVATION_RELEASED");
    let unknown = shop.inventory.confirm_reservation(&shop.ctx, OrderId::new()).await.expect_err("never reserved");
    assert_eq!(unknown.reason(), "RESERVATION_NOT_FOUND");
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_02_a_hold_that_cannot_be_given_back_stops_no_other() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[9]).await?;
    let orders: Vec<OrderId> = (0..5).map(|_| OrderId::new()).collect();
    let mut stuck = None;
    for order in &orders {
        stuck.get_or_insert(shop.reserve(*order, &[("A", 1)], true).await?);
    }
    let stuck = stuck.expect("five orders");
    // Its stream is further than it says.
    shop.sql(&format!(
        "INSERT INTO events (tenant_id, stream_id, version, event_id, type, topic, payload, meta) SELECT tenant_id,
         stream_id, 2, gen_random_uuid(), type, topic, payload, meta FROM events WHERE stream_id = '{}'",
        stuck.id.uuid()
    ))
    .await?;
    shop.outlive_holds().await?;
    shop.sql(&format!(
        "UPDATE reservations SET expires_at = expires_at - interval '1 hour' WHERE order_id = '{}'",
        stuck.order.uuid()
    ))
    .await?;
    assert_eq!(shop.inventory.expire_reservations().await?, 4);
    assert_eq!(shop.inventory.get_reservation(&shop.ctx, stuck.order).await?.state, State::Held);
    assert_eq!((shop.levels("A").await?, shop.drift().await?), (vec![(9, 1)], 0));
    Ok(())
}

#[tokio::test]
async fn inv_16_a_shipment_takes_its_units_once_from_on_hand_and_reserved() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[2, 3]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 4)], true).await?;
    let shipment = ShipmentId::new();
    let early = shop.consume(order, shipment, "W1", &[("A", 2)]).await.expect_err("not confirmed");
    assert_eq!(early.reason(), "RESERVATION_NOT_CONFIRMED");
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    let many = shop.consume(order, shipment, "W1", &[("A", 3)]).await.expect_err("two are set aside there");
    assert_eq!((many.reason(), many.metadata()["skus"].as_str()), ("CONSUME_EXCEEDS_ALLOCATION", "A"));
    for _ in 0..2 {
        let after = shop.consume(order, shipment, "W1", &[("A", 2)]).await?;
        assert_eq!(after, shop.inventory.get_reservation(&shop.ctx, order).await?);
        assert_eq!(shop.levels("A").await?, [(0, 0), (3, 2)]);
    }
    let other = OrderId::new();
    shop.reserve(other, &[("A", 1)], true).await?;
    shop.inventory.confirm_reservation(&shop.ctx, other).await?;
    let stolen = shop.consume(other, shipment, "W2", &[("A", 1)]).await.expect_err("another order's shipment");
    assert_eq!(stolen.reason(), "SHIPMENT_TAKEN");

    assert_eq!(shop.inventory.release_reservation(&shop.ctx, order, 1).await?.state, State::Released);
    assert_eq!(shop.levels("A").await?, [(0, 0), (3, 1)]);
    let gone = shop.consume(order, ShipmentId::new(), "W2", &[("A", 1)]).await.expect_err("given back");
    assert_eq!(gone.reason(), "RESERVATION_ENDED");
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_09_every_change_of_a_reservation_is_one_event_of_its_stream() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let order = OrderId::new();
    let held = shop.inventory.reserve_stock(&shop.ctx, wish(order, &[("A", 2)], HOLD_S, true)).await?;
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    shop.consume(order, ShipmentId::new(), "W1", &[("A", 1)]).await?;
    shop.inventory.release_reservation(&shop.ctx, order, 1).await?;
    let (tenant, stream) = (shop.ctx.tenant, held.id.uuid());
    let events = shop.pg.read("test.events", tenant, move |conn| eventlog::load(conn, tenant, stream).boxed()).await?;
    let names: Vec<_> = events.iter().map(|event| event.type_name.rsplit('.').next().unwrap_or_default()).collect();
    assert_eq!(names, ["StockReserved", "StockReservationConfirmed", "StockConsumed", "StockReservationReleased"]);
    Ok(())
}
