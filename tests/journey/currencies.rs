//! Orders in currencies whose minor unit is no hundredth, and the two ways of rounding tax: what a quote says is what is
//! ordered and what the provider takes.

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, minor, number, text, total, unique};

/// An order as somebody places it in another country and currency.
fn abroad(currency: &str, country: &str, code: &str, items: &[(&str, i32)]) -> Value {
    let mut body = order(items);
    body["currencyCode"] = currency.into();
    body["shippingAddress"] = json!({
        "recipient": "Ada Lovelace", "line1": "1 Main Street", "city": "Somewhere", "region": "",
        "postalCode": code, "countryCode": country,
    });
    body
}

async fn sell(world: &World, sku: &str, class: &str, (currency, price): (&str, i64)) -> Result<()> {
    let price = json!({"currencyCode": currency, "amountMinor": price.to_string()});
    let product = json!({"sku": sku, "displayName": sku, "taxClass": class, "prices": [price], "weightGrams": 100});
    world.admin.post("/api/v1/products", &product, None).await?;
    let stock = json!({"warehouse": "OAK", "onHandDelta": 50, "reason": "first delivery"});
    world.admin.post(&format!("/api/v1/inventory/{sku}:adjust"), &stock, Some(&unique())).await?;
    Ok(())
}

fn tax(country: &str, class: &str, ppm: i32) -> Value {
    json!({"countryCode": country, "taxClass": class, "ratePpm": ppm})
}

