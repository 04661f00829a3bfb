//! What an order is and may become; no async, no clock, no I/O.

pub mod basket;
pub mod care;
pub mod change;
pub mod customer;
pub mod draft;
pub mod event;
mod fold;
pub mod order;
pub mod parcels;
pub mod places;
pub mod pricing;
pub mod promotion;
pub mod retry;
pub mod review;
pub mod rules;
pub mod service;
pub mod state;
pub mod subscription;
pub mod words;

#[cfg(test)]
mod tests;
