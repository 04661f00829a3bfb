//! Query parameters into a message: nested, repeated, maps; anything doubtful is refused.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

use crate::body::{find, read_well_known, well_known};
use crate::json::Node;
use crate::percent::{self, Mode};
use crate::route::{BodyRule, Route};
use crate::scalar::{self, Mismatch};
use crate::violation::{At, Place, Problems};

/// Most parameters of a request.
const MOST: usize = 256;
/// Deepest field path of a parameter.
const DEEPEST: usize = 8;

/// A field and the texts given for it.
struct Given {
    /// The field's path, and the key when the last field is a map.
    path: Vec<FieldDescriptor>,
    key: Option<String>,
    /// The client's spelling.
    name: String,
    texts: Vec<String>,
}

/// Sets the fields of a query string; what is wrong goes to `problems`.
pub(crate) fn apply(route: &Route, raw: &str, lenient: bool, message: &mut DynamicMessage, problems: &mut Problems) {
    let pairs: Vec<&str> = raw.split('&').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > MOST {
        problems.at(&At::ROOT, Place::Query, "TOO_MANY_PARAMETERS", format!("at most {MOST} parameters"));
        return;
    }
    let mut given: Vec<Given> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for pair in pairs {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let (Ok(name), Ok(text)) = (percent::decode(name, Mode::Query), percent::decode(text, Mode::Query)) else {
            problems.at(&At::ROOT.named(name, name), Place::Query, "INVALID_UTF8", "must be percent-encoded UTF-8");
            continue;
        };
        let (path, key) = match locate(route, &name) {
            Ok(Some(found)) => found,
            Ok(None) if lenient => continue,
            Ok(None) => {
                let detail = "there is no such parameter";
                problems.at(&At::ROOT.named(&name, &name), Place::Query, "UNKNOWN_PARAMETER", detail);
                continue;
            }
            Err(wrong) => {
                problems.at(&At::ROOT.named(&name, &name), Place::Query, wrong.reason, wrong.detail);
                continue;
            }
        };
        let mut canonical: String = path.iter().map(|field| field.name()).collect::<Vec<_>>().join(".");
        if let Some(key) = &key {
            canonical.push_str(&format!("[{key}]"));
        }
        match places.get(&canonical) {
            None => {
                places.insert(canonical, given.len());
                given.push(Given { path, key, name, texts: vec![text] });
            }
            Some(place) if given[*place].name != name => {
                let detail = format!("given as {} too", given[*place].name);
                problems.at(&At::ROOT.named(&name, &canonical), Place::Query, "BOTH_SPELLINGS", detail);
            }
            Some(place) => given[*place].texts.push(text),
        }
    }
    for one in &given {
        if let Err(wrong) = set(one, lenient, message) {
            let field = one.path.iter().map(|field| field.name()).collect::<Vec<_>>().join(".");
            problems.at(&At::ROOT.named(&one.name, &field), Place::Query, wrong.reason, wrong.detail);
        }
    }
}

