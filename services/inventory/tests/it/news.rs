use anyhow::Result;
use contract::Event as _;
use contract::inventory::v1::{BackInStock, LowStock, StockChanged};
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Text};
use diesel_async::RunQueryDsl;
use futures::StreamExt;
use ids::OrderId;
use inventory::{AdjustStock, Settings, seed};
use jiff::Timestamp;
use prost::Message as _;

use crate::shop::{Shop, ctx, product, warehouse};

/// What was told of a product, in order: "changed 5", "low 5 of 10, order 25", "back 5".
async fn told(shop: &Shop, sku: &str) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        r#type: String,
        #[diesel(sql_type = Binary)]
        payload: Vec<u8>,
    }
    let mut conn = shop.db.admin().await?;
    diesel::sql_query("SET search_path = om_inventory").execute(&mut conn).await?;
    let names = [StockChanged::TYPE, LowStock::TYPE, BackInStock::TYPE];
    let rows: Vec<Row> =
        diesel::sql_query("SELECT type, payload FROM events ORDER BY xid, gpos").load(&mut conn).await?;
    let mut all = Vec::new();
    for Row { r#type, payload } in rows.into_iter().filter(|row| names.contains(&row.r#type.as_str())) {
        let payload = payload.as_slice();
        let (of, text) = if r#type == StockChanged::TYPE {
            let event = StockChanged::decode(payload)?;
            (event.sku, format!("changed {}", event.available))
        } else if r#type == LowStock::TYPE {
            let LowStock { sku, available, threshold, reorder_quantity } = LowStock::decode(payload)?;
            (sku, format!("low {available} of {threshold}, order {reorder_quantity}"))
        } else {
            let event = BackInStock::decode(payload)?;
            (event.sku, format!("back {}", event.available))
        };
        if of == sku {
            all.push(text);
        }
    }
    Ok(all)
}

async fn tell(shop: &Shop) -> Result<usize> {
    // Another test's transaction may be open below the horizon for a moment.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let pending = "SELECT count(*) AS n FROM stock_ledger l, ledger_cursor c WHERE (l.xid, l.seq) > (c.xid, c.seq)";
    let mut told = 0;
    loop {
        told += shop.inventory.tell_stock(Timestamp::now()).await?;
        if shop.count(pending).await? == 0 {
            return Ok(told);
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "the ledger is not told");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn inv_06_every_change_is_told_with_the_figures_after_it() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[40, 20]).await?;
    tell(&shop).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 2)], true).await?;
    tell(&shop).await?;
    shop.adjust("A", "W2", -5).await?;
    shop.adjust("A", "W2", -5).await?;
    tell(&shop).await?;
    shop.inventory.release_reservation(&shop.ctx, order, 1).await?;
    tell(&shop).await?;
    shop.inventory.set_safety_stock(&shop.ctx, "A".into(), "W1".into(), 10).await?;
    tell(&shop).await?;
    assert_eq!(tell(&shop).await?, 0);
    assert_eq!(told(&shop, "A").await?, ["changed 60", "changed 58", "changed 48", "changed 50", "changed 40"]);
    Ok(())
}

#[tokio::test]
async fn inv_07_low_stock_is_told_once_until_it_recovers_with_what_to_order() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[12]).await?;
    let mut said = Vec::new();
    for delta in [-2, -1, -1, -8, 5, 6, -1, -10] {
        tell(&shop).await?;
        if delta != 0 {
            shop.adjust("A", "W1", delta).await.or_else(|fault| {
                said.push(fault.reason().to_owned());
                if fault.reason() == "STOCK_BELOW_RESERVED" { Ok(()) } else { Err(fault) }
            })?;
        }
    }
    tell(&shop).await?;
    assert!(said.is_empty(), "{said:?}");
    let told = told(&shop, "A").await?;
    let alerts: Vec<&str> = told.iter().map(String::as_str).filter(|text| !text.starts_with("changed")).collect();
    assert_eq!(alerts, ["low 9 of 10, order 21", "back 5", "low 0 of 10, order 30"]);
    Ok(())
}

#[tokio::test]
async fn inv_07_the_threshold_is_the_tenants() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[100]).await?;
    assert_eq!(shop.inventory.settings(&shop.ctx).await?.low_stock_threshold, 10);
    let settings = Settings { low_stock_threshold: 50, reorder_up_to: 200 };
    shop.inventory.update_settings(&shop.ctx, settings).await?;
    assert_eq!(shop.inventory.settings(&shop.ctx).await?, settings);
    tell(&shop).await?;
    shop.adjust("A", "W1", -51).await?;
    tell(&shop).await?;
    assert_eq!(told(&shop, "A").await?, ["changed 100", "changed 49", "low 49 of 50, order 151"]);
    Ok(())
}

