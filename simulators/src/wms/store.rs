//! What the warehouse knows, and what it answers to each operation.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::counts::{Counted, Stock};
use super::soap::{self, Element, Xml};
use super::timeline::{Line, Status, WarehouseOrder};
use crate::control::Control;

/// References one `GetStatus` may ask for.
const MOST_REFERENCES: usize = 200;

/// Why the warehouse refused, as the fault string.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a required element is missing or not readable")]
    Malformed,
    #[error("the order is being picked or further on")]
    OrderInPicking,
    #[error("the order was cancelled")]
    OrderCancelled,
    #[error("the order is not packed yet")]
    NotPacked,
    #[error("no order with this reference")]
    UnknownOrder,
    #[error("at most 200 references")]
    TooManyReferences,
    #[error("no such page of the last snapshot")]
    UnknownPage,
    #[error("no such operation")]
    UnknownOperation,
}

impl Refused {
    pub(super) fn code(self) -> &'static str {
        match self {
            Refused::Malformed => "MALFORMED",
            Refused::OrderInPicking => "ORDER_IN_PICKING",
            Refused::OrderCancelled => "ORDER_CANCELLED",
            Refused::NotPacked => "NOT_PACKED",
            Refused::UnknownOrder => "UNKNOWN_ORDER",
            Refused::TooManyReferences => "TOO_MANY_REFERENCES",
            Refused::UnknownPage => "UNKNOWN_PAGE",
            Refused::UnknownOperation => "UNKNOWN_OPERATION",
        }
    }
}

enum Entry {
    Order(WarehouseOrder),
    /// Cancelled before it was created: a late create must not revive it.
    Tombstone(Timestamp),
}

/// Orders by tenant and client reference.
#[derive(Default)]
pub(super) struct Store {
    entries: HashMap<(String, String), Entry>,
    stock: Stock,
}

impl Store {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.stock = Stock::default();
    }

    pub(super) fn create(&mut self, desk: &Control, ask: &Element) -> Result<String, Refused> {
        let key = key(ask)?;
        let now = Timestamp::now();
        let order = match self.entries.get(&key) {
            Some(Entry::Tombstone(_)) => return Err(Refused::OrderCancelled),
            Some(Entry::Order(order)) => order,
            None => {
                let warehouse = ask.field("Warehouse").ok_or(Refused::Malformed)?;
                let order = WarehouseOrder::new(new_id(), warehouse.to_owned(), lines(ask)?, now);
                check_address(ask.child("ShipTo").ok_or(Refused::Malformed)?)?;
                record(desk, "create", &key, Some(&order));
                let entry = self.entries.entry(key).or_insert(Entry::Order(order));
                let Entry::Order(order) = entry else {
                    return Err(Refused::OrderCancelled);
                };
                order
            }
        };
        Ok(soap::response("CreateOrderResponse", |xml| {
            xml.leaf("WmsOrderId", &order.id).leaf("Status", order.status().as_str());
        }))
    }

    pub(super) fn status(&mut self, desk: &Control, ask: &Element) -> Result<String, Refused> {
        let tenant = ask.field("Tenant").ok_or(Refused::Malformed)?;
        let references: Vec<&str> = ask.children("ClientReference").map(Element::text).collect();
        match references.len() {
            0 => return Err(Refused::Malformed),
            1..=MOST_REFERENCES => {}
            _ => return Err(Refused::TooManyReferences),
        }
        let (now, factor) = (Timestamp::now(), desk.speed.factor());
        Ok(soap::response("GetStatusResponse", |xml| {
            for reference in references {
                let key = (tenant.to_owned(), reference.to_owned());
                if let Some(entry) = self.entries.get_mut(&key) {
                    if let Entry::Order(order) = entry {
                        order.advance(now, factor);
                    }
                    xml.node("Order", |xml| show(xml, reference, entry));
                }
            }
        }))
    }

    pub(super) fn cancel(&mut self, desk: &Control, ask: &Element) -> Result<String, Refused> {
        let key = key(ask)?;
        let now = Timestamp::now();
        match self.entries.get_mut(&key) {
            None => {
                record(desk, "cancel", &key, None);
                self.entries.insert(key, Entry::Tombstone(now));
            }
            Some(Entry::Tombstone(_)) => {}
            Some(Entry::Order(order)) => {
                settle(order, desk, now);
                match order.status() {
                    Status::Cancelled => {}
                    Status::Accepted => {
                        order.cancel(now);
                        record(desk, "cancel", &key, Some(order));
                    }
                    Status::Picking | Status::Packed | Status::Shipped => {
                        return Err(Refused::OrderInPicking);
                    }
                }
            }
        }
        Ok(status_response("CancelOrderResponse", Status::Cancelled))
    }

    pub(super) fn release(&mut self, desk: &Control, ask: &Element) -> Result<String, Refused> {
        let key = key(ask)?;
        for name in ["Carrier", "TrackingNumber"] {
            ask.field(name).ok_or(Refused::Malformed)?;
        }
        let now = Timestamp::now();
        let order = match self.entries.get_mut(&key) {
            None => return Err(Refused::UnknownOrder),
            Some(Entry::Tombstone(_)) => return Err(Refused::OrderCancelled),
            Some(Entry::Order(order)) => order,
        };
        order.advance(now, desk.speed.factor());
        match order.status() {
            Status::Accepted | Status::Picking => return Err(Refused::NotPacked),
            Status::Cancelled => return Err(Refused::OrderCancelled),
            Status::Shipped => {}
            Status::Packed => {
                order.ship(now);
                for line in &order.lines {
                    self.stock.left(&key.0, &order.warehouse, &line.sku, line.quantity);
                }
                record(desk, "release", &key, Some(order));
            }
        }
        Ok(status_response("ReleaseShipmentResponse", order.status()))
    }

    pub(super) fn stock(&mut self, _: &Control, ask: &Element) -> Result<String, Refused> {
        let tenant = ask.field("Tenant").ok_or(Refused::Malformed)?;
        let page = ask.field("Page").unwrap_or("0").parse().map_err(|_| Refused::Malformed)?;
        let page = self.stock.page(tenant, page, Timestamp::now()).ok_or(Refused::UnknownPage)?;
        Ok(soap::response("GetStockResponse", |xml| {
            xml.leaf("SnapshotId", page.id)
                .leaf("CountedAt", &page.at.to_string())
                .leaf("Pages", &page.pages.to_string());
            for (warehouse, sku, on_hand) in page.rows {
                xml.node("Count", |xml| {
                    xml.leaf("Warehouse", warehouse).leaf("Sku", sku).leaf("OnHand", &on_hand.to_string());
                });
            }
        }))
    }

    /// Sets what lies in a warehouse.
    pub(super) fn count(&mut self, counted: Counted) {
        self.stock.set(counted);
    }
}

