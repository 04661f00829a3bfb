use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Lines of a layer that name something it must not know.
fn breaches(layer: &str, banned: &[&str], allowed: &[&str]) -> Vec<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = sources(&src.join(layer));
    files.push(src.join(format!("{layer}.rs")));
    let mut breaches = Vec::new();
    for file in files.into_iter().filter(|file| !file.ends_with("tests.rs")) {
        for line in fs::read_to_string(&file).expect("a source").lines() {
            let named =
                banned.iter().any(|name| line.contains(name)) && !allowed.iter().any(|name| line.contains(name));
            if named && !line.trim_start().starts_with("//") {
                breaches.push(format!("{}: {line}", file.display()));
            }
        }
    }
    breaches
}

#[test]
fn pay_14_each_layer_knows_only_the_one_below() {
    let none: [&str; 0] = [];
    assert_eq!(breaches("presentation", &["crate::data", "diesel", "resilience"], &[]), none);
    assert_eq!(breaches("logic", &["crate::presentation", "tonic", "diesel", "resilience", "contract::"], &[]), none);
    let state = ["crate::logic::state"];
    assert_eq!(breaches("data", &["crate::presentation", "crate::logic", "tonic"], &state), none);
    assert_eq!(breaches("logic/state", &["async", "crate::data", "tokio", "Timestamp::now"], &[]), none);
}
