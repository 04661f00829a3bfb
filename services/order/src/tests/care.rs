use anyhow::{Context as _, Result};
use contract::common::v1::Address;
use contract::order::v1::OrderState as S;
use ctx::Principal;
use ids::UserId;

use super::world::{World, address, reason, subject};
use crate::app::place_saga::CONFIRM;
use crate::app::update_order::UpdateOrder;

#[tokio::test]
async fn ord_47_a_note_and_an_address_change_carry_who_made_them() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1)]).await?;
    let csr = world.csr();
    let (_, id) = csr.principal.actor();
    let noted = world.app.add_note(&csr, &subject(&order), "called\nback".to_owned()).await?.response;
    let noted = world.read(&noted).await?;
    let note = noted.notes.first().context("a note")?;
    let author = note.author.clone().context("an author")?;
    assert_eq!((note.text.as_str(), author.kind.as_str(), author.id), ("called\nback", "user", id.clone()));
    let update = UpdateOrder { id: order.id.parse()?, address: Some(elsewhere("CA")), note: None, etag: String::new() };
    world.app.update(&csr, update).await?;
    let history = world.app.history(&csr, order.id.parse()?).await?.events;
    for name in ["OrderNoteAdded", "OrderUpdated"] {
        let event = history.iter().find(|event| event.r#type == name).context("in the history")?;
        assert_eq!(event.actor.clone().context("an actor")?.id, id, "{name}");
        assert!(!event.payload_json.contains("called"), "the text is masked: {}", event.payload_json);
    }
    world.lead(&order, &[S::Delivered]).await?;
    world.app.add_note(&csr, &subject(&order), "arrived broken".to_owned()).await?;
    assert!(world.verified(&order).await?);
    Ok(())
}

fn elsewhere(region: &str) -> Address {
    Address { line1: "2 Other Street".to_owned(), ..address(region) }
}

#[tokio::test]
async fn ord_15_ord_27_a_placed_order_moves_only_to_where_it_may_be_sent_for_the_same_money() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1)]).await?;
    let id = order.id.parse()?;
    let to = |address| UpdateOrder { id, address: Some(address), note: None, etag: String::new() };
    // In California tax is owed, in New York none.
    let refused = world.app.update(&world.ctx(), to(elsewhere("NY"))).await.expect_err("refused");
    assert_eq!(refused.reason(), "ADDRESS_CHANGES_TOTAL");
    assert_eq!(world.get(&order).await?.etag, order.etag, "nothing changed");
    let update = world.app.update(&world.ctx(), to(elsewhere("CA"))).await?;
    assert_eq!(update.totals, order.totals);
    Ok(())
}

#[tokio::test]
async fn a_note_is_made_once_per_key_and_bad_ones_are_refused() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1)]).await?;
    let keyed = world.keyed(world.csr(), "note", 1);
    for replayed in [false, true] {
        let once = world.app.add_note(&keyed, &subject(&order), "once".to_owned()).await?;
        assert_eq!((once.response.notes.len(), once.replayed), (1, replayed));
    }
    for (text, expected) in [("  ", "REQUIRED"), ("a\0b", "CONTROL_CHARACTER"), (&*"x".repeat(1001), "TOO_LONG")] {
        assert_eq!(reason(world.app.add_note(&world.csr(), &subject(&order), text.to_owned()).await), expected);
    }
    for n in 1..100 {
        world.app.add_note(&world.csr(), &subject(&order), format!("note {n}")).await?;
    }
    assert_eq!(reason(world.app.add_note(&world.csr(), &subject(&order), "more".to_owned()).await), "ORDER_FULL");
    Ok(())
}

