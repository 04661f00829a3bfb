use anyhow::{Context as _, Result};
use contract::common::v1::Address;
use contract::identity::v1::{Promotion, TenantPolicy, User};
use contract::order::v1 as wire;
use contract::order::v1::{LineEdit, OrderChangeState as C, OrderState as S};
use ctx::Ctx;
use futures::FutureExt as _;
use futures::future::join_all;
use ids::ChangeId;
use jiff::SignedDuration;
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use super::world::{World, address, item, minor, policy, product, reason, subject, usd};
use crate::app::cancel_order::CancelOrder;
use crate::app::order_change::RequestChange;
use crate::app::place_saga::REQUEST;
use crate::app::update_order::UpdateOrder;
use crate::domain::draft::ItemChange;
use crate::domain::order::Refusal;
use crate::domain::promotion::Wanted;
use crate::infra::store::Store;

fn more(sku: &str, quantity: i32) -> LineEdit {
    LineEdit { sku: sku.to_owned(), quantity, ..LineEdit::default() }
}

fn set(line: i32, quantity: i32) -> LineEdit {
    LineEdit { line, quantity, ..LineEdit::default() }
}

fn wish(order: &wire::Order, edits: &[LineEdit]) -> RequestChange {
    let (reason, expected_total) = ("for a friend".to_owned(), None);
    RequestChange { subject: subject(order), edits: edits.to_vec(), to: None, reason, expected_total }
}

/// An order whose money is held and that no warehouse was asked for.
async fn paid(world: &World, items: &[(&str, i32)]) -> Result<wire::Order> {
    let order = world.placed(items).await?;
    world.lead(&order, &[S::PaymentProcessing, S::PaymentCompleted]).await
}

async fn refused(world: &World, ctx: &Ctx, wish: &RequestChange) -> String {
    reason(world.app.request_change(ctx, wish).await)
}

fn total(change: &wire::OrderChange) -> i64 {
    minor(change.totals.as_ref().and_then(|totals| totals.total.as_ref()))
}

#[tokio::test]
async fn ord_44_a_change_is_previewed_asked_for_and_keeps_everything_else_out_until_it_is_decided() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2)]).await?;
    let ctx = world.ctx();
    let edits = [set(1, 1), more("CAP", 2)];
    let preview = world.app.preview_change(&ctx, &wish(&order, &edits)).await?;
    assert_eq!((preview.id.as_str(), preview.state()), ("", C::Unspecified));
    // 19.99 + 2 * 12.50 + tax + shipping, against 2 * 19.99 before.
    assert_eq!((total(&preview), minor(preview.price_difference.as_ref())), (1999 + 2500 + 165 + 206 + 499, 542));
    assert_eq!(minor(preview.to_authorize.as_ref()), 542);
    assert_eq!(world.get(&order).await?.etag, order.etag, "a preview stores nothing");

    let change = world.app.request_change(&ctx, &wish(&order, &edits)).await?.response;
    assert_eq!((change.state(), total(&change)), (C::Requested, total(&preview)));
    assert_eq!(change.requester.clone().context("who asked")?.id, world.customer.to_string());
    let (asked, until) = (change.create_time.context("when")?, change.expire_time.context("until when")?);
    assert_eq!(until.seconds - asked.seconds, 900);
    let locked = world.get(&order).await?;
    assert_eq!((locked.state(), locked.status_retail.as_str()), (S::ChangePending, "Paid"));
    assert_eq!((&locked.lines, &locked.totals), (&order.lines, &order.totals), "nothing has changed yet");
    let add = ItemChange::Add(item("CAP", 1));
    assert_eq!(refused(&world, &ctx, &wish(&order, &edits)).await, "ORDER_STATE_FORBIDS");
    assert_eq!(reason(world.app.change_items(&ctx, &subject(&order), &add).await), "ORDER_STATE_FORBIDS");
    let cancel = CancelOrder { id: order.id.parse()?, reason: "why".to_owned(), etag: String::new() };
    assert_eq!(world.app.cancel(&ctx, cancel).await.err().context("refused")?.reason(), "ORDER_STATE_FORBIDS");
    let update = UpdateOrder { id: order.id.parse()?, address: Some(address("NY")), note: None, etag: String::new() };
    assert_eq!(world.app.update(&ctx, update).await.err().context("refused")?.reason(), "ORDER_STATE_FORBIDS");
    world.app.add_note(&ctx, &subject(&order), "a note changes nothing".to_owned()).await?;

    let id: ChangeId = change.id.parse()?;
    let declined = world.app.decline_change(&ctx, &subject(&order), id, "too dear".to_owned()).await?;
    let shown = world.app.shown_change(&ctx, declined.clone()).await?;
    assert_eq!((shown.state(), shown.outcome_reason.as_str()), (C::Declined, "too dear"));
    let now = world.get(&order).await?;
    assert_eq!((now.state(), &now.lines, &now.totals), (S::PaymentCompleted, &order.lines, &order.totals));
    assert_eq!(reason(world.app.confirm_change(&ctx, &subject(&order), id).await), "CHANGE_STATE_FORBIDS");
    assert_eq!(world.app.order_change(&ctx, &subject(&order), id).await?, declined);
    assert_eq!(world.app.changes(&ctx, &subject(&order)).await?, [declined]);
    let next = world.app.request_change(&ctx, &wish(&order, &edits)).await?.response;
    let agreed = world.app.confirm_change(&ctx, &subject(&order), next.id.parse()?).await?.response;
    assert_eq!(agreed.state(), C::Confirmed);
    let late = world.app.decline_change(&ctx, &subject(&order), next.id.parse()?, String::new()).await;
    assert_eq!(late.err().context("refused")?.reason(), "CHANGE_STATE_FORBIDS");
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn ord_44_what_is_there_keeps_its_price_and_less_needs_no_money() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2), ("CAP", 1)]).await?;
    world.know(policy(), vec![product("TEE", 9999), product("CAP", 1000)]).await;
    let preview = |edits: Vec<LineEdit>| {
        let (world, order) = (world.clone(), order.clone());
        async move { world.app.preview_change(&world.ctx(), &wish(&order, &edits)).await }
    };
    let grown = preview(vec![set(1, 3), more("CAP", 1)]).await?;
    let prices: Vec<_> = grown.lines.iter().map(|line| (line.line, minor(line.unit_price.as_ref()))).collect();
    assert_eq!(prices, [(1, 1999), (2, 1250), (3, 1000)]);
    let less = preview(vec![set(1, 1), set(2, 0)]).await?;
    assert_eq!(minor(less.to_authorize.as_ref()), 0, "no money moves");
    assert_eq!(less.lines.iter().map(|line| line.line).collect::<Vec<_>>(), [1]);
    assert_eq!(minor(less.price_difference.as_ref()), -(1999 + 165 + 1250 + 103));
    Ok(())
}

