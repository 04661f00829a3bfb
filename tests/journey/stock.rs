//! Stock as shoppers and staff see it while the system runs.

use std::time::Instant;

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Rest, eventually, order};

use super::world::{Faulty, PATIENCE, World, list, number, state_of, text, unique};

async fn adjust(world: &World, sku: &str, units: i32) -> Result<()> {
    let body = json!({"warehouse": "OAK", "onHandDelta": units, "reason": "counted"});
    world.admin.post(&format!("/api/v1/inventory/{sku}:adjust"), &body, Some(&unique())).await?;
    Ok(())
}

#[tokio::test]
async fn inv_06_a_change_of_stock_is_an_event_within_a_second() -> Result<()> {
    let world = World::open("stock-news").await?;
    world.product("NEWS", 500, &[("OAK", 100)]).await?;
    // How long after the line of the ledger the event behind it was written, in milliseconds.
    let lag = "SELECT to_jsonb(extract(epoch FROM e.occurred_at - l.occurred_at) * 1000) AS row \
               FROM om_inventory.stock_ledger l \
               CROSS JOIN LATERAL (SELECT e.occurred_at FROM om_inventory.events e WHERE e.tenant_id = $1 \
                 AND e.type LIKE '%.StockChanged' AND position('NEWS'::bytea IN e.payload) > 0 \
                 AND e.occurred_at > l.occurred_at ORDER BY e.occurred_at LIMIT 1) e \
               WHERE l.tenant_id = $1 AND l.sku = 'NEWS' ORDER BY l.seq";
    let mut lags = Vec::new();
    for changes in 2..=6_usize {
        adjust(&world, "NEWS", -1).await?;
        let told = eventually(PATIENCE, || async {
            let rows = world.rows(lag).await?;
            Ok((rows.len() >= changes).then_some(rows))
        });
        lags = told.await?.iter().filter_map(Value::as_f64).collect();
    }
    // The machine of the tests does a hundred other things; half of all changes must still be in time.
    lags.sort_by(f64::total_cmp);
    assert!(lags[lags.len() / 2] < 1000.0, "{lags:?} ms");
    Ok(())
}

/// The figures of the messages of a stream, until there are so many.
async fn watched(rest: &Rest, sku: &str, many: usize, between: impl AsyncFn() -> Result<()>) -> Result<Vec<i64>> {
    let request = rest.request(Method::GET, &format!("/api/v1/inventory/{sku}:watch"));
    let mut answer = request.header("accept", "text/event-stream").timeout(PATIENCE).send().await?;
    let started = Instant::now();
    let (mut said, mut figures, mut changed) = (String::new(), Vec::new(), 0);
    while figures.len() < many {
        anyhow::ensure!(started.elapsed() < PATIENCE, "only {figures:?} came");
        let chunk = answer.chunk().await?.context("the stream broke off")?;
        said.push_str(std::str::from_utf8(&chunk)?);
        figures = said
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str::<Value>(data).ok())
            .map(|stock| number(&stock["available"]))
            .collect();
        if figures.len() > changed && figures.len() < many {
            changed = figures.len();
            between().await?;
        }
    }
    Ok(figures)
}

#[tokio::test]
async fn inv_06_who_watches_a_product_sees_its_stock_now_and_after_every_change() -> Result<()> {
    let world = World::open("stock-watch").await?;
    world.product("WATCHED", 500, &[("OAK", 9)]).await?;
    let seen = watched(&world.customer, "WATCHED", 3, async || adjust(&world, "WATCHED", -2).await).await?;
    assert_eq!(seen, [9, 7, 5]);
    Ok(())
}

#[tokio::test]
async fn inv_08_shoppers_do_not_find_what_is_sold_out_and_are_told_when_they_ask_for_it() -> Result<()> {
    let world = World::open("storefront").await?;
    world.product("AAA-LAST", 500, &[("OAK", 1)]).await?;
    let listed = async || -> Result<bool> {
        let catalog = world.customer.get("/api/v1/catalog?pageSize=200").await?;
        Ok(list(&catalog, "products").iter().any(|product| text(product, "sku") == "AAA-LAST"))
    };
    assert!(listed().await?);
    adjust(&world, "AAA-LAST", -1).await?;
    assert!(!listed().await?);
    let direct = world.customer.get("/api/v1/products/AAA-LAST").await?;
    assert_eq!(text(&direct, "availability"), "AVAILABILITY_OUT_OF_STOCK");
    let all = world.admin.get("/api/v1/products?pageSize=200").await?;
    assert!(list(&all, "products").iter().any(|product| text(product, "sku") == "AAA-LAST"));
    let whole = world.customer.request(Method::GET, "/api/v1/products").send().await?;
    assert_eq!(whole.status().as_u16(), 403);
    Ok(())
}

