//! `gen/MANIFEST.json`: hashes of every proto and every output, so that freshness is proved without generating.
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::tree::Tree;

/// Path of the manifest.
pub const PATH: &str = "gen/MANIFEST.json";

/// Adds the manifest of everything the tree holds so far.
///
/// # Errors
/// A proto file cannot be read.
pub fn emit(root: &Path, protos: &[String], tree: &mut Tree) -> anyhow::Result<()> {
    let mut sources = Map::new();
    for name in protos {
        let path = format!("proto/{name}");
        let content = std::fs::read(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        sources.insert(path, Value::String(sha256(&content)));
    }
    let outputs: Map<String, Value> =
        tree.files().map(|(path, content)| (path.to_owned(), Value::String(sha256(content)))).collect();
    let manifest = json!({ "generator": env!("CARGO_PKG_VERSION"), "protos": sources, "outputs": outputs });
    tree.add(PATH, super::json::pretty(manifest)?);
    Ok(())
}

/// Lower-case hex SHA-256.
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