#[tokio::test]
async fn ord_44_a_wrong_change_is_refused_with_every_field_and_nothing_is_stored() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2)]).await?;
    let ctx = world.ctx();
    let edits = [more("not a sku", 1), more("CAP", 0), set(1, -1), set(1, 2), set(-1, 1)];
    let fault = world.app.request_change(&ctx, &wish(&order, &edits)).await.err().context("refused")?;
    let fields: Vec<_> = fault.violations().iter().map(|wrong| wrong.field.as_str()).collect();
    let expected = ["edits[0].sku", "edits[1].quantity", "edits[2].quantity", "edits[3].line", "edits[4].line"];
    assert_eq!(fields, expected);
    for (edits, expected) in [
        (vec![], "EDITS_INVALID"),
        (vec![set(9, 1)], "ITEM_NOT_FOUND"),
        (vec![set(1, 0)], "ITEMS_EMPTY"),
        (vec![set(1, 51)], "TOO_MANY_UNITS"),
    ] {
        let said = world.app.request_change(&ctx, &wish(&order, &edits)).await.err().context("refused")?;
        let found = said.violations().first().map_or(said.reason(), |wrong| &wrong.reason);
        assert_eq!(found, expected, "{said:?}");
    }
    let more_caps = wish(&order, &[more("CAP", 1)]);
    let stale = RequestChange {
        subject: crate::app::change_order::Subject { etag: "1".to_owned(), ..subject(&order) },
        ..more_caps.clone()
    };
    assert_eq!(refused(&world, &ctx, &stale).await, "ETAG_MISMATCH");
    let cheap = RequestChange { expected_total: usd(1), ..more_caps.clone() };
    assert_eq!(refused(&world, &ctx, &cheap).await, "PRICE_CHANGED");
    let other = world.another().await;
    assert_eq!(refused(&other, &other.ctx(), &more_caps).await, "ORDER_NOT_FOUND");
    world.known_as(User { blocked: true, email_verified: true, ..User::default() }).await;
    assert_eq!(refused(&world, &ctx, &more_caps).await, "CUSTOMER_NOT_ELIGIBLE");
    world.known_as(User { email_verified: true, ..User::default() }).await;
    assert_eq!(world.get(&order).await?, order);
    assert_eq!(world.count("sagas").await?, 1);
    // Behind the last step the warehouse may hear of it at any moment, unless it is held.
    world.at_step(&order, REQUEST.into()).await?;
    assert_eq!(refused(&world, &ctx, &more_caps).await, "ORDER_STATE_FORBIDS");
    world.lead(&order, &[S::FulfillmentPending]).await?;
    for state in [S::FulfillmentInProgress, S::Shipped, S::Delivered] {
        world.lead(&order, &[state]).await?;
        assert_eq!(refused(&world, &ctx, &more_caps).await, "ORDER_STATE_FORBIDS", "{state:?}");
    }
    Ok(())
}

