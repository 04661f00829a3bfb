use anyhow::{Context as _, Result};
use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use ctx::Ctx;
use diesel_async::SimpleAsyncConnection;
use ids::OrderId;
use testkit::kept;

use super::world::{World, address, item, minor, policy, product, reason, subject, usd};
use crate::app::cancel_order::CancelOrder;
use crate::app::change_order::Subject;
use crate::app::create_order::CreateOrder;
use crate::app::draft_order::PlaceOrder;
use crate::app::update_order::UpdateOrder;
use crate::domain::draft::ItemChange;
use crate::infra::store::wire_time;

fn place(order: &wire::Order) -> PlaceOrder {
    PlaceOrder {
        subject: subject(order),
        payment_method: "pm_sim_visa".to_owned(),
        expected_total: None,
        promotion_code: String::new(),
    }
}

fn total(order: &wire::Order) -> i64 {
    minor(order.totals.as_ref().and_then(|totals| totals.total.as_ref()))
}

fn adds_up(order: &wire::Order) -> bool {
    let totals = order.totals.clone().unwrap_or_default();
    let net: i64 = order.lines.iter().map(|line| minor(line.net.as_ref())).sum();
    let tax: i64 = order.lines.iter().map(|line| minor(line.tax.as_ref())).sum();
    let (items, shipping) = (minor(totals.items_net.as_ref()), minor(totals.shipping.as_ref()));
    items == net && minor(totals.tax.as_ref()) == tax && total(order) == items + shipping + tax
}

#[tokio::test]
async fn ord_29_a_draft_has_no_stock_and_no_money_until_it_is_placed() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 2)]).await?;
    assert_eq!((draft.state(), draft.status_retail.as_str()), (OrderState::Draft, "Draft"));
    assert_eq!(total(&draft), 2 * 1999 + 499 + 330);
    assert_eq!(draft.order_number, 1);
    assert_eq!(world.count("sagas").await?, 0, "nothing drives a draft");
    assert_eq!(world.events(&draft).await?, ["OrderDrafted", "OrderStatusChanged"]);

    let ctx = world.keyed(world.ctx(), "place", 1);
    let placed = world.app.place(&ctx, &place(&draft)).await?;
    assert_eq!((placed.response.state(), placed.replayed), (OrderState::Pending, false));
    assert_eq!(placed.response.order_number, 1);
    assert_eq!(world.count("sagas").await?, 1);
    let all = ["OrderDrafted", "OrderStatusChanged", "OrderCreated", "OrderStatusChanged"];
    assert_eq!(world.events(&draft).await?, all);
    let again = world.app.place(&ctx, &place(&draft)).await?;
    assert_eq!((again.response, again.replayed), (placed.response, true));
    assert_eq!(reason(world.app.place(&world.ctx(), &place(&draft)).await), "ORDER_STATE_FORBIDS");
    assert_eq!(world.count("sagas").await?, 1);
    assert!(world.verified(&draft).await?);
    Ok(())
}

#[tokio::test]
async fn ord_29_a_draft_is_placed_with_the_prices_and_limits_of_that_moment() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 2)]).await?;
    world.know(policy(), vec![product("TEE", 2500)]).await;
    let expecting = PlaceOrder { expected_total: usd(total(&draft)), ..place(&draft) };
    assert_eq!(reason(world.app.place(&world.ctx(), &expecting).await), "PRICE_CHANGED");
    assert_eq!(world.get(&draft).await?.state(), OrderState::Draft);
    let placed = world.app.place(&world.ctx(), &place(&draft)).await?.response;
    assert_eq!(total(&placed), 5000 + 499 + 413);

    world.know(policy(), vec![product("TEE", 100)]).await;
    let small = world.draft(&[("TEE", 1)]).await?;
    assert_eq!(reason(world.app.place(&world.ctx(), &place(&small)).await), "ORDER_VALUE_OUT_OF_RANGE");
    let unpaid = PlaceOrder { payment_method: String::new(), ..place(&small) };
    assert_eq!(reason(world.app.place(&world.ctx(), &unpaid).await), "PAYMENT_METHOD_REQUIRED");
    let keeping = CreateOrder { draft: true, ..world.order(&[("TEE", 1)]) };
    assert_eq!(reason(world.app.create(&world.ctx(), keeping).await), "PAYMENT_METHOD_NOT_KEPT");
    Ok(())
}

