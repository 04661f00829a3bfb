use anyhow::Result;
use ctx::{Ctx, IdempotencyKey};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use fault::{Fault, Kind};
use ids::OrderId;
use inventory::{ListMovements, ListStock, Page, RestockUnits, TransferStock};

use crate::shop::{Shop, ctx};

async fn transfer(shop: &Shop, ctx: &Ctx, from: &str, to: &str, quantity: i32) -> Result<i32, Fault> {
    let (sku, from, to) = ("A".to_owned(), from.to_owned(), to.to_owned());
    let transfer = TransferStock { sku, from, to, quantity, reason: "balance".to_owned() };
    Ok(shop.inventory.transfer_stock(ctx, transfer).await?.response.available)
}

#[tokio::test]
async fn inv_02_available_is_on_hand_minus_reserved_minus_safety_in_every_warehouse() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5, 4]).await?;
    let safety =
        |warehouse: &str, units| shop.inventory.set_safety_stock(&shop.ctx, "A".into(), warehouse.into(), units);
    assert_eq!(safety("W1", 2).await?.available(), 3);
    assert_eq!(safety("W2", 9).await?.available(), 0);
    let stock = shop.inventory.get_stock(&shop.ctx, "A").await?;
    assert_eq!(stock.available(), 3);

    let short = shop.reserve(OrderId::new(), &[("A", 4)], true).await.expect_err("safety is kept back");
    assert_eq!(short.reason(), "OUT_OF_STOCK");
    let order = OrderId::new();
    shop.reserve(order, &[("A", 3)], true).await?;
    assert_eq!(shop.levels("A").await?, [(5, 3), (4, 0)]);
    let row = shop.inventory.get_reservation(&shop.ctx, order).await?;
    assert!(row.expires_at > shop.ctx.now, "a hold has its end");

    // Safety that comes later breaks no promise.
    assert_eq!(safety("W1", 5).await?.available(), 0);
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    assert_eq!(safety("W2", 0).await?.available(), 4);
    let unknown = safety("W9", 1).await.expect_err("no such warehouse");
    assert_eq!((unknown.kind(), unknown.reason()), (Kind::NotFound, "WAREHOUSE_NOT_FOUND"));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_05_a_transfer_is_one_pair_of_lines_and_leaves_what_is_promised() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    shop.reserve(OrderId::new(), &[("A", 2)], true).await?;
    let many = transfer(&shop, &shop.ctx, "W1", "W2", 4).await.expect_err("two are promised");
    assert_eq!((many.kind(), many.reason()), (Kind::Precondition, "STOCK_BELOW_RESERVED"));
    assert_eq!((many.metadata()["on_hand"].as_str(), many.metadata()["reserved"].as_str()), ("5", "2"));
    assert_eq!(shop.levels("A").await?[0], (5, 2));

    let key = IdempotencyKey { key: "t1".into(), scope: "s".into(), fingerprint: [7; 32] };
    let once = Ctx { idempotency: Some(key), ..shop.ctx.clone() };
    for _ in 0..2 {
        assert_eq!(transfer(&shop, &once, "W1", "W2", 3).await?, 3);
        assert_eq!(shop.levels("A").await?, [(2, 2), (3, 0)]);
    }
    let list = ListMovements { sku: "A".into(), page: Page { size: 50, token: String::new() } };
    let (lines, _) = shop.inventory.list_movements(&shop.ctx, list).await?;
    let moved: Vec<_> = lines.iter().filter(|line| line.reason == "TRANSFER").collect();
    let figures = |at: usize| (moved[at].warehouse.as_str(), moved[at].d_on_hand, moved[at].d_reserved);
    assert_eq!((moved.len(), figures(0), figures(1)), (2, ("W1", -3, 0), ("W2", 3, 0)));
    for (from, to, reason) in [("W9", "W1", "WAREHOUSE_NOT_FOUND"), ("W1", "W9", "WAREHOUSE_NOT_FOUND")] {
        assert_eq!(transfer(&shop, &shop.ctx, from, to, 1).await.expect_err("no such place").reason(), reason);
    }
    assert_eq!(shop.count("SELECT count(*) AS n FROM events WHERE type LIKE '%StockTransferred'").await?, 1);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_05_transfers_that_cross_each_other_lose_nothing() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[30, 30]).await?;
    let tries = (0..40).map(|at| {
        let (from, to) = if at % 2 == 0 { ("W1", "W2") } else { ("W2", "W1") };
        transfer(&shop, &shop.ctx, from, to, 1 + at % 5)
    });
    for answer in futures::future::join_all(tries).await {
        if let Err(fault) = answer {
            assert_eq!(fault.reason(), "STOCK_BELOW_RESERVED");
        }
    }
    assert_eq!(shop.levels("A").await?.iter().map(|(on_hand, _)| on_hand).sum::<i32>(), 60);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_01_a_stock_lookup_finds_its_rows_by_their_keys() -> Result<()> {
    #[derive(QueryableByName, Debug)]
    struct Scans {
        #[diesel(sql_type = Text)]
        relname: String,
        #[diesel(sql_type = BigInt)]
        all: i64,
        #[diesel(sql_type = BigInt)]
        found: i64,
    }
    let shop = Shop::open().await?.stocked("A", &[5, 6]).await?;
    let tenant = shop.ctx.tenant.uuid();
    shop.sql(&format!(
        "INSERT INTO products (tenant_id, sku, display_name, prices, tax_class, weight_grams)
         SELECT '{tenant}', 'S' || n, 'x', '{{}}', 'standard', 0 FROM generate_series(1, 20000) n"
    ))
    .await?;
    shop.sql(&format!(
        "INSERT INTO stock (tenant_id, sku, warehouse, on_hand)
         SELECT '{tenant}', 'S' || n, 'W1', 1 FROM generate_series(1, 20000) n"
    ))
    .await?;
    let mut conn = shop.db.connect("om_inventory").await?;
    diesel::sql_query("BEGIN").execute(&mut conn).await?;
    diesel::sql_query(format!("SELECT get_stock('{tenant}', '{{A}}')")).execute(&mut conn).await?;
    let scans = diesel::sql_query(
        "SELECT relname::text, seq_scan AS all, coalesce(idx_tup_fetch, 0) AS found FROM pg_stat_xact_user_tables
         WHERE schemaname = 'om_inventory' AND relname IN ('products', 'stock') ORDER BY relname",
    );
    let scans: Vec<Scans> = scans.load(&mut conn).await?;
    diesel::sql_query("ROLLBACK").execute(&mut conn).await?;
    let figures: Vec<_> = scans.iter().map(|one| (one.relname.as_str(), one.all, one.found)).collect();
    assert_eq!(figures, [("products", 0, 1), ("stock", 0, 2)]);
    Ok(())
}