#[tokio::test]
async fn ord_05_an_item_of_a_paid_order_is_a_change_that_is_agreed_to_once_per_key() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 1)]).await?;
    let key = world.keyed(world.ctx(), "add", 1);
    let add = ItemChange::Add(item("CAP", 1));
    let first = world.app.change_items(&key, &subject(&order), &add).await?;
    assert_eq!(first.response.state(), S::ChangePending);
    let change = first.response.changes.first().context("a change")?;
    assert_eq!((change.state(), change.lines.len()), (C::Confirmed, 2));
    assert_eq!(world.count("sagas").await?, 2);
    let again = world.app.change_items(&key, &subject(&order), &add).await?;
    assert_eq!((again.response, again.replayed), (first.response, true));
    assert_eq!(world.count("sagas").await?, 2);
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn ord_44_of_many_changes_at_once_one_takes_the_lock() -> Result<()> {
    let world = World::open().await?;
    for _ in 0..5 {
        let order = paid(&world, &[("TEE", 1)]).await?;
        let before = world.count("sagas").await?;
        let each = (1..9).map(|units| {
            let (world, wish) = (world.clone(), wish(&order, &[more("CAP", units)]));
            async move { world.app.request_change(&world.ctx(), &wish).await }
        });
        let outcomes = join_all(each).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        assert_eq!(world.count("sagas").await?, before + 1);
        assert_eq!(world.get(&order).await?.changes.len(), 1);
        assert!(world.verified(&order).await?);
    }
    Ok(())
}

#[tokio::test]
async fn ord_44_a_change_that_nobody_agrees_to_expires_and_the_order_goes_on() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 1)]).await?;
    world.rest_saga(&order).await?;
    let now = world.ctx();
    let long_ago = Ctx { now: now.now.saturating_sub(SignedDuration::from_secs(901))?, ..now };
    let change = world.app.request_change(&long_ago, &wish(&order, &[more("CAP", 1)])).await?.response;
    assert_eq!(change.state(), C::Requested);
    world.rest_saga(&order).await?;
    let stop = CancellationToken::new();
    let engine = saga::Engine::new(world.app.store.pg.clone(), world.app.saga_tables()).run(stop.clone());
    let engine = tokio::spawn(engine);
    let ended = eventually(std::time::Duration::from_secs(60), || async {
        let order = world.get(&order).await?;
        anyhow::ensure!(order.state() == S::PaymentCompleted, "{:?}", order.state());
        Ok(Some(order))
    });
    let ended = ended.await?;
    stop.cancel();
    engine.await?;
    assert_eq!((ended.changes[0].state(), ended.changes[0].outcome_reason.as_str()), (C::Expired, "EXPIRED"));
    assert_eq!((&ended.lines, &ended.totals), (&order.lines, &order.totals));
    let id = change.id.parse()?;
    assert_eq!(reason(world.app.confirm_change(&world.ctx(), &subject(&order), id).await), "CHANGE_STATE_FORBIDS");
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn ord_44_who_agrees_after_the_time_is_refused_before_anybody_has_noticed_it() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2)]).await?;
    let change = world.app.request_change(&world.ctx(), &wish(&order, &[set(1, 1)])).await?.response;
    let (id, until): (ChangeId, _) = (change.id.parse()?, change.expire_time.context("until when")?);
    let agree = async |seconds, nanos| {
        let ctx = Ctx { now: jiff::Timestamp::new(seconds, nanos)?, ..world.ctx() };
        anyhow::Ok(world.app.confirm_change(&ctx, &subject(&order), id).await)
    };
    let late = agree(until.seconds, until.nanos).await?.err().context("refused")?;
    assert_eq!(
        (late.reason(), late.metadata()["state"].as_str()),
        ("CHANGE_STATE_FORBIDS", "ORDER_CHANGE_STATE_EXPIRED")
    );
    let now = world.get(&order).await?;
    assert_eq!((now.state(), now.changes[0].state()), (S::ChangePending, C::Requested), "nothing changed");
    assert_eq!(agree(until.seconds - 1, until.nanos).await??.response.state(), C::Confirmed, "the last second counts");
    Ok(())
}

