//! Wire bytes of an answer into JSON.

use std::fmt;

use bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage as _, SerializeOptions, Value};
use serde::Serialize;
use serde::ser::Serializer;

use crate::route::{Route, is_http_body};

/// An upstream's answer that is not the message the contract says.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// Not the message's wire format.
    #[error("the answer is not the message of the contract: {0}")]
    Wire(#[from] prost::DecodeError),
    /// A value that proto3 JSON cannot express, such as a time in the year 10000.
    #[error("the answer has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
}

/// An answer that was read.
#[derive(Clone)]
pub struct Decoded {
    message: DynamicMessage,
    response_body: Option<FieldDescriptor>,
}

impl Route {
    /// Reads the wire bytes of the method's answer.
    ///
    /// # Errors
    /// Bytes that are not the message of the contract.
    pub fn response(&self, wire: &[u8]) -> Result<Decoded, Undecodable> {
        let message = DynamicMessage::decode(self.output(), wire)?;
        Ok(Decoded { message, response_body: self.response_body.clone() })
    }
}

impl fmt::Debug for Decoded {
    /// Names the message only: its values may be personal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Decoded").field(&self.message.descriptor().full_name()).finish()
    }
}

impl Decoded {
    /// The answer as proto3 JSON: defaults are written, presence fields only when set.
    ///
    /// # Errors
    /// A value without a JSON form.
    pub fn json(&self) -> Result<Vec<u8>, Undecodable> {
        let mut out = Vec::with_capacity(1024);
        let mut writer = serde_json::Serializer::new(&mut out);
        match &self.response_body {
            None => self.message.serialize_with_options(&mut writer, &options())?,
            Some(field) => OneField(&self.message, field).write(&mut writer)?,
        }
        Ok(out)
    }

    /// Text of a string or integer field by its dotted path; `None` when unset or empty.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
        let names: Vec<&str> = parents.map(|parents| parents.split('.').collect()).unwrap_or_default();
        text_at(&self.message, &names, last)
    }

    /// Content type and bytes of a google.api.HttpBody answer.
    #[must_use]
    pub fn raw(&self) -> Option<(String, Bytes)> {
        if !is_http_body(&self.message.descriptor()) {
            return None;
        }
        let data = self.message.get_field_by_name("data")?.as_bytes()?.clone();
        let content_type = self.text("content_type").unwrap_or_else(|| "application/octet-stream".to_owned());
        Some((content_type, data))
    }
}

fn text_at(message: &DynamicMessage, parents: &[&str], last: &str) -> Option<String> {
    if let Some((parent, rest)) = parents.split_first() {
        return text_at(message.get_field_by_name(parent)?.as_message()?, rest, last);
    }
    match message.get_field_by_name(last)?.as_ref() {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::I32(number) => Some(number.to_string()),
        Value::I64(number) => Some(number.to_string()),
        _ => None,
    }
}

fn options() -> SerializeOptions {
    SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(true)
}

/// A single field as the whole answer (`response_body`).
struct OneField<'m>(&'m DynamicMessage, &'m FieldDescriptor);

impl OneField<'_> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let whole = Whole(self.0);
        let mut object = match serde_json::to_value(whole).map_err(S::Error::custom)? {
            serde_json::Value::Object(object) => object,
            _ => return Err(S::Error::custom("the answer is not an object")),
        };
        object.remove(self.1.json_name()).unwrap_or(serde_json::Value::Null).serialize(serializer)
    }
}

struct Whole<'m>(&'m DynamicMessage);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_options(serializer, &options())
    }
}
