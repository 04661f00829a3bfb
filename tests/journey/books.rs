//! What must agree at rest, whatever happened before: stock with its ledger and its reservations, our payments,
//! fulfillments and shipments with what the outside world says it did, and an order with all of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use contract::order::v1::{Order, OrderState};
use ids::TenantId;
use prost::Message as _;
use serde_json::Value;
use testkit::Rest;

use super::world::{ledger, list, number, rows, text};

/// What the outside world says it did.
pub struct Ledgers {
    pub payments: Vec<Value>,
    pub wms: Vec<Value>,
    pub carrier: Vec<Value>,
}

impl Ledgers {
    pub async fn read(payments: &Rest, wms: &Rest, carrier: &Rest) -> Result<Self> {
        Ok(Self { payments: ledger(payments).await?, wms: ledger(wms).await?, carrier: ledger(carrier).await? })
    }
}

/// What our tables say about one tenant.
pub struct Books {
    tenant: String,
    orders: Vec<(String, Order)>,
    payments: Vec<Value>,
    captures: Vec<Value>,
    stock: Vec<Value>,
    reservations: Vec<Value>,
    fulfillments: Vec<Value>,
    shipments: Vec<Value>,
    stuck: Vec<Value>,
}

const ORDERS: &str = "SELECT jsonb_build_object('id', order_id, 'doc', encode(doc, 'hex')) AS row \
    FROM om_order.orders WHERE tenant_id = $1";
const PAYMENTS: &str = "SELECT to_jsonb(p) AS row FROM om_payment.payments p WHERE tenant_id = $1";
const CAPTURES: &str = "SELECT to_jsonb(c) AS row FROM om_payment.captures c WHERE tenant_id = $1";
const STOCK: &str = "SELECT to_jsonb(s) || jsonb_build_object( \
      'ledger_on_hand', (SELECT coalesce(sum(l.d_on_hand), 0) FROM om_inventory.stock_ledger l \
        WHERE l.tenant_id = $1 AND l.sku = s.sku AND l.warehouse = s.warehouse), \
      'ledger_reserved', (SELECT coalesce(sum(l.d_reserved), 0) FROM om_inventory.stock_ledger l \
        WHERE l.tenant_id = $1 AND l.sku = s.sku AND l.warehouse = s.warehouse), \
      'open', (SELECT coalesce(sum(a.quantity - a.consumed), 0) FROM om_inventory.allocations a \
        JOIN om_inventory.reservations r ON r.tenant_id = $1 AND r.order_id = a.order_id AND r.state IN (1, 2, 3, 6) \
        WHERE a.tenant_id = $1 AND a.sku = s.sku AND a.warehouse = s.warehouse)) AS row \
    FROM om_inventory.stock s WHERE tenant_id = $1";
const RESERVATIONS: &str = "SELECT jsonb_build_object('order_id', r.order_id, 'state', r.state, 'open', \
      (SELECT coalesce(sum(a.quantity - a.consumed), 0) FROM om_inventory.allocations a \
       WHERE a.tenant_id = $1 AND a.order_id = r.order_id)) AS row \
    FROM om_inventory.reservations r WHERE tenant_id = $1";
const FULFILLMENTS: &str = "SELECT to_jsonb(f) AS row FROM om_fulfillment.fulfillments f WHERE tenant_id = $1";
const SHIPMENTS: &str = "SELECT to_jsonb(s) - 'label' AS row FROM om_shipping.shipments s WHERE tenant_id = $1";
const STUCK: &str = "SELECT jsonb_build_object('what', what, 'why', why) AS row FROM ( \
      SELECT 'saga ' || kind || ' ' || saga_id AS what, status || ' at step ' || step AS why FROM om_order.sagas \
        WHERE tenant_id = $1 AND status = 'attention' \
      UNION ALL SELECT 'saga ' || kind || ' ' || saga_id, status || ' at step ' || step FROM om_shipping.sagas \
        WHERE tenant_id = $1 AND status = 'attention' \
      UNION ALL SELECT 'parked ' || type || ' for order', last_error FROM om_order.parked WHERE tenant_id = $1 \
      UNION ALL SELECT 'parked ' || type || ' for shipping', last_error FROM om_shipping.parked WHERE tenant_id = $1 \
    ) AS s";

