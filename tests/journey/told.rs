//! What customers are told by mail, read in the mail sink.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, number, order_by, text, unique};

/// Subjects of the mails to the shop's customer, and how many there are of each.
async fn subjects(world: &World) -> Result<BTreeMap<String, usize>> {
    let path = format!("/_sim/messages?to=customer@{}.example", world.shop.slug);
    let mails = world.system.mail().get(&path).await?;
    let mut seen = BTreeMap::new();
    for mail in mails.as_array().map(Vec::as_slice).unwrap_or_default() {
        *seen.entry(text(mail, "subject").to_owned()).or_default() += 1;
    }
    Ok(seen)
}

/// Waits until so many messages about an order are there, and all of them are sent.
async fn told(world: &World, id: &str, count: usize) -> Result<Vec<Value>> {
    let sent = eventually(PATIENCE, || async {
        let messages = list(&world.csr.get(&format!("/api/v1/messages?orderId={id}")).await?, "messages");
        let sent = messages.iter().filter(|message| text(message, "state") == "MESSAGE_STATE_SENT").count();
        ensure!((sent, messages.len()) == (count, count), "{sent} of {} are sent: {messages:?}", messages.len());
        Ok(Some(messages))
    });
    sent.await.with_context(|| format!("{count} messages about {id}"))
}

#[tokio::test]
async fn ord_33_an_order_has_a_gap_free_number_and_is_confirmed_by_one_mail() -> Result<()> {
    const ORDERS: i64 = 10;
    let shops = [World::open("told-a").await?, World::open("told-b").await?];
    let place = |world: World| async move { world.place(&order(&[("PEN-GEL", 2)])).await };
    let placed = shops.iter().flat_map(|world| (0..ORDERS).map(|_| place(world.clone())));
    let placed = try_join_all(placed).await?;
    for (world, orders) in shops.iter().zip(placed.chunks(usize::try_from(ORDERS)?)) {
        let mut numbers: Vec<i64> = orders.iter().map(|order| number(&order["orderNumber"])).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=ORDERS).collect::<Vec<_>>(), "each shop counts for itself, without a gap");
        for order in orders {
            world.until(text(order, "id"), "DELIVERED").await?;
            told(world, text(order, "id"), 3).await?;
        }
        let seen = subjects(world).await?;
        for number in numbers {
            assert_eq!(seen.get(&format!("Your order {number} is confirmed")), Some(&1), "{seen:?}");
        }
        assert_eq!(seen.values().sum::<usize>(), 3 * orders.len(), "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn ord_33_an_order_that_is_not_certain_is_not_confirmed() -> Result<()> {
    let world = World::open("told-declined").await?;
    let declined = world.place(&order_by("pm_sim_declined", &[("PEN-GEL", 2)])).await?;
    world.until(text(&declined, "id"), "PAYMENT_FAILED").await?;
    // A later one is confirmed, so that the news of the first had its time.
    let later = world.place_until(&order(&[("PEN-GEL", 2)]), "DELIVERED").await?;
    told(&world, text(&later, "id"), 3).await?;
    told(&world, text(&declined, "id"), 0).await?;
    assert!(!subjects(&world).await?.contains_key("Your order 1 is confirmed"));
    Ok(())
}

#[tokio::test]
async fn not_01_a_customer_hears_once_of_every_cause() -> Result<()> {
    let world = World::open("told-all").await?;
    let arrived = world.place_until(&order(&[("PEN-GEL", 2)]), "DELIVERED").await?;
    let payment = text(&arrived["payment"], "paymentId");
    let refund = json!({"amount": {"currencyCode": "USD", "amountMinor": "125"}, "reason": "a scratch"});
    world.admin.post(&format!("/api/v1/payments/{payment}/refunds"), &refund, Some(&unique())).await?;
    let messages = told(&world, text(&arrived, "id"), 4).await?;
    let kinds: Vec<&str> = messages.iter().rev().map(|message| text(message, "kind")).collect();
    for kind in ["ORDER_CONFIRMATION", "SHIPMENT_TRACKING", "DELIVERY", "REFUND"] {
        assert!(kinds.contains(&format!("MESSAGE_KIND_{kind}").as_str()), "{kind} in {kinds:?}");
    }
    let waiting =
        world.place_until(&order_by("pm_sim_3ds_required", &[("PEN-GEL", 2)]), "PAYMENT_ACTION_REQUIRED").await?;
    let id = text(&waiting, "id");
    let path = format!("/api/v1/orders/{id}?reason=changed+my+mind");
    ensure!(world.customer.request(Method::DELETE, &path).send().await?.status().is_success());
    world.until(id, "CANCELLED").await?;
    told(&world, id, 1).await?;
    let expected = [
        "A refund of your order 1",
        "Your order 1 has arrived",
        "Your order 1 is confirmed",
        "Your order 1 is on its way",
        "Your order 2 is cancelled",
    ];
    let expected = BTreeMap::from(expected.map(|subject| (subject.to_owned(), 1)));
    assert_eq!(subjects(&world).await?, expected);
    let path = format!("/_sim/messages?to=customer@{}.example", world.shop.slug);
    let mails = world.system.mail().get(&path).await?.to_string();
    for said in [text(&arrived["shipments"][0], "trackingNumber"), "1.25 USD"] {
        assert!(!said.is_empty() && mails.contains(said), "{said} in {mails}");
    }
    Ok(())
}

#[tokio::test]
async fn not_05_the_tries_of_a_message_are_seen_over_rest_and_by_staff_only() -> Result<()> {
    let world = World::open("told-tries").await?;
    let arrived = world.place_until(&order(&[("PEN-GEL", 2)]), "DELIVERED").await?;
    let messages = told(&world, text(&arrived, "id"), 3).await?;
    let path = format!("/api/v1/messages/{}", text(&messages[0], "id"));
    let message = world.csr.get(&path).await?;
    let tries = list(&message, "attempts");
    assert_eq!(number(&message["attemptCount"]), i64::try_from(tries.len())?);
    assert_eq!(tries.last().map(|one| text(one, "outcome")), Some("SENT"));
    assert_eq!(text(&message, "customerId"), text(&arrived, "customerId"));
    assert_eq!(world.customer.request(Method::GET, &path).send().await?.status(), 403);
    // What is sent is not sent again, whoever asks.
    let answer = world.csr.post(&format!("{path}:retry"), &json!({}), None).await?;
    assert_eq!(text(&answer, "state"), "MESSAGE_STATE_SENT");
    assert!(subjects(&world).await?.values().all(|count| *count == 1));
    Ok(())
}
