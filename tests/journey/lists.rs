//! Finding orders again.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;
use testkit::order;

use super::world::{World, list, order_by, text};

fn ids(orders: &[Value]) -> Vec<String> {
    orders.iter().map(|order| text(order, "id").to_owned()).collect()
}

async fn page(world: &World, query: &str, token: &str) -> Result<(Vec<Value>, String)> {
    let token = if token.is_empty() { String::new() } else { format!("&pageToken={token}") };
    let page = world.csr.get(&format!("/api/v1/orders?{query}{token}")).await?;
    Ok((list(&page, "orders"), text(&page, "nextPageToken").to_owned()))
}

#[tokio::test]
async fn ord_06_pages_hold_every_order_once_however_many_come_in_between() -> Result<()> {
    let world = World::open("pages").await?;
    let mut placed = BTreeSet::new();
    for _ in 0..7 {
        placed.insert(text(&world.place(&order(&[("PEN-GEL", 3)])).await?, "id").to_owned());
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let (orders, next) = page(&world, "pageSize=3", &token).await?;
        assert!(orders.len() <= 3);
        seen.extend(ids(&orders));
        if next.is_empty() {
            break;
        }
        token = next;
        world.place(&order(&[("PEN-GEL", 3)])).await?;
    }
    assert!(seen.is_sorted_by(|newer, older| newer > older), "newest first, none twice: {seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), placed);
    Ok(())
}

#[tokio::test]
async fn ord_06_lists_are_filtered_by_state_customer_and_number() -> Result<()> {
    let world = World::open("filters").await?;
    let arrived = world.place_until(&order(&[("PEN-GEL", 3)]), "DELIVERED").await?;
    let failed = world.place_until(&order_by("pm_sim_declined", &[("PEN-GEL", 3)]), "PAYMENT_FAILED").await?;
    let mut for_another = order(&[("PEN-GEL", 3)]);
    for_another["customerId"] = world.buyers(1).await?.remove(0).into();
    let for_another = world.csr.post("/api/v1/orders", &for_another, Some(&super::world::unique())).await?;

    let only = |query: String| {
        let world = world.clone();
        async move { anyhow::Ok(ids(&page(&world, &query, "").await?.0)) }
    };
    let id = |order: &Value| text(order, "id").to_owned();
    assert_eq!(only("states=ORDER_STATE_PAYMENT_FAILED".to_owned()).await?, [id(&failed)]);
    let both = only("states=ORDER_STATE_PAYMENT_FAILED&states=ORDER_STATE_DELIVERED".to_owned()).await?;
    assert!(both.contains(&id(&failed)) && both.contains(&id(&arrived)));
    assert_eq!(only("orderNumber=1".to_owned()).await?, [id(&arrived)]);
    let customer = text(&for_another, "customerId");
    assert_eq!(only(format!("customerId={customer}")).await?, [id(&for_another)]);
    let own = list(&world.customer.get("/api/v1/orders").await?, "orders");
    assert_eq!(ids(&own), [id(&failed), id(&arrived)], "a customer sees only his own");
    Ok(())
}
