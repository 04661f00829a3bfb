//! Wrong orders, pages and versions through REST: a typed refusal that names the field, and nothing changed.

use std::time::Duration;

use anyhow::{Result, bail};
use ctx::Role;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Rest, eventually, order};

use super::rest::{Said, ask};
use super::world::{Known, World};

/// Sends a body as it is to an address that takes JSON.
pub(super) async fn post(rest: &Rest, path: &str, body: impl Into<Vec<u8>>) -> Said {
    let key = ids::EventId::new().to_string();
    let request = rest.request(Method::POST, path).header("idempotency-key", key);
    let request = request.header("content-type", "application/json").body(body.into());
    ask(request).await
}

async fn get(rest: &Rest, path: &str) -> Said {
    ask(rest.request(Method::GET, path)).await
}

/// A right order of the shop with one thing changed.
fn changed(known: &Known, pointer: &str, value: Value) -> Value {
    let mut body = order(&[(&known.sku, 1)]);
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in an order")) = value;
    body
}

/// A refusal of the caller: a problem whose fields include the wrong one.
#[track_caller]
pub(super) fn refused(what: &str, said: &Said, status: u16, field: &str) {
    let fields: Vec<_> = said.errors().into_iter().map(|(field, _)| field).collect();
    let named = field.is_empty() || fields.iter().any(|named| named == field);
    assert!(said.status == status && said.is_problem() && named, "{what}: wants {status} at {field:?}, got {said:?}");
}

/// A product of alpha with a price of its own and no stock.
async fn product(world: &World, sku: &str, price: i64) {
    let admin = world.rest(Some((Role::TenantAdmin, &world.alpha)));
    let price = json!([{"currencyCode": "USD", "amountMinor": price.to_string()}]);
    let body = json!({"sku": sku, "displayName": "A thing", "prices": price, "weightGrams": 1});
    let said = post(&admin, "/api/v1/products", body.to_string()).await;
    assert!([201, 409].contains(&said.status), "{said:?}");
}

