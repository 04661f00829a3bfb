//! `gen/rust/src/generated/debug.rs`: `Debug` of messages with sensitive fields, which shows them masked.
use std::fmt::Write;

use super::rust::{HEADER, field as rust_field, message_path};
use crate::ir::{ContractIr, Field, Kind, Label, Mask, Message};
use crate::tree::Tree;

/// Full names of messages whose `Debug` is ours, not prost's.
pub fn masked_messages(ir: &ContractIr) -> Vec<&str> {
    let masked = ir.messages.iter().filter(|(_, message)| message.fields.iter().any(|field| field.policy.is_some()));
    masked.map(|(name, _)| name.as_str()).collect()
}

/// Adds the impls.
pub fn emit(ir: &ContractIr, tree: &mut Tree) {
    let mut out = String::from(HEADER);
    out.push_str("use core::fmt;\n\nuse crate::mask;\n");
    for name in masked_messages(ir) {
        out.push_str(&implementation(&ir.messages[name]));
    }
    tree.add("gen/rust/src/generated/debug.rs", out);
}

fn implementation(message: &Message) -> String {
    let short = message.name.rsplit('.').next().unwrap_or(&message.name);
    let mut out = format!(
        "\nimpl fmt::Debug for {} {{\n    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{\n        f.debug_struct({short:?})\n",
        message_path(message)
    );
    let mut oneofs: Vec<&str> = Vec::new();
    for field in &message.fields {
        match field.oneof.as_deref() {
            Some(oneof) if oneofs.contains(&oneof) => {}
            Some(oneof) => {
                oneofs.push(oneof);
                let _ = writeln!(out, "            .field({oneof:?}, &self.{})", rust_field(oneof));
            }
            None => {
                let _ = writeln!(out, "            .field({:?}, &{})", field.name, shown(field));
            }
        }
    }
    out.push_str("            .finish()\n    }\n}\n");
    out
}

fn shown(field: &Field) -> String {
    let value = format!("self.{}", rust_field(&field.name));
    let Some(policy) = field.policy else {
        return match (&field.kind, &field.label) {
            // The getter shows the name; the field itself only has the number.
            (Kind::Enum(_), Label::Singular) => format!("{value}()"),
            _ => value,
        };
    };
    let mask = match policy.mask {
        Mask::Redact => "mask::redact",
        Mask::Last4 => "mask::last4",
        Mask::Email => "mask::email",
    };
    match (&field.kind, &field.label) {
        (Kind::String, Label::Singular) => format!("{mask}(&{value})"),
        (Kind::String, Label::Optional) => format!("{value}.as_deref().map({mask})"),
        (Kind::String, Label::Repeated) => format!("{value}.iter().map(|value| {mask}(value)).collect::<Vec<_>>()"),
        _ => "mask::REDACTED".to_owned(),
    }
}
