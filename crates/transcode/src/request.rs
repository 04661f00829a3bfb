//! A REST request into the wire bytes of a gRPC request.

use http::Method;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

use crate::body::{Reader, find};
use crate::json::{self, Node};
use crate::query::{self, descend};
use crate::route::{BodyRule, Route, field_path, is_http_body};
use crate::router::Capture;
use crate::scalar;
use crate::violation::{At, Place, Problems, Violation};

/// A header whose value becomes a field of the request, such as If-Match.
#[derive(Debug, Clone, Copy)]
pub struct HeaderField<'a> {
    /// Name of the header.
    pub header: &'a str,
    /// Dotted path of the field.
    pub field: &'a str,
    /// Its value; empty sets nothing.
    pub value: &'a str,
    /// Replaces what the rest of the request says, instead of having to agree with it.
    pub wins: bool,
}

/// The parts of an HTTP request that become a message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// Path variables, from the router.
    pub captures: &'a [Capture],
    /// Raw query string.
    pub query: Option<&'a str>,
    /// Content-Type, kept for raw bodies only.
    pub content_type: Option<&'a str>,
    /// Body.
    pub body: &'a [u8],
    /// Drops unknown fields and parameters (`Prefer: handling=lenient`, RFC 7240).
    pub lenient: bool,
    /// Headers that are fields.
    pub headers: &'a [HeaderField<'a>],
}

impl Route {
    /// Turns an HTTP request into the wire bytes of the method's request.
    ///
    /// # Errors
    /// Everything that is wrong with path, query, headers and body, in one pass.
    pub fn request(&self, input: &Input<'_>) -> Result<Vec<u8>, Problems> {
        let mut problems = Problems::default();
        let mut message = DynamicMessage::new(self.input());
        let keys = self.read_body(input, &mut message, &mut problems);
        if let Some(query) = input.query {
            query::apply(self, query, input.lenient, &mut message, &mut problems);
        }
        for capture in input.captures {
            self.set_variable(capture, &mut message, &mut problems);
        }
        for header in input.headers {
            self.set_header(header, &mut message, &mut problems);
        }
        if self.verb == Method::PATCH {
            self.fill_mask(&keys, input.headers, &mut message);
        }
        if problems.is_empty() { Ok(message.encode_to_vec()) } else { Err(problems) }
    }

    /// Reads the body and returns the fields its keys name.
    fn read_body(
        &self,
        input: &Input<'_>,
        message: &mut DynamicMessage,
        problems: &mut Problems,
    ) -> Vec<FieldDescriptor> {
        let blank = input.body.iter().all(u8::is_ascii_whitespace);
        if self.takes_raw_body() {
            self.raw_body(input, message);
            return Vec::new();
        }
        if blank {
            return Vec::new();
        }
        if self.body == BodyRule::None {
            problems.at(&At::ROOT, Place::Body, "BODY_NOT_ALLOWED", "this method takes no body");
            return Vec::new();
        }
        let Some(node) = json::parse(input.body, problems) else { return Vec::new() };
        let mut reader = Reader { lenient: input.lenient, problems };
        match &self.body {
            BodyRule::Field(field) => {
                if let Some(value) = reader.value(field, &node, &At::ROOT.hidden(field.name())) {
                    message.set_field(field, value);
                }
                match field.kind() {
                    Kind::Message(inner) => keys_of(&node, |key| find(&inner, key)),
                    _ => Vec::new(),
                }
            }
            BodyRule::None | BodyRule::Whole => {
                *message = reader.message(&self.input(), &node, &At::ROOT);
                keys_of(&node, |key| find(&self.input(), key))
            }
        }
    }

    fn raw_body(&self, input: &Input<'_>, message: &mut DynamicMessage) {
        let (target, field) = match &self.body {
            BodyRule::Field(field) => match field.kind() {
                Kind::Message(inner) if is_http_body(&inner) => (inner, Some(field)),
                _ => return,
            },
            BodyRule::None | BodyRule::Whole => (self.input(), None),
        };
        let mut body = DynamicMessage::new(target);
        body.set_field_by_name("content_type", Value::String(input.content_type.unwrap_or_default().to_owned()));
        body.set_field_by_name("data", Value::Bytes(bytes::Bytes::copy_from_slice(input.body)));
        match field {
            Some(field) => message.set_field(field, Value::Message(body)),
            None => *message = body,
        }
    }

