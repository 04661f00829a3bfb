use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use ctx::Ctx;
use fault::Fault;
use futures::StreamExt;
use futures::future::{join, join_all};
use ids::{FulfillmentId, OrderId, ShipmentId};
use inventory::{
    AdjustStock, AllocateReservation, ConsumeReservation, DecideIssue, IngestSnapshot, Inventory, IssueKind,
    ReportIssue, ReserveStock, ResizeReservation, RestockUnits, State, TransferStock,
};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serve::page::Pages;

use crate::shop::{HOLD_S, Shop, ctx, demand, wish};

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
async fn inv_02_two_lines_of_the_same_last_unit_do_not_both_get_it() -> Result<()> {
    let shop = Shop::open().await?;
    let rival = rival(&shop);
    for round in 0..25 {
        let (last, pair) = (format!("LAST-{round}"), format!("PAIR-{round}"));
        shop.add(&last, &[1]).await?;
        shop.add(&pair, &[3]).await?;
        let tries = (0..16).map(|at| {
            let inventory = if at % 4 < 2 { &shop.inventory } else { &rival };
            let sku = if at % 2 == 0 { &last } else { &pair };
            inventory.reserve_stock(&shop.ctx, wish(OrderId::new(), &[(sku, 1), (sku, 1)], HOLD_S, true))
        });
        let won = join_all(tries).await.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
        assert_eq!(won.len(), 1, "two of three are one order's, one of one is nobody's");
        assert_eq!(won[0].allocations.iter().map(|a| (a.sku.as_str(), a.quantity)).collect::<Vec<_>>(), [(&*pair, 2)]);
        assert_eq!((shop.levels(&last).await?, shop.levels(&pair).await?), (vec![(1, 0)], vec![(3, 2)]));
    }
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

/// How long it takes to reserve one unit each for so many orders, a hundred at a time, in two processes.
async fn rush(shop: &Shop, rival: &Inventory, orders: usize, sku: impl Fn(usize) -> String) -> Result<Duration> {
    let start = Instant::now();
    let buys = futures::stream::iter(0..orders).map(|at| {
        let (inventory, sku) = (if at % 2 == 0 { &shop.inventory } else { rival }, sku(at));
        async move { inventory.reserve_stock(&shop.ctx, wish(OrderId::new(), &[(&sku, 1)], HOLD_S, true)).await }
    });
    for answer in buys.buffer_unordered(100).collect::<Vec<_>>().await {
        answer?;
    }
    Ok(start.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_a_product_that_everybody_buys_does_not_serialise_the_shop() -> Result<()> {
    const ORDERS: usize = 800;
    let shop = Shop::open().await?.stocked("HOT", &[100_000]).await?;
    for at in 0..40 {
        shop.add(&format!("COLD-{at}"), &[1_000]).await?;
    }
    let rival = rival(&shop);
    rush(&shop, &rival, 100, |at| format!("COLD-{}", at % 40)).await?;
    let cold = rush(&shop, &rival, ORDERS, |at| format!("COLD-{}", at % 40)).await?;
    let hot = rush(&shop, &rival, ORDERS, |_| "HOT".to_owned()).await?;
    let commits = "SELECT count(DISTINCT xid) AS n FROM stock_ledger WHERE sku = 'HOT' AND reason = 'RESERVE'";
    let commits = shop.count(commits).await?;
    let rate = |time: Duration| 1_000.0 * ORDERS as f64 / time.as_millis().max(1) as f64;
    println!("{:.0} orders/s of one product in {commits} commits, {:.0}/s of forty", rate(hot), rate(cold));
    // One lock for many orders: the row is not what an order waits for.
    assert!(commits * 4 <= ORDERS as i64, "{commits} commits");
    assert_eq!(shop.levels("HOT").await?, [(100_000, i32::try_from(ORDERS)?)]);
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
    let shop = Shop::open().await?.stocked("A", &[1_000]).await?;
    let rival = rival(&shop);
    let mut total = 0;
    for round in 0..12 {
        let orders: Vec<OrderId> = (0..30).map(|_| OrderId::new()).collect();
        for reserved in join_all(orders.iter().map(|order| shop.reserve(*order, &[("A", 1)], true))).await {
            reserved?;
        }
        shop.outlive_holds().await?;
        let confirms = join_all(orders.iter().map(|order| shop.inventory.confirm_reservation(&shop.ctx, *order)));
        let sweeps = join(rival.expire_reservations(), shop.inventory.expire_reservations());
        let (confirms, (first, second)) = join(confirms, sweeps).await;
        let confirmed = confirms.iter().filter(|answer| answer.is_ok()).count();
        for (order, answer) in orders.iter().zip(&confirms) {
            let state = shop.inventory.get_reservation(&shop.ctx, *order).await?.state;
            assert_eq!(state, if answer.is_ok() { State::Confirmed } else { State::Expired }, "round {round}");
        }
        assert_eq!(confirmed + first? + second?, orders.len(), "round {round}");
        total += i32::try_from(confirmed)?;
        assert_eq!(shop.levels("A").await?, [(1_000, total)], "round {round}");
    }
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
        let (reserved, released) = join(reserve, rival.release_reservation(&shop.ctx, order, 1)).await;
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
async fn step(shop: &Shop, ctx: &Ctx, inventory: &Inventory, orders: &[OrderId], mut rng: StdRng) -> Result<()> {
    const SKUS: [&str; 3] = ["A", "B", "C"];
    const WAREHOUSES: [&str; 3] = ["W1", "W2", "W3"];
    let order = orders[rng.random_range(0..orders.len())];
    let (sku, other) = (SKUS[rng.random_range(0..3)].to_owned(), SKUS[rng.random_range(0..3)]);
    let (warehouse, to) = (WAREHOUSES[rng.random_range(0..3)].to_owned(), WAREHOUSES[rng.random_range(0..3)]);
    let (units, reason) = (rng.random_range(1..6), "test".to_owned());
    let refused = match rng.random_range(0..21) {
        0..4 => {
            let round = if rng.random_bool(0.8) { 1 } else { rng.random_range(1..4) };
            let wish = wish(order, &[(other, 1), (&sku, units)], HOLD_S, rng.random_bool(0.7));
            inventory.reserve_stock(ctx, ReserveStock { round, ..wish }).await.err()
        }
        4..6 => inventory.confirm_reservation(ctx, order).await.err(),
        6 => inventory.release_reservation(ctx, order, rng.random_range(1..3)).await.err(),
        7 => {
            let lines = demand(&[(&sku, units)]);
            let consume = ConsumeReservation { order, shipment: ShipmentId::new(), warehouse, lines };
            inventory.consume_reservation(ctx, consume).await.err()
        }
        8 => {
            let delta = rng.random_range(-6..7) * 2 + 1;
            inventory.adjust_stock(ctx, AdjustStock { sku, warehouse, delta, reason }).await.err()
        }
        9 if warehouse != to => {
            let transfer = TransferStock { sku, from: warehouse, to: to.to_owned(), quantity: units, reason };
            inventory.transfer_stock(ctx, transfer).await.err()
        }
        10 => inventory.set_safety_stock(ctx, sku, warehouse, units - 1).await.err(),
        11 => {
            let fulfillment = FulfillmentId::new();
            inventory.allocate_reservation(ctx, AllocateReservation { order, warehouse, fulfillment }).await.err()
        }
        13.. => rarer(ctx, inventory, order, (sku, other, warehouse), rng).await,
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
        "NOTHING_SET_ASIDE",
        "ALLOCATED_ELSEWHERE",
        "CONSUME_EXCEEDS_ALLOCATION",
        "STOCK_BELOW_RESERVED",
        "EARLIER_ROUND_HOLDS",
        "RESERVATION_REVISION_STALE",
        "RESERVATION_IN_FULFILLMENT",
        "NO_SNAPSHOT",
    ];
    match refused {
        Some(fault) if !expected.contains(&fault.reason()) => Err(fault.into()),
        _ => Ok(()),
    }
}

/// A step of what staff, returns and changed orders do.
async fn rarer(
    ctx: &Ctx,
    inventory: &Inventory,
    order: OrderId,
    (sku, other, warehouse): (String, &str, String),
    mut rng: StdRng,
) -> Option<Fault> {
    let (quantity, note) = (rng.random_range(1..4), "test".to_owned());
    match rng.random_range(0..7) {
        0 => inventory.extend_reservation(&Ctx { now: Timestamp::now(), ..ctx.clone() }, order, 3_600).await.err(),
        1 | 2 => {
            let (split, revision) = (rng.random_bool(0.7), rng.random_range(1..9));
            let resize = ResizeReservation { order, demand: demand(&[(&sku, quantity), (other, 1)]), split, revision };
            inventory.resize_reservation(ctx, resize).await.err()
        }
        3 => {
            let restock = RestockUnits { sku, warehouse, quantity, sellable: rng.random_bool(0.7), reference: note };
            inventory.restock_units(ctx, restock).await.err()
        }
        4 => {
            let picked_sku = if sku == other { String::new() } else { other.to_owned() };
            let kind = if picked_sku.is_empty() { IssueKind::Missing } else { IssueKind::MisPick };
            let report = ReportIssue { sku, warehouse, kind, quantity, picked_sku, note: note.clone() };
            let reported = inventory.report_issue(ctx, report).await;
            let issue = reported.expect("known products").response.id.parse().expect("an id");
            let approve = rng.random_bool(0.7);
            inventory.decide_issue(ctx, DecideIssue { issue, approve, note }).await.err()
        }
        5 => {
            let observations = vec![(sku, rng.random_range(0..12))];
            let (snapshot, taken_at) = (OrderId::new().uuid().simple().to_string(), Timestamp::now());
            let complete = rng.random_bool(0.3);
            let count = IngestSnapshot { warehouse: warehouse.clone(), snapshot, taken_at, observations, complete };
            inventory.ingest_snapshot(ctx, count).await.expect("a known warehouse");
            inventory.reconcile_stock(ctx, warehouse, true).await.err()
        }
        _ => inventory
            .rebuild_stock(ctx, sku)
            .await
            .map(|(_, corrected)| assert_eq!(corrected, 0, "nothing is wrong"))
            .err(),
    }
}

/// Reservations whose version is not the number of their events.
async fn gaps(shop: &Shop) -> Result<i64> {
    shop.count(
        "SELECT count(*) AS n FROM reservations r WHERE version <> (SELECT count(*) FROM events e
         WHERE e.tenant_id = r.tenant_id AND e.stream_id = r.reservation_id)",
    )
    .await
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
                step(&shop, &shop.ctx, inventory, &orders, StdRng::seed_from_u64(rng.random()))
            });
            for outcome in join_all(steps.collect::<Vec<_>>()).await {
                outcome.map_err(|error| error.context(format!("seed {seed}")))?;
            }
            assert_eq!(shop.drift().await?, 0, "seed {seed}");
        }
        assert_eq!(gaps(&shop).await?, 0, "seed {seed}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_09_three_hundred_histories_of_as_many_tenants_keep_their_books() -> Result<()> {
    let shop = Shop::open().await?;
    let tenants: Vec<Ctx> = (0..300).map(|_| ctx()).collect();
    let ids: Vec<String> = tenants.iter().map(|ctx| format!("('{}'::uuid)", ctx.tenant.uuid())).collect();
    let (ids, all) = (ids.join(","), "(VALUES ('A', 9), ('B', 12), ('C', 4)) AS p (sku, units)");
    for statement in [
        format!(
            "INSERT INTO warehouses SELECT t.id, 'W' || n, 'x', w.address, n, n, now() FROM (VALUES {ids}) AS t (id),
             generate_series(1, 3) n, (SELECT address FROM warehouses LIMIT 1) w"
        ),
        format!(
            "INSERT INTO products (tenant_id, sku, display_name, prices, tax_class, weight_grams)
             SELECT t.id, p.sku, 'x', '{{\"USD\": 1}}', 'standard', 1 FROM (VALUES {ids}) AS t (id), {all}"
        ),
        format!(
            "INSERT INTO stock (tenant_id, sku, warehouse, on_hand)
             SELECT t.id, p.sku, 'W' || n, p.units FROM (VALUES {ids}) AS t (id), generate_series(1, 3) n, {all}"
        ),
        format!(
            "INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
             SELECT t.id, p.sku, 'W' || n, p.units, 0, 'RECEIVE', 'x' FROM (VALUES {ids}) AS t (id),
             generate_series(1, 3) n, {all}"
        ),
    ] {
        shop.sql(&statement).await?;
    }
    let histories = futures::stream::iter(tenants.iter().enumerate()).map(|(seed, ctx)| {
        let shop = &shop;
        async move {
            let mut rng = StdRng::seed_from_u64(u64::try_from(seed)?);
            let orders: Vec<OrderId> = (0..5).map(|_| OrderId::new()).collect();
            for _ in 0..8 {
                // Two at a time, so that steps of one tenant race.
                let two =
                    (0..2).map(|_| step(shop, ctx, &shop.inventory, &orders, StdRng::seed_from_u64(rng.random())));
                for outcome in join_all(two.collect::<Vec<_>>()).await {
                    outcome.map_err(|error| error.context(format!("seed {seed}")))?;
                }
            }
            anyhow::Ok(())
        }
    });
    for history in histories.buffer_unordered(8).collect::<Vec<_>>().await {
        history?;
    }
    assert_eq!((shop.drift().await?, gaps(&shop).await?), (0, 0));
    assert!(shop.count("SELECT count(*) AS n FROM stock_ledger").await? > 4_000, "little happened");
    Ok(())
}
