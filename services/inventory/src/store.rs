//! The only file that knows rows.
//!
//! **What do we store?** Products with their prices; warehouses; the stock of each SKU in each warehouse and the ledger
//! it is the sum of; reservations with their allocations; and which shipments took units out.
//!
//! Documents come from the database as JSON, so that one statement brings a whole aggregate. Hot commands are SQL
//! functions through `select(..)`, which diesel prepares once; `sql_query` is prepared anew on every call.

mod catalog;
mod control;
mod desk;
mod levels;
mod news;
mod reservations;
mod slots;

use contract::Event;
use diesel::QueryableByName;
use diesel::sql_types::Jsonb;
use eventlog::NewEvent;
use fault::Fault;
use serde::de::DeserializeOwned;

pub use catalog::{
    Shown, add_product, add_warehouse, catalog_page, change_product, product_page, products, retire_product, set_price,
    shown, warehouse, warehouses,
};
pub use control::{
    Comparison, Issue, add_absent, add_issue, add_snapshot, compare, compare_all, correct, decide_issue, issue_page,
    locked_issue, newest_count, take_turn,
};
pub use desk::{Bound, allocate, call_off, extend, reservation_page, resize, revision};
pub use levels::{
    Change, Movement, Stock, StockLevel, adjust, movement_page, rebuild, set_safety, stock, stock_page, stocks,
    transfer, write_off,
};
pub use news::{Item, Listed, changes, look_at, put_off, save_settings, seen, settings, tell};
pub use reservations::{
    Due, Hold, apply_confirmations, apply_holds, consume, due, end, lock, lookup, mark, shipment_order,
};
pub use slots::{Slot, open_slot, slot_page};

#[derive(QueryableByName)]
struct Doc {
    #[diesel(sql_type = Jsonb)]
    doc: serde_json::Value,
}

/// Reads a document that our own SQL made; a mismatch is our mistake.
fn decode<T: DeserializeOwned>(doc: serde_json::Value) -> Result<T, pg::Error> {
    serde_json::from_value(doc).map_err(|error| Fault::internal(error).into())
}

fn decode_all<T: DeserializeOwned>(docs: Vec<Doc>) -> Result<Vec<T>, pg::Error> {
    docs.into_iter().map(|row| decode(row.doc)).collect()
}

/// What an SQL command answered, or the fault that its refusal means, with the figures it names.
fn accepted(doc: serde_json::Value) -> Result<serde_json::Value, Fault> {
    let Some(reason) = doc["refused"].as_str() else { return Ok(doc) };
    let fault = match reason {
        "PRODUCT_NOT_FOUND" => Fault::not_found("PRODUCT_NOT_FOUND", "there is no product with this SKU"),
        "WAREHOUSE_NOT_FOUND" => Fault::not_found("WAREHOUSE_NOT_FOUND", "there is no warehouse with this code"),
        "PRODUCT_IS_RESOURCE" => Fault::precondition("PRODUCT_IS_RESOURCE", "a resource has slots instead of stock"),
        "PRODUCT_IS_GOODS" => Fault::precondition("PRODUCT_IS_GOODS", "goods have stock instead of slots"),
        "SLOT_IN_THE_PAST" => Fault::precondition("SLOT_IN_THE_PAST", "the slot would have begun already"),
        "SLOT_OVERLAPS" => Fault::precondition("SLOT_OVERLAPS", "another slot of the resource is at that time there"),
        "STOCK_BELOW_RESERVED" => {
            Fault::precondition("STOCK_BELOW_RESERVED", "fewer units would be there than orders were promised")
        }
        "STOCK_TOO_LARGE" => Fault::precondition("STOCK_TOO_LARGE", "a warehouse holds at most 1000000000 units"),
        other => Fault::internal(format!("the database refused with {other}")),
    };
    let facts = doc.as_object().into_iter().flatten().filter(|(name, _)| *name != "refused");
    Err(facts.fold(fault, |fault, (name, fact)| {
        let text = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        fault.with(name.clone(), text)
    }))
}

/// An event of the contract as the log takes it.
pub fn event<E: Event>(message: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, message.encode_to_vec())
}