#[tokio::test]
async fn inv_09_a_product_whose_figures_were_rebuilt_is_told_of() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[40]).await?;
    tell(&shop).await?;
    shop.sql("UPDATE stock SET on_hand = 4 WHERE sku = 'A'").await?;
    shop.adjust("A", "W1", 1).await?;
    tell(&shop).await?;
    for corrected in [1, 0] {
        assert_eq!(shop.inventory.rebuild_stock(&shop.ctx, "A".into()).await?.1, corrected);
        assert_eq!(tell(&shop).await?, usize::try_from(corrected)?);
    }
    shop.sql("UPDATE stock SET on_hand = 100 WHERE sku = 'A'").await?;
    assert_eq!(shop.inventory.rebuild_stock(&shop.ctx, "A".into()).await?.0.available(), 41);
    assert_eq!(told(&shop, "A").await?, ["changed 40", "changed 5", "low 5 of 10, order 25", "changed 41"]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_06_news_that_cannot_be_told_hold_up_no_other_and_are_told_later() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[40]).await?.stocked("C", &[40]).await?;
    let other = ctx();
    seed::warehouse(&shop.inventory, &other, warehouse("W1", 0)).await?;
    seed::product(&shop.inventory, &other, product("Z")).await?;
    seed::stock(&shop.inventory, &other, "Z", "W1", 40).await?;
    tell(&shop).await?;
    // The stream of A is not where its news would go on.
    shop.sql("UPDATE stock_news SET version = 0 WHERE sku = 'A'").await?;
    for (ctx, sku) in [(&shop.ctx, "A"), (&shop.ctx, "C"), (&other, "Z")] {
        let (sku, warehouse, reason) = (sku.to_owned(), "W1".to_owned(), "test".to_owned());
        shop.inventory.adjust_stock(ctx, AdjustStock { sku, warehouse, delta: -1, reason }).await?;
    }
    tell(&shop).await?;
    let all = async || anyhow::Ok((told(&shop, "A").await?, told(&shop, "C").await?, told(&shop, "Z").await?));
    let both = vec!["changed 40".to_owned(), "changed 39".to_owned()];
    assert_eq!(all().await?, (both[..1].to_vec(), both.clone(), both.clone()));

    shop.sql("UPDATE stock_news SET version = 1 WHERE sku = 'A'").await?;
    shop.inventory.tell_stock(Timestamp::now()).await?;
    assert_eq!(all().await?.0, both[..1], "not at once");
    shop.sql("UPDATE stock_untold SET next_at = now()").await?;
    shop.inventory.tell_stock(Timestamp::now()).await?;
    assert_eq!(all().await?, (both.clone(), both.clone(), both));
    assert_eq!(shop.count("SELECT count(*) AS n FROM stock_untold").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_07_many_tellers_at_once_tell_a_crossing_once() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[12]).await?.stocked("B", &[20]).await?;
    tell(&shop).await?;
    for _ in 0..10 {
        shop.adjust("A", "W1", -1).await?;
        shop.adjust("B", "W1", -1).await?;
        let now = Timestamp::now();
        let looks = (0..4).map(|_| shop.inventory.tell_stock(now));
        for look in futures::future::join_all(looks).await {
            look?;
        }
    }
    tell(&shop).await?;
    for (sku, last) in [("A", "changed 2"), ("B", "changed 10")] {
        let told = told(&shop, sku).await?;
        assert_eq!(told.iter().filter(|text| text.starts_with("low")).count(), usize::from(sku == "A"), "{told:?}");
        assert_eq!(told.iter().rfind(|text| text.starts_with("changed")).map(String::as_str), Some(last));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_06_a_watcher_sees_the_stock_now_and_after_a_change_within_a_second() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let unknown = shop.inventory.watch_stock(&shop.ctx, "NONE".into(), String::new()).await.expect_err("no product");
    assert_eq!(unknown.reason(), "PRODUCT_NOT_FOUND");
    let mut stream = shop.inventory.watch_stock(&shop.ctx, "A".into(), String::new()).await?;
    let first = stream.next().await.expect("a message")?;
    assert_eq!(first.available, 5);
    // The quickest of some: a busy machine may be slow once, a poll that is too rare is slow every time.
    let (mut second, mut quickest) = (first, std::time::Duration::MAX);
    for available in 6..=8 {
        let changed = std::time::Instant::now();
        shop.adjust("A", "W2", 1).await?;
        second = stream.next().await.expect("a message")?;
        assert_eq!(second.available, available);
        quickest = quickest.min(changed.elapsed());
    }
    assert!(quickest < std::time::Duration::from_secs(1), "{quickest:?}");
    // Who comes back with the last version hears of later changes only.
    let mut again = shop.inventory.watch_stock(&shop.ctx, "A".into(), second.etag).await?;
    shop.reserve(OrderId::new(), &[("A", 2)], true).await?;
    assert_eq!(again.next().await.expect("a message")?.available, 6);
    Ok(())
}
