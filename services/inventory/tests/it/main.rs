//! Inventory against a real PostgreSQL.

mod batches;
mod catalog;
mod control;
mod counts;
mod desk;
mod levels;
mod migration;
mod news;
mod races;
mod reservations;
mod resize;
mod rounds;
mod shop;
mod stock;
mod whole;
