//! A parsed body into a message, with everything that is wrong in it.

use std::collections::{HashMap, HashSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::IntoDeserializer as _;

use crate::json::Node;
use crate::scalar::{self, Mismatch};
use crate::violation::{At, Place, Problems};

/// Reads JSON nodes as messages and collects what does not fit.
pub(crate) struct Reader<'p> {
    pub(crate) lenient: bool,
    pub(crate) problems: &'p mut Problems,
}

impl Reader<'_> {
    /// Reads an object; fields that are wrong are left out and reported.
    pub(crate) fn message(&mut self, descriptor: &MessageDescriptor, node: &Node, at: &At<'_>) -> DynamicMessage {
        if let Some(shape) = well_known(descriptor) {
            return self.well_known(descriptor, shape, node, at);
        }
        let mut message = DynamicMessage::new(descriptor.clone());
        let Node::Object(members) = node else {
            let detail = format!("must be an object, not {}", node.kind());
            self.problems.at(at, Place::Body, "TYPE_MISMATCH", detail);
            return message;
        };
        let (mut fields, mut oneofs) = (HashMap::new(), HashSet::new());
        for (key, member) in members {
            let Some(field) = find(descriptor, key) else {
                if !self.lenient {
                    let detail = format!("{} has no such field", descriptor.name());
                    self.problems.at(&at.named(key, key), Place::Body, "UNKNOWN_FIELD", detail);
                }
                continue;
            };
            let at = at.named(key, field.name());
            if fields.insert(field.number(), key).is_some_and(|earlier| earlier != key) {
                let detail = format!("given as {} and as {}", field.json_name(), field.name());
                self.problems.at(&at, Place::Body, "DUPLICATE_KEY", detail);
                continue;
            }
            if is_absent(&field, member) {
                continue;
            }
            if let Some(oneof) = field.containing_oneof()
                && !oneofs.insert(oneof.name().to_owned())
            {
                let detail = format!("only one field of {} may be set", oneof.name());
                self.problems.at(&at, Place::Body, "ONEOF_CONFLICT", detail);
                continue;
            }
            if let Some(value) = self.value(&field, member, &at) {
                message.set_field(&field, value);
            }
        }
        message
    }

    /// Reads the value of a field, `None` when it is wrong.
    pub(crate) fn value(&mut self, field: &FieldDescriptor, node: &Node, at: &At<'_>) -> Option<Value> {
        if field.is_map() {
            return self.map(field, node, at);
        }
        if field.is_list() {
            let Node::List(items) = node else {
                let detail = format!("must be an array, not {}", node.kind());
                self.problems.at(at, Place::Body, "TYPE_MISMATCH", detail);
                return None;
            };
            let kind = field.kind();
            let list = items.iter().enumerate().filter_map(|(i, item)| self.single(&kind, item, &at.index(i)));
            return Some(Value::List(list.collect()));
        }
        self.single(&field.kind(), node, at)
    }

    fn map(&mut self, field: &FieldDescriptor, node: &Node, at: &At<'_>) -> Option<Value> {
        let Node::Object(members) = node else {
            let detail = format!("must be an object, not {}", node.kind());
            self.problems.at(at, Place::Body, "TYPE_MISMATCH", detail);
            return None;
        };
        let Kind::Message(entry) = field.kind() else { return None };
        let (keys, values) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut map = HashMap::with_capacity(members.len());
        for (key, member) in members {
            let at = at.key(key);
            match scalar::read_key(&keys, key) {
                Ok(parsed) => {
                    if let Some(value) = self.single(&values, member, &at)
                        && map.insert(parsed, value).is_some()
                    {
                        self.problems.at(&at, Place::Body, "DUPLICATE_KEY", "the key is given twice");
                    }
                }
                Err(wrong) => self.problems.at(&at, Place::Body, wrong.reason, wrong.detail),
            }
        }
        Some(Value::Map(map))
    }

    fn single(&mut self, kind: &Kind, node: &Node, at: &At<'_>) -> Option<Value> {
        if let Kind::Message(descriptor) = kind {
            return Some(Value::Message(self.message(descriptor, node, at)));
        }
        match scalar::read(kind, node, self.lenient) {
            Ok(value) => value,
            Err(wrong) => {
                self.problems.at(at, Place::Body, wrong.reason, wrong.detail);
                None
            }
        }
    }

    fn well_known(
        &mut self,
        descriptor: &MessageDescriptor,
        shape: &'static str,
        node: &Node,
        at: &At<'_>,
    ) -> DynamicMessage {
        match read_well_known(descriptor, shape, node) {
            Ok(message) => message,
            Err(wrong) => {
                self.problems.at(at, Place::Body, wrong.reason, wrong.detail);
                DynamicMessage::new(descriptor.clone())
            }
        }
    }
}

/// Reads a type of google.protobuf that has a JSON form of its own.
pub(crate) fn read_well_known(
    descriptor: &MessageDescriptor,
    shape: &'static str,
    node: &Node,
) -> Result<DynamicMessage, Mismatch> {
    let wrong = || Mismatch::new("TYPE_MISMATCH", format!("must be {shape}"));
    DynamicMessage::deserialize(descriptor.clone(), node.to_value().into_deserializer()).map_err(|_| wrong())
}

/// What a well-known type looks like in JSON; `None` for ordinary messages.
pub(crate) fn well_known(descriptor: &MessageDescriptor) -> Option<&'static str> {
    let name = descriptor.full_name().strip_prefix("google.protobuf.")?;
    Some(match name {
        "Timestamp" => "an RFC 3339 time such as \"2026-01-31T12:00:00Z\", from year 1 to 9999",
        "Duration" => "seconds such as \"1.5s\"",
        "FieldMask" => "field names such as \"note,shippingAddress\"",
        "Struct" => "an object",
        "ListValue" => "an array",
        "Value" => "JSON",
        "Empty" => "an empty object",
        "Any" => "an object with a known @type",
        "BoolValue" => "true or false",
        "StringValue" => "a string",
        "BytesValue" => "a base64 string",
        "Int32Value" | "UInt32Value" => "a 32-bit integer",
        "Int64Value" | "UInt64Value" => "a 64-bit integer",
        "FloatValue" | "DoubleValue" => "a number",
        _ => return None,
    })
}

/// Finds a field by the name of the contract or of JSON.
pub(crate) fn find(descriptor: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(key).or_else(|| descriptor.get_field_by_name(key))
}

/// null means "not set", except where null is a value.
fn is_absent(field: &FieldDescriptor, node: &Node) -> bool {
    if *node != Node::Null {
        return false;
    }
    match field.kind() {
        Kind::Message(message) => field.is_list() || message.full_name() != "google.protobuf.Value",
        Kind::Enum(descriptor) => field.is_list() || descriptor.full_name() != "google.protobuf.NullValue",
        _ => true,
    }
}
