use anyhow::Result;
use ctx::Ctx;
use fault::{Fault, Kind};
use ids::{FulfillmentId, OrderId, ShipmentId};
use inventory::{
    AllocateReservation, Availability, CreateSlot, Inventory, ListReservations, ListSlots, NewProduct, Page,
    ProductKind, Reservation, ReserveStock, State, UpdateProduct, slot_key, sum,
};
use jiff::{SignedDuration, Timestamp};
use money::Money;

use crate::shop::{HOLD_S, Shop, ctx, product};

fn page(size: i64) -> Page {
    Page { size, token: String::new() }
}

async fn storefront(shop: &Shop, size: i64) -> Result<Vec<(String, Availability)>> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (shown, next) = shop.inventory.list_catalog(&shop.ctx, Page { size, token }).await?;
        all.extend(shown.into_iter().map(|one| (one.product.content.sku, one.availability)));
        token = next;
        if token.is_empty() {
            return Ok(all);
        }
    }
}

#[tokio::test]
async fn inv_08_the_storefront_hides_what_is_sold_out_and_a_direct_look_says_so() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?.stocked("B", &[]).await?;
    let shop = shop.stocked("C", &[20]).await?.stocked("D", &[3, 3]).await?;
    let (a, c) = (("A".to_owned(), Availability::LowStock), ("C".to_owned(), Availability::InStock));
    let d = ("D".to_owned(), Availability::LowStock);
    assert_eq!(storefront(&shop, 1).await?, [a.clone(), c.clone(), d]);

    // Reserved to the last unit, kept back to the last unit: hidden alike.
    let order = OrderId::new();
    shop.reserve(order, &[("D", 6)], true).await?;
    shop.inventory.set_safety_stock(&shop.ctx, "A".into(), "W1".into(), 5).await?;
    assert_eq!(storefront(&shop, 50).await?, std::slice::from_ref(&c));
    for sku in ["A", "B", "D"] {
        let shown = shop.inventory.get_product(&shop.ctx, sku.into()).await?;
        assert_eq!(shown.availability, Availability::OutOfStock, "{sku}");
    }
    let (all, _) = shop.inventory.list_products(&shop.ctx, page(50)).await?;
    assert_eq!(all.len(), 4, "staff see everything");

    shop.inventory.release_reservation(&shop.ctx, order, 1).await?;
    assert_eq!(storefront(&shop, 50).await?.len(), 2);
    assert!(shop.inventory.list_catalog(&ctx(), page(50)).await?.0.is_empty(), "another tenant sees nothing");
    Ok(())
}

#[tokio::test]
async fn inv_13_a_price_is_set_per_currency_and_a_product_is_taken_out_of_sale() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let yen = Money::new("JPY".parse()?, 3_000);
    let priced = shop.inventory.set_price(&shop.ctx, "A".into(), yen, Some(1)).await?;
    let prices = |priced: &inventory::Product| {
        priced.content.prices.iter().map(|price| (price.currency.code().to_owned(), price.minor)).collect::<Vec<_>>()
    };
    assert_eq!(prices(&priced), [("JPY".to_owned(), 3_000), ("USD".to_owned(), 1_999)]);
    let dearer = Money::new("USD".parse()?, 2_999);
    let stale = shop.inventory.set_price(&shop.ctx, "A".into(), dearer, Some(1)).await.expect_err("version 2");
    assert_eq!((stale.kind(), stale.reason()), (Kind::Aborted, "ETAG_MISMATCH"));
    let priced = shop.inventory.set_price(&shop.ctx, "A".into(), dearer, Some(2)).await?;
    assert_eq!(prices(&priced)[1].1, 2_999);
    let resource = NewProduct { kind: Some(ProductKind::Resource), ..product("A") };
    let fixed = shop.inventory.update_product(&shop.ctx, UpdateProduct { product: resource, based_on: None }).await;
    assert_eq!(fixed.expect_err("goods stay goods").reason(), "PRODUCT_KIND_FIXED");

    let order = OrderId::new();
    shop.reserve(order, &[("A", 1)], true).await?;
    shop.inventory.delete_product(&shop.ctx, "A".into(), Some(3)).await?;
    for gone in [
        shop.inventory.get_product(&shop.ctx, "A".into()).await.map(drop),
        shop.inventory.delete_product(&shop.ctx, "A".into(), None).await.map(drop),
        shop.inventory.set_price(&shop.ctx, "A".into(), dearer, None).await.map(drop),
    ] {
        assert_eq!(gone.expect_err("out of sale").reason(), "PRODUCT_NOT_FOUND");
    }
    assert!(shop.inventory.batch_get_products(&shop.ctx, vec!["A".into()]).await?.is_empty());
    assert!(storefront(&shop, 50).await?.is_empty());
    let again = shop.inventory.create_product(&shop.ctx, product("A")).await.expect_err("never given again");
    assert_eq!(again.reason(), "SKU_TAKEN");
    // What was promised is kept.
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    shop.consume(order, ShipmentId::new(), "W1", &[("A", 1)]).await?;
    assert_eq!(shop.levels("A").await?, [(4, 0)]);
    assert_eq!(shop.count("SELECT count(*) AS n FROM events WHERE type LIKE '%ProductChanged'").await?, 4);
    Ok(())
}

