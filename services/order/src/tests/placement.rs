use anyhow::{Context as _, Result};
use contract::common::v1::Address;
use contract::identity::v1::{CaptureMode, TenantPolicy};
use contract::inventory::v1::{Product, ProductRestrictions};
use contract::order::v1::batch_create_result::Result as Each;
use contract::order::v1::{OrderChannel, OrderItem, OrderState};
use ctx::Principal;

use super::world::{World, address, minor, policy, product, reason, subject, usd};
use crate::app::create_order::CreateOrder;
use crate::app::draft_order::PlaceOrder;

#[tokio::test]
async fn ord_21_another_price_than_expected_is_refused_with_the_new_quote() -> Result<()> {
    let world = World::open().await?;
    let expecting = |unit, total| {
        let mut order = world.order(&[("TEE", 2)]);
        order.basket.items[0] = OrderItem { expected_unit_price: usd(unit), ..order.basket.items[0].clone() };
        CreateOrder { expected_total: usd(total), ..order }
    };
    for (unit, total, expected, actual) in [(1899, 4827, "1899", "1999"), (1999, 4800, "4800", "4827")] {
        let fault = world.app.create(&world.ctx(), expecting(unit, total)).await.err().context("refused")?;
        assert_eq!((fault.kind(), fault.reason()), (fault::Kind::Aborted, "PRICE_CHANGED"));
        let facts = fault.metadata();
        assert_eq!((facts["expected_minor"].as_str(), facts["actual_minor"].as_str()), (expected, actual));
        assert_eq!(facts["quote_total_minor"], "4827");
        assert_eq!(facts["quote_line_1"], "2 x TEE = 1999 each");
    }
    assert_eq!(world.count("orders").await?, 0);
    let placed = world.app.create(&world.ctx(), expecting(1999, 4827)).await?.response;
    assert_eq!(minor(placed.totals.context("totals")?.total.as_ref()), 4827);
    Ok(())
}

#[tokio::test]
async fn ord_19_a_place_that_cannot_be_is_refused_with_what_may_be_meant() -> Result<()> {
    let world = World::open().await?;
    let to = |region: &str, code: &str| {
        let mut order = world.order(&[("TEE", 1)]);
        order.basket.address = Some(Address { postal_code: code.to_owned(), ..address(region) });
        order
    };
    let cases = [
        ("California", "94105", "shipping_address.region", "REGION_INVALID", "suggestion: CA"),
        ("CA", "941051234", "shipping_address.postal_code", "POSTAL_CODE_INVALID", "suggestion: 94105-1234"),
        ("CA", "10001", "shipping_address.postal_code", "POSTAL_CODE_MISMATCH", "suggestion: region NY"),
    ];
    for (region, code, field, reason, suggestion) in cases {
        let fault = world.app.create(&world.ctx(), to(region, code)).await.err().context("refused")?;
        assert_eq!(fault.kind(), fault::Kind::Invalid);
        let wrong = &fault.violations()[0];
        assert_eq!((wrong.field.as_str(), &*wrong.reason), (field, reason));
        assert!(wrong.description.ends_with(suggestion), "{}", wrong.description);
    }
    assert_eq!(world.count("orders").await?, 0);
    Ok(())
}

