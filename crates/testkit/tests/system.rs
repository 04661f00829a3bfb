//! The system that tests share, and the shops they make in it.

use testkit::{System, refusal};

#[tokio::test]
async fn a_shop_has_goods_and_people_of_every_role() -> anyhow::Result<()> {
    let system = System::shared().await?;
    let shop = system.shop("kit-goods").await?;
    for (person, shelf) in [("customer", "catalog"), ("csr", "products"), ("admin", "products")] {
        let products = system.person(&shop, person).await?.get(&format!("/api/v1/{shelf}?pageSize=200")).await?;
        assert_eq!(products["products"].as_array().map(Vec::len), Some(14), "{person}");
    }
    Ok(())
}

#[tokio::test]
async fn a_shop_does_not_see_the_goods_of_another() -> anyhow::Result<()> {
    let system = System::shared().await?;
    system.shop("kit-full").await?;
    let empty = system.empty_shop("kit-empty").await?;
    let refused = system.person(&empty, "csr").await?.get("/api/v1/products/MUG-BLUE").await;
    let error = refused.expect_err("the shop has no goods");
    assert_eq!(refusal(&error).and_then(|refusal| refusal.reason()), Some("PRODUCT_NOT_FOUND"));
    Ok(())
}
