//! Orders that are paid and go elsewhere before a warehouse has begun.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

use super::change::{decided, move_to, paid_and_held, slowly, told};
use super::kept::fulfillments;
use super::world::{PATIENCE, World, list, script, speed, state_of, text, total};

async fn patch(world: &World, id: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let answer = world.customer.request(Method::PATCH, &format!("/api/v1/orders/{id}")).json(body).send().await?;
    Ok((answer.status(), answer.json().await?))
}

fn street(address: &Value) -> String {
    text(address, "line1").to_owned()
}

async fn moves(world: &World, id: &str) -> Result<Vec<String>> {
    Ok(world.money_moves(id).await?.iter().map(|line| text(line, "op").to_owned()).collect())
}

/// Where each of the warehouse's references was to go, in the order in which they were asked for.
async fn addressed(world: &World, id: &str) -> Result<Vec<(String, String, String)>> {
    let mut works = fulfillments(world, id).await?;
    works.sort_by_key(|work| text(work, "id").to_owned());
    let state = |work: &Value| text(work, "state").trim_start_matches("FULFILLMENT_STATE_").to_owned();
    Ok(works.iter().map(|work| (text(work, "id").to_owned(), state(work), street(&work["shipTo"]))).collect())
}

#[tokio::test]
async fn ord_03_an_order_that_the_warehouse_has_accepted_is_called_off_and_asked_for_at_its_new_address() -> Result<()>
{
    let moving = |world: World, accepted: Value| async move {
        let (wms, id) = (world.system.wms(), text(&accepted, "id").to_owned());
        let was = street(&accepted["shippingAddress"]);
        // The warehouse does not answer at first: until it has, the order is locked and at its old address.
        script(&wms, &json!([{"op": "CancelOrder", "kind": "error500", "times": 2}])).await?;
        let (status, locked) = patch(&world, &id, &move_to("1 New Street")).await?;
        assert_eq!((status, state_of(&locked)), (StatusCode::OK, "CHANGE_PENDING".to_owned()), "{locked}");
        assert_eq!(street(&locked["shippingAddress"]), was, "not before the warehouse has let go");
        let moved = decided(&world, &id, "APPLIED").await?;
        assert_eq!(
            (state_of(&moved), street(&moved["shippingAddress"]).as_str()),
            ("FULFILLMENT_PENDING".to_owned(), "1 New Street")
        );
        assert_eq!((&moved["lines"], &moved["totals"]), (&accepted["lines"], &accepted["totals"]));

        let said = eventually(PATIENCE, || async {
            let said = told(&world).await?;
            Ok((said.len() >= 3).then_some(said))
        });
        let said = said.await?;
        let works = addressed(&world, &id).await?;
        let [(old, old_state, old_street), (new, new_state, new_street)] = works.as_slice() else {
            anyhow::bail!("one work taken back and one open: {works:?}");
        };
        assert_eq!((old_state.as_str(), old_street), ("CANCELLED", &was));
        assert_eq!((new_state.as_str(), new_street.as_str()), ("SUBMITTED", "1 New Street"));
        let said: Vec<(&str, &str)> = said.iter().map(|(work, said)| (work.as_str(), said.as_str())).collect();
        let expected =
            [(old.as_str(), "create TEE-S 1"), (old.as_str(), "cancel TEE-S 1"), (new.as_str(), "create TEE-S 1")];
        assert_eq!(said, expected, "the warehouse has one open order, for the new address");
        assert_eq!(moves(&world, &id).await?, ["authorize"], "no money moved");

        speed(&wms, 10.0).await?;
        let arrived = world.until(&id, "DELIVERED").await?;
        assert_eq!((street(&arrived["shippingAddress"]).as_str(), total(&arrived)), ("1 New Street", total(&accepted)));
        world.until_captured(&id, total(&accepted)).await?;
        assert_eq!(moves(&world, &id).await?, ["authorize", "capture"]);
        assert_eq!(told(&world).await?.len(), 3, "one order was sent");
        let parcels = world.admin.get(&format!("/api/v1/shipments?orderId={id}")).await?;
        let from: Vec<String> =
            list(&parcels, "shipments").iter().map(|parcel| text(parcel, "fulfillmentId").to_owned()).collect();
        assert_eq!(from, [new.as_str()], "the parcel is of the work for the new address");
        let (status, late) = patch(&world, &id, &move_to("2 Late Street")).await?;
        assert_eq!((status, text(&late, "reason")), (StatusCode::CONFLICT, "ORDER_STATE_FORBIDS"), "{late}");
        world.books_agree().await
    };
    slowly("moved", moving).await
}

#[tokio::test]
async fn ord_03_an_order_on_hold_is_moved_and_its_warehouse_hears_only_of_the_new_address() -> Result<()> {
    let world = World::open("moved-on-hold").await?;
    let held = paid_and_held(&world, &[("TEE-S", 1)]).await?;
    let id = text(&held, "id");
    let (status, locked) = patch(&world, id, &move_to("1 New Street")).await?;
    assert_eq!((status, state_of(&locked)), (StatusCode::OK, "CHANGE_PENDING".to_owned()), "{locked}");
    let moved = decided(&world, id, "APPLIED").await?;
    assert_eq!(
        (state_of(&moved), street(&moved["shippingAddress"]).as_str()),
        ("PAYMENT_COMPLETED".to_owned(), "1 New Street")
    );
    assert_eq!(moved["onHold"], true);
    assert_eq!((fulfillments(&world, id).await?.len(), told(&world).await?.len()), (0, 0), "no warehouse was asked");
    assert_eq!(moves(&world, id).await?, ["authorize"], "no money moved");

    world.csr.post(&format!("/api/v1/orders/{id}:release"), &json!({}), None).await?;
    let arrived = world.until(id, "DELIVERED").await?;
    assert_eq!((&arrived["totals"], street(&arrived["shippingAddress"]).as_str()), (&held["totals"], "1 New Street"));
    let works = addressed(&world, id).await?;
    let [(work, state, goes)] = works.as_slice() else { anyhow::bail!("one work: {works:?}") };
    assert_eq!((state.as_str(), goes.as_str()), ("SHIPPED", "1 New Street"));
    assert_eq!(told(&world).await?, [(work.clone(), "create TEE-S 1".to_owned())]);
    world.until_captured(id, total(&held)).await?;
    assert_eq!(moves(&world, id).await?, ["authorize", "capture"]);
    world.books_agree().await
}