impl Books {
    pub async fn read(conn: &mut pg::Conn, tenant: TenantId) -> Result<Self> {
        let mut orders = Vec::new();
        for row in rows(conn, ORDERS, tenant.uuid()).await? {
            let doc = hex::decode(text(&row, "doc")).context("hexadecimal")?;
            orders.push((bare(text(&row, "id")), Order::decode(doc.as_slice())?));
        }
        Ok(Self {
            tenant: tenant.to_string(),
            orders,
            payments: rows(conn, PAYMENTS, tenant.uuid()).await?,
            captures: rows(conn, CAPTURES, tenant.uuid()).await?,
            stock: rows(conn, STOCK, tenant.uuid()).await?,
            reservations: rows(conn, RESERVATIONS, tenant.uuid()).await?,
            fulfillments: rows(conn, FULFILLMENTS, tenant.uuid()).await?,
            shipments: rows(conn, SHIPMENTS, tenant.uuid()).await?,
            stuck: rows(conn, STUCK, tenant.uuid()).await?,
        })
    }

    /// Orders by state and reason, for a report.
    pub fn states(&self) -> BTreeMap<String, usize> {
        let mut states = BTreeMap::new();
        for (_, order) in &self.orders {
            let state = order.state().as_str_name().trim_start_matches("ORDER_STATE_");
            *states.entry(format!("{state} {}", order.state_reason)).or_default() += 1;
        }
        states
    }

    /// How many shipments there are, for a report.
    pub fn parcels(&self) -> usize {
        self.shipments.len()
    }

    /// Every disagreement, one line each.
    pub fn differences(&self, ledgers: &Ledgers) -> Vec<String> {
        let mut wrong = Vec::new();
        for row in &self.stuck {
            wrong.push(format!("{}: {}", text(row, "what"), text(row, "why")));
        }
        self.compare_stock(&mut wrong);
        self.compare_money(&ledgers.payments, &mut wrong);
        self.compare_captures(&ledgers.payments, &mut wrong);
        self.compare_work(&ledgers.wms, &mut wrong);
        self.compare_parcels(&ledgers.carrier, &mut wrong);
        for (id, order) in &self.orders {
            self.compare_order(id, order, &mut wrong);
        }
        wrong
    }

    fn compare_stock(&self, wrong: &mut Vec<String>) {
        for level in &self.stock {
            let at = format!("stock of {} in {}", text(level, "sku"), text(level, "warehouse"));
            let is = |name: &str| number(&level[name]);
            if is("on_hand") != is("ledger_on_hand") || is("reserved") != is("ledger_reserved") {
                wrong.push(format!("{at} is not the sum of its ledger: {level}"));
            }
            if is("reserved") != is("open") {
                wrong.push(format!("{at}: reserved {} but reservations hold {}", is("reserved"), is("open")));
            }
            if is("on_hand") < 0 || is("reserved") < 0 || is("reserved") > is("on_hand") {
                wrong.push(format!("{at} is oversold: {level}"));
            }
        }
    }

    fn compare_money(&self, lines: &[Value], wrong: &mut Vec<String>) {
        let mut theirs: BTreeMap<String, BTreeMap<&str, (usize, i64)>> = BTreeMap::new();
        for line in lines.iter().filter(|line| line["metadata"]["tenant"] == self.tenant.as_str()) {
            let sums = theirs.entry(bare(text(&line["metadata"], "payment"))).or_default();
            let sum = sums.entry(text(line, "op")).or_default();
            *sum = (sum.0 + 1, sum.1 + number(&line["amount"]));
        }
        for payment in &self.payments {
            let id = bare(text(payment, "payment_id"));
            let sums = theirs.remove(&id).unwrap_or_default();
            for (op, column) in
                [("authorize", "authorized"), ("capture", "captured"), ("void", "voided"), ("refund", "refunded")]
            {
                let sum = |op: &str| sums.get(op).copied().unwrap_or_default();
                let (times, mut amount) = sum(op);
                let ours = number(&payment[column]);
                if op == "authorize" {
                    amount += sum("increment").1;
                }
                // What came back was not given back.
                if op == "refund" {
                    amount -= sum("refund_failed").1;
                }
                // The last capture lets go of what is left, without a line of its own.
                if op == "void" && sum("capture").1 > 0 {
                    amount = amount.max(sum("authorize").1 + sum("increment").1 - sum("capture").1);
                }
                if ours != amount {
                    wrong.push(format!("payment {id}: {column} {ours}, the provider says {amount}"));
                }
                // What is taken when it is placed is taken in one go, never parcel by parcel.
                if times > 1 && (op == "authorize" || (op == "capture" && payment["immediate"] == true)) {
                    wrong.push(format!("payment {id}: {op} {times} times"));
                }
            }
            if number(&payment["captured"]) + number(&payment["voided"]) > number(&payment["authorized"]) {
                wrong.push(format!("payment {id} took more than it held: {payment}"));
            }
        }
        wrong.extend(theirs.into_keys().map(|id| format!("the provider has a payment {id} that we do not have")));
    }

