//! `gen/contract.ir.json`: the IR itself, for comparing two versions of the contract.
use anyhow::Context;

use crate::ir::ContractIr;
use crate::tree::Tree;

/// Adds the IR.
///
/// # Errors
/// The IR cannot be serialised.
pub fn emit(ir: &ContractIr, tree: &mut Tree) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(ir).context("cannot serialise the IR")?;
    json.push(b'\n');
    tree.add("gen/contract.ir.json", json);
    Ok(())
}