/// An order that is taxed nowhere.
fn to_new_york(items: &[(&str, i32)]) -> Value {
    let mut body = order(items);
    body["shippingAddress"]["region"] = json!("NY");
    body["shippingAddress"]["postalCode"] = json!("10001");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_18_an_order_without_items_is_refused() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.desk)));
    let before = world.rows(&world.desk).await;
    for path in ["/api/v1/orders", "/api/v1/orders:quote"] {
        for items in [json!([]), Value::Null] {
            let mut body = changed(&world.desk, "/items", items);
            if path.ends_with(":quote") {
                body.as_object_mut().expect("an object").remove("paymentMethod");
            }
            let said = post(&customer, path, body.to_string()).await;
            refused(path, &said, 400, "items");
            assert!(said.errors().contains(&("items".to_owned(), "ITEMS_EMPTY".to_owned())), "{said:?}");
        }
    }
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_20_every_sku_that_nobody_has_is_named() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.desk)));
    let before = world.rows(&world.desk).await;
    // The victim's product exists, but not in this shop.
    let items = [("NO-SUCH", 1), (world.desk.sku.as_str(), 1), (world.victim.sku.as_str(), 1)];
    let said = post(&customer, "/api/v1/orders", order(&items).to_string()).await;
    refused("unknown SKUs", &said, 400, "items[0].sku");
    let unknown = |at: usize| (format!("items[{at}].sku"), "UNKNOWN_SKU".to_owned());
    assert_eq!(said.errors(), [unknown(0), unknown(2)]);
    assert!(said.json.to_string().contains("NO-SUCH"), "{said:?}");
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_23_orders_of_5_00_to_10000_00_are_taken_and_a_cent_beside_is_not() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.alpha)));
    for (sku, price, fits) in
        [("P-499", 499, false), ("P-500", 500, true), ("P-1000000", 1_000_000, true), ("P-1000001", 1_000_001, false)]
    {
        product(world, sku, price).await;
        let body = to_new_york(&[(sku, 1)]);
        let placed = post(&customer, "/api/v1/orders", body.to_string()).await;
        let mut quote = body;
        quote.as_object_mut().expect("an object").remove("paymentMethod");
        let quoted = post(&customer, "/api/v1/orders:quote", quote.to_string()).await;
        if fits {
            assert_eq!((placed.status, quoted.status), (201, 200), "{price}: {placed:?} {quoted:?}");
            assert_eq!(quoted.json["totals"], placed.json["totals"]);
        } else {
            for said in [placed, quoted] {
                refused(sku, &said, 400, "items");
                assert_eq!(said.errors(), [("items".to_owned(), "ORDER_VALUE_OUT_OF_RANGE".to_owned())]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_24_fifty_units_are_taken_and_the_51st_is_not() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.alpha)));
    product(world, "P-UNIT", 100).await;
    let lines = |count: usize, each: i32| vec![("P-UNIT", each); count];
    for fits in [lines(1, 50), lines(50, 1), lines(2, 25)] {
        let said = post(&customer, "/api/v1/orders", to_new_york(&fits).to_string()).await;
        assert_eq!(said.status, 201, "{} lines: {said:?}", fits.len());
    }
    for over in [lines(1, 51), lines(51, 1), lines(3, 17), lines(2, i32::MAX), lines(50, i32::MAX)] {
        let said = post(&customer, "/api/v1/orders", to_new_york(&over).to_string()).await;
        refused(&format!("{} lines of {}", over.len(), over[0].1), &said, 400, "items");
        let units = said.errors().contains(&("items".to_owned(), "TOO_MANY_UNITS".to_owned()));
        assert!(units, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_everything_wrong_with_an_order_is_said_at_once() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.desk)));
    let before = world.rows(&world.desk).await;
    let body = json!({
        "items": [{"sku": world.desk.sku, "quantity": -1}, {"sku": "", "quantity": 0}, {"sku": "NO-SUCH", "quantity": 1}],
        "currencyCode": "XXX",
        "paymentMethod": "not a token",
        "shippingService": "PIGEON",
        "note": "x".repeat(1001),
        "shippingAddress": {"recipient": "", "line1": "l\u{1}", "city": " ", "region": "California",
                            "postalCode": "9410", "countryCode": "us"},
    });
    let said = post(&customer, "/api/v1/orders", body.to_string()).await;
    refused("all wrong", &said, 400, "items[0].quantity");
    let mut fields: Vec<_> = said.errors().into_iter().map(|(field, _)| field).collect();
    fields.sort();
    fields.dedup();
    let expected = [
        "currency_code",
        "items[0].quantity",
        "items[1].quantity",
        "items[1].sku",
        "items[2].sku",
        "note",
        "payment_method",
        "shipping_address.city",
        "shipping_address.country_code",
        "shipping_address.line1",
        "shipping_address.recipient",
        "shipping_service",
    ];
    let missing: Vec<_> = expected.iter().filter(|field| !fields.iter().any(|named| named == *field)).collect();
    assert!(missing.is_empty(), "{missing:?} are not named; named are {fields:?}");
    assert_eq!(world.rows(&world.desk).await, before);
}