    fn compare_captures(&self, lines: &[Value], wrong: &mut Vec<String>) {
        let mine = lines.iter().filter(|line| line["metadata"]["tenant"] == self.tenant.as_str());
        let at_once: BTreeSet<String> = self
            .payments
            .iter()
            .filter(|payment| payment["immediate"] == true)
            .map(|payment| bare(text(payment, "payment_id")))
            .collect();
        let mut theirs: Vec<(String, i64)> = mine
            .filter(|line| line["op"] == "capture" && !at_once.contains(&bare(text(&line["metadata"], "payment"))))
            .map(|line| (bare(text(line, "key")), number(&line["amount"])))
            .collect();
        let done = self.captures.iter().filter(|capture| capture["state"] == "SUCCEEDED");
        let mut ours: Vec<(String, i64)> =
            done.map(|row| (bare(text(row, "shipment_id")), number(&row["amount"]))).collect();
        theirs.sort();
        ours.sort();
        if ours != theirs {
            wrong.push(format!("captures by shipment: ours {ours:?}, the provider's {theirs:?}"));
        }
    }

    fn compare_work(&self, lines: &[Value], wrong: &mut Vec<String>) {
        let (mut created, mut cancelled, mut released) = (Counts::default(), Counts::default(), Counts::default());
        let mut asked: BTreeMap<String, i64> = BTreeMap::new();
        for line in lines.iter().filter(|line| line["tenant"] == self.tenant.as_str()) {
            let reference = bare(text(line, "reference"));
            match text(line, "op") {
                "create" => {
                    created.add(&reference);
                    asked.insert(reference, units(&line["lines"]));
                }
                "cancel" => cancelled.add(&reference),
                "release" => released.add(&reference),
                _ => {}
            }
        }
        for work in &self.fulfillments {
            let id = bare(text(work, "fulfillment_id"));
            let state = number(&work["state"]);
            let (made, taken, left) = (created.take(&id), cancelled.take(&id), released.take(&id));
            let fits = match state {
                2..=4 => (made, taken, left) == (1, 0, 0),
                5 => (made, taken, left) == (1, 0, 1),
                6 => made <= 1 && taken == 1 && left == 0,
                _ => false,
            };
            if !fits {
                wrong.push(format!("fulfillment {id} in state {state}: {made} made, {taken} cancelled, {left} left"));
            }
            if asked.get(&id).is_some_and(|theirs| *theirs != units(&work["body"]["lines"])) {
                wrong.push(format!("fulfillment {id}: the warehouse was asked for other units"));
            }
        }
        wrong.extend(created.rest().map(|id| format!("the warehouse has an order {id} that we do not have")));
    }

    fn compare_parcels(&self, lines: &[Value], wrong: &mut Vec<String>) {
        let (mut labels, mut handovers, mut arrivals) = (Counts::default(), Counts::default(), Counts::default());
        for line in lines.iter().filter(|line| line["tenant"] == self.tenant.as_str()) {
            let reference = bare(text(line, "reference"));
            match (text(line, "op"), text(line, "code")) {
                ("label", _) => labels.add(&reference),
                ("handover", _) => handovers.add(&reference),
                ("scan", "DELIVERED") => arrivals.add(&reference),
                _ => {}
            }
        }
        for parcel in &self.shipments {
            let id = bare(text(parcel, "shipment_id"));
            let state = number(&parcel["state"]);
            let found = (labels.take(&id), handovers.take(&id), arrivals.take(&id));
            let fits = match state {
                2 => found.0 == 1,
                3..=5 => (found.0, found.1) == (1, 1),
                6 => found == (1, 1, 1),
                _ => false,
            };
            if !fits {
                wrong.push(format!("shipment {id} in state {state}: labels, handovers, arrivals are {found:?}"));
            }
        }
        wrong.extend(labels.rest().map(|id| format!("the carrier sold a label {id} that we do not have")));
    }

