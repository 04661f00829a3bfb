//! Generated files in memory: written only when all of them exist, compared byte by byte.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;

/// Directories that hold nothing but generated files; others in them are stale.
const OWNED: [&str; 3] = ["gen/rust/src/pb", "gen/rust/src/generated", "gen/openapi"];

/// Files by their path relative to the project's root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), content.into());
    }

    /// Paths and contents, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// Content of a file.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// Writes what differs, removes what is stale, and names both.
    ///
    /// # Errors
    /// A file cannot be written or removed.
    pub fn write(&self, root: &Path) -> anyhow::Result<Vec<String>> {
        let differing = self.differences(root)?;
        for path in &differing {
            let target = root.join(path);
            match self.0.get(path) {
                None => std::fs::remove_file(&target).with_context(|| format!("cannot remove {path}"))?,
                Some(content) => {
                    if let Some(parent) = target.parent() {
                        std::fs::create_dir_all(parent)
                            .with_context(|| format!("cannot create the directory of {path}"))?;
                    }
                    std::fs::write(&target, content).with_context(|| format!("cannot write {path}"))?;
                }
            }
        }
        Ok(differing)
    }

    /// Names of files that are missing, differ or are stale under a root.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn differences(&self, root: &Path) -> anyhow::Result<Vec<String>> {
        let mut differing: BTreeSet<String> = self
            .files()
            .filter(|(path, content)| std::fs::read(root.join(path)).ok().as_deref() != Some(*content))
            .map(|(path, _)| path.to_owned())
            .collect();
        for owned in OWNED {
            let Ok(entries) = std::fs::read_dir(root.join(owned)) else { continue };
            for entry in entries {
                let name = entry?.file_name();
                let path = format!("{owned}/{}", name.to_string_lossy());
                if !self.0.contains_key(&path) {
                    differing.insert(path);
                }
            }
        }
        Ok(differing.into_iter().collect())
    }
}
