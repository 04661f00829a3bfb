//! `gen/` is what the generator makes of `proto/` today, byte by byte, and the generator is deterministic.
#![allow(clippy::unwrap_used, reason = "tests")]
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use codegen::tree::Tree;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Fetches the third-party protos when they are absent; never skips.
fn generate() -> codegen::Generated {
    static FETCHED: Once = Once::new();
    FETCHED.call_once(|| {
        let status = Command::new(root().join("scripts/protos")).status();
        let fetched = status.as_ref().is_ok_and(std::process::ExitStatus::success);
        assert!(fetched, "scripts/protos could not provide target/third_party: {status:?}");
    });
    codegen::generate(&root()).unwrap()
}

#[test]
fn generated_files_are_fresh() {
    let stale = generate().tree.differences(&root()).unwrap();
    assert!(stale.is_empty(), "stale: {stale:?}; run `make gen`");
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    assert_eq!(generate().tree, generate().tree);
}

#[test]
fn outputs_name_no_path_of_this_machine() {
    let root = root().canonicalize().unwrap();
    let marks = [root.to_str().unwrap().to_owned(), std::env::temp_dir().to_str().unwrap().to_owned() + "/"];
    for (path, content) in generate().tree.files() {
        for mark in &marks {
            let found = content.windows(mark.len()).any(|window| window == mark.as_bytes());
            assert!(!found, "{path} contains {mark}");
        }
    }
}

#[test]
fn differing_missing_and_stale_files_are_named_and_repaired() {
    let scratch = std::env::temp_dir().join(format!("ordermesh-codegen-tree-{}", std::process::id()));
    let mut tree = Tree::default();
    tree.add("gen/MANIFEST.json", "{}");
    tree.add("gen/openapi/openapi.json", "{}");
    std::fs::create_dir_all(scratch.join("gen/openapi")).unwrap();
    std::fs::write(scratch.join("gen/MANIFEST.json"), "old").unwrap();
    std::fs::write(scratch.join("gen/openapi/stale.json"), "").unwrap();
    let expected = ["gen/MANIFEST.json", "gen/openapi/openapi.json", "gen/openapi/stale.json"];
    assert_eq!(tree.differences(&scratch).unwrap(), expected);
    assert_eq!(tree.write(&scratch).unwrap(), expected);
    assert!(tree.differences(&scratch).unwrap().is_empty());
    std::fs::remove_dir_all(&scratch).unwrap();
}
