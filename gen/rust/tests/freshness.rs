//! Proves in milliseconds, without the generator, that `gen/` was made from the `proto/` that lies beside it.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn manifest(part: &str) -> BTreeMap<String, String> {
    let manifest: Value = serde_json::from_slice(&std::fs::read(root().join("gen/MANIFEST.json")).unwrap()).unwrap();
    serde_json::from_value(manifest[part].clone()).unwrap()
}

fn files_under(directory: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root().join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{directory}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_under(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

fn assert_hashes(part: &str) {
    for (path, recorded) in manifest(part) {
        let content =
            std::fs::read(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}; run `make gen`"));
        assert_eq!(hex::encode(Sha256::digest(content)), recorded, "{path} changed since generation; run `make gen`");
    }
}

#[test]
fn every_proto_is_the_one_that_was_generated_from() {
    let listed: BTreeSet<String> = manifest("protos").into_keys().collect();
    let present: BTreeSet<String> = files_under("proto").into_iter().filter(|path| path.ends_with(".proto")).collect();
    assert_eq!(listed, present, "proto files were added or removed; run `make gen`");
    assert_hashes("protos");
}

#[test]
fn every_output_is_the_one_that_was_generated() {
    let listed: BTreeSet<String> = manifest("outputs").into_keys().collect();
    for directory in ["gen/rust/src/pb", "gen/rust/src/generated", "gen/openapi"] {
        let stale: Vec<String> = files_under(directory).difference(&listed).cloned().collect();
        assert!(stale.is_empty(), "{stale:?} come from no proto; run `make gen`");
    }
    assert_hashes("outputs");
}
