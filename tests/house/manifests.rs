use toml::{Table, Value};

use super::{assert_none, files, read};

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn manifests() -> Vec<(String, Table)> {
    let found = files("Cargo.toml").into_iter().map(|path| (read(&path).parse().expect("cargo reads it too"), path));
    found.map(|(table, path)| (path, table)).collect()
}

/// Dependencies whose version stands in the member itself.
fn own_versions(manifest: &Table) -> Vec<String> {
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    let scopes = std::iter::once(manifest).chain(targets);
    let sections =
        scopes.flat_map(|scope| SECTIONS.iter().filter_map(|name| scope.get(*name).and_then(Value::as_table)));
    let own =
        sections.flatten().filter(|(_, dependency)| dependency.get("workspace").and_then(Value::as_bool) != Some(true));
    own.map(|(name, _)| name.clone()).collect()
}

#[test]
fn versions_stand_in_the_root_manifest_only() {
    let own = manifests().into_iter().filter(|(path, _)| path != "Cargo.toml");
    let own =
        own.flat_map(|(path, manifest)| own_versions(&manifest).into_iter().map(move |name| format!("{path}: {name}")));
    assert_none("a dependency is inherited from the workspace", &own.collect::<Vec<_>>());
}

#[test]
fn every_member_is_of_one_edition_and_one_set_of_lints() {
    let all = manifests();
    let (_, root) = all.iter().find(|(path, _)| path == "Cargo.toml").expect("the workspace has a root");
    assert_eq!(root["workspace"]["package"]["edition"].as_str(), Some("2024"));
    assert!(!root.contains_key("package"), "the root manifest is virtual");
    let inherits =
        |value: Option<&Value>| value.and_then(|v| v.get("workspace")).and_then(Value::as_bool) == Some(true);
    let members = all.iter().filter(|(path, _)| path != "Cargo.toml");
    let odd = members
        .filter(|(_, manifest)| !inherits(manifest["package"].get("edition")) || !inherits(manifest.get("lints")));
    assert_none(
        "edition and lints are inherited from the workspace",
        &odd.map(|(path, _)| path.clone()).collect::<Vec<_>>(),
    );
}

#[test]
fn a_version_of_its_own_is_seen() {
    let text = "[dependencies]\na.workspace = true\nb = \"1\"\nc = { workspace = true, features = [\"x\"] }\n\
                [dev-dependencies]\nd = { path = \"../d\" }\n[target.'cfg(unix)'.dependencies]\ne = \"2\"\n";
    assert_eq!(own_versions(&text.parse().expect("a manifest")), ["b", "d", "e"]);
}
