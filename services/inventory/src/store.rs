//! The only file that knows rows.
//!
//! **What do we store?** Products with their prices; warehouses; the stock of each SKU in each warehouse and the ledger
//! it is the sum of; reservations with their allocations; and which shipments took units out.
//!
//! Documents come from the database as JSON, so that one statement brings a whole aggregate. Hot commands are SQL
//! functions through `select(..)`, which diesel prepares once; `sql_query` is prepared anew on every call.

mod catalog;
mod levels;
mod reservations;

use contract::Event;
use diesel::QueryableByName;
use diesel::sql_types::Jsonb;
use eventlog::NewEvent;
use fault::Fault;
use serde::de::DeserializeOwned;

pub use catalog::{add_product, add_warehouse, change_product, product_page, products, warehouse, warehouses};
pub use levels::{Movement, StockLevel, adjust, level_list, movement_page};
pub use reservations::{
    Due, Hold, apply_confirmations, apply_holds, consume, due, end, lock, lookup, mark, shipment_order,
};

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

/// An event of the contract as the log takes it.
pub fn event<E: Event>(message: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, message.encode_to_vec())
}
