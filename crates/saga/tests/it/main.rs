//! Sagas against a real PostgreSQL: engines that share them, operators who decide about them.

mod batch;
mod engines;
mod operators;
mod world;
mod young;
