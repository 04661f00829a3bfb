use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::ledgers::Ledgers;
use super::plan::{Desks, Placed};
use super::text;
use crate::table::minor;

/// Every figure that differs between what we say and what the outside world says; none when all is well.
///
/// # Errors
/// When the REST edge refuses.
pub(super) async fn differences(desks: &Desks, ended: &[Placed], ledgers: &Ledgers) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for order in ended {
        of_order(order, ledgers, &mut wrong);
    }
    for payer in ledgers.paid_orders() {
        if !ended.iter().any(|order| order.id() == payer) {
            wrong.push(format!("the payment provider has money of an order that nobody placed: {payer:?}"));
        }
    }
    for desk in &desks.0 {
        of_parcels(&desk.staff.get("/api/v1/shipments?pageSize=200").await?, ledgers, &mut wrong);
    }
    let moved = of_stock(desks, &mut wrong).await?;
    compare("units that left our stock, and the warehouse system's", moved, ledgers.units(), &mut wrong);
    Ok(wrong)
}

fn of_order(order: &Placed, ledgers: &Ledgers, wrong: &mut Vec<String>) {
    let name = order.name();
    let money = ledgers.money_of(order.id());
    if order.state() != order.plan.expect {
        wrong.push(format!("{name} is {} and should be {}", order.state(), order.plan.expect));
    }
    let reason = text(&order.order, "stateReason");
    if order.plan.reason.as_deref().is_some_and(|expected| expected != reason) {
        wrong.push(format!("{name}: the reason is {reason:?} and should be {:?}", order.plan.reason));
    }
    let total = minor(&order.order["totals"]["total"]);
    let payment = &order.order["payment"];
    if money.intents.len() > 1 {
        wrong.push(format!("{name}: authorised {} times: {:?}", money.intents.len(), money.intents));
    }
    let (captured, units) = if order.delivered() { (total, order.units()) } else { (0, 0) };
    compare(&format!("{name}: captured at the provider"), money.captured, captured, wrong);
    compare(&format!("{name}: captured by our own account"), minor(&payment["captured"]), captured, wrong);
    compare(&format!("{name}: still held at the provider"), money.held(), 0, wrong);
    compare(&format!("{name}: refunded at the provider"), money.refunded, 0, wrong);
    compare(&format!("{name}: units at the warehouse system"), ledgers.units_of(order.id()), units, wrong);
}

/// One label for each parcel, and each parcel arrived.
fn of_parcels(page: &Value, ledgers: &Ledgers, wrong: &mut Vec<String>) {
    for parcel in page["shipments"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let id = text(parcel, "id");
        let labels = ledgers.labels.get(id).copied().unwrap_or(0);
        if labels != 1 {
            wrong.push(format!("parcel {id} has {labels} labels at the carrier"));
        }
        if !ledgers.delivered.iter().any(|reference| reference == id) {
            wrong.push(format!("parcel {id} was never delivered by the carrier"));
        }
    }
}

/// Units that left by our own ledgers; nothing may stay reserved, and the ledgers must add up to the stock.
async fn of_stock(desks: &Desks, wrong: &mut Vec<String>) -> Result<i64> {
    let mut moved = 0;
    for desk in &desks.0 {
        let products = desk.staff.get("/api/v1/products?pageSize=200").await?;
        for product in products["products"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let sku = text(product, "sku");
            let stock = desk.staff.get(&format!("/api/v1/inventory/{sku}")).await?;
            let ledger = desk.staff.get(&format!("/api/v1/inventory/{sku}/movements?pageSize=200")).await?;
            let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
            for line in ledger["movements"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let on_hand = line["onHandDelta"].as_i64().unwrap_or(0);
                let sum = sums.entry(text(line, "warehouse").to_owned()).or_default();
                sum.0 += on_hand;
                sum.1 += line["reservedDelta"].as_i64().unwrap_or(0);
                moved -= if text(line, "reason") == "CONSUME" { on_hand } else { 0 };
            }
            for level in stock["levels"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let place = format!("{} {sku} at {}", desk.tenant, text(level, "warehouse"));
                let (on_hand, reserved) = sums.get(text(level, "warehouse")).copied().unwrap_or_default();
                let (there, promised) =
                    (level["onHand"].as_i64().unwrap_or(0), level["reserved"].as_i64().unwrap_or(0));
                compare(&format!("{place}: on hand, and the sum of its ledger"), there, on_hand, wrong);
                compare(&format!("{place}: reserved, and the sum of its ledger"), promised, reserved, wrong);
                compare(&format!("{place}: still reserved"), promised, 0, wrong);
            }
        }
    }
    Ok(moved)
}

fn compare(what: &str, is: i64, should: i64, wrong: &mut Vec<String>) {
    if is != should {
        wrong.push(format!("{what}: {is} instead of {should}"));
    }
}
