//! proto3 JSON scalars, read strictly.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::general_purpose};
use prost_reflect::{Kind, MapKey, Value};

use crate::json::Node;

/// Why a value does not fit its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl Mismatch {
    pub(crate) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    fn expected(what: &str, node: &Node) -> Self {
        Self::new("TYPE_MISMATCH", format!("must be {what}, not {}", node.kind()))
    }
}

const FORGIVING: GeneralPurposeConfig = general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

/// Reads a scalar; `None` when a lenient caller sent an enum value nobody knows.
pub(crate) fn read(kind: &Kind, node: &Node, lenient: bool) -> Result<Option<Value>, Mismatch> {
    Ok(Some(match kind {
        Kind::Bool => match node {
            Node::Bool(value) => Value::Bool(*value),
            _ => return Err(Mismatch::expected("true or false", node)),
        },
        Kind::String => match node {
            Node::Text(value) => Value::String(value.clone()),
            _ => return Err(Mismatch::expected("a string", node)),
        },
        Kind::Bytes => match node {
            Node::Text(text) => Value::Bytes(bytes_of(text)?.into()),
            _ => return Err(Mismatch::expected("a base64 string", node)),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer(node, "a 32-bit integer")?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer(node, "a 64-bit integer")?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(integer(node, "an unsigned 32-bit integer")?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer(node, "an unsigned 64-bit integer")?),
        Kind::Double => Value::F64(float(node)?),
        Kind::Float => Value::F32(single(float(node)?)?),
        Kind::Enum(descriptor) => return enumeration(descriptor, node, lenient),
        Kind::Message(_) => return Err(Mismatch::expected("an object", node)),
    }))
}

/// Reads a query parameter or path variable.
pub(crate) fn read_text(kind: &Kind, text: &str, lenient: bool) -> Result<Option<Value>, Mismatch> {
    let node = match kind {
        Kind::Bool => match text {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            _ => return Err(Mismatch::new("TYPE_MISMATCH", "must be true or false")),
        },
        Kind::Enum(_) => text.parse::<i32>().map_or_else(|_| Node::Text(text.to_owned()), |n| Node::Int(n.into())),
        _ => Node::Text(text.to_owned()),
    };
    read(kind, &node, lenient)
}

/// Reads the key of a map.
pub(crate) fn read_key(kind: &Kind, key: &str) -> Result<MapKey, Mismatch> {
    read_text(kind, key, false)?
        .and_then(Value::into_map_key)
        .ok_or_else(|| Mismatch::new("TYPE_MISMATCH", "the key has the wrong type"))
}

fn bytes_of(text: &str) -> Result<Vec<u8>, Mismatch> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).map_err(|_| Mismatch::new("INVALID_BASE64", "must be base64 or base64url"))
}

fn integer<T: TryFrom<i128>>(node: &Node, what: &str) -> Result<T, Mismatch> {
    let not_whole = || Mismatch::new("TYPE_MISMATCH", format!("must be {what}, without a fraction"));
    let wide = match node {
        Node::Int(value) => *value,
        Node::Float(value) => whole(*value).ok_or_else(not_whole)?,
        Node::Text(text) => match digits(text) {
            Some(value) => value,
            None => numeral(text).and_then(whole).ok_or_else(not_whole)?,
        },
        _ => return Err(Mismatch::expected(what, node)),
    };
    T::try_from(wide).map_err(|_| Mismatch::new("OUT_OF_RANGE", format!("must fit {what}")))
}

fn digits(text: &str) -> Option<i128> {
    let body = text.strip_prefix('-').unwrap_or(text);
    if body.is_empty() || !body.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Longer than any 64-bit number: out of range, whatever it is exactly.
    if body.len() > 30 {
        return Some(i128::MAX);
    }
    text.parse().ok()
}