#[tokio::test]
async fn ord_03_a_paid_order_goes_elsewhere_by_a_change_that_is_agreed_to_and_costs_nothing() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2)]).await?;
    let to = |line1: &str, note: Option<&str>| UpdateOrder {
        id: order.id.parse().expect("an id"),
        address: Some(Address { line1: line1.to_owned(), ..address("CA") }),
        note: note.map(str::to_owned),
        etag: String::new(),
    };
    let ctx = world.ctx();
    let same = world.app.update(&ctx, to(&address("CA").line1, None)).await?;
    assert_eq!(same.etag, order.etag, "where it goes already");
    let noted = world.app.update(&ctx, to(&address("CA").line1, Some("ring twice"))).await?;
    assert_eq!((noted.state(), noted.changes.len()), (S::PaymentCompleted, 0));
    let far = UpdateOrder { address: Some(address("NY")), ..to("", None) };
    assert_eq!(world.app.update(&ctx, far).await.err().context("dearer")?.reason(), "ADDRESS_CHANGES_TOTAL");

    let keyed = || world.keyed(world.ctx(), "move", 1);
    let moved = world.app.update(&keyed(), to("7 New Street", Some("mind the dog"))).await?;
    let change = moved.changes.last().context("a change")?;
    assert_eq!((moved.state(), change.state()), (S::ChangePending, C::Confirmed));
    assert_eq!([minor(change.price_difference.as_ref()), minor(change.to_authorize.as_ref())], [0, 0]);
    assert_eq!((&change.lines, &change.totals), (&order.lines, &order.totals));
    assert!(change.shipping_address.clone().context("an address")?.sealed.is_some(), "at rest it is sealed");
    assert_eq!(moved.shipping_address, order.shipping_address, "nothing is changed yet");
    assert_eq!(world.app.update(&keyed(), to("7 New Street", Some("mind the dog"))).await?, moved, "once per key");
    assert_eq!(
        world.app.update(&ctx, to("8 New Street", None)).await.err().context("locked")?.reason(),
        "ORDER_STATE_FORBIDS"
    );
    let seen = world.read(&order).await?;
    assert_eq!(seen.note, "mind the dog");
    assert_eq!(seen.changes[0].shipping_address.clone().context("an address")?.line1, "7 New Street");

    let agreed = world.app.get(&ctx, order.id.parse()?).await?;
    let (id, at) = (change.id.clone(), prost_types::Timestamp::default());
    let applied = agreed.after(&agreed.apply_change(&id, None, 0)?, at);
    let there = world.app.shown(&ctx, applied.doc).await?;
    assert_eq!(there.shipping_address.clone().context("an address")?.line1, "7 New Street");
    assert_eq!((there.state(), &there.lines, &there.totals), (S::PaymentCompleted, &order.lines, &order.totals));
    let failed = agreed.after(&agreed.decline_change(&id, C::Failed, "FULFILLMENT_STARTED", 0)?, at);
    assert_eq!(failed.doc.shipping_address, order.shipping_address, "a warehouse was faster");
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn ord_03_an_order_that_a_warehouse_has_begun_goes_where_it_went() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 1)]).await?;
    world.lead(&order, &[S::FulfillmentPending, S::FulfillmentInProgress]).await?;
    for (address, note) in [(Some(address("CA")), None), (None, Some("late".to_owned()))] {
        let update = UpdateOrder { id: order.id.parse()?, address, note, etag: String::new() };
        assert_eq!(world.app.update(&world.ctx(), update).await.err().context("late")?.reason(), "ORDER_STATE_FORBIDS");
    }
    Ok(())
}