/// Nothing else of such a request is looked at, wherever in it the number is (PAY-05).
#[tokio::test(flavor = "multi_thread")]
async fn ord_12_a_card_number_anywhere_in_an_order_is_refused_before_all_else() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.desk)));
    let before = world.rows(&world.desk).await;
    for pointer in ["/paymentMethod", "/shippingAddress/line1", "/shippingAddress/recipient", "/items/0/sku"] {
        for number in ["4242424242424242", "4242-4242-4242-4242", "5555 5555 5555 4444"] {
            let mut body = changed(&world.desk, pointer, json!(number));
            body["shippingService"] = json!("PIGEON");
            let said = post(&customer, "/api/v1/orders", body.to_string()).await;
            refused(pointer, &said, 400, "");
            assert!(said.reason == "CARD_NUMBER_REFUSED" && said.errors().is_empty(), "{pointer}: {said:?}");
            assert!(!said.json.to_string().contains(&number[..9]), "a card number is never repeated");
        }
    }
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_a_wrong_value_of_an_order_is_refused_by_name() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.desk)));
    let before = world.rows(&world.desk).await;
    let item = |name: &str| format!("/items/0/{name}");
    let mut cases = Vec::new();
    for number in [json!(-1), json!(0), json!(i32::MIN), json!("many"), json!(1.5), json!(true), json!([1]), json!({})]
    {
        cases.push((item("quantity"), number, "items[0].quantity"));
    }
    for number in [json!(2_147_483_648_i64), json!(-2_147_483_649_i64), json!(1e30), json!("99999999999999999999")] {
        cases.push((item("quantity"), number, "items[0].quantity"));
    }
    for sku in [json!(1), json!(""), json!("x".repeat(65)), json!("NO\0SUCH"), json!("' OR 1=1 --"), json!("no such")] {
        cases.push((item("sku"), sku, "items[0].sku"));
    }
    for currency in ["", "usd", "XXX", "USDX", "U\0D", "GBP", "💶"] {
        cases.push(("/currencyCode".to_owned(), json!(currency), "currency_code"));
    }
    for method in [json!(""), json!(7), json!("pm\0"), json!("p".repeat(201)), json!("pm ü")] {
        cases.push(("/paymentMethod".to_owned(), method, "payment_method"));
    }
    for name in ["recipient", "line1", "city", "postalCode", "region", "countryCode"] {
        let field = if name == "postalCode" { "postal_code" } else { name };
        let field: &'static str =
            Box::leak(format!("shipping_address.{}", field.replace("countryCode", "country_code")).into());
        for value in ["N\0L".to_owned(), "x".repeat(5000), "\u{7}".to_owned()] {
            cases.push((format!("/shippingAddress/{name}"), json!(value), field));
        }
    }
    cases.push(("/shippingAddress".to_owned(), json!("500 Market Street"), "shipping_address"));
    cases.push(("/shippingAddress".to_owned(), Value::Null, "shipping_address"));
    for (pointer, value, field) in cases {
        let said = post(&customer, "/api/v1/orders", changed(&world.desk, &pointer, value.clone()).to_string()).await;
        refused(&format!("{pointer} = {value:.60}"), &said, 400, field);
    }
    for (name, value, field) in [
        ("note", json!("N\0L"), "note"),
        ("note", json!("x".repeat(1001)), "note"),
        ("shippingService", json!("PIGEON"), "shipping_service"),
        ("shippingService", json!("STAND\0ARD"), "shipping_service"),
        ("customerId", json!("me"), "customer_id"),
        ("customerId", json!(world.desk.order), "customer_id"),
        ("expectedTotal", json!("12.99"), "expected_total"),
        ("expectedTotal", json!({"currencyCode": "USD", "amountMinor": "1e40"}), "expected_total.amount_minor"),
        ("colour", json!("red"), "colour"),
        ("__proto__", json!({}), "__proto__"),
    ] {
        let mut body = order(&[(&world.desk.sku, 1)]);
        body[name] = value.clone();
        let said = post(&customer, "/api/v1/orders", body.to_string()).await;
        refused(&format!("{name} = {value:.60}"), &said, 400, field);
    }
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_a_body_that_is_not_a_message_is_refused_whole() {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.desk)));
    let before = world.rows(&world.desk).await;
    let good = order(&[(&world.desk.sku, 1)]).to_string();
    let inner = good.trim_start_matches('{').trim_end_matches('}');
    let deep =
        |open: &str, close: &str, times: usize| format!("{{\"note\":{}1{}}}", open.repeat(times), close.repeat(times));
    let mut not_utf8 = good.clone().into_bytes();
    let ada = not_utf8.windows(3).position(|part| part == b"Ada").expect("Ada buys");
    not_utf8[ada] = 0xff;
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("cut off", good.as_bytes()[..good.len() - 1].to_vec(), 400),
        ("something behind", format!("{good} x").into(), 400),
        ("two documents", format!("{good}{good}").into(), 400),
        ("a comment", format!("/* {good} */").into(), 400),
        ("a trailing comma", format!("{{{inner},}}").into(), 400),
        ("single quotes", good.replace('"', "'").into(), 400),
        ("a byte order mark", [b"\xef\xbb\xbf".as_slice(), good.as_bytes()].concat(), 400),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), 400),
        ("a number", b"7".to_vec(), 400),
        ("a list", format!("[{good}]").into(), 400),
        ("a string", b"\"order\"".to_vec(), 400),
        ("NaN", good.replace("\"quantity\":1", "\"quantity\":NaN").into(), 400),
        ("a lone surrogate", good.replace("Ada", "\\ud800").into(), 400),
        ("a raw NUL", good.replace("Ada", "A\0a").into(), 400),
        ("not UTF-8", not_utf8, 400),
        ("a key twice", format!("{{\"currencyCode\":\"EUR\",{inner}}}").into(), 400),
        ("both names of a field", format!("{{\"currency_code\":\"USD\",{inner}}}").into(), 400),
        ("a key twice inside", good.replace("\"city\":", "\"city\":\"Oakland\",\"city\":").into(), 400),
        ("deep lists", deep("[", "]", 10_000).into(), 400),
        ("deep objects", deep("{\"a\":", "}", 5_000).into(), 400),
        ("unclosed lists", vec![b'['; 60_000], 400),
        ("only white space", b"   ".to_vec(), 400),
        ("nothing", Vec::new(), 400),
        ("64 KiB and one byte", format!("{{{inner},\"note\":\"{}\"}}", "x".repeat(65_536)).into(), 413),
        ("eight megabytes", vec![b' '; 8 << 20], 413),
    ];
    for (what, body, status) in cases {
        let said = post(&customer, "/api/v1/orders", body).await;
        refused(what, &said, status, "");
        assert!(!said.reason.is_empty(), "{what}: {said:?}");
    }
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_broken_paths_headers_and_ids_are_refused() {
    let world = World::get().await;
    let csr = world.rest(Some((Role::Csr, &world.desk)));
    let before = world.rows(&world.desk).await;
    let no_order = ids::OrderId::new().to_string();
    for (path, status, field) in [
        ("/api/v1/orders/%ff".to_owned(), 400, ""),
        ("/api/v1/orders/%zz".to_owned(), 400, ""),
        ("/api/v1/orders/7".to_owned(), 400, "order_id"),
        ("/api/v1/orders/%00".to_owned(), 400, "order_id"),
        (format!("/api/v1/orders/{}", world.desk.customer), 400, "order_id"),
        (format!("/api/v1/orders/{}", world.desk.order.to_uppercase()), 400, "order_id"),
        (format!("/api/v1/orders/{}%00", world.desk.order), 400, "order_id"),
        (format!("/api/v1/orders/{}0", world.desk.order), 400, "order_id"),
        (format!("/api/v1/orders/{no_order}"), 404, ""),
        (format!("/api/v1/orders/{no_order}/history"), 404, ""),
        (format!("/api/v1/sagas/{no_order}"), 404, ""),
        (format!("/api/v1/payments/{}", world.desk.order), 400, "payment_id"),
        (format!("/api/v1/shipments/{}", world.desk.payment), 400, "shipment_id"),
        (format!("/api/v1/fulfillments/{}", world.desk.shipment), 400, "fulfillment_id"),
        (format!("/api/v1/messages/{}", world.desk.shipment), 400, "message_id"),
        ("/api/v1/messages?state=MESSAGE_STATE_LOST".to_owned(), 400, "state"),
        (format!("/api/v1/users/{}", world.desk.order), 400, "user_id"),
        ("/api/v1/products/NO%00SUCH".to_owned(), 400, "sku"),
        ("/api/v1/products/no%20such".to_owned(), 400, "sku"),
        ("/api/v1/inventory/%F0%9F%92%B6".to_owned(), 400, "sku"),
        ("/api/v1/warehouses/lower".to_owned(), 400, "code"),
        ("/api/v1/orders?customerId=me".to_owned(), 400, "customer_id"),
        ("/api/v1/orders?states=ORDER_STATE_LOST".to_owned(), 400, "states"),
        ("/api/v1/orders?orderNumber=-1".to_owned(), 400, "order_number"),
        ("/api/v1/orders?orderNumber=9223372036854775808".to_owned(), 400, "order_number"),
        ("/api/v1/orders?colour=red".to_owned(), 400, "colour"),
        ("/api/v1/orders?pageSize=1&pageSize=2".to_owned(), 400, "page_size"),
        ("/api/v1/orders?customerId=%ff".to_owned(), 400, ""),
    ] {
        refused(&path, &get(&csr, &path).await, status, field);
    }
    let send = async |name: &str, value: &[u8]| {
        let request = csr.request(Method::POST, "/api/v1/orders").header(name, value);
        let request =
            request.header("content-type", "application/json").body(order(&[(&world.desk.sku, 1)]).to_string());
        ask(request).await
    };
    for (name, value, status) in [
        ("idempotency-key", b"k\xffy".to_vec(), 400),
        ("idempotency-key", b"".to_vec(), 400),
        ("idempotency-key", vec![b'k'; 256], 400),
        ("idempotency-key", b"with space".to_vec(), 400),
        ("x-tenant-id", b"tnt_\xff".to_vec(), 400),
        ("if-match", b"\"7\"".to_vec(), 400),
        ("x-request-timeout-ms", b"soon".to_vec(), 400),
    ] {
        let said = send(name, &value).await;
        assert!(said.status == status && said.is_problem() && !said.errors().is_empty(), "{name}: {said:?}");
    }
    let request = csr.request(Method::POST, "/api/v1/orders").json(&order(&[(&world.desk.sku, 1)]));
    let keyless = ask(request).await;
    refused("no key", &keyless, 400, "idempotency-key");
    assert_eq!(world.rows(&world.desk).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_12_pages_are_as_large_as_they_may_be_and_tokens_fit_one_list_only() {
    let world = World::get().await;
    let admin = world.rest(Some((Role::TenantAdmin, &world.beta)));
    let stranger = world.rest(Some((Role::TenantAdmin, &world.desk)));
    for list in ["/api/v1/users", "/api/v1/products"] {
        refused(list, &get(&admin, &format!("{list}?pageSize=-1")).await, 400, "page_size");
        refused(list, &get(&admin, &format!("{list}?pageSize=-2147483648")).await, 400, "page_size");
        refused(list, &get(&admin, &format!("{list}?pageSize=2147483648")).await, 400, "page_size");
        for size in ["0", "2147483647"] {
            assert_eq!(get(&admin, &format!("{list}?pageSize={size}")).await.status, 200, "{list} of {size}");
        }
        let first = get(&admin, &format!("{list}?pageSize=1")).await;
        let token = first.json["nextPageToken"].as_str().unwrap_or_default().to_owned();
        assert!(!token.is_empty(), "{list} has a second page: {first:?}");
        let page = |token: &str| format!("{list}?pageSize=1&pageToken={token}");
        assert_eq!(get(&admin, &page(&token)).await.status, 200);
        let at = token.len() / 2;
        let tampered =
            format!("{}{}{}", &token[..at], if &token[at..=at] == "A" { "B" } else { "A" }, &token[at + 1..]);
        for bad in [tampered.as_str(), &token[1..], "x", "%00", "%F0%9F%92%B6", &"A".repeat(5000)] {
            refused(&format!("{list} {bad}"), &get(&admin, &page(bad)).await, 400, "page_token");
        }
        refused("a token of another tenant", &get(&stranger, &page(&token)).await, 400, "page_token");
        let other = if list == "/api/v1/users" { "/api/v1/products" } else { "/api/v1/users" };
        let other = get(&admin, &format!("{other}?pageToken={token}")).await;
        refused("a token of another list", &other, 400, "page_token");
    }
    let lists = ["/api/v1/orders", "/api/v1/payments", "/api/v1/shipments", "/api/v1/fulfillments", "/api/v1/messages"];
    for list in lists {
        refused(list, &get(&admin, &format!("{list}?pageSize=-1")).await, 400, "page_size");
        refused(list, &get(&admin, &format!("{list}?pageToken=AAAA")).await, 400, "page_token");
        assert_eq!(get(&admin, &format!("{list}?pageSize=2147483647")).await.status, 200, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ord_35_of_many_writers_with_one_version_exactly_one_wins() -> Result<()> {
    let world = World::get().await;
    let customer = world.rest(Some((Role::Customer, &world.alpha)));
    let mut body = order(&[("SHARED", 1)]);
    // Waits for the customer, so that nothing but the writers changes it.
    body["paymentMethod"] = json!("pm_sim_3ds_required");
    let placed = post(&customer, "/api/v1/orders", body.to_string()).await;
    let path = format!("/api/v1/orders/{}", placed.json["id"].as_str().unwrap_or_default());
    let waiting = eventually(Duration::from_secs(120), || async {
        let order = customer.get(&path).await?;
        match order["state"].as_str() {
            Some("ORDER_STATE_PAYMENT_ACTION_REQUIRED") => Ok(Some(order)),
            state => bail!("{state:?}"),
        }
    });
    let version = format!("\"{}\"", waiting.await?["etag"].as_str().unwrap_or_default());
    let write = async |note: usize, version: &str| {
        let request = customer.request(Method::PATCH, &path).header("if-match", version);
        let request = request.json(&json!({"note": format!("writer {note}")}));
        ask(request).await
    };
    let answers = join_all((0..8).map(|writer| write(writer, &version))).await;
    let won: Vec<_> = answers.iter().filter(|said| said.status == 200).collect();
    let lost = answers.iter().filter(|said| said.status == 412 && said.reason == "ETAG_MISMATCH").count();
    assert_eq!((won.len(), lost), (1, 7), "{answers:?}");
    assert_eq!(customer.get(&path).await?["note"], won[0].json["note"]);
    for stale in [version.as_str(), "\"0\"", "\"999999\"", "\"-1\"", "\"x\"", "\"9223372036854775808\""] {
        let said = write(9, stale).await;
        assert!(said.status == 412 || (said.status == 400 && !said.errors().is_empty()), "{stale}: {said:?}");
    }
    for broken in ["7", "W/\"7\"", "\"1\", \"2\"", "\"", ""] {
        refused(&format!("if-match {broken}"), &write(9, broken).await, 400, "if-match");
    }
    Ok(())
}
