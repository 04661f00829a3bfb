use anyhow::Result;
use fault::Kind;
use inventory::{Page, UpdateProduct};
use money::Money;

use crate::shop::{Shop, ctx, product, warehouse};

#[tokio::test]
async fn inv_13_a_product_is_created_changed_and_read() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[]).await?;
    let mut content = product("A");
    content.prices.push(Money::new("JPY".parse()?, 3_000));
    content.tax_class = "reduced".to_owned();
    let update = UpdateProduct { product: content.clone(), based_on: Some(1) };
    assert_eq!(shop.inventory.update_product(&shop.ctx, update.clone()).await?.version, 2);
    let read = shop.inventory.get_product(&shop.ctx, "A".to_owned()).await?.product;
    assert_eq!((read.version, read.content.tax_class.as_str(), read.content.prices.len()), (2, "reduced", 2));

    let stale = shop.inventory.update_product(&shop.ctx, update).await.expect_err("the etag is stale");
    assert_eq!(
        (stale.kind(), stale.reason(), stale.metadata()["etag"].as_str()),
        (Kind::Aborted, "ETAG_MISMATCH", "2")
    );
    let taken = shop.inventory.create_product(&shop.ctx, product("A")).await.expect_err("the SKU is taken");
    assert_eq!((taken.kind(), taken.reason()), (Kind::AlreadyExists, "SKU_TAKEN"));
    let unknown = UpdateProduct { product: product("NONE"), based_on: None };
    let unknown = shop.inventory.update_product(&shop.ctx, unknown).await.expect_err("no such product");
    assert_eq!(unknown.reason(), "PRODUCT_NOT_FOUND");
    assert_eq!(shop.count("SELECT count(*) AS n FROM events WHERE type LIKE '%ProductChanged'").await?, 2);
    Ok(())
}

#[tokio::test]
async fn inv_13_the_catalog_is_paged_by_sku_and_never_shows_another_tenant() -> Result<()> {
    let mut shop = Shop::open().await?;
    for sku in ["C", "a", "B", "D", "A"] {
        shop = shop.stocked(sku, &[]).await?;
    }
    let (mut skus, mut token) = (Vec::new(), String::new());
    loop {
        let (products, next) = shop.inventory.list_products(&shop.ctx, Page { size: 2, token }).await?;
        assert!(products.len() <= 2);
        skus.extend(products.into_iter().map(|product| product.content.sku));
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(skus, ["A", "B", "C", "D", "a"]);
    let batch = vec!["B".to_owned(), "NONE".to_owned(), "a".to_owned()];
    let found = shop.inventory.batch_get_products(&shop.ctx, batch.clone()).await?;
    assert_eq!(found.into_iter().map(|product| product.content.sku).collect::<Vec<_>>(), ["B", "a"]);

    let other = ctx();
    assert!(shop.inventory.batch_get_products(&other, batch).await?.is_empty());
    let (_, next) = shop.inventory.list_products(&shop.ctx, Page { size: 1, token: String::new() }).await?;
    let foreign = shop.inventory.list_products(&other, Page { size: 1, token: next }).await;
    assert_eq!(foreign.expect_err("a token of another tenant").reason(), "PAGE_TOKEN_INVALID");
    Ok(())
}

#[tokio::test]
async fn inv_05_a_tenant_has_at_most_a_hundred_warehouses_in_their_order_of_use() -> Result<()> {
    let shop = Shop::open().await?;
    for at in 3..100 {
        shop.inventory.create_warehouse(&shop.ctx, warehouse(&format!("X{at:03}"), 500 - at)).await?;
    }
    let full = shop.inventory.create_warehouse(&shop.ctx, warehouse("ONE-MORE", 0)).await;
    assert_eq!(full.expect_err("a hundred is enough").reason(), "WAREHOUSE_LIMIT");
    let taken = shop.inventory.create_warehouse(&shop.ctx, warehouse("W1", 0)).await;
    assert_eq!(taken.expect_err("the code is taken").reason(), "WAREHOUSE_TAKEN");
    let all = shop.inventory.list_warehouses(&shop.ctx).await?;
    assert_eq!(all.len(), 100);
    assert!(all.is_sorted_by_key(|warehouse| warehouse.priority));
    assert_eq!(shop.inventory.get_warehouse(&shop.ctx, "W2".to_owned()).await?.address.city, "Reno");
    let unknown = shop.inventory.get_warehouse(&ctx(), "W2".to_owned()).await;
    assert_eq!(unknown.expect_err("another tenant's").reason(), "WAREHOUSE_NOT_FOUND");
    Ok(())
}