#[tokio::test]
async fn ord_34_a_repeat_gets_the_first_answer_although_prices_have_changed() -> Result<()> {
    let world = World::open().await?;
    let key = world.keyed(world.ctx(), "k", 1);
    let order = CreateOrder { expected_total: usd(4827), ..world.order(&[("TEE", 2)]) };
    let first = world.app.create(&key, order.clone()).await?;
    world.know(policy(), vec![product("TEE", 2500)]).await;
    let again = world.app.create(&key, order.clone()).await?;
    assert_eq!((again.response, again.replayed), (first.response, true));
    let other = world.keyed(world.ctx(), "k", 2);
    assert_eq!(reason(world.app.create(&other, order).await), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(world.count("orders").await?, 1);
    Ok(())
}

#[tokio::test]
async fn ord_34_the_same_order_under_another_key_carries_a_warning_or_is_refused() -> Result<()> {
    let guarded = TenantPolicy { duplicate_window_s: 120, ..policy() };
    let world = World::with(guarded.clone()).await?;
    let first = world.placed(&[("TEE", 1), ("CAP", 2)]).await?;
    assert!(first.warnings.is_empty());
    let twin = world.placed(&[("CAP", 2), ("TEE", 1)]).await?;
    assert_eq!((twin.state(), twin.warnings.clone()), (OrderState::Pending, vec!["POSSIBLE_DUPLICATE".to_owned()]));
    assert!(world.placed(&[("CAP", 3), ("TEE", 1)]).await?.warnings.is_empty());

    let strict = TenantPolicy { refuse_duplicates: true, ..guarded };
    world.know(strict, Vec::new()).await;
    let key = world.keyed(world.ctx(), "twice", 1);
    let twin = world.app.create(&key, world.order(&[("CAP", 3), ("TEE", 1)])).await;
    assert_eq!(reason(twin), "POSSIBLE_DUPLICATE");
    assert_eq!(world.count("orders").await?, 3);
    // Neither the key nor a number is used up.
    let other = world.app.create(&key, world.order(&[("CAP", 4)])).await?.response;
    assert_eq!(other.order_number, 4);
    let somebody = world.another().await;
    assert!(somebody.placed(&[("CAP", 4)]).await?.warnings.is_empty());
    Ok(())
}

#[tokio::test]
async fn ord_34_the_same_order_is_noticed_behind_others_and_of_a_draft_and_not_when_it_came_to_nothing() -> Result<()> {
    let guarded = TenantPolicy { duplicate_window_s: 120, ..policy() };
    let world = World::with(guarded.clone()).await?;
    let place = async |draft: &contract::order::v1::Order| {
        let (payment_method, promotion_code) = ("pm_sim_visa".to_owned(), String::new());
        let place = PlaceOrder { subject: subject(draft), payment_method, expected_total: None, promotion_code };
        world.app.place(&world.ctx(), &place).await
    };
    let first = world.placed(&[("TEE", 1)]).await?;
    for others in 2..5 {
        assert!(world.placed(&[("TEE", others)]).await?.warnings.is_empty());
    }
    assert_eq!(world.placed(&[("TEE", 1)]).await?.warnings, ["POSSIBLE_DUPLICATE"], "behind three others");
    let draft = world.draft(&[("CAP", 1)]).await?;
    assert!(place(&draft).await?.response.warnings.is_empty(), "the draft is no twin of itself");
    assert_eq!(world.placed(&[("CAP", 1)]).await?.warnings, ["POSSIBLE_DUPLICATE"], "of a draft that was placed");
    let draft = world.draft(&[("TEE", 4)]).await?;
    assert_eq!(place(&draft).await?.response.warnings, ["POSSIBLE_DUPLICATE"], "a draft of an order");

    world.know(TenantPolicy { refuse_duplicates: true, ..guarded }, Vec::new()).await;
    let draft = world.draft(&[("TEE", 3)]).await?;
    assert_eq!(reason(place(&draft).await), "POSSIBLE_DUPLICATE");
    assert_eq!(world.get(&draft).await?, draft, "nothing changed");
    // What came to nothing may be ordered again; the last of its kind counts.
    for (units, end) in [(5, OrderState::Failed), (6, OrderState::PaymentFailed), (7, OrderState::CancellationPending)]
    {
        let gone = world.placed(&[("TEE", units)]).await?;
        let again = world.app.create(&world.ctx(), world.order(&[("TEE", units)])).await;
        assert_eq!(reason(again), "POSSIBLE_DUPLICATE");
        world.lead(&gone, &[end]).await?;
        assert!(world.placed(&[("TEE", units)]).await?.warnings.is_empty(), "{end:?}");
    }
    assert!(world.verified(&first).await?);
    Ok(())
}

#[tokio::test]
async fn pay_02_when_the_money_is_taken_is_decided_as_the_order_is_placed_and_not_changed_later() -> Result<()> {
    let world = World::with(TenantPolicy { capture_mode: CaptureMode::Immediate.into(), ..policy() }).await?;
    let drafted = world.draft(&[("CAP", 1)]).await?;
    world.placed(&[("TEE", 1)]).await?;
    assert_eq!(world.count("paid at once").await?, 1);
    for mode in [CaptureMode::OnShipment, CaptureMode::Unspecified] {
        world.know(TenantPolicy { capture_mode: mode.into(), ..policy() }, Vec::new()).await;
        world.placed(&[("TEE", 2)]).await?;
    }
    let place = PlaceOrder {
        subject: subject(&drafted),
        payment_method: "pm_sim_visa".to_owned(),
        expected_total: None,
        promotion_code: String::new(),
    };
    world.app.place(&world.ctx(), &place).await?;
    assert_eq!((world.count("sagas").await?, world.count("paid at once").await?), (4, 1));
    Ok(())
}

#[tokio::test]
async fn ord_45_a_service_of_the_mesh_places_an_order_for_a_customer() -> Result<()> {
    let world = World::open().await?;
    let service = world.by(Principal::Service { name: "order".to_owned() });
    let placed = world.app.create(&service, world.order(&[("TEE", 1)])).await?.response;
    assert_eq!((placed.channel(), placed.state()), (OrderChannel::Internal, OrderState::Pending));
    assert_eq!(placed.customer_id, world.customer.to_string());
    let nobody = CreateOrder { customer_id: String::new(), ..world.order(&[("TEE", 1)]) };
    assert_eq!(reason(world.app.create(&service, nobody).await), "REQUIRED");
    assert_eq!(world.placed(&[("TEE", 1)]).await?.channel(), OrderChannel::Customer);
    let staff = world.app.create(&world.csr(), world.order(&[("TEE", 1)])).await?.response;
    assert_eq!(staff.channel(), OrderChannel::Staff);
    Ok(())
}

#[tokio::test]
async fn ord_48_orders_of_a_batch_stand_for_themselves_and_come_once_per_key() -> Result<()> {
    let world = World::open().await?;
    let key = world.keyed(world.csr(), "batch", 1);
    let orders = || vec![world.order(&[("TEE", 1)]), world.order(&[("YEN", 1)]), world.order(&[("CAP", 1)])];
    let first = world.app.create_batch(&key, orders()).await?.results;
    let [Some(Each::Order(tee)), Some(Each::Failure(wrong)), Some(Each::Order(cap))] =
        [first[0].result.clone(), first[1].result.clone(), first[2].result.clone()]
    else {
        anyhow::bail!("{first:?}")
    };
    assert_eq!((wrong.reason.as_str(), wrong.fields[0].field.as_str()), ("NO_PRICE_IN_CURRENCY", "items[0].sku"));
    assert_ne!(tee.order_number, cap.order_number);
    assert_eq!(world.app.create_batch(&key, orders()).await?.results, first);
    assert_eq!(world.count("orders").await?, 2);
    for size in [0, 51] {
        let many = (0..size).map(|_| world.order(&[("TEE", 1)])).collect();
        let fault = world.app.create_batch(&key, many).await.err().context("refused")?;
        assert_eq!(fault.reason(), "BATCH_SIZE_INVALID");
    }
    Ok(())
}

#[tokio::test]
async fn ord_26_without_a_payment_method_nothing_is_placed() -> Result<()> {
    let world = World::open().await?;
    let bare = CreateOrder { payment_method: String::new(), ..world.order(&[("TEE", 1)]) };
    let fault = world.app.create(&world.ctx(), bare).await.err().context("refused")?;
    let wrong = |fault: &fault::Fault| {
        let violations = fault.violations().iter();
        violations.map(|wrong| (wrong.field.clone(), wrong.reason.to_string())).collect::<Vec<_>>()
    };
    let expected = [("payment_method".to_owned(), "PAYMENT_METHOD_REQUIRED".to_owned())];
    assert_eq!((fault.kind(), wrong(&fault)), (fault::Kind::Invalid, expected.to_vec()));
    let draft = world.draft(&[("TEE", 1)]).await?;
    let place = PlaceOrder {
        subject: subject(&draft),
        payment_method: String::new(),
        expected_total: None,
        promotion_code: String::new(),
    };
    let fault = world.app.place(&world.ctx(), &place).await.err().context("refused")?;
    assert_eq!((fault.kind(), wrong(&fault)), (fault::Kind::Invalid, expected.to_vec()));
    assert_eq!((world.count("orders").await?, world.count("sagas").await?), (1, 0));
    assert_eq!(world.get(&draft).await?, draft);
    Ok(())
}

/// No other service is there at all: what an order needs of them is known from before.
#[tokio::test]
async fn ord_30_an_order_is_there_as_pending_although_every_other_service_is_down() -> Result<()> {
    let world = World::open().await?;
    let placed = world.placed(&[("TEE", 1), ("CAP", 2)]).await?;
    assert_eq!(placed.state(), OrderState::Pending);
    let stored = world.get(&placed).await?;
    assert_eq!((stored.state(), stored.order_number), (OrderState::Pending, placed.order_number));
    assert_eq!((world.count("orders").await?, world.count("sagas").await?), (1, 1), "its saga will drive it");
    assert_eq!(world.events(&placed).await?, ["OrderCreated", "OrderStatusChanged"]);
    let unknown = world.app.create(&world.ctx(), world.order(&[("NEVER-SEEN", 1)])).await.err().context("refused")?;
    assert_eq!(unknown.kind(), fault::Kind::Unavailable, "the other services are down indeed");
    assert!(world.verified(&placed).await?);
    Ok(())
}

#[tokio::test]
async fn ord_33_numbers_have_no_gaps_whoever_races_and_whatever_is_rolled_back() -> Result<()> {
    let world = World::open().await?;
    let few = ProductRestrictions { max_per_customer: 3, ..Default::default() };
    let rare = Product { restrictions: Some(few), ..product("RARE", 2000) };
    world.know(policy(), vec![rare]).await;
    let other = World { tenant: ids::TenantId::new(), ..world.clone() };
    other.known_as(contract::identity::v1::User { email_verified: true, ..Default::default() }).await;
    other.know(policy(), vec![product("TEE", 1999)]).await;
    let one = |n: u8| {
        let (world, other) = (world.clone(), other.clone());
        async move {
            let shop = if n % 4 == 3 { &other } else { &world };
            // Of one tenant, a third is refused for its units behind the number, and a third for its key.
            let (sku, key) = match n % 4 {
                0 => ("RARE", format!("rare {n}")),
                1 => ("TEE", format!("tee {}", n / 16)),
                _ => ("TEE", format!("own {n}")),
            };
            let key = shop.keyed(shop.ctx(), &key, n);
            shop.app.create(&key, shop.order(&[(sku, 1)])).await
        }
    };
    let outcomes = futures::future::join_all((0..120).map(one)).await;
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let mut reasons: Vec<String> = refused.map(|fault| fault.reason().to_owned()).collect();
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons, ["IDEMPOTENCY_KEY_REUSED", "PRODUCT_RESTRICTED"]);
    // Drafts have a number too, and those that are never placed keep it.
    world.draft(&[("TEE", 1)]).await?;
    for shop in [&world, &other] {
        let numbers = shop.numbers().await?;
        let expected: Vec<i64> = (1..=i64::try_from(numbers.len())?).collect();
        assert!(numbers.len() >= 30, "{} orders", numbers.len());
        assert_eq!(numbers, expected);
    }
    Ok(())
}
