//! Turns `proto/` into everything under `gen/`: Rust code, policy table, event registry, OpenAPI and manifest.
//!
//! The way is always the same: protox compiles the files, prost-reflect reads the raw descriptor bytes (extension
//! options survive nowhere else), `read` builds the [`ir::ContractIr`], `validate` refuses what no service may
//! offer, and one emitter per artifact writes its files into a [`tree::Tree`]. Nothing is written when anything is wrong.
pub mod compile;
pub mod emit;
pub mod generate;
pub mod ir;
pub mod problem;
mod read;
mod template;
pub mod tree;
mod validate;

pub use generate::{Generated, generate};
pub use problem::{Problem, Problems};

use compile::Compiled;
use ir::ContractIr;

/// Reads and validates the contract of compiled files.
///
/// # Errors
/// Every [`Problem`] of the contract at once.
pub fn contract_ir(compiled: &Compiled) -> Result<ContractIr, Problems> {
    let mut problems = Vec::new();
    let ir = read::read(compiled, &mut problems);
    validate::validate(&ir, &mut problems);
    if problems.is_empty() { Ok(ir) } else { Err(Problems::new(problems)) }
}
