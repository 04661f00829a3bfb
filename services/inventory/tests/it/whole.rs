//! Counts of whole warehouses: what they leave out is not there.

use anyhow::Result;
use ids::OrderId;
use inventory::{CreateSlot, NewProduct, ProductKind};
use jiff::{SignedDuration, Timestamp};

use crate::control::{differences, ingest, ingest_whole};
use crate::counts::{age, ago, reconcile};
use crate::shop::{Shop, product};

const OBSERVATIONS: &str = "SELECT count(*) AS n FROM observations";

#[tokio::test]
async fn inv_10_what_a_whole_count_leaves_out_is_none_and_is_corrected_as_any_difference() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[5, 6]).await?;
    let shop = shop.stocked("HELD", &[4]).await?.stocked("ELSEWHERE", &[0, 9]).await?.stocked("OUT", &[2]).await?;
    shop.adjust("OUT", "W1", -2).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("HELD", 3)], true).await?;
    age(&shop, 120).await?;

    let part = ingest(&shop, "some", ago(20), &[("A", 10)]).await?;
    assert_eq!((differences(&part), part.accuracy.compared), (vec![], 1), "nobody said that this was all");
    let whole = ingest_whole(&shop, "all", ago(10), &[("A", 10)]).await?;
    assert_eq!(differences(&whole), [("B", 5, 0, false, ""), ("HELD", 4, 0, false, "")]);
    assert_eq!((whole.accuracy.compared, whole.accuracy.matched, whole.accuracy.ppm), (3, 1, 333_333));
    let levels = (shop.levels("B").await?, shop.levels("HELD").await?);
    assert_eq!(levels, (vec![(5, 0), (6, 0)], vec![(4, 3)]), "an observation changes nothing");

    let applied = reconcile(&shop, true).await?;
    assert_eq!(differences(&applied), [("B", 5, 0, true, ""), ("HELD", 4, 0, false, "STOCK_BELOW_RESERVED")]);
    assert_eq!(shop.levels("B").await?, [(0, 0), (6, 0)]);
    assert_eq!(shop.levels("ELSEWHERE").await?, [(9, 0)]);
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, order).await?.allocations[0].quantity, 3);
    assert_eq!(differences(&reconcile(&shop, true).await?), [("HELD", 4, 0, false, "STOCK_BELOW_RESERVED")]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_11_the_same_whole_count_again_changes_nothing() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[5]).await?;
    age(&shop, 120).await?;
    let taken_at = ago(10);
    let some = ingest(&shop, "s0", taken_at, &[("A", 10)]).await?;
    // Told again as whole: what was stored stays what it is.
    assert_eq!(ingest_whole(&shop, "s0", taken_at, &[("A", 10)]).await?, some);
    let whole = ingest_whole(&shop, "s1", taken_at, &[("A", 10)]).await?;
    assert_eq!(differences(&whole), [("B", 5, 0, false, "")]);
    assert_eq!(shop.count(OBSERVATIONS).await?, 3);
    let shop = shop.stocked("LATER", &[7]).await?;
    age(&shop, 60).await?;
    assert_eq!(ingest_whole(&shop, "s1", taken_at, &[("A", 10)]).await?, whole);
    assert_eq!(shop.count(OBSERVATIONS).await?, 3);
    let found = "SELECT count(*) AS n FROM events WHERE type LIKE '%InventoryDiscrepancyFound'";
    assert_eq!(shop.count(found).await?, 1, "told once");
    Ok(())
}

#[tokio::test]
async fn inv_10_a_whole_count_speaks_of_its_moment_and_not_of_when_it_was_told() -> Result<()> {
    let shop =
        Shop::open().await?.stocked("A", &[10]).await?.stocked("MORE", &[5]).await?.stocked("SOLD", &[5]).await?;
    age(&shop, 120).await?;
    // Between the count and its telling.
    let shop = shop.stocked("NEW", &[8]).await?;
    shop.adjust("MORE", "W1", 3).await?;
    shop.adjust("SOLD", "W1", -5).await?;
    let whole = ingest_whole(&shop, "s0", ago(10), &[("A", 10)]).await?;
    assert_eq!(differences(&whole), [("MORE", 5, 0, false, ""), ("SOLD", 5, 0, false, "")]);
    assert_eq!(whole.accuracy.compared, 3, "of what came later it says nothing");
    let applied = reconcile(&shop, true).await?;
    let told = [("MORE", 5, 0, true, ""), ("SOLD", 5, 0, false, "STOCK_BELOW_RESERVED")];
    assert_eq!(differences(&applied), told, "there are no five units left to take away");
    let levels = (shop.levels("MORE").await?, shop.levels("SOLD").await?, shop.levels("NEW").await?);
    assert_eq!(levels, (vec![(3, 0)], vec![(0, 0)], vec![(8, 0)]));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_11_slots_of_resources_are_no_goods_that_a_whole_count_could_leave_out() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?;
    let resource = NewProduct { kind: Some(ProductKind::Resource), ..product("HAIRCUT") };
    shop.inventory.create_product(&shop.ctx, resource).await?;
    let starts_at = Timestamp::now().saturating_add(SignedDuration::from_hours(1))?;
    let ends_at = starts_at.saturating_add(SignedDuration::from_hours(1))?;
    let slot = CreateSlot { sku: "HAIRCUT".into(), warehouse: "W1".into(), starts_at, ends_at, capacity: 2 };
    shop.inventory.create_slot(&shop.ctx, slot).await?;
    age(&shop, 120).await?;
    let whole = ingest_whole(&shop, "s0", ago(10), &[("A", 10)]).await?;
    assert_eq!((differences(&whole), whole.accuracy.compared), (vec![], 1));
    reconcile(&shop, true).await?;
    let places = "SELECT sum(on_hand)::bigint AS n FROM stock WHERE sku LIKE 'HAIRCUT@%'";
    assert_eq!(shop.count(places).await?, 2);
    Ok(())
}

#[tokio::test]
async fn inv_10_a_whole_count_may_leave_out_more_products_than_one_statement_compares() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[1]).await?;
    let tenant = shop.ctx.tenant.uuid();
    for statement in [
        "INSERT INTO products (tenant_id, sku, display_name, prices, tax_class, weight_grams)
         SELECT '{tenant}', 'S' || n, 'x', '{}', 'standard', 0 FROM generate_series(1, 1250) n",
        "INSERT INTO stock (tenant_id, sku, warehouse, on_hand) SELECT '{tenant}', 'S' || n, 'W1', 10 FROM generate_series(1, 1250) n",
        "INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
         SELECT '{tenant}', 'S' || n, 'W1', 10, 0, 'RECEIVE', 'x' FROM generate_series(1, 1250) n",
    ] {
        shop.sql(&statement.replace("{tenant}", &tenant.to_string())).await?;
    }
    age(&shop, 120).await?;
    let whole = ingest_whole(&shop, "s0", ago(10), &[("A", 1), ("S7", 10)]).await?;
    assert_eq!((whole.accuracy.compared, whole.accuracy.matched, whole.differences.len()), (1251, 2, 1249));
    Ok(())
}