#[tokio::test]
async fn items_of_a_draft_come_and_go_and_are_priced_anew() -> Result<()> {
    let world = World::open().await?;
    let ctx = world.ctx();
    let draft = world.draft(&[("TEE", 1)]).await?;
    let subject = subject(&draft);
    let keyed = world.keyed(world.ctx(), "add", 1);
    let add = ItemChange::Add(item("CAP", 3));
    let added = world.app.change_items(&keyed, &subject, &add).await?.response;
    assert_eq!(added.lines.iter().map(|line| (line.line, line.quantity)).collect::<Vec<_>>(), [(1, 1), (2, 3)]);
    assert!(adds_up(&added), "{added:?}");
    let again = world.app.change_items(&keyed, &subject, &add).await?;
    assert_eq!((again.response.etag, again.replayed), (added.etag.clone(), true), "one key adds one line");

    let set = ItemChange::Set { line: 2, quantity: 1 };
    let stale = Subject { etag: draft.etag.clone(), ..subject.clone() };
    assert_eq!(reason(world.app.change_items(&ctx, &stale, &set).await), "ETAG_MISMATCH");
    let fewer = world.app.change_items(&ctx, &subject, &set).await?.response;
    assert!(adds_up(&fewer) && total(&fewer) < total(&added));
    let less = world.app.change_items(&ctx, &subject, &ItemChange::Remove { line: 1 }).await?.response;
    assert_eq!(less.lines.iter().map(|line| line.line).collect::<Vec<_>>(), [2], "lines keep their numbers");
    assert!(adds_up(&less));
    let last = world.app.change_items(&ctx, &subject, &ItemChange::Remove { line: 2 }).await;
    assert_eq!(reason(last), "ITEMS_EMPTY");
    assert_eq!(reason(world.app.change_items(&ctx, &subject, &ItemChange::Remove { line: 9 }).await), "ITEM_NOT_FOUND");
    for (sku, quantity, expected) in [("YEN", 1, "NO_PRICE_IN_CURRENCY"), ("CAP", 50, "TOO_MANY_UNITS")] {
        let change = ItemChange::Add(item(sku, quantity));
        assert_eq!(reason(world.app.change_items(&ctx, &subject, &change).await), expected);
    }
    assert_eq!(world.get(&draft).await?, less, "a refused change changes nothing");
    assert!(world.verified(&draft).await?);
    Ok(())
}

#[tokio::test]
async fn ord_16_nothing_is_added_to_an_order_that_was_shipped_or_placed() -> Result<()> {
    let world = World::open().await?;
    let placed = world.placed(&[("TEE", 1)]).await?;
    let add = ItemChange::Add(item("CAP", 1));
    let refused = |outcome| reason(outcome);
    assert_eq!(refused(world.app.change_items(&world.ctx(), &subject(&placed), &add).await), "ORDER_STATE_FORBIDS");
    let shipped = world.lead(&placed, &[OrderState::Shipped]).await?;
    let fault = world.app.change_items(&world.ctx(), &subject(&placed), &add).await.err().context("refused")?;
    assert_eq!((fault.kind(), fault.reason()), (fault::Kind::Precondition, "ORDER_STATE_FORBIDS"));
    assert_eq!(fault.metadata()["state"], "ORDER_STATE_SHIPPED");
    assert_eq!(world.get(&placed).await?, shipped);
    Ok(())
}

#[tokio::test]
async fn taxes_of_a_draft_follow_its_address() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 2)]).await?;
    let update = UpdateOrder {
        id: draft.id.parse()?,
        address: Some(address("NY")),
        note: Some("by the back door".to_owned()),
        etag: draft.etag.clone(),
    };
    let moved = world.app.update(&world.ctx(), update.clone()).await?;
    assert_eq!((total(&moved), world.read(&moved).await?.note.as_str()), (2 * 1999 + 499, "by the back door"));
    assert!(adds_up(&moved));
    let stale = world.app.update(&world.ctx(), update).await.err().context("refused")?;
    assert_eq!(stale.reason(), "ETAG_MISMATCH");
    Ok(())
}

#[tokio::test]
async fn ord_29_a_draft_keeps_when_it_was_begun_and_says_when_it_was_placed() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 2)]).await?;
    assert_eq!((draft.create_time.is_some(), draft.place_time), (true, None));
    let now = world.ctx().now.checked_add(jiff::SignedDuration::from_hours(50))?;
    let placed = world.app.place(&Ctx { now, ..world.ctx() }, &place(&draft)).await?.response;
    assert_eq!((placed.create_time, placed.place_time), (draft.create_time, Some(wire_time(now))));
    let at_once = world.placed(&[("TEE", 1)]).await?;
    assert_eq!(at_once.create_time, at_once.place_time);
    assert!(world.verified(&placed).await?, "lists find it by the time that it shows");
    Ok(())
}