async fn allocate(shop: &Shop, order: OrderId, warehouse: &str, to: FulfillmentId) -> Result<Reservation, Fault> {
    let allocate = AllocateReservation { order, warehouse: warehouse.to_owned(), fulfillment: to };
    shop.inventory.allocate_reservation(&shop.ctx, allocate).await
}

#[tokio::test]
async fn inv_04_a_reservation_goes_from_held_over_confirmed_and_allocated_to_consumed() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[2, 3]).await?;
    let (order, first, second) = (OrderId::new(), FulfillmentId::new(), FulfillmentId::new());
    let held = shop.reserve(order, &[("A", 4)], true).await?;
    assert_eq!(held.state, State::Held);
    let early = allocate(&shop, order, "W1", first).await.expect_err("only held");
    assert_eq!((early.kind(), early.reason()), (Kind::Precondition, "RESERVATION_NOT_CONFIRMED"));
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, order).await?.state, State::Confirmed);
    let elsewhere = allocate(&shop, order, "W3", first).await.expect_err("nothing is there");
    assert_eq!(elsewhere.reason(), "NOTHING_SET_ASIDE");
    assert_eq!(allocate(&shop, order, "W1", first).await?.state, State::Confirmed);
    let taken = allocate(&shop, order, "W1", second).await.expect_err("another works on it");
    assert_eq!(taken.reason(), "ALLOCATED_ELSEWHERE");
    for _ in 0..2 {
        let allocated = allocate(&shop, order, "W2", second).await?;
        assert_eq!(allocated.state, State::Allocated);
        assert_eq!(allocated, shop.inventory.get_reservation(&shop.ctx, order).await?);
    }
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, order).await?.state, State::Allocated);
    let consumed = shop.consume(order, ShipmentId::new(), "W1", &[("A", 2)]).await?;
    assert_eq!(consumed.state, State::Consumed);
    assert_eq!(shop.inventory.release_reservation(&shop.ctx, order, 1).await?.state, State::Released);
    assert_eq!(allocate(&shop, order, "W2", second).await.expect_err("ended").reason(), "RESERVATION_ENDED");
    assert_eq!(shop.levels("A").await?, [(0, 0), (3, 0)]);
    assert_eq!(
        allocate(&shop, OrderId::new(), "W2", second).await.expect_err("none").reason(),
        "RESERVATION_NOT_FOUND"
    );
    let events = format!("SELECT count(*) AS n FROM events WHERE stream_id = '{}'", held.id.uuid());
    assert_eq!(shop.count(&events).await?, 6);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_04_many_fulfillments_are_bound_in_one_transaction_and_each_is_told_its_own() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[2, 3]).await?.stocked("B", &[30]).await?;
    let (split, held) = (OrderId::new(), OrderId::new());
    let whole: Vec<OrderId> = (0..5).map(|_| OrderId::new()).collect();
    shop.reserve(split, &[("A", 4)], true).await?;
    for order in whole.iter().chain([&held]) {
        shop.reserve(*order, &[("B", 3)], true).await?;
    }
    for order in whole.iter().chain([&split]) {
        shop.inventory.confirm_reservation(&shop.ctx, *order).await?;
    }
    let ask = |order: &OrderId, warehouse: &str| AllocateReservation {
        order: *order,
        warehouse: warehouse.to_owned(),
        fulfillment: FulfillmentId::new(),
    };
    let mut asked = vec![ask(&split, "W1"), ask(&held, "W1"), ask(&split, "W2"), ask(&OrderId::new(), "W2")];
    asked.extend(whole.iter().map(|order| ask(order, "W1")));
    let told = shop.inventory.allocate_reservations(&shop.ctx, asked.clone()).await?;
    let reason = |at: usize| told[at].as_ref().map_err(|fault| fault.reason().to_owned()).map(|it| it.state);
    assert_eq!(reason(0), Ok(State::Confirmed), "one of its two warehouses works on it");
    assert_eq!(reason(1), Err("RESERVATION_NOT_CONFIRMED".to_owned()));
    assert_eq!(reason(3), Err("RESERVATION_NOT_FOUND".to_owned()));
    for at in [2, 4, 5, 6, 7, 8] {
        let it = told[at].as_ref().map_err(|fault| anyhow::anyhow!("{fault}"))?;
        assert_eq!(it.state, State::Allocated);
        assert_eq!(*it, shop.inventory.get_reservation(&shop.ctx, asked[at].order).await?);
    }
    let again = shop.inventory.allocate_reservations(&shop.ctx, asked).await?;
    assert_eq!(again.iter().filter(|answer| answer.is_ok()).count(), 7);
    let events = "SELECT count(*) AS n FROM events WHERE type LIKE '%StockAllocated'";
    assert_eq!(shop.count(events).await?, 7, "the same again changes nothing");
    Ok(())
}