#[tokio::test]
async fn inv_01_many_products_are_looked_up_at_once_and_low_ones_are_listed() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?.stocked("B", &[50]).await?.stocked("C", &[]).await?;
    let skus = ["C", "NONE", "A"].map(str::to_owned).to_vec();
    let found = shop.inventory.batch_get_stock(&shop.ctx, skus.clone()).await?;
    let figures: Vec<_> = found.iter().map(|stock| (stock.sku.as_str(), stock.available())).collect();
    assert_eq!(figures, [("A", 5), ("C", 0)]);
    assert!(shop.inventory.batch_get_stock(&ctx(), skus).await?.is_empty());

    for (low, expected) in [(true, vec!["A", "C"]), (false, vec!["A", "B", "C"])] {
        let (mut names, mut token) = (Vec::new(), String::new());
        loop {
            let list = ListStock { page: Page { size: 1, token }, low };
            let (page, next) = shop.inventory.list_stock(&shop.ctx, list).await?;
            names.extend(page.into_iter().map(|stock| stock.sku));
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(names, expected);
    }
    Ok(())
}

#[tokio::test]
async fn inv_15_only_what_is_sold_again_raises_on_hand() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let restock = async |sellable, key: &str| {
        let key = IdempotencyKey { key: key.into(), scope: "s".into(), fingerprint: [7; 32] };
        let ctx = Ctx { idempotency: Some(key), ..shop.ctx.clone() };
        let (sku, warehouse, reference) = ("A".to_owned(), "W1".to_owned(), "ret_1".to_owned());
        let restock = RestockUnits { sku, warehouse, quantity: 2, sellable, reference };
        shop.inventory.restock_units(&ctx, restock).await
    };
    assert_eq!(restock(false, "damaged").await?.response.on_hand, 5);
    assert_eq!(restock(true, "good").await?.response.on_hand, 7);
    assert_eq!(restock(true, "good").await?.response.on_hand, 7);
    assert_eq!(shop.levels("A").await?, [(7, 0)]);
    let lines = shop.count("SELECT count(*) AS n FROM stock_ledger WHERE reason IN ('WRITE_OFF', 'RESTOCK')");
    assert_eq!(lines.await?, 2);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}
