//! Every method of the contract, every table and every kind of wrong input, tried against the running system.
//!
//! What is expected comes from the contract's policy table and from PostgreSQL's own catalog, so a method or a table
//! that is added tomorrow is tested tomorrow.

mod authz;
mod authz_rest;
mod bad_input;
mod bad_operations;
mod bad_wire;
mod foreign;
mod grpc;
mod internal;
mod mutation;
mod mutator;
mod rest;
mod samples;
mod samples_order;
mod samples_stock;
mod sql;
mod world;
