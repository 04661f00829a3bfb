use anyhow::{Context as _, Result};
use contract::identity::v1::{TenantPolicy, User};
use contract::inventory::v1::{Product, ProductRestrictions};
use contract::order::v1::OrderState;
use fault::Kind;
use futures::future::join_all;

use super::world::{World, address, policy, product, reason, subject};
use crate::app::create_order::CreateOrder;
use crate::app::draft_order::PlaceOrder;

fn verified() -> User {
    User { email_verified: true, ..User::default() }
}

fn restricted(sku: &str, restrictions: ProductRestrictions) -> Product {
    Product { restrictions: Some(restrictions), ..product(sku, 2000) }
}

#[tokio::test]
async fn ord_22_a_blocked_customer_gets_no_order_whoever_places_it() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 1)]).await?;
    world.known_as(User { blocked: true, ..verified() }).await;
    for ctx in [world.ctx(), world.csr()] {
        let fault = world.app.create(&ctx, world.order(&[("TEE", 1)])).await.err().context("refused")?;
        assert_eq!((fault.kind(), fault.reason()), (Kind::Denied, "CUSTOMER_NOT_ELIGIBLE"));
    }
    let place = PlaceOrder {
        subject: subject(&draft),
        payment_method: "pm_sim_visa".to_owned(),
        expected_total: None,
        promotion_code: String::new(),
    };
    assert_eq!(reason(world.app.place(&world.ctx(), &place).await), "CUSTOMER_NOT_ELIGIBLE");
    assert_eq!((world.count("orders").await?, world.count("sagas").await?), (1, 0));
    world.known_as(verified()).await;
    assert_eq!(world.app.place(&world.ctx(), &place).await?.response.state(), OrderState::Pending);
    Ok(())
}

#[tokio::test]
async fn ord_25_an_unverified_email_buys_nothing_unless_the_tenant_says_so() -> Result<()> {
    let world = World::open().await?;
    world.known_as(User::default()).await;
    let fault = world.app.create(&world.ctx(), world.order(&[("TEE", 1)])).await.err().context("refused")?;
    assert_eq!((fault.kind(), fault.reason()), (Kind::Denied, "EMAIL_NOT_VERIFIED"));
    assert_eq!(world.count("orders").await?, 0);
    world.know(TenantPolicy { require_verified_email: false, ..policy() }, Vec::new()).await;
    world.placed(&[("TEE", 1)]).await?;
    Ok(())
}

#[tokio::test]
async fn a_customer_nobody_can_look_up_waits_unless_the_tenant_says_otherwise() -> Result<()> {
    let mut world = World::open().await?;
    // Not among the copies, and identity is not there.
    world.customer = ids::UserId::new();
    let fault = world.app.create(&world.ctx(), world.order(&[("TEE", 1)])).await.err().context("refused")?;
    assert_eq!(fault.kind(), Kind::Unavailable);
    assert_eq!(world.count("orders").await?, 0);
    let wine = restricted("WINE", ProductRestrictions { min_age: 18, ..Default::default() });
    world.know(TenantPolicy { unknown_customers_may_buy: true, ..policy() }, vec![wine]).await;
    world.placed(&[("TEE", 1)]).await?;
    assert_eq!(reason(world.app.create(&world.ctx(), world.order(&[("WINE", 1)])).await), "PRODUCT_RESTRICTED");
    Ok(())
}

#[tokio::test]
async fn ord_27_a_restricted_product_names_rule_and_sku() -> Result<()> {
    let world = World::open().await?;
    let places = ProductRestrictions { excluded_places: vec!["US-CA".to_owned()], ..Default::default() };
    let wine = ProductRestrictions { min_age: 21, ..Default::default() };
    world.know(policy(), vec![restricted("KNIFE", places), restricted("WINE", wine)]).await;
    let knife = world.app.create(&world.ctx(), world.order(&[("TEE", 1), ("KNIFE", 1)])).await;
    let knife = knife.err().context("refused")?;
    assert_eq!((knife.kind(), knife.reason()), (Kind::Precondition, "PRODUCT_RESTRICTED"));
    assert_eq!((knife.metadata()["sku"].as_str(), knife.metadata()["rule"].as_str()), ("KNIFE", "REGION_RESTRICTED"));
    assert_eq!(knife.violations()[0].field, "items[1].sku");
    let mut elsewhere = world.order(&[("KNIFE", 1)]);
    elsewhere.basket.address = Some(address("NY"));
    world.app.create(&world.ctx(), elsewhere).await?;

    for (born, allowed) in [("", false), ("2015-01-01", false), ("1985-12-10", true)] {
        world.known_as(User { birth_date: born.to_owned(), ..verified() }).await;
        let wine = world.app.create(&world.ctx(), world.order(&[("WINE", 1)])).await;
        assert_eq!(reason(wine), if allowed { "" } else { "PRODUCT_RESTRICTED" }, "{born}");
    }
    Ok(())
}

#[tokio::test]
async fn ord_27_a_customer_never_has_more_of_a_product_than_one_may_have() -> Result<()> {
    let world = World::open().await?;
    let few = ProductRestrictions { max_per_customer: 5, ..Default::default() };
    world.know(policy(), vec![restricted("RARE", few)]).await;
    assert_eq!(reason(world.app.create(&world.ctx(), world.order(&[("RARE", 6)])).await), "PRODUCT_RESTRICTED");
    let two = |n: u8| {
        let world = world.clone();
        async move {
            let key = world.keyed(world.ctx(), &format!("rare {n}"), n);
            world.app.create(&key, world.order(&[("RARE", 2)])).await
        }
    };
    let outcomes = join_all((0..10).map(two)).await;
    let placed: Vec<_> = outcomes.into_iter().filter_map(Result::ok).map(|once| once.response).collect();
    assert_eq!(placed.len(), 2, "two of two units each fit into five");
    assert_eq!(world.count("orders").await?, 2);
    let mut numbers: Vec<_> = placed.iter().map(|order| order.order_number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2], "a refused order uses no number");
    let last = world.app.create(&world.ctx(), world.order(&[("RARE", 2)])).await.err().context("refused")?;
    assert_eq!((last.reason(), last.metadata()["rule"].as_str()), ("PRODUCT_RESTRICTED", "MAX_PER_CUSTOMER"));
    assert_eq!(last.metadata()["sku"], "RARE");

    // A draft counts when it is placed, not before; what failed counts no more; somebody else has his own count.
    let draft = CreateOrder { draft: true, payment_method: String::new(), ..world.order(&[("RARE", 3)]) };
    let draft = world.app.create(&world.ctx(), draft).await?.response;
    let place = PlaceOrder {
        subject: subject(&draft),
        payment_method: "pm_sim_visa".to_owned(),
        expected_total: None,
        promotion_code: String::new(),
    };
    assert_eq!(reason(world.app.place(&world.ctx(), &place).await), "PRODUCT_RESTRICTED");
    world.lead(&placed[0], &[OrderState::PaymentProcessing, OrderState::PaymentFailed]).await?;
    assert_eq!(world.app.place(&world.ctx(), &place).await?.response.state(), OrderState::Pending);
    assert_eq!(reason(world.app.create(&world.ctx(), world.order(&[("RARE", 1)])).await), "PRODUCT_RESTRICTED");
    world.another().await.placed(&[("RARE", 5)]).await?;
    Ok(())
}
