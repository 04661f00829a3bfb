//! JSON text that does not depend on how `serde_json` was built.
use anyhow::Context;
use serde_json::{Map, Value};

/// Pretty JSON with sorted keys and a line feed at the end.
///
/// Sorting is ours: a crate elsewhere in the workspace may switch on `serde_json/preserve_order`.
///
/// # Errors
/// The value cannot be serialised.
pub fn pretty(value: Value) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&sorted(value)).context("cannot serialise JSON")?;
    text.push(b'\n');
    Ok(text)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(members) => {
            let mut pairs: Vec<(String, Value)> = members.into_iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        other => other,
    }
}