#[tokio::test]
async fn inv_04_a_hold_that_is_extended_outlives_its_first_end() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let order = OrderId::new();
    let held = shop.reserve(order, &[("A", 1)], true).await?;
    let now = Ctx { now: Timestamp::now(), ..shop.ctx.clone() };
    let same = shop.inventory.extend_reservation(&now, order, 1).await?;
    assert_eq!(same, held, "never earlier");
    shop.outlive_holds().await?;
    let longer = shop.inventory.extend_reservation(&now, order, 3_600).await?;
    assert_eq!(longer.version, held.version + 1);
    assert_eq!(shop.inventory.expire_reservations().await?, 0);
    assert_eq!(shop.inventory.get_reservation(&shop.ctx, order).await?.expires_at, longer.expires_at);
    shop.outlive_holds().await?;
    assert_eq!(shop.inventory.expire_reservations().await?, 1);
    let ended = shop.inventory.extend_reservation(&now, order, 3_600).await.expect_err("given back");
    assert_eq!((ended.kind(), ended.reason()), (Kind::Precondition, "RESERVATION_ENDED"));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_04_reservations_are_listed_by_state_and_product() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[9]).await?.stocked("B", &[9]).await?;
    let mut orders: Vec<OrderId> = (0..5).map(|_| OrderId::new()).collect();
    orders.sort();
    for (at, order) in orders.iter().enumerate() {
        shop.reserve(*order, &[(if at < 3 { "A" } else { "B" }, 1)], true).await?;
    }
    shop.inventory.confirm_reservation(&shop.ctx, orders[0]).await?;
    let list = |state, sku: &str| ListReservations { page: page(2), state, sku: sku.to_owned() };
    let found = async |mut list: ListReservations| -> Result<Vec<OrderId>> {
        let mut all = Vec::new();
        loop {
            let (some, next) = shop.inventory.list_reservations(&shop.ctx, list.clone()).await?;
            all.extend(some.into_iter().map(|it| it.order));
            list.page.token = next;
            if list.page.token.is_empty() {
                return Ok(all);
            }
        }
    };
    assert_eq!(found(list(None, "")).await?, orders);
    assert_eq!(found(list(None, "A")).await?, orders[..3]);
    assert_eq!(found(list(Some(State::Held), "A")).await?, orders[1..3]);
    assert_eq!(found(list(Some(State::Consumed), "")).await?, []);
    Ok(())
}

/// A resource with a slot that begins in an hour, and one right after it.
async fn salon(shop: &Shop, capacity: i32) -> Result<[String; 2]> {
    let resource = NewProduct { kind: Some(ProductKind::Resource), ..product("HAIRCUT") };
    shop.inventory.create_product(&shop.ctx, resource).await?;
    let start = Timestamp::new(Timestamp::now().as_second() + 3_600, 0)?;
    let mut ids = Vec::new();
    for at in 0..2 {
        let slot = slot(start.saturating_add(SignedDuration::from_secs(at * 1_800))?, capacity);
        ids.push(shop.inventory.create_slot(&shop.ctx, slot).await?.response.id);
    }
    Ok([ids.remove(0), ids.remove(0)])
}