#[tokio::test]
async fn inv_04_an_orders_units_are_held_confirmed_allocated_to_their_fulfillment_and_consumed() -> Result<()> {
    let world = World::open("allocated").await?;
    let arrived = world.place_until(&order(&[("TEE-M", 2)]), "DELIVERED").await?;
    let work = world.admin.get(&format!("/api/v1/fulfillments?orderId={}", text(&arrived, "id"))).await?;
    let fulfillment = text(&list(&work, "fulfillments")[0], "id").to_owned();
    let path = format!("/api/v1/reservations/{}", text(&arrived, "id"));
    let bound = eventually(PATIENCE, || async {
        let reservation = world.admin.get(&path).await?;
        let allocations = list(&reservation, "allocations");
        let bound = allocations.iter().all(|part| text(part, "fulfillmentId") == fulfillment);
        Ok((bound && text(&reservation, "state") == "RESERVATION_STATE_CONSUMED").then_some(reservation))
    });
    let reservation = bound.await?;
    let steps = "SELECT to_jsonb(type) AS row FROM om_inventory.events WHERE tenant_id = $1 \
                 AND type ~ 'Stock(Reserved|ReservationConfirmed|Allocated|Consumed)$' ORDER BY version";
    let steps = world.rows(steps).await?;
    let names: Vec<&str> = steps.iter().filter_map(|name| name.as_str()?.rsplit('.').next()).collect();
    assert_eq!(names[..2], ["StockReserved", "StockReservationConfirmed"], "{reservation}");
    assert!(names[2..].contains(&"StockAllocated") && names[2..].contains(&"StockConsumed"), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn inv_14_without_inventory_known_goods_are_ordered_and_unknown_ones_refused_at_once() -> Result<()> {
    let faulty = Faulty::open("no-inventory").await?;
    let world = &faulty.world;
    // Order has seen this one; nobody can reserve it yet.
    world.customer.post("/api/v1/orders:quote", &quote("TEE-M"), None).await?;
    world.product("NEVER-SEEN", 500, &[("OAK", 5)]).await?;
    let platform = &world.system.platform;
    let elsewhere = |address: String| {
        let mesh = platform.mesh.clone();
        faulty.inside(move || async move { Ok(mesh.remote("inventory", address)?) })
    };
    elsewhere("http://127.0.0.1:9".to_owned()).await?;
    let outcome = orders_without_inventory(world).await;
    elsewhere(format!("http://{}", platform.grpc)).await?;
    world.until(&outcome?, "DELIVERED").await?;
    world.books_agree().await
}

#[tokio::test]
async fn inv_14_a_shop_that_would_rather_refuse_answers_503_at_once_while_inventory_is_away() -> Result<()> {
    let faulty = Faulty::open("no-inventory-refuse").await?;
    let world = &faulty.world;
    world.policy(|policy| policy["inventoryOutage"] = json!("INVENTORY_OUTAGE_REFUSE")).await?;
    // Order has copies of this one, and a shop with the other policy would take it.
    world.place_until(&order(&[("TEE-M", 1)]), "DELIVERED").await?;
    let count = "SELECT to_jsonb(count(*)) AS row FROM om_order.orders WHERE tenant_id = $1";
    let before = world.rows(count).await?;
    let platform = &world.system.platform;
    let elsewhere = |address: String| {
        let mesh = platform.mesh.clone();
        faulty.inside(move || async move { Ok(mesh.remote("inventory", address)?) })
    };
    elsewhere("http://127.0.0.1:9".to_owned()).await?;
    let refused = refused_at_once(world).await;
    let stored = world.rows(count).await;
    elsewhere(format!("http://{}", platform.grpc)).await?;
    refused?;
    assert_eq!(stored?, before, "nothing is stored of what is refused");
    world.place_until(&order(&[("TEE-M", 1)]), "DELIVERED").await?;
    world.books_agree().await
}

/// Tries to place an order for known goods until nobody waits any more: the breaker's state is a gauge.
async fn refused_at_once(world: &World) -> Result<()> {
    let post = || async {
        let request = world.customer.request(Method::POST, "/api/v1/orders").header("idempotency-key", unique());
        Ok::<_, anyhow::Error>(request.json(&order(&[("TEE-M", 1)])).send().await?)
    };
    let resting = eventually(PATIENCE, || async {
        let answer = post().await?;
        anyhow::ensure!(answer.status().as_u16() == 503, "{}", answer.status());
        let later = answer.headers().contains_key("retry-after");
        let open = answer.text().await?.contains("CIRCUIT_OPEN");
        anyhow::ensure!(!open || later, "when to come again is said");
        Ok((open && breaker_shown(world).await? > 0).then_some(()))
    });
    resting.await?;
    assert_eq!(post().await?.status().as_u16(), 503);
    Ok(())
}

/// The gauge of the breaker before inventory: 0 closed, 1 half open, 2 open.
async fn breaker_shown(world: &World) -> Result<i64> {
    let address = world.system.platform.metrics.context("the system serves metrics")?;
    let text = reqwest::get(format!("http://{address}/metrics")).await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("grpc_client_breaker_state{peer=\"inventory\"} "));
    Ok(line.context("the breaker has a gauge")?.trim().parse()?)
}

#[tokio::test]
async fn inv_11_what_the_warehouse_system_counts_every_15_minutes_is_an_observation_only() -> Result<()> {
    let world = World::open("wms-counts").await?;
    world.product("COUNTED", 500, &[("OAK", 20)]).await?;
    let counts = json!({"tenant": world.shop.id, "warehouse": "OAK", "counts": {"COUNTED": 17, "UNKNOWN-HERE": 0}});
    let said = world.system.wms().request(Method::PUT, "/_sim/stock").json(&counts).send().await?;
    anyhow::ensure!(said.status().is_success(), "{}", said.status());
    // The first parcel makes the shop known to whoever reads the warehouse system.
    world.place_until(&order(&[("TEE-M", 1)]), "DELIVERED").await?;
    let compared = eventually(PATIENCE, || async {
        let body = json!({"warehouse": "OAK", "apply": false});
        Ok(Some(world.admin.post("/api/v1/inventory:reconcile", &body, None).await?))
    });
    let compared = compared.await?;
    let differences = list(&compared, "differences");
    let figures: Vec<_> =
        differences.iter().map(|d| (text(d, "sku"), number(&d["expected"]), number(&d["observed"]))).collect();
    // It says all that it has: of what it leaves out there is none.
    assert!(figures.contains(&("COUNTED", 20, 17)) && figures.contains(&("MUG-RED", 200, 0)), "{compared}");
    let (all, same) = (number(&compared["compared"]), number(&compared["matched"]));
    assert_eq!((all, same), (i64::try_from(figures.len())? + 1, 1), "the one that nobody has: {compared}");
    assert_eq!(number(&compared["accuracyPpm"]), same * 1_000_000 / all);
    let stock = world.admin.get("/api/v1/inventory/COUNTED").await?;
    assert_eq!(number(&stock["available"]), 20, "nobody corrected anything");
    let next = "SELECT to_jsonb(extract(epoch FROM next_at - clock_timestamp())) AS row \
                FROM om_fulfillment.wms_counts WHERE tenant_id = $1";
    let next = world.rows(next).await?;
    let in_seconds = next.first().and_then(Value::as_f64).context("the next reading has a time")?;
    assert!((600.0..=900.0).contains(&in_seconds), "{in_seconds}");
    Ok(())
}

fn quote(sku: &str) -> Value {
    let body = order(&[(sku, 1)]);
    let names = ["items", "currencyCode", "shippingAddress", "shippingService"];
    names.into_iter().map(|name| (name.to_owned(), body[name].clone())).collect()
}

/// Places both orders while inventory is away; the one that was taken.
async fn orders_without_inventory(world: &World) -> Result<String> {
    let placed = world.place(&order(&[("TEE-M", 1)])).await?;
    assert_eq!(state_of(&placed), "PENDING");
    let post = || async {
        let request = world.customer.request(Method::POST, "/api/v1/orders").header("idempotency-key", unique());
        Ok::<_, anyhow::Error>(request.json(&order(&[("NEVER-SEEN", 1)])).send().await?)
    };
    // After some silence the breaker is open and nobody waits any more.
    let resting = eventually(PATIENCE, || async {
        let answer = post().await?;
        anyhow::ensure!(answer.status().as_u16() == 503, "{}", answer.status());
        Ok(answer.text().await?.contains("CIRCUIT_OPEN").then_some(()))
    });
    resting.await?;
    assert_eq!(post().await?.status().as_u16(), 503);
    assert_eq!(state_of(&world.order(text(&placed, "id")).await?), "PENDING");
    Ok(text(&placed, "id").to_owned())
}
