//! Schemas of messages and enums in proto3 JSON.
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::ir::{ContractIr, Enum, Field, Kind, Label, Message};

/// Schemas that operations asked for, and those they refer to.
pub struct Schemas<'a> {
    ir: &'a ContractIr,
    wanted: BTreeSet<String>,
}

impl<'a> Schemas<'a> {
    /// None asked for yet.
    pub fn new(ir: &'a ContractIr) -> Self {
        Self { ir, wanted: BTreeSet::new() }
    }

    /// Schema of a message by its full name: a reference, or the mapping of a well-known type.
    pub fn message(&mut self, name: &str) -> Value {
        match well_known(name) {
            Some(schema) => schema,
            None => self.reference(name),
        }
    }

    /// Schema of an object with some fields of a message.
    pub fn object<'f>(&mut self, fields: impl Iterator<Item = &'f Field>) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in fields {
            properties.insert(field.json_name.clone(), self.property(field));
            if has(field, "REQUIRED") {
                required.push(field.json_name.clone());
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    /// Schema of a field with its description and sensitivity.
    pub fn property(&mut self, field: &Field) -> Value {
        let value = self.kind(&field.kind);
        let mut schema = match &field.label {
            Label::Singular | Label::Optional => value,
            Label::Repeated => json!({ "type": "array", "items": value }),
            Label::Map(_) => json!({ "type": "object", "additionalProperties": value }),
        };
        if !field.comment.is_empty() {
            schema["description"] = json!(field.comment);
        }
        if has(field, "OUTPUT_ONLY") {
            schema["readOnly"] = json!(true);
        }
        if has(field, "INPUT_ONLY") {
            schema["writeOnly"] = json!(true);
        }
        if let Some(policy) = field.policy {
            schema["x-pii"] = json!(policy);
        }
        schema
    }

    /// All schemas that were asked for, with everything they refer to, and the problem's.
    pub fn finish(mut self, problem: Value) -> Value {
        let mut done: Map<String, Value> = Map::new();
        done.insert("Problem".to_owned(), problem);
        while let Some(name) = self.wanted.iter().find(|name| !done.contains_key(&component(name))).cloned() {
            let ir = self.ir;
            let schema = match (ir.messages.get(&name), ir.enums.get(&name)) {
                (Some(message), _) => self.body(message),
                (None, Some(described)) => enumeration(described),
                (None, None) => json!({}),
            };
            done.insert(component(&name), schema);
        }
        Value::Object(done)
    }

    fn body(&mut self, message: &Message) -> Value {
        let mut schema = self.object(message.fields.iter());
        if !message.comment.is_empty() {
            schema["description"] = json!(message.comment);
        }
        schema
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Message(name) => self.message(name),
            Kind::Enum(name) => self.reference(name),
            // 64-bit numbers do not fit into JSON's; proto3 JSON makes them strings.
            Kind::Int64 => json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" }),
            Kind::Uint64 => json!({ "type": "string", "format": "uint64", "pattern": "^[0-9]+$" }),
            Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 => json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        }
    }

    fn reference(&mut self, name: &str) -> Value {
        self.wanted.insert(name.to_owned());
        json!({ "$ref": format!("#/components/schemas/{}", component(name)) })
    }
}

/// Whether a message has a JSON form of its own, and which.
pub fn well_known(name: &str) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.") {
        Some("Timestamp") => json!({ "type": "string", "format": "date-time" }),
        Some("Duration") => json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" }),
        Some("FieldMask") => json!({ "type": "string", "description": "Comma-separated field paths." }),
        Some("Struct") | Some("Any") => json!({ "type": "object" }),
        Some("Empty") => json!({ "type": "object", "properties": {} }),
        Some("ListValue") => json!({ "type": "array" }),
        Some("Int64Value") | Some("UInt64Value") => json!({ "type": "string", "format": "int64" }),
        Some("Int32Value") | Some("UInt32Value") => json!({ "type": "integer" }),
        Some("DoubleValue") | Some("FloatValue") => json!({ "type": "number" }),
        Some("BoolValue") => json!({ "type": "boolean" }),
        Some("StringValue") => json!({ "type": "string" }),
        Some("BytesValue") => json!({ "type": "string", "contentEncoding": "base64" }),
        Some(_) => json!({}),
        None if name == "google.api.HttpBody" => json!({}),
        None => return None,
    })
}

/// Whether a field has a `google.api.field_behavior`.
pub fn has(field: &Field, behavior: &str) -> bool {
    field.behaviors.iter().any(|name| name == behavior)
}

fn component(name: &str) -> String {
    name.strip_prefix("ordermesh.").unwrap_or(name).to_owned()
}

fn enumeration(described: &Enum) -> Value {
    let names: Vec<&str> = described.values.iter().map(|value| value.name.as_str()).collect();
    let mut lines = vec![described.comment.clone()];
    lines.extend(described.values.iter().map(|value| format!("- `{}`: {}", value.name, value.comment)));
    json!({ "type": "string", "enum": names, "description": lines.join("\n").trim() })
}