fn slot(starts_at: Timestamp, capacity: i32) -> CreateSlot {
    let ends_at = starts_at.saturating_add(SignedDuration::from_secs(1_800)).expect("in range");
    CreateSlot { sku: "HAIRCUT".into(), warehouse: "W1".into(), starts_at, ends_at, capacity }
}

async fn book(inventory: &Inventory, ctx: &Ctx, order: OrderId, slot: &str, places: i32) -> Result<Reservation, Fault> {
    let demand = sum([(slot_key("HAIRCUT", slot), places)]).expect("small");
    inventory.reserve_stock(ctx, ReserveStock { order, demand, round: 1, hold_s: HOLD_S, split: false }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_17_a_slot_is_booked_by_the_reservation_api_and_never_over_its_capacity() -> Result<()> {
    let shop = Shop::open().await?;
    let [first, second] = salon(&shop, 2).await?;
    let places = async |free| -> Result<Vec<(String, i32)>> {
        let list = ListSlots { sku: "HAIRCUT".into(), page: page(50), free };
        let (slots, _) = shop.inventory.list_slots(&shop.ctx, list).await?;
        Ok(slots.into_iter().map(|slot| (slot.slot_id, slot.available)).collect())
    };
    assert_eq!(places(true).await?, [(first.clone(), 2), (second.clone(), 2)]);
    let tries = (0..20).map(|_| book(&shop.inventory, &shop.ctx, OrderId::new(), &first, 1));
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(places(true).await?, [(second.clone(), 2)]);
    assert_eq!(places(false).await?, [(first.clone(), 0), (second.clone(), 2)]);

    let booked = answers.into_iter().find_map(Result::ok).expect("two got a place");
    shop.inventory.confirm_reservation(&shop.ctx, booked.order).await?;
    shop.inventory.release_reservation(&shop.ctx, booked.order, 1).await?;
    let next = book(&shop.inventory, &shop.ctx, OrderId::new(), &first, 1).await?;
    shop.inventory.confirm_reservation(&shop.ctx, next.order).await?;
    let key = slot_key("HAIRCUT", &first);
    shop.consume(next.order, ShipmentId::new(), "W1", &[(&key, 1)]).await?;
    assert_eq!(storefront(&shop, 50).await?, [("HAIRCUT".to_owned(), Availability::LowStock)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_17_slots_do_not_overlap_begin_in_the_past_or_belong_to_goods() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let [first, _] = salon(&shop, 1).await?;
    let list = ListSlots { sku: "HAIRCUT".into(), page: page(1), free: false };
    let (slots, _) = shop.inventory.list_slots(&shop.ctx, list).await?;
    let begin = slots[0].starts_at;
    let reason = async |create: CreateSlot| {
        let answer = shop.inventory.create_slot(&shop.ctx, create).await;
        answer.expect_err("refused").reason().to_owned()
    };
    assert_eq!(reason(slot(begin.saturating_add(SignedDuration::from_secs(60))?, 1)).await, "SLOT_OVERLAPS");
    assert_eq!(reason(slot(Timestamp::from_second(1_000_000_000)?, 1)).await, "SLOT_IN_THE_PAST");
    assert_eq!(reason(CreateSlot { sku: "A".into(), ..slot(begin, 1) }).await, "PRODUCT_IS_GOODS");
    assert_eq!(reason(CreateSlot { sku: "NONE".into(), ..slot(begin, 1) }).await, "PRODUCT_NOT_FOUND");
    assert_eq!(reason(CreateSlot { warehouse: "W9".into(), ..slot(begin, 1) }).await, "WAREHOUSE_NOT_FOUND");
    let elsewhere = CreateSlot { warehouse: "W2".into(), ..slot(begin, 1) };
    shop.inventory.create_slot(&shop.ctx, elsewhere).await?;

    let bare = shop.adjust("HAIRCUT", "W1", 5).await.expect_err("a resource has no stock");
    assert_eq!(bare.reason(), "PRODUCT_IS_RESOURCE");
    let without = shop.reserve(OrderId::new(), &[("HAIRCUT", 1)], true).await.expect_err("no slot named");
    assert_eq!(without.reason(), "OUT_OF_STOCK");
    shop.sql("UPDATE slots SET starts_at = now() - interval '1 minute'").await?;
    let late = book(&shop.inventory, &shop.ctx, OrderId::new(), &first, 1).await.expect_err("it has begun");
    assert_eq!(late.reason(), "OUT_OF_STOCK");
    assert!(storefront(&shop, 50).await?.iter().all(|(sku, _)| sku == "A"));
    Ok(())
}