#[tokio::test]
async fn ord_36_a_note_and_an_address_change_at_the_same_moment_both_happen() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1)]).await?;
    for round in 0..40 {
        let mut address = address("CA");
        address.line1 = format!("{round} Race Street");
        let update = UpdateOrder { id: order.id.parse()?, address: Some(address), note: None, etag: String::new() };
        let (csr, customer, subject) = (world.csr(), world.ctx(), subject(&order));
        let note = world.app.add_note(&csr, &subject, format!("note {round}"));
        let (noted, updated) = tokio::join!(note, world.app.update(&customer, update));
        noted?;
        updated?;
        let now = world.read(&order).await?;
        assert_eq!(now.notes.len(), round + 1);
        assert_eq!(now.shipping_address.context("an address")?.line1, format!("{round} Race Street"));
    }
    // Two that mean the same version do not commute: one hears of the current one.
    let seen = world.get(&order).await?;
    let update = |text: &str| UpdateOrder {
        id: seen.id.parse().expect("an id"),
        address: None,
        note: Some(text.to_owned()),
        etag: seen.etag.clone(),
    };
    let ctx = world.ctx();
    let (one, two) = tokio::join!(world.app.update(&ctx, update("one")), world.app.update(&ctx, update("two")));
    let (won, lost) = match (one, two) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        both => anyhow::bail!("exactly one wins: {both:?}"),
    };
    assert_eq!((lost.reason(), lost.metadata()["etag"].as_str()), ("ETAG_MISMATCH", won.etag.as_str()));
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn an_order_is_held_until_it_is_released_and_not_once_the_warehouse_is_asked() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1)]).await?;
    let (csr, about) = (world.csr(), subject(&order));
    let held = world.app.hold(&csr, &about, "looks odd".to_owned()).await?;
    assert!(held.on_hold && held.hold_reason == "looks odd" && held.state() == S::Pending);
    assert_eq!(world.app.hold(&csr, &about, "again".to_owned()).await?.etag, held.etag);
    let released = world.app.release(&csr, &about).await?;
    assert!(!released.on_hold && released.hold_reason.is_empty());
    assert_eq!(world.app.release(&csr, &about).await?.etag, released.etag);

    world.at_step(&order, (CONFIRM + 1).into()).await?;
    let late = world.app.hold(&csr, &about, "too late".to_owned()).await.err().context("refused")?;
    assert_eq!(late.reason(), "ORDER_STATE_FORBIDS");
    let draft = world.draft(&[("TEE", 1)]).await?;
    let early = world.app.hold(&csr, &subject(&draft), "too early".to_owned()).await.err().context("refused")?;
    assert_eq!(early.reason(), "ORDER_STATE_FORBIDS");
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test]
async fn only_who_bought_it_rates_an_order_and_only_when_it_arrived() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 1)]).await?;
    let about = subject(&order);
    let rate = |ctx: ctx::Ctx, stars| {
        let (app, about) = (world.app.clone(), about.clone());
        async move { app.rate(&ctx, &about, stars, "fine".to_owned()).await.map_err(|fault| fault.reason().to_owned()) }
    };
    assert_eq!(rate(world.ctx(), 5).await, Err("ORDER_STATE_FORBIDS".to_owned()));
    world.lead(&order, &[S::Delivered]).await?;
    assert_eq!(rate(world.ctx(), 0).await, Err("STARS_INVALID".to_owned()));
    assert_eq!(rate(world.ctx(), 6).await, Err("STARS_INVALID".to_owned()));
    assert_eq!(rate(world.csr(), 5).await, Err("NOT_YOUR_ORDER".to_owned()));
    let stranger = world.by(Principal::User { id: UserId::new(), roles: vec![ctx::Role::Customer] });
    assert_eq!(rate(stranger, 5).await, Err("ORDER_NOT_FOUND".to_owned()));
    let rated = rate(world.ctx(), 5).await.map_err(anyhow::Error::msg)?;
    assert_eq!(rated.rating.clone().context("a rating")?.stars, 5);
    assert_eq!(rate(world.ctx(), 5).await.map_err(anyhow::Error::msg)?.etag, rated.etag);
    let worse = rate(world.ctx(), 2).await.map_err(anyhow::Error::msg)?;
    assert_eq!(worse.rating.context("a rating")?.stars, 2);
    Ok(())
}
