use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;
use simulators::Simulators;

use super::plan::Desks;
use super::text;
use crate::rest::Rest;

/// What the outside world says it did.
#[derive(Debug)]
pub(super) struct Ledgers {
    /// Money, by order id.
    money: BTreeMap<String, Money>,
    /// Units that warehouses were told to send: our reference and how many.
    asked: Vec<(String, i64)>,
    /// Which order a reference belongs to, as we say.
    owners: BTreeMap<String, String>,
    /// Labels bought, by reference.
    pub labels: BTreeMap<String, usize>,
    /// References that were delivered.
    pub delivered: Vec<String>,
    /// Mails taken, by recipient and subject.
    pub mails: BTreeMap<(String, String), usize>,
}

/// What the payment provider did for one order, minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Money {
    pub intents: Vec<String>,
    pub authorized: i64,
    pub captured: i64,
    pub voided: i64,
    pub refunded: i64,
}

impl Money {
    /// Still held for nobody's use.
    pub(super) fn held(&self) -> i64 {
        self.authorized - self.captured - self.voided
    }
}

impl Ledgers {
    pub(super) async fn read(simulators: &Simulators, desks: &Desks) -> Result<Self> {
        let payments = ledger(simulators.payments).await.context("ledger of the payment provider")?;
        let wms = ledger(simulators.wms).await.context("ledger of the warehouse system")?;
        let carrier = ledger(simulators.carrier).await.context("ledger of the carrier")?;
        let mut owners = BTreeMap::new();
        for desk in &desks.0 {
            let page = desk.staff.get("/api/v1/fulfillments?pageSize=200").await?;
            let ours = page["fulfillments"].as_array().cloned().unwrap_or_default();
            owners.extend(ours.iter().map(|one| (text(one, "id").to_owned(), text(one, "orderId").to_owned())));
        }
        Ok(Self { mails: mails(simulators).await?, ..Self::of(&payments, &wms, &carrier, owners) })
    }

    /// From the lines of each ledger, and which order each of our references belongs to.
    pub(super) fn of(payments: &[Value], wms: &[Value], carrier: &[Value], owners: BTreeMap<String, String>) -> Self {
        let mut labels = BTreeMap::new();
        for line in carrier.iter().filter(|line| text(line, "op") == "label") {
            *labels.entry(text(line, "reference").to_owned()).or_default() += 1;
        }
        let scans = carrier.iter().filter(|line| text(line, "op") == "scan" && text(line, "code") == "DELIVERED");
        let delivered = scans.map(|line| text(line, "reference").to_owned()).collect();
        Self { money: money(payments), asked: asked(wms), owners, labels, delivered, mails: BTreeMap::new() }
    }

    pub(super) fn money_of(&self, order: &str) -> Money {
        self.money.get(order).cloned().unwrap_or_default()
    }

    pub(super) fn paid_orders(&self) -> impl Iterator<Item = &str> {
        self.money.keys().map(String::as_str)
    }

    /// Units that warehouses were told to send for an order.
    pub(super) fn units_of(&self, order: &str) -> i64 {
        let its = |reference: &String| self.owners.get(reference).is_some_and(|owner| owner == order);
        self.asked.iter().filter(|(reference, _)| its(reference)).map(|(_, units)| units).sum()
    }

    pub(super) fn units(&self) -> i64 {
        self.asked.iter().map(|(_, units)| units).sum()
    }
}

/// Mails that the sink has taken, by recipient and subject.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn mails(simulators: &Simulators) -> Result<BTreeMap<(String, String), usize>> {
    let mut mails: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in ledger(simulators.smtp_http).await.context("ledger of the mail server")? {
        let to = line["to"][0].as_str().unwrap_or_default().to_owned();
        *mails.entry((to, text(&line, "subject").to_owned())).or_default() += 1;
    }
    Ok(mails)
}

async fn ledger(address: std::net::SocketAddr) -> Result<Vec<Value>> {
    let lines = Rest::new(format!("http://{address}")).get("/_sim/ledger").await?;
    Ok(lines.as_array().cloned().unwrap_or_default())
}

/// Every line of the provider names the order, as we asked it to.
fn money(lines: &[Value]) -> BTreeMap<String, Money> {
    let mut sums: BTreeMap<String, Money> = BTreeMap::new();
    for line in lines {
        let sum = sums.entry(text(&line["metadata"], "order").to_owned()).or_default();
        let amount = line["amount"].as_i64().unwrap_or(0);
        match text(line, "op") {
            "authorize" => {
                sum.intents.push(text(line, "id").to_owned());
                sum.authorized += amount;
            }
            "capture" => sum.captured += amount,
            "void" => sum.voided += amount,
            "refund" => sum.refunded += amount,
            _ => {}
        }
    }
    sums
}

fn asked(lines: &[Value]) -> Vec<(String, i64)> {
    let cancelled = lines.iter().filter(|line| text(line, "op") == "cancel");
    let cancelled = cancelled.map(|line| text(line, "reference")).collect::<Vec<_>>();
    let created = lines.iter().filter(|line| text(line, "op") == "create");
    created
        .filter(|line| !cancelled.contains(&text(line, "reference")))
        .map(|line| {
            let lines = line["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
            let units = lines.iter().filter_map(|line| line["quantity"].as_i64()).sum();
            (text(line, "reference").to_owned(), units)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Money, asked, money};

    #[test]
    fn money_is_summed_by_order() {
        let line =
            |op: &str, amount: i64| json!({"op": op, "id": "pi_1", "amount": amount, "metadata": {"order": "ord_1"}});
        let sums = money(&[line("authorize", 500), line("capture", 300), line("void", 200), line("refund", 100)]);
        let intents = vec!["pi_1".to_owned()];
        let expected = Money { intents, authorized: 500, captured: 300, voided: 200, refunded: 100 };
        assert_eq!(sums["ord_1"], expected);
        assert_eq!(expected.held(), 0);
    }

    #[test]
    fn cancelled_requests_move_nothing() {
        let line = |op: &str, reference: &str| json!({"op": op, "reference": reference, "lines": [{"quantity": 2}]});
        let lines = [line("create", "a"), line("create", "b"), line("cancel", "a")];
        assert_eq!(asked(&lines), [("b".to_owned(), 2)]);
    }
}