/// Adds to a list of the policy.
fn add(list: &mut Value, more: impl IntoIterator<Item = Value>) {
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

/// What an order would cost, or why it would not be taken.
async fn quote(world: &World, order: &Value) -> Result<(StatusCode, Value)> {
    let mut basket = order.clone();
    basket.as_object_mut().context("an object")?.remove("paymentMethod");
    let answer = world.customer.request(Method::POST, "/api/v1/orders:quote").json(&basket).send().await?;
    Ok((answer.status(), answer.json().await?))
}

/// Net of the goods, shipping, tax and total; then the tax of each line.
fn figures(priced: &Value) -> ([i64; 4], Vec<i64>) {
    let sums = ["itemsNet", "shipping", "tax", "total"].map(|name| minor(&priced["totals"][name]));
    (sums, list(priced, "lines").iter().map(|line| minor(&line["tax"])).collect())
}

/// Follows an order from its quote to the capture: all say the same sums in the same currency.
async fn bought(world: &World, body: &Value, expected: ([i64; 4], Vec<i64>)) -> Result<Value> {
    let (status, quoted) = quote(world, body).await?;
    assert_eq!(status, StatusCode::OK, "{quoted}");
    assert_eq!(figures(&quoted), expected, "{quoted}");
    let placed = world.place(body).await?;
    assert_eq!((&placed["totals"], &placed["lines"]), (&quoted["totals"], &quoted["lines"]));
    let (id, costs) = (text(&placed, "id"), expected.0[3]);
    let arrived = world.until(id, "DELIVERED").await?;
    assert_eq!(arrived["totals"], quoted["totals"]);
    let paid = world.until_captured(id, costs).await?;
    let currency = text(body, "currencyCode");
    for amount in ["authorized", "captured"] {
        assert_eq!(text(&paid["payment"][amount], "currencyCode"), currency, "{paid}");
    }
    let moves = world.money_moves(id).await?;
    let moves: Vec<(&str, i64, String)> = moves
        .iter()
        .map(|line| (text(line, "op"), number(&line["amount"]), text(line, "currency").to_uppercase()))
        .collect();
    let of = |op| (op, costs, currency.to_owned());
    assert_eq!(moves, [of("authorize"), of("capture")], "the provider's ledger");
    world.books_agree().await?;
    Ok(arrived)
}

/// A placement that the value limits forbid.
async fn out_of_range(world: &World, body: &Value) -> Result<()> {
    let request = world.customer.request(Method::POST, "/api/v1/orders").header("idempotency-key", unique());
    let answer = request.json(body).send().await?;
    let (status, problem): (_, Value) = (answer.status(), answer.json().await?);
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(problem.to_string().contains("ORDER_VALUE_OUT_OF_RANGE"), "{problem}");
    Ok(())
}

#[tokio::test]
async fn ord_15_ord_32_yen_with_the_tax_inside_and_one_rounding_are_quoted_ordered_and_captured_alike() -> Result<()> {
    let world = World::open("yen").await?;
    let change = |policy: &mut Value| {
        policy["pricesIncludeTax"] = json!(true);
        policy["taxRounding"] = json!("TAX_ROUNDING_ORDER");
        policy["taxShipping"] = json!(true);
        add(&mut policy["taxRules"], [tax("JP", "food", 80_000)]);
    };
    world.policy(change).await?;
    sell(&world, "BOWL", "standard", ("JPY", 108)).await?;
    sell(&world, "TEA", "food", ("JPY", 199)).await?;
    // Gross 324 + 398 + 500 for shipping. Tax inside: 324·10/110 = 29.45…, 398·8/108 = 29.48…, 500·10/110 = 45.45…,
    // together 104.39: 104, and the leftover yen goes to the largest remainder, which is that of the tea. Rounded by
    // line it would be 29 + 29 + 45 = 103.
    let gross = 324 + 398 + 500;
    let expected = ([295 + 368, 455, 104, gross], vec![29, 30]);
    assert_eq!(expected.0[..3].iter().sum::<i64>(), gross);
    let body = abroad("JPY", "JP", "100-0001", &[("BOWL", 3), ("TEA", 2)]);
    let arrived = bought(&world, &body, expected).await?;
    assert_eq!(text(&arrived["totals"]["total"], "currencyCode"), "JPY");
    Ok(())
}

#[tokio::test]
async fn ord_15_ord_32_dinars_of_a_thousand_fils_rounded_by_line_are_quoted_ordered_and_captured_alike() -> Result<()> {
    let world = World::open("dinar").await?;
    let change = |policy: &mut Value| {
        policy["taxShipping"] = json!(true);
        add(&mut policy["currencies"], [json!("KWD")]);
        let price = json!({"currencyCode": "KWD", "amountMinor": "1250"});
        add(&mut policy["shippingRates"], [json!({"service": "STANDARD", "price": price})]);
        add(&mut policy["taxRules"], [tax("KW", "standard", 50_000), tax("KW", "shipping", 75_000)]);
    };
    world.policy(change).await?;
    sell(&world, "LANTERN", "standard", ("KWD", 1_230)).await?;
    sell(&world, "CARPET", "standard", ("KWD", 2_110)).await?;
    // 3.690 at 5 % is 184.5 fils: 185. 2.110 at 5 % is 105.5: 106. Shipping 1.250 at 7.5 % is 93.75: 94. Rounded once
    // it would be 383.75: 384.
    let expected = ([3_690 + 2_110, 1_250, 185 + 106 + 94, 7_435], vec![185, 106]);
    assert_eq!(expected.0[..3].iter().sum::<i64>(), 7_435);
    let body = abroad("KWD", "KW", "13001", &[("LANTERN", 3), ("CARPET", 1)]);
    let arrived = bought(&world, &body, expected).await?;
    assert_eq!(text(&arrived["totals"]["total"], "currencyCode"), "KWD");
    Ok(())
}

#[tokio::test]
async fn ord_23_value_limits_are_hundredths_of_a_unit_whatever_the_exponent() -> Result<()> {
    let world = World::open("limits").await?;
    let change = |policy: &mut Value| {
        policy["minOrderValueMinor"] = json!("500");
        policy["maxOrderValueMinor"] = json!("1000");
        policy["minTotalExclusiveMinor"] = json!("600");
        add(&mut policy["currencies"], [json!("KWD")]);
        let rate = |currency: &str, minor: &str| json!({"service": "STANDARD", "price": {"currencyCode": currency, "amountMinor": minor}});
        // A yen and a dinar for shipping.
        policy["shippingRates"] = json!([rate("JPY", "1"), rate("KWD", "1000")]);
        policy["taxRules"] = json!([]);
    };
    world.policy(change).await?;
    // Values from 5 to 10 units, totals above 6: a thousandth below and above, and the limits themselves.
    for (currency, country, code, refused, taken) in [
        ("JPY", "JP", "100-0001", [4, 5, 11], [6, 10]),
        ("KWD", "KW", "13001", [4_999, 5_000, 10_001], [5_001, 10_000]),
    ] {
        for (price, fits) in refused.map(|price| (price, false)).into_iter().chain(taken.map(|price| (price, true))) {
            let sku = format!("{currency}-{price}");
            sell(&world, &sku, "standard", (currency, price)).await?;
            let body = abroad(currency, country, code, &[(&sku, 1)]);
            if fits {
                let placed = world.place(&body).await?;
                assert_eq!(total(&placed), price + if currency == "JPY" { 1 } else { 1_000 });
            } else {
                out_of_range(&world, &body).await?;
            }
        }
    }
    // What the total was too small for: the smallest values with a total above the limit.
    world.policy(|policy| policy["minTotalExclusiveMinor"] = json!("599")).await?;
    for (currency, country, code, sku) in [("JPY", "JP", "100-0001", "JPY-5"), ("KWD", "KW", "13001", "KWD-5000")] {
        let body = abroad(currency, country, code, &[(sku, 1)]);
        let heard =
            eventually(PATIENCE, || async { Ok((quote(&world, &body).await?.0 == StatusCode::OK).then_some(())) });
        heard.await.with_context(|| format!("wait for {sku} to be sold"))?;
        world.place(&body).await?;
        let too_small = if currency == "JPY" { "JPY-4" } else { "KWD-4999" };
        out_of_range(&world, &abroad(currency, country, code, &[(too_small, 1)])).await?;
    }
    Ok(())
}

#[tokio::test]
async fn ord_32_orders_rounded_by_line_and_as_a_whole_differ_by_a_cent_and_equal_their_quotes() -> Result<()> {
    let world = World::open("roundings").await?;
    let skus = ["THIRD-1", "THIRD-2", "THIRD-3"];
    for sku in skus {
        world.product(sku, 1_010, &[("OAK", 50)]).await?;
    }
    let body = order(&skus.map(|sku| (sku, 1)));
    // 10.10 at 8.25 % is 83.325 cents: 83 by line, 249 in all; of the sum it is 249.975, so 250.
    let net = 3 * 1_010;
    for (rounding, tax, lines) in [("LINE", 249, vec![83, 83, 83]), ("ORDER", 250, vec![84, 83, 83])] {
        world.policy(|policy| policy["taxRounding"] = json!(format!("TAX_ROUNDING_{rounding}"))).await?;
        let heard = eventually(PATIENCE, || async {
            let (_, quoted) = quote(&world, &body).await?;
            anyhow::ensure!(minor(&quoted["totals"]["tax"]) == tax, "{rounding}: {quoted}");
            Ok(Some(()))
        });
        heard.await.context("wait for the policy to be heard of")?;
        bought(&world, &body, ([net, 499, tax, net + 499 + tax], lines)).await?;
    }
    Ok(())
}
