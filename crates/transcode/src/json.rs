//! JSON that keeps what serde_json drops: duplicate keys, and where they are.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::violation::{At, Place, Problems};

/// Deepest nesting of a body.
pub(crate) const DEEPEST: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The same value for serde_json; duplicates must have been refused before.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        use serde_json::{Number, Value};
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => i64::try_from(*value)
                .map(Number::from)
                .or_else(|_| u64::try_from(*value).map(Number::from))
                .map_or(Value::Null, Value::Number),
            Self::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Self::Text(value) => Value::String(value.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Object(members) => {
                Value::Object(members.iter().map(|(key, node)| (key.clone(), node.to_value())).collect())
            }
        }
    }
}

/// Parses a body; what is wrong with the text as such goes to `problems`.
pub(crate) fn parse(bytes: &[u8], problems: &mut Problems) -> Option<Node> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
            problems.at(&At::ROOT, Place::Body, "INVALID_UTF8", detail);
            return None;
        }
    };
    let too_deep = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Seed { left: DEEPEST, too_deep: &too_deep }.deserialize(&mut reader);
    match parsed.and_then(|node| reader.end().map(|()| node)) {
        Ok(node) => {
            duplicates(&node, &At::ROOT, problems);
            Some(node)
        }
        Err(_) if too_deep.get() => {
            let detail = format!("the body is nested deeper than {DEEPEST} levels");
            problems.at(&At::ROOT, Place::Body, "TOO_DEEP", detail);
            None
        }
        Err(error) => {
            let detail = format!("the body is not JSON at line {} column {}", error.line(), error.column());
            problems.at(&At::ROOT, Place::Body, "MALFORMED_JSON", detail);
            None
        }
    }
}

fn duplicates(node: &Node, at: &At<'_>, problems: &mut Problems) {
    match node {
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                duplicates(item, &at.index(index), problems);
            }
        }
        Node::Object(members) => {
            let mut seen = std::collections::HashSet::with_capacity(members.len());
            for (key, member) in members {
                let at = at.named(key, key);
                if !seen.insert(key.as_str()) {
                    problems.at(&at, Place::Body, "DUPLICATE_KEY", "the key is given twice");
                }
                duplicates(member, &at, problems);
            }
        }
        _ => {}
    }
}

#[derive(Clone, Copy)]
struct Seed<'c> {
    left: usize,
    too_deep: &'c Cell<bool>,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.left == 0 {
            self.too_deep.set(true);
            return Err(E::custom("too deep"));
        }
        Ok(Self { left: self.left - 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let seed = self.deeper::<A::Error>()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let seed = self.deeper::<A::Error>()?;
        let mut object = Vec::new();
        while let Some(key) = members.next_key::<String>().map_err(A::Error::custom)? {
            object.push((key, members.next_value_seed(seed)?));
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(body: &[u8]) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        parse(body, &mut problems);
        problems.into_violations().into_iter().map(|v| (v.pointer, v.reason)).collect()
    }

    #[test]
    fn duplicate_keys_are_found_at_every_depth() {
        let found = reasons(br#"{"a":1,"a":2,"b":[{"c":1,"c":1}]}"#);
        assert_eq!(found[0], ("/a".into(), "DUPLICATE_KEY".into()));
        assert_eq!(found[1], ("/b/0/c".into(), "DUPLICATE_KEY".into()));
    }

    #[test]
    fn sixty_four_levels_are_read_and_sixty_five_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(reasons(nested(64).as_bytes()).is_empty());
        assert_eq!(reasons(nested(65).as_bytes())[0].1, "TOO_DEEP");
        assert_eq!(reasons(nested(60_000).as_bytes())[0].1, "TOO_DEEP");
    }

    #[test]
    fn text_that_is_not_json_or_not_utf8_is_named() {
        assert_eq!(reasons(b"{\"a\":}")[0].1, "MALFORMED_JSON");
        assert_eq!(reasons(b"{} {}")[0].1, "MALFORMED_JSON");
        assert_eq!(reasons(b"\"\\ud800\"")[0].1, "MALFORMED_JSON");
        assert_eq!(reasons(b"{\"a\":\"\xff\"}")[0].1, "INVALID_UTF8");
    }
}