/// Finds the field a parameter names; `None` when there is none.
#[expect(clippy::type_complexity, reason = "a path with a map's key, used once")]
fn locate(route: &Route, name: &str) -> Result<Option<(Vec<FieldDescriptor>, Option<String>)>, Mismatch> {
    let (dotted, bracket) = match name.split_once('[') {
        Some((dotted, rest)) => match rest.strip_suffix(']') {
            Some(key) => (dotted, Some(key)),
            None => return Ok(None),
        },
        None => (name, None),
    };
    let parts: Vec<&str> = dotted.split('.').collect();
    if parts.len() > DEEPEST {
        return Err(Mismatch::new("TOO_DEEP", format!("at most {DEEPEST} levels")));
    }
    let mut path: Vec<FieldDescriptor> = Vec::new();
    let mut message = route.input();
    for (position, part) in parts.iter().enumerate() {
        let Some(field) = find(&message, part) else { return Ok(None) };
        if path.is_empty() {
            reachable(route, &field)?;
        }
        let rest = &parts[position + 1..];
        let (kind, is_map, is_list) = (field.kind(), field.is_map(), field.is_list());
        path.push(field);
        if is_map {
            let key = match (bracket, rest.is_empty()) {
                (Some(key), true) => key.to_owned(),
                (None, false) => rest.join("."),
                _ => return Ok(None),
            };
            return Ok(Some((path, Some(key))));
        }
        match kind {
            _ if rest.is_empty() => return Ok(if bracket.is_none() { Some((path, None)) } else { None }),
            Kind::Message(inner) if !is_list && well_known(&inner).is_none() => message = inner,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Parameters may not reach what the body carries.
fn reachable(route: &Route, field: &FieldDescriptor) -> Result<(), Mismatch> {
    let refused = |detail: String| Err(Mismatch::new("QUERY_NOT_ALLOWED", detail));
    match &route.body {
        BodyRule::Whole => refused("this method takes its fields from the body".to_owned()),
        BodyRule::Field(body) if body == field => refused(format!("{} is the body", body.json_name())),
        BodyRule::None | BodyRule::Field(_) => Ok(()),
    }
}

fn set(given: &Given, lenient: bool, message: &mut DynamicMessage) -> Result<(), Mismatch> {
    let Some(last) = given.path.last() else { return Ok(()) };
    if !last.is_list() && given.texts.len() > 1 {
        return Err(Mismatch::new("GIVEN_TWICE", "may be given once"));
    }
    let kind = match last.kind() {
        Kind::Message(entry) if last.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let mut values = Vec::with_capacity(given.texts.len());
    for text in &given.texts {
        if let Some(value) = read(&kind, text, lenient)? {
            values.push(value);
        }
    }
    let parent = descend(message, &given.path[..given.path.len() - 1])?;
    conflict(parent, last)?;
    if let Some(key) = &given.key {
        let Kind::Message(entry) = last.kind() else { return Ok(()) };
        let key = scalar::read_key(&entry.map_entry_key_field().kind(), key)?;
        if let (Value::Map(map), Some(value)) = (parent.get_field_mut(last), values.pop()) {
            map.insert(key, value);
        }
    } else if last.is_list() {
        parent.set_field(last, Value::List(values));
    } else if let Some(value) = values.pop() {
        parent.set_field(last, value);
    }
    Ok(())
}

fn read(kind: &Kind, text: &str, lenient: bool) -> Result<Option<Value>, Mismatch> {
    let Kind::Message(descriptor) = kind else { return scalar::read_text(kind, text, lenient) };
    let no_text = || Mismatch::new("TYPE_MISMATCH", format!("{} cannot be a query parameter", descriptor.name()));
    let shape = well_known(descriptor).ok_or_else(no_text)?;
    let node = match descriptor.name() {
        "Struct" | "ListValue" | "Value" | "Any" | "Empty" => return Err(no_text()),
        "BoolValue" => Node::Bool(text.parse().map_err(|_| Mismatch::new("TYPE_MISMATCH", "must be true or false"))?),
        _ => Node::Text(text.to_owned()),
    };
    read_well_known(descriptor, shape, &node).map(|message| Some(Value::Message(message)))
}

/// The message at a path, created on the way.
pub(crate) fn descend<'m>(
    message: &'m mut DynamicMessage,
    path: &[FieldDescriptor],
) -> Result<&'m mut DynamicMessage, Mismatch> {
    let mut at = message;
    for field in path {
        conflict(at, field)?;
        at = at.get_field_mut(field).as_message_mut().ok_or_else(|| Mismatch::new("TYPE_MISMATCH", "has no fields"))?;
    }
    Ok(at)
}

fn conflict(message: &DynamicMessage, field: &FieldDescriptor) -> Result<(), Mismatch> {
    let Some(oneof) = field.containing_oneof() else { return Ok(()) };
    if oneof.fields().any(|other| other != *field && message.has_field(&other)) {
        return Err(Mismatch::new("ONEOF_CONFLICT", format!("only one field of {} may be set", oneof.name())));
    }
    Ok(())
}
