//! Inventory against a real PostgreSQL.

mod catalog;
mod races;
mod reservations;
mod shop;
mod stock;
