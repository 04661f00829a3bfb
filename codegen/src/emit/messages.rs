//! `gen/rust/src/pb`: prost messages, tonic servers and clients.
//!
//! The one emitter that needs descriptors beside the IR: tonic-prost-build takes nothing else.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use super::debug::masked_messages;
use crate::compile::Compiled;
use crate::ir::ContractIr;
use crate::tree::Tree;

/// Adds one file per proto package and `mod.rs`.
///
/// # Errors
/// tonic-prost-build refuses the descriptors, or the scratch directory cannot be used.
pub fn emit(compiled: &Compiled, ir: &ContractIr, tree: &mut Tree) -> anyhow::Result<()> {
    let scratch = Scratch::new()?;
    let mut config = tonic_prost_build::Config::new();
    // The essays on google.api belong to its own documentation.
    config.btree_map(["."]).bytes(["."]).disable_comments([".google.api"]);
    tonic_prost_build::configure()
        .out_dir(scratch.path())
        .include_file("mod.rs")
        .skip_debug(masked_messages(ir).into_iter().map(|name| format!(".{name}")))
        .compile_fds_with_config(compiled.descriptors.clone(), config)
        .context("tonic-prost-build failed")?;
    for entry in std::fs::read_dir(scratch.path())? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("tonic-prost-build wrote a name that is not UTF-8")?;
        tree.add(format!("gen/rust/src/pb/{name}"), std::fs::read(entry.path())?);
    }
    Ok(())
}

/// A directory of our own, removed on drop; prost-build can only write to one.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ordermesh-codegen-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).context("cannot create a scratch directory")?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