    fn compare_order(&self, id: &str, order: &Order, wrong: &mut Vec<String>) {
        let of_order = |rows: &[Value]| -> Vec<Value> {
            rows.iter().filter(|row| bare(text(row, "order_id")) == id).cloned().collect()
        };
        // Each round of paying has a payment; what an earlier one held went back (PAY-18).
        let mut payments = of_order(&self.payments);
        payments.sort_by_key(|payment| number(&payment["round"]));
        let payment = payments.pop().unwrap_or_default();
        let earlier = payments;
        let reservation = of_order(&self.reservations).into_iter().next().unwrap_or_default();
        let is = |name: &str| number(&payment[name]);
        let mut say = |what: String| wrong.push(format!("order {id} is {}: {what}", order.state().as_str_name()));
        for former in &earlier {
            let was = |name: &str| number(&former[name]);
            if was("authorized") != was("captured") + was("voided") || was("captured") != was("refunded") {
                say(format!("an earlier round holds money: {former}"));
            }
        }
        match order.state() {
            OrderState::Delivered => {
                let total = order.totals.clone().and_then(|totals| totals.total).map_or(0, |total| total.amount_minor);
                // A change that made it cheaper leaves more held than was taken; the last capture lets go of it.
                let held = if order.changes.is_empty() { total } else { is("captured") + is("voided") };
                // Taken when it was placed: what a change made it cheaper by was given back.
                let back = if order.changes.is_empty() || payment["immediate"] != true { 0 } else { is("refunded") };
                if is("authorized") != held || is("captured") - back != total {
                    say(format!("costs {total}, held {}, taken {}", is("authorized"), is("captured")));
                }
                let told = order.payment.clone().and_then(|payment| payment.captured).map(|money| money.amount_minor);
                if told != Some(total + back) {
                    say(format!("it says that {told:?} of {total} was taken"));
                }
                if number(&reservation["state"]) != 3 || number(&reservation["open"]) != 0 {
                    say(format!("its units have not all left: {reservation}"));
                }
                // What a change called off was replaced.
                let works = of_order(&self.fulfillments);
                if works.iter().any(|work| ![5, 6].contains(&number(&work["state"]))) {
                    say("a fulfillment has not shipped".to_owned());
                }
                if of_order(&self.shipments).iter().any(|parcel| number(&parcel["state"]) != 6) {
                    say("a parcel has not arrived".to_owned());
                }
            }
            OrderState::Failed | OrderState::PaymentFailed | OrderState::Cancelled => {
                if is("authorized") != is("captured") + is("voided") || is("captured") != is("refunded") {
                    say(format!("money is held or was kept: {payment}"));
                }
                if !payment.is_null() && ["PROCESSING", "UNKNOWN", "REQUIRES_ACTION"].contains(&text(&payment, "state"))
                {
                    say(format!("its payment is {}", text(&payment, "state")));
                }
                if [1, 2, 3].contains(&number(&reservation["state"])) {
                    say(format!("its units are still set aside: {reservation}"));
                }
                if of_order(&self.fulfillments).iter().any(|work| number(&work["state"]) != 6) {
                    say("a warehouse still works on it".to_owned());
                }
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, id: &str) {
        *self.0.entry(id.to_owned()).or_default() += 1;
    }

    fn take(&mut self, id: &str) -> usize {
        self.0.remove(id).unwrap_or(0)
    }

    fn rest(self) -> impl Iterator<Item = String> {
        self.0.into_keys()
    }
}

fn units(lines: &Value) -> i64 {
    list(&serde_json::json!({"lines": lines}), "lines").iter().map(|line| number(&line["quantity"])).sum()
}

/// The 32 hexadecimal digits of an id, however it is written.
fn bare(id: &str) -> String {
    id.rsplit('_').next().unwrap_or(id).replace('-', "")
}
