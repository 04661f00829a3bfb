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
        let confirmed = ledgers.mails.get(&order.confirmation()).copied().unwrap_or(0);
        if confirmed != usize::from(order.delivered()) {
            wrong.push(format!("{} is confirmed by {confirmed} mails", order.name()));
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn delivered(total: i64, captured: i64) -> Placed {
        let usd = |minor: i64| json!({"currencyCode": "USD", "amountMinor": minor.to_string()});
        let plan = json!({"tenant": "acme", "expect": "DELIVERED", "order": {"items": [{"quantity": 2}]}});
        let order = json!({
            "id": "ord_1", "orderNumber": "1", "state": "ORDER_STATE_DELIVERED",
            "totals": {"total": usd(total)}, "payment": {"captured": usd(captured)},
        });
        Placed { plan: serde_json::from_value(plan).unwrap(), order }
    }

    fn differences_of(order: &Placed, payments: &[Value]) -> Vec<String> {
        let wms = [json!({"op": "create", "reference": "ful_1", "lines": [{"quantity": 2}]})];
        let owners = [("ful_1".to_owned(), "ord_1".to_owned())].into();
        let mut wrong = Vec::new();
        of_order(order, &Ledgers::of(payments, &wms, &[], owners), &mut wrong);
        wrong
    }

    fn line(op: &str, id: &str, amount: i64) -> Value {
        json!({"op": op, "id": id, "amount": amount, "metadata": {"order": "ord_1"}})
    }

    #[test]
    fn an_order_that_agrees_with_every_ledger_is_not_named() {
        let ledger = [line("authorize", "pi_1", 500), line("capture", "pi_1", 500)];
        assert!(differences_of(&delivered(500, 500), &ledger).is_empty());
    }

    #[test]
    fn a_second_card_hold_and_a_double_capture_are_named() {
        let ledger = [
            line("authorize", "pi_1", 500),
            line("capture", "pi_1", 500),
            line("authorize", "pi_2", 500),
            line("capture", "pi_2", 500),
        ];
        let wrong = differences_of(&delivered(500, 500), &ledger);
        assert!(wrong.iter().any(|text| text.contains("authorised 2 times")), "{wrong:?}");
        assert!(wrong.iter().any(|text| text.contains("captured at the provider: 1000 instead of 500")), "{wrong:?}");
    }

    #[test]
    fn money_that_we_only_think_we_took_is_named() {
        let wrong = differences_of(&delivered(500, 500), &[line("authorize", "pi_1", 500)]);
        assert!(wrong.iter().any(|text| text.contains("captured at the provider: 0 instead of 500")), "{wrong:?}");
        assert!(wrong.iter().any(|text| text.contains("still held at the provider: 500 instead of 0")), "{wrong:?}");
    }
}