#[tokio::test]
async fn ord_44_until_a_warehouse_begins_an_order_that_it_has_accepted_changes_and_goes_back_to_it() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2)]).await?;
    world.at_step(&order, REQUEST.into()).await?;
    let accepted = world.lead(&order, &[S::FulfillmentPending]).await?;
    let (ctx, wish) = (world.ctx(), wish(&order, &[more("CAP", 1)]));
    let change = world.app.request_change(&ctx, &wish).await?.response;
    assert_eq!((change.state(), change.order_state()), (C::Requested, S::FulfillmentPending));
    let locked = world.get(&order).await?;
    assert_eq!((locked.state(), locked.status_retail.as_str()), (S::ChangePending, "Processing"));
    world.app.decline_change(&ctx, &subject(&order), change.id.parse()?, String::new()).await?;
    let now = world.get(&order).await?;
    assert_eq!((now.state(), &now.lines), (S::FulfillmentPending, &accepted.lines));

    // Whoever waits for a yes does not keep the warehouse from its work.
    let change = world.app.request_change(&ctx, &wish).await?.response;
    let asked = world.app.get(&ctx, order.id.parse()?).await?;
    let begun = asked.after(&asked.start_fulfillment()?, prost_types::Timestamp::default());
    assert_eq!((begun.state(), &begun.doc.lines), (S::FulfillmentInProgress, &accepted.lines));
    let over = begun.change(&change.id)?;
    assert_eq!((over.state(), over.outcome_reason.as_str()), (C::Failed, "FULFILLMENT_STARTED"));

    // One that is being carried out asks the warehouse itself; the news is told again behind it.
    world.app.confirm_change(&ctx, &subject(&order), change.id.parse()?).await?;
    let agreed = world.app.get(&ctx, order.id.parse()?).await?;
    assert_eq!(agreed.start_fulfillment(), Err(Refusal::State(S::ChangePending)));
    let applied = agreed.after(&agreed.apply_change(&change.id, usd(1), 0)?, prost_types::Timestamp::default());
    assert_eq!((applied.state(), applied.doc.lines.len()), (S::FulfillmentPending, 2));
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn ord_21_an_item_that_is_added_to_a_paid_order_costs_what_the_caller_expects() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 1)]).await?;
    let add = |expected| {
        let expected_unit_price = usd(expected);
        ItemChange::Add(wire::OrderItem { expected_unit_price, ..item("CAP", 1) })
    };
    let changed = async |expected| world.app.change_items(&world.ctx(), &subject(&order), &add(expected)).await;
    assert_eq!(reason(changed(1_000).await), "PRICE_CHANGED");
    assert_eq!(world.get(&order).await?.etag, order.etag, "nothing changed");
    assert_eq!(changed(1_250).await?.response.state(), S::ChangePending);
    Ok(())
}

#[tokio::test]
async fn ord_44_what_was_paid_at_once_becomes_cheaper_by_a_change_but_not_dearer() -> Result<()> {
    let world = World::open().await?;
    let order = paid(&world, &[("TEE", 2)]).await?;
    let (ctx, id, all) = (world.csr(), order.id.parse::<ids::OrderId>()?, order.totals.clone().and_then(|it| it.total));
    let taken = world.app.store.pg.tx("test.captured", world.tenant, move |conn: &mut pg::Conn| {
        let (ctx, all) = (ctx.clone(), all.clone().unwrap_or_default());
        async move {
            let order = Store::get_in(conn, ctx.tenant, id).await?;
            Store::append(conn, &ctx, &order, &order.note_capture(all)).await.map(drop)
        }
        .boxed()
    });
    taken.await?;
    assert_eq!(refused(&world, &world.ctx(), &wish(&order, &[more("CAP", 1)])).await, "CHANGE_COSTS_MORE");
    let cheaper = world.app.preview_change(&world.ctx(), &wish(&order, &[set(1, 1)])).await?;
    assert!(minor(cheaper.price_difference.as_ref()) < 0);
    Ok(())
}

#[tokio::test]
async fn ord_44_a_change_is_priced_by_the_promotion_that_was_agreed_to() -> Result<()> {
    let tenth = |code: &str| Promotion { code: code.to_owned(), rate_ppm: 100_000, ..Promotion::default() };
    let world = World::with(TenantPolicy { promotions: vec![tenth("TENTH")], ..policy() }).await?;
    let mut wanted = world.order(&[("TEE", 1)]);
    wanted.basket.promotion = Wanted::Code("TENTH".to_owned());
    let order = world.app.create(&world.ctx(), wanted).await?.response;
    let order = world.lead(&order, &[S::PaymentProcessing, S::PaymentCompleted]).await?;
    let off = |totals: Option<&wire::OrderTotals>| minor(totals.and_then(|totals| totals.discount.as_ref()));
    assert_eq!(off(order.totals.as_ref()), 200, "of 19.99");
    // The shop gives it no more; who ordered with it keeps it.
    world.know(policy(), vec![product("TEE", 1999), product("CAP", 1250)]).await;
    let preview = world.app.preview_change(&world.ctx(), &wish(&order, &[more("CAP", 2)])).await?;
    assert_eq!(off(preview.totals.as_ref()), 450, "of 44.99");
    assert!(world.verified(&order).await?);
    Ok(())
}
