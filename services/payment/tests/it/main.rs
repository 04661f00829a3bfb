//! The service behind its whole stack, on a real database and a provider over real HTTP.

mod authorize;
mod capture;
mod layers;
mod migration;
mod refund;
mod void;
mod webhook;
mod world;