#[tokio::test]
async fn ord_37_an_order_that_lists_would_not_find_by_what_it_is_does_not_verify() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1), ("CAP", 1)]).await?;
    assert!(world.verified(&order).await?);
    let row = format!("tenant_id = '{}' AND order_id = '{}'", world.tenant.uuid(), order.id.parse::<OrderId>()?.uuid());
    for (table, broken, mended) in [
        ("orders", "total_minor = total_minor + 1", "total_minor = total_minor - 1"),
        ("orders", "status_retail = 'Paid'", "status_retail = 'Pending Payment'"),
        ("orders", "status_lifecycle = 'Confirmed'", "status_lifecycle = 'Pending'"),
        ("orders", "base_state = 3", "base_state = 2"),
        ("orders", "currency = 'EUR'", "currency = 'USD'"),
        ("orders", "created_at = created_at - interval '1 s'", "created_at = created_at + interval '1 s'"),
        ("order_numbers", "order_number = order_number + 90", "order_number = order_number - 90"),
        ("order_skus", "sku = sku || 'X'", "sku = left(sku, -1)"),
    ] {
        for (set, equal) in [(broken, false), (mended, true)] {
            let sql = format!("UPDATE om_order.{table} SET {set} WHERE {row}");
            world.db.admin().await?.batch_execute(&sql).await?;
            assert_eq!(world.verified(&order).await?, equal, "{table} {set}");
        }
    }
    Ok(())
}

/// What the world is told of a cancellation, as JSON.
async fn told(world: &World, order: &wire::Order) -> Result<String> {
    let events = world.app.history(&world.ctx(), order.id.parse()?).await?.events;
    let cancelled = events.into_iter().find(|event| event.r#type == "OrderCancelled");
    Ok(cancelled.context("it was cancelled")?.payload_json)
}

#[tokio::test]
async fn a_draft_is_cancelled_at_once_and_never_placed_then() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 1)]).await?;
    let cancel = |order: &wire::Order| CancelOrder {
        id: order.id.parse().expect("an id"),
        reason: "changed my mind".to_owned(),
        etag: String::new(),
    };
    let cancelled = world.app.cancel(&world.ctx(), cancel(&draft)).await?;
    assert_eq!((cancelled.state(), cancelled.state_reason.as_str()), (OrderState::Cancelled, "changed my mind"));
    assert!(told(&world, &draft).await?.contains(r#""draft":true"#), "so that nobody is told of it");
    assert_eq!(reason(world.app.place(&world.ctx(), &place(&draft)).await), "ORDER_STATE_FORBIDS");
    let unpaid = world.placed(&[("TEE", 1)]).await?;
    world.lead(&unpaid, &[OrderState::PaymentProcessing, OrderState::PaymentFailed]).await?;
    world.app.cancel(&world.ctx(), cancel(&unpaid)).await?;
    assert!(!told(&world, &unpaid).await?.contains("draft"), "it was placed");
    Ok(())
}

#[tokio::test]
async fn a_draft_of_somebody_else_is_not_there() -> Result<()> {
    let world = World::open().await?;
    let draft = world.draft(&[("TEE", 1)]).await?;
    let other = world.another().await;
    let add = ItemChange::Add(item("CAP", 1));
    assert_eq!(reason(other.app.change_items(&other.ctx(), &subject(&draft), &add).await), "ORDER_NOT_FOUND");
    assert_eq!(reason(other.app.place(&other.ctx(), &place(&draft)).await), "ORDER_NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn ord_29_of_many_placings_one_starts_one_saga() -> Result<()> {
    let world = World::open().await?;
    for _ in 0..10 {
        let draft = world.draft(&[("TEE", 1)]).await?;
        let before = world.count("sagas").await?;
        let command = place(&draft);
        let each = (0..8).map(|_| {
            let (world, command) = (world.clone(), command.clone());
            async move { world.app.place(&world.ctx(), &command).await }
        });
        let outcomes = futures::future::join_all(each).await;
        let placed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let rest: Vec<String> = outcomes.into_iter().map(reason).filter(|reason| !reason.is_empty()).collect();
        assert_eq!(placed, 1, "{rest:?}");
        assert!(rest.iter().all(|reason| ["ORDER_STATE_FORBIDS", "VERSION_CONFLICT"].contains(&reason.as_str())));
        assert_eq!(world.count("sagas").await?, before + 1);
        kept(world.verified(&draft).await.and_then(|equal| equal.then_some(()).context("events and picture differ")))?;
    }
    Ok(())
}

#[tokio::test]
async fn ord_35_of_two_edits_with_one_version_exactly_one_is_stale() -> Result<()> {
    let world = World::open().await?;
    let mut draft = world.draft(&[("TEE", 1)]).await?;
    for _ in 0..20 {
        let subject = Subject { etag: draft.etag.clone(), ..subject(&draft) };
        let (ctx, csr) = (world.ctx(), world.csr());
        let (set, add) = (ItemChange::Set { line: 1, quantity: 2 }, ItemChange::Set { line: 1, quantity: 3 });
        let (one, two) =
            tokio::join!(world.app.change_items(&ctx, &subject, &set), world.app.change_items(&csr, &subject, &add));
        let (won, lost) = match (one, two) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won.response, lost),
            both => anyhow::bail!("exactly one wins: {both:?}"),
        };
        assert_eq!((lost.reason(), &lost.metadata()["etag"]), ("ETAG_MISMATCH", &won.etag));
        draft = world.get(&draft).await?;
        assert_eq!(draft, won);
    }
    assert!(world.verified(&draft).await?);
    Ok(())
}