    fn set_variable(&self, capture: &Capture, message: &mut DynamicMessage, problems: &mut Problems) {
        let Some((last, parents)) = self.variables.get(capture.variable).and_then(|path| path.split_last()) else {
            return;
        };
        let name = &self.parsed.variables[capture.variable].field;
        let (pointer, _) = self.locate(name);
        let mut wrong = |reason: &str, detail: String| {
            let violation = Violation {
                pointer: pointer.clone(),
                field: name.clone(),
                place: Place::Path,
                reason: reason.to_owned(),
                detail,
            };
            problems.push(violation);
        };
        let value = match scalar::read_text(&last.kind(), &capture.value, false) {
            Ok(Some(value)) => value,
            Ok(None) => return,
            Err(mismatch) => return wrong(mismatch.reason, mismatch.detail),
        };
        match descend(message, parents) {
            Ok(parent) if differs(parent, last, &value) => {
                wrong("PATH_MISMATCH", "differs from the same field in the body or query".to_owned());
            }
            Ok(parent) => parent.set_field(last, value),
            Err(mismatch) => wrong(mismatch.reason, mismatch.detail),
        }
    }

    fn set_header(&self, header: &HeaderField<'_>, message: &mut DynamicMessage, problems: &mut Problems) {
        let Some(path) = field_path(&self.input(), header.field) else { return };
        let Some((last, parents)) = path.split_last() else { return };
        if header.value.is_empty() {
            return;
        }
        let mut wrong = |reason: &str, detail: String| problems.push(Violation::header(header.header, reason, detail));
        let value = match scalar::read_text(&last.kind(), header.value, false) {
            Ok(Some(value)) => value,
            Ok(None) => return,
            Err(mismatch) => return wrong(mismatch.reason, mismatch.detail),
        };
        match descend(message, parents) {
            Ok(parent) if !header.wins && differs(parent, last, &value) => {
                wrong("HEADER_MISMATCH", format!("differs from {} of the request", last.json_name()));
            }
            Ok(parent) => parent.set_field(last, value),
            Err(mismatch) => wrong(mismatch.reason, mismatch.detail),
        }
    }

    /// AIP-134: a PATCH without a mask changes what its body names.
    fn fill_mask(&self, keys: &[FieldDescriptor], headers: &[HeaderField<'_>], message: &mut DynamicMessage) {
        let Some(mask) = self.input().get_field_by_name("update_mask") else { return };
        let Kind::Message(descriptor) = mask.kind() else { return };
        if descriptor.full_name() != "google.protobuf.FieldMask" || message.has_field(&mask) {
            return;
        }
        let from_body = self.body == BodyRule::Whole;
        let is_changed = |field: &&FieldDescriptor| {
            let in_path = || self.variables.iter().any(|path| path.first() == Some(*field));
            let in_header = || headers.iter().any(|header| header.field == field.name());
            !(from_body && (**field == mask || in_path() || in_header()))
        };
        let paths: Vec<Value> =
            keys.iter().filter(is_changed).map(|field| Value::String(field.name().to_owned())).collect();
        if paths.is_empty() {
            return;
        }
        let mut filled = DynamicMessage::new(descriptor);
        filled.set_field_by_name("paths", Value::List(paths));
        message.set_field(&mask, Value::Message(filled));
    }
}

fn keys_of(node: &Node, find: impl Fn(&str) -> Option<FieldDescriptor>) -> Vec<FieldDescriptor> {
    match node {
        Node::Object(members) => members.iter().filter_map(|(key, _)| find(key)).collect(),
        _ => Vec::new(),
    }
}

fn differs(parent: &DynamicMessage, field: &FieldDescriptor, value: &Value) -> bool {
    parent.has_field(field) && *parent.get_field(field) != *value
}
