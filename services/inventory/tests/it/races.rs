use std::collections::BTreeSet;

use anyhow::Result;
use futures::future::{join, join_all};
use ids::{OrderId, ShipmentId};
use inventory::{Inventory, State};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serve::page::Pages;

use crate::shop::{HOLD_S, Shop, wish};

/// Another process of the same service: its own pool and its own batches.
fn rival(shop: &Shop) -> Inventory {
    Inventory::new(shop.db.pg("inventory"), Pages::new(&"k".repeat(32).into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_two_hundred_buyers_of_one_unit_make_one_reservation() -> Result<()> {
    let shop = Shop::open().await?.stocked("LAST", &[1]).await?;
    let rival = rival(&shop);
    let tries = (0..200).map(|at| {
        let inventory = if at % 2 == 0 { &shop.inventory } else { &rival };
        inventory.reserve_stock(&shop.ctx, wish(OrderId::new(), &[("LAST", 1)], HOLD_S, true))
    });
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for fault in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(fault.reason(), "OUT_OF_STOCK");
    }
    assert_eq!(shop.levels("LAST").await?, [(1, 1)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_the_same_order_fifty_times_is_one_reservation() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[40, 40]).await?;
    let (order, rival) = (OrderId::new(), rival(&shop));
    let tries = (0..50).map(|at| {
        let inventory = if at % 2 == 0 { &shop.inventory } else { &rival };
        inventory.reserve_stock(&shop.ctx, wish(order, &[("A", 1)], HOLD_S, true))
    });
    let ids: Result<BTreeSet<_>, _> = join_all(tries).await.into_iter().map(|answer| answer.map(|it| it.id)).collect();
    assert_eq!(ids?.len(), 1);
    assert_eq!(shop.levels("A").await?, [(40, 1), (40, 0)]);
    assert_eq!(shop.count("SELECT count(*) AS n FROM events WHERE type LIKE '%StockReserved'").await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_hold_that_runs_out_while_it_is_confirmed_is_one_or_the_other() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[100]).await?;
    let rival = rival(&shop);
    let orders: Vec<OrderId> = (0..60).map(|_| OrderId::new()).collect();
    for order in &orders {
        shop.reserve(*order, &[("A", 1)], true).await?;
    }
    shop.outlive_holds().await?;
    let confirms = join_all(orders.iter().map(|order| shop.inventory.confirm_reservation(&shop.ctx, *order)));
    let sweeps = join(rival.expire_reservations(), shop.inventory.expire_reservations());
    let (confirms, (first, second)) = join(confirms, sweeps).await;
    let confirmed = confirms.iter().filter(|answer| answer.is_ok()).count();
    for (order, answer) in orders.iter().zip(&confirms) {
        let state = shop.inventory.get_reservation(&shop.ctx, *order).await?.state;
        assert_eq!(state, if answer.is_ok() { State::Confirmed } else { State::Expired });
    }
    assert_eq!(confirmed + first? + second?, orders.len());
    assert_eq!(shop.levels("A").await?, [(100, i32::try_from(confirmed)?)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_03_an_undo_that_races_its_do_leaves_nothing_set_aside() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[100]).await?;
    let rival = rival(&shop);
    for _ in 0..30 {
        let order = OrderId::new();
        let reserve = shop.inventory.reserve_stock(&shop.ctx, wish(order, &[("A", 1)], HOLD_S, true));
        let (reserved, released) = join(reserve, rival.release_reservation(&shop.ctx, order)).await;
        assert_eq!(released?.state, State::Released);
        if let Err(fault) = reserved {
            assert_eq!(fault.reason(), "RESERVATION_RELEASED");
        }
    }
    assert_eq!(shop.levels("A").await?, [(100, 0)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_16_a_shipment_reported_many_times_at_once_leaves_once() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?;
    let (order, shipment) = (OrderId::new(), ShipmentId::new());
    shop.reserve(order, &[("A", 4)], true).await?;
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    for answer in join_all((0..20).map(|_| shop.consume(order, shipment, "W1", &[("A", 3)]))).await {
        assert_eq!(answer?.state, State::Consumed);
    }
    assert_eq!(shop.levels("A").await?, [(7, 1)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

/// One step of a random history; what is refused is part of the history.
async fn step(shop: &Shop, inventory: &Inventory, orders: &[OrderId], mut rng: StdRng) -> Result<()> {
    const SKUS: [&str; 3] = ["A", "B", "C"];
    let order = orders[rng.random_range(0..orders.len())];
    let sku = SKUS[rng.random_range(0..3)];
    let (other, units) = (SKUS[rng.random_range(0..3)], rng.random_range(1..6));
    let refused = match rng.random_range(0..10) {
        0..4 => inventory
            .reserve_stock(&shop.ctx, wish(order, &[(other, 1), (sku, units)], HOLD_S, rng.random_bool(0.7)))
            .await
            .err(),
        4..6 => inventory.confirm_reservation(&shop.ctx, order).await.err(),
        6 => inventory.release_reservation(&shop.ctx, order).await.err(),
        7 => {
            let warehouse = ["W1", "W2", "W3"][rng.random_range(0..3)];
            shop.consume(order, ShipmentId::new(), warehouse, &[(sku, units)]).await.err()
        }
        8 => shop.adjust(sku, ["W1", "W2", "W3"][rng.random_range(0..3)], rng.random_range(-6..7) * 2 + 1).await.err(),
        _ => {
            shop.sql(&format!(
                "UPDATE reservations SET expires_at = now() - interval '1 second' WHERE order_id = '{}' AND state = 1",
                order.uuid()
            ))
            .await?;
            inventory.expire_reservations().await.err()
        }
    };
    let expected = [
        "OUT_OF_STOCK",
        "RESERVATION_RELEASED",
        "RESERVATION_ENDED",
        "RESERVATION_NOT_FOUND",
        "RESERVATION_NOT_CONFIRMED",
        "CONSUME_EXCEEDS_ALLOCATION",
        "STOCK_BELOW_RESERVED",
    ];
    match refused {
        Some(fault) if !expected.contains(&fault.reason()) => Err(fault.into()),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_09_after_any_history_the_ledger_is_the_stock_and_nothing_is_oversold() -> Result<()> {
    for seed in 1..=3_u64 {
        let shop = Shop::open().await?.stocked("A", &[9, 7, 8]).await?;
        let shop = shop.stocked("B", &[20, 1]).await?.stocked("C", &[5]).await?;
        let rival = rival(&shop);
        let orders: Vec<OrderId> = (0..40).map(|_| OrderId::new()).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..25 {
            let steps = (0..16).map(|at| {
                let inventory = if at % 2 == 0 { &shop.inventory } else { &rival };
                step(&shop, inventory, &orders, StdRng::seed_from_u64(rng.random()))
            });
            for outcome in join_all(steps.collect::<Vec<_>>()).await {
                outcome.map_err(|error| error.context(format!("seed {seed}")))?;
            }
            assert_eq!(shop.drift().await?, 0, "seed {seed}");
        }
        let gaps = shop.count(
            "SELECT count(*) AS n FROM reservations r WHERE version <> (SELECT count(*) FROM events e
             WHERE e.tenant_id = r.tenant_id AND e.stream_id = r.reservation_id)",
        );
        assert_eq!(gaps.await?, 0, "seed {seed}");
    }
    Ok(())
}
