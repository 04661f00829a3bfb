//! From a project's root to the tree of its generated files.
use std::path::Path;

use crate::compile::{Compiled, compile_tree};
use crate::ir::ContractIr;
use crate::tree::Tree;
use crate::{contract_ir, emit};

/// A contract with everything generated from it.
pub struct Generated {
    /// The contract.
    pub ir: ContractIr,
    /// Its files.
    pub tree: Tree,
}

/// Compiles, validates and generates; writes nothing.
///
/// # Errors
/// Protos that do not compile, every problem of the contract at once, or an emitter that fails.
pub fn generate(root: &Path) -> anyhow::Result<Generated> {
    let compiled = compile_tree(root)?;
    let ir = contract_ir(&compiled)?;
    let mut tree = emit_all(&compiled, &ir)?;
    emit::manifest::emit(root, &compiled.files, &mut tree)?;
    Ok(Generated { ir, tree })
}

/// Runs every emitter except the manifest's, which needs the proto files' bytes.
///
/// # Errors
/// An emitter fails.
pub fn emit_all(compiled: &Compiled, ir: &ContractIr) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    emit::messages::emit(compiled, ir, &mut tree)?;
    emit::rust::emit_mod(&mut tree);
    emit::debug::emit(ir, &mut tree);
    emit::policies::emit(ir, &mut tree);
    emit::events::emit(ir, &mut tree);
    emit::image::emit(compiled, &mut tree);
    emit::openapi::emit(ir, &mut tree)?;
    emit::ir_json::emit(ir, &mut tree)?;
    Ok(tree)
}
