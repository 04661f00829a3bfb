use anyhow::Result;
use ctx::{Ctx, IdempotencyKey};
use diesel_async::RunQueryDsl;
use fault::Kind;
use ids::OrderId;
use inventory::{AdjustStock, ListMovements, Page, seed};

use crate::shop::{Shop, ctx};

#[tokio::test]
async fn inv_01_stock_shows_what_may_be_sold_by_warehouse() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5, 0, 7]).await?;
    shop.reserve(OrderId::new(), &[("A", 2)], true).await?;
    assert_eq!(shop.levels("A").await?, [(5, 2), (7, 0)]);
    let unknown = shop.inventory.get_stock(&shop.ctx, "NONE").await.expect_err("no such product");
    assert_eq!((unknown.kind(), unknown.reason()), (Kind::NotFound, "PRODUCT_NOT_FOUND"));
    let foreign = shop.inventory.get_stock(&ctx(), "A").await.expect_err("another tenant's");
    assert_eq!(foreign.kind(), Kind::NotFound);
    Ok(())
}

#[tokio::test]
async fn inv_09_an_adjustment_happens_once_per_key_and_never_below_what_is_promised() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    shop.reserve(OrderId::new(), &[("A", 3)], true).await?;
    let below = shop.adjust("A", "W1", -3).await.expect_err("orders were promised three");
    assert_eq!((below.kind(), below.reason()), (Kind::Precondition, "STOCK_BELOW_RESERVED"));
    assert_eq!((below.metadata()["on_hand"].as_str(), below.metadata()["reserved"].as_str()), ("5", "3"));
    assert_eq!(shop.adjust("NONE", "W1", 1).await.expect_err("no product").reason(), "PRODUCT_NOT_FOUND");
    assert_eq!(shop.adjust("A", "W9", 1).await.expect_err("no warehouse").reason(), "WAREHOUSE_NOT_FOUND");

    let key = IdempotencyKey { key: "k1".into(), scope: "s".into(), fingerprint: [7; 32] };
    let ctx = Ctx { idempotency: Some(key), ..shop.ctx.clone() };
    let adjust = AdjustStock { sku: "A".into(), warehouse: "W1".into(), delta: -2, reason: "broken".into() };
    let first = shop.inventory.adjust_stock(&ctx, adjust.clone()).await?;
    let again = shop.inventory.adjust_stock(&ctx, adjust).await?;
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.response, again.response);
    assert_eq!(shop.levels("A").await?, [(3, 3)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_09_more_than_a_warehouse_holds_is_refused() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    shop.sql("UPDATE stock SET on_hand = 999999999").await?;
    assert_eq!(shop.adjust("A", "W1", 1_000_000).await.expect_err("too many").reason(), "STOCK_TOO_LARGE");
    Ok(())
}

#[tokio::test]
async fn inv_09_the_ledger_is_paged_oldest_first_and_says_where_each_line_came_from() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 3)], true).await?;
    shop.adjust("A", "W1", -1).await?;
    shop.inventory.release_reservation(&shop.ctx, order, 1).await?;
    let (mut lines, mut token) = (Vec::new(), String::new());
    loop {
        let list = ListMovements { sku: "A".into(), page: Page { size: 3, token } };
        let (page, next) = shop.inventory.list_movements(&shop.ctx, list).await?;
        lines.extend(page.into_iter().map(|l| (l.reason, l.d_on_hand, l.d_reserved, l.reference)));
        token = next;
        if token.is_empty() {
            break;
        }
    }
    let line =
        |reason: &str, on_hand, reserved, reference: &str| (reason.to_owned(), on_hand, reserved, reference.to_owned());
    assert_eq!(
        lines,
        [
            line("RECEIVE", 5, 0, "opening stock"),
            line("RESERVE", 0, 3, &order.to_string()),
            line("ADJUST", -1, 0, "test"),
            line("RELEASE", 0, -3, &order.to_string()),
        ]
    );
    let list = ListMovements { sku: "NONE".into(), page: Page { size: 3, token: String::new() } };
    let unknown = shop.inventory.list_movements(&shop.ctx, list).await.expect_err("no such product");
    assert_eq!(unknown.reason(), "PRODUCT_NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn seeding_twice_changes_nothing() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5, 6]).await?.stocked("A", &[5, 6]).await?;
    seed::stock(&shop.inventory, &shop.ctx, "A", "W1", 5).await?;
    assert_eq!(shop.levels("A").await?, [(5, 0), (6, 0)]);
    Ok(())
}

#[tokio::test]
async fn ten_01_the_service_role_sees_nothing_without_a_tenant_or_of_another() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    shop.reserve(OrderId::new(), &[("A", 3)], true).await?;
    let tables = [
        "products",
        "warehouses",
        "stock",
        "stock_ledger",
        "reservations",
        "allocations",
        "consumptions",
        "events",
        "stock_issues",
        "wms_snapshots",
        "observations",
        "slots",
        "inventory_settings",
        "stock_news",
        "stock_untold",
    ];
    let mut conn = shop.db.connect("om_inventory").await?;
    for table in tables {
        let open = diesel::sql_query(format!("SELECT * FROM {table}")).execute(&mut conn).await;
        assert!(open.is_err(), "{table} can be read without a tenant");
    }
    diesel::sql_query("SELECT set_config('app.tenant', gen_random_uuid()::text, false)").execute(&mut conn).await?;
    for table in tables {
        let rows = diesel::sql_query(format!("SELECT FROM {table}")).execute(&mut conn).await?;
        assert_eq!(rows, 0, "{table} shows rows of another tenant");
    }
    let foreign = format!("INSERT INTO stock VALUES ('{}', 'X', 'W1', 1, 0)", shop.ctx.tenant.uuid());
    assert!(diesel::sql_query(foreign).execute(&mut conn).await.is_err(), "another tenant's row was written");
    let ledger = diesel::sql_query("DELETE FROM stock_ledger").execute(&mut conn).await;
    assert!(ledger.is_err(), "the ledger can be rewritten");
    Ok(())
}
