//! The service behind its whole stack, on a real database and a provider over real HTTP.

mod audit;
mod authorize;
mod away;
mod capture;
mod dispute;
mod fallback;
mod fraud;
mod hold;
mod keys;
mod layers;
mod measures;
mod migration;
mod races;
mod reconcile;
mod refund;
mod refund_later;
mod refusals;
mod rounds;
mod second;
mod void;
mod webhook;
mod world;