/// At factor 0 only a look moves an order on, so that a cancel can still come in time.
fn settle(order: &mut WarehouseOrder, desk: &Control, now: Timestamp) {
    let factor = desk.speed.factor();
    if factor > 0.0 {
        order.advance(now, factor);
    }
}

fn key(ask: &Element) -> Result<(String, String), Refused> {
    let field = |name| ask.field(name).ok_or(Refused::Malformed);
    Ok((field("Tenant")?.to_owned(), field("ClientReference")?.to_owned()))
}

fn lines(ask: &Element) -> Result<Vec<Line>, Refused> {
    let lines = ask.child("Lines").ok_or(Refused::Malformed)?;
    let lines = lines
        .children("Line")
        .map(|line| {
            Some(Line {
                sku: line.field("Sku")?.to_owned(),
                quantity: line.field("Quantity")?.parse().ok().filter(|q| *q > 0)?,
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or(Refused::Malformed)?;
    if lines.is_empty() {
        return Err(Refused::Malformed);
    }
    Ok(lines)
}

fn check_address(address: &Element) -> Result<(), Refused> {
    for name in ["Name", "Line1", "City", "PostalCode", "Country"] {
        address.field(name).ok_or(Refused::Malformed)?;
    }
    Ok(())
}

fn show(xml: &mut Xml, reference: &str, entry: &Entry) {
    xml.leaf("ClientReference", reference);
    match entry {
        Entry::Tombstone(at) => {
            xml.leaf("WmsOrderId", "")
                .leaf("Status", Status::Cancelled.as_str())
                .leaf("UpdatedAt", &at.to_string())
                .node("Lines", |_| {});
        }
        Entry::Order(order) => {
            xml.leaf("WmsOrderId", &order.id)
                .leaf("Status", order.status().as_str())
                .leaf("UpdatedAt", &order.updated_at().to_string())
                .node("Lines", |xml| {
                    for line in &order.lines {
                        xml.node("Line", |xml| {
                            xml.leaf("Sku", &line.sku)
                                .leaf("Quantity", &line.quantity.to_string())
                                .leaf("Picked", &order.picked(line).to_string());
                        });
                    }
                });
        }
    }
}

fn status_response(name: &str, status: Status) -> String {
    soap::response(name, |xml| {
        xml.leaf("Status", status.as_str());
    })
}

fn record(desk: &Control, op: &str, key: &(String, String), order: Option<&WarehouseOrder>) {
    let line = |line: &Line| json!({"sku": line.sku, "quantity": line.quantity});
    let lines: Vec<Value> = order.map_or_else(Vec::new, |o| o.lines.iter().map(line).collect());
    desk.record(json!({
        "op": op,
        "tenant": key.0,
        "reference": key.1,
        "wms_order_id": order.map(|order| &order.id),
        "lines": lines,
    }));
}

fn new_id() -> String {
    format!("WMS-{}", Uuid::now_v7().simple())
}