/// A JSON number inside a string; Rust's own parser would also take "inf" and "+1".
fn numeral(text: &str) -> Option<f64> {
    let ok = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    if !ok || text.starts_with(['+', '.']) {
        return None;
    }
    text.parse().ok()
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and both ends are out of range")]
fn whole(value: f64) -> Option<i128> {
    (value.fract() == 0.0 || value.is_infinite()).then_some(value as i128)
}

#[expect(clippy::cast_precision_loss, reason = "a double holds what a double can")]
fn float(node: &Node) -> Result<f64, Mismatch> {
    match node {
        Node::Int(value) => Ok(*value as f64),
        Node::Float(value) => Ok(*value),
        Node::Text(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => match numeral(text) {
                Some(value) if value.is_finite() => Ok(value),
                Some(_) => Err(Mismatch::new("OUT_OF_RANGE", "must fit a double")),
                None => Err(Mismatch::expected("a number", node)),
            },
        },
        _ => Err(Mismatch::expected("a number", node)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "losing digits is what a float does; overflow is refused")]
fn single(value: f64) -> Result<f32, Mismatch> {
    let narrow = value as f32;
    if value.is_finite() && narrow.is_infinite() {
        return Err(Mismatch::new("OUT_OF_RANGE", "must fit a float"));
    }
    Ok(narrow)
}

fn enumeration(
    descriptor: &prost_reflect::EnumDescriptor,
    node: &Node,
    lenient: bool,
) -> Result<Option<Value>, Mismatch> {
    let known = match node {
        Node::Null if descriptor.full_name() == "google.protobuf.NullValue" => Some(0),
        Node::Text(name) => descriptor.get_value_by_name(name).map(|value| value.number()),
        Node::Int(_) | Node::Float(_) => {
            let number: i32 = integer(node, "an enum value")?;
            if lenient || descriptor.get_value(number).is_some() { Some(number) } else { None }
        }
        _ => return Err(Mismatch::expected("the name of an enum value", node)),
    };
    match known {
        Some(number) => Ok(Some(Value::EnumNumber(number))),
        None if lenient => Ok(None),
        None => {
            let detail = format!("must be a value of {}", descriptor.name());
            Err(Mismatch::new("UNKNOWN_ENUM_VALUE", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: &Kind, value: &str) -> Result<Option<Value>, &'static str> {
        read(kind, &Node::Text(value.into()), false).map_err(|m| m.reason)
    }

    #[test]
    fn integers_may_be_written_as_numbers_strings_and_exponents() {
        assert_eq!(read(&Kind::Int32, &Node::Float(1e2), false), Ok(Some(Value::I32(100))));
        assert_eq!(text(&Kind::Int32, "-7"), Ok(Some(Value::I32(-7))));
        assert_eq!(text(&Kind::Int64, "9223372036854775807"), Ok(Some(Value::I64(i64::MAX))));
        assert_eq!(text(&Kind::Uint64, "18446744073709551615"), Ok(Some(Value::U64(u64::MAX))));
        assert_eq!(text(&Kind::Int32, "1e2"), Ok(Some(Value::I32(100))));
    }

    #[test]
    fn integers_out_of_range_or_with_fraction_are_refused() {
        assert_eq!(text(&Kind::Int32, "2147483648"), Err("OUT_OF_RANGE"));
        assert_eq!(text(&Kind::Uint32, "-1"), Err("OUT_OF_RANGE"));
        assert_eq!(text(&Kind::Int64, "9223372036854775808"), Err("OUT_OF_RANGE"));
        assert_eq!(text(&Kind::Int64, &"9".repeat(5000)), Err("OUT_OF_RANGE"));
        assert_eq!(text(&Kind::Int64, "1e400"), Err("OUT_OF_RANGE"));
        for wrong in ["", " 1", "+1", "1.5", "0x1", "NaN", "inf", "1_000"] {
            assert_eq!(text(&Kind::Int32, wrong), Err("TYPE_MISMATCH"), "{wrong}");
        }
    }

    #[test]
    fn floats_know_their_limits() {
        assert_eq!(read(&Kind::Float, &Node::Float(1e39), false).unwrap_err().reason, "OUT_OF_RANGE");
        assert_eq!(text(&Kind::Double, "-Infinity"), Ok(Some(Value::F64(f64::NEG_INFINITY))));
        assert_eq!(text(&Kind::Double, "inf"), Err("TYPE_MISMATCH"));
    }

    #[test]
    fn bytes_come_in_both_alphabets_with_or_without_padding() {
        for form in ["+/8=", "-_8=", "-_8", "+/8"] {
            assert_eq!(text(&Kind::Bytes, form), Ok(Some(Value::Bytes(vec![0xfb, 0xff].into()))), "{form}");
        }
        assert_eq!(text(&Kind::Bytes, "*"), Err("INVALID_BASE64"));
    }
}
