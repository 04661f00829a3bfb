//! Seeded damage to messages: values at and beyond every limit, in any field, found through the descriptors.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

/// Random numbers that are the same for the same seed (SplitMix64, Steele and others 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    /// Once in `times`.
    fn seldom(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

const INTEGERS: [i64; 22] = [
    0,
    1,
    -1,
    2,
    3,
    49,
    50,
    51,
    100,
    101,
    200,
    201,
    1_000,
    1_000_000,
    1_000_001,
    604_801,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
    1 << 53,
];

/// Damages one to three places of a message.
pub(super) fn damage(message: &mut DynamicMessage, random: &mut Random) {
    for _ in 0..=random.below(3) {
        damage_once(message, random);
    }
}

fn damage_once(message: &mut DynamicMessage, random: &mut Random) {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    if fields.is_empty() {
        return;
    }
    let field = random.one_of(&fields);
    if random.seldom(6) {
        return message.clear_field(&field);
    }
    let is_message = matches!(field.kind(), Kind::Message(_));
    if field.is_list() {
        let list = message.get_field_mut(&field).as_list_mut().expect("a list has a list");
        if is_message && !list.is_empty() && !random.seldom(3) {
            let at = random.below(list.len());
            let inner = list[at].as_message_mut().expect("a list of messages");
            return damage_once(inner, random);
        }
        damage_list(list, &field, random);
    } else if field.is_map() {
        let map = message.get_field_mut(&field).as_map_mut().expect("a map has a map");
        map.insert(MapKey::String(text(random)), Value::String(text(random)));
    } else if is_message && message.has_field(&field) && !random.seldom(8) {
        let inner = message.get_field_mut(&field).as_message_mut().expect("a message field has a message");
        damage_once(inner, random);
    } else {
        message.set_field(&field, value(&field, random));
    }
}

fn damage_list(list: &mut Vec<Value>, field: &FieldDescriptor, random: &mut Random) {
    match random.below(5) {
        0 => list.clear(),
        1 => list.push(value(field, random)),
        2 if !list.is_empty() => list.push(list[0].clone()),
        3 => {
            // As many as a limit of lines, and more than any.
            let (one, many) = (list.first().cloned(), random.one_of(&[50, 51, 101, 600]));
            let one = one.unwrap_or_else(|| value(field, random));
            list.resize(many, one);
        }
        _ => *list = vec![value(field, random)],
    }
}

fn value(field: &FieldDescriptor, random: &mut Random) -> Value {
    let integer = random.one_of(&INTEGERS);
    // Values that do not fit come in as others: every pattern of bits is a number.
    let small = i32::try_from(integer).unwrap_or(if integer < 0 { i32::MIN } else { i32::MAX });
    match field.kind() {
        Kind::Double => Value::F64(random.one_of(&[f64::NAN, f64::INFINITY, -0.0, 1e308])),
        Kind::Float => Value::F32(random.one_of(&[f32::NAN, f32::NEG_INFINITY, 0.0, 1e38])),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(small),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(small.cast_unsigned()),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer.cast_unsigned()),
        Kind::Bool => Value::Bool(random.seldom(2)),
        Kind::String => Value::String(text(random)),
        Kind::Bytes => Value::Bytes(random.one_of(&[vec![], vec![0], vec![0xff; 9], vec![b'{'; 30_000]]).into()),
        Kind::Enum(_) => Value::EnumNumber(random.one_of(&[-1, 0, 1, 2, 99, i32::MAX, i32::MIN])),
        Kind::Message(message) => {
            let mut inner = DynamicMessage::new(message);
            if !random.seldom(3) {
                damage_once(&mut inner, random);
            }
            Value::Message(inner)
        }
    }
}

fn text(random: &mut Random) -> String {
    let hex = "0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b";
    let ids = ["tnt", "usr", "ord", "res", "pay", "rfd", "ful", "shp", "evt", "xyz"];
    let fixed = [
        "",
        " ",
        "\0",
        "a\0b",
        "\t\n",
        "\r\nx-roles: csr",
        "\u{feff}",
        "\u{202e}drawkcab",
        "\u{200b}",
        "ß",
        "İ",
        "é",
        "😀",
        "'",
        "'; DROP TABLE orders; --",
        "\\",
        "%",
        "%00",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "=1+1",
        "<b>",
        "]]>",
        "&amp;",
        "../../etc/passwd",
        "null",
        "true",
        "-1",
        "0",
        "1",
        "999999999999999999999",
        "1e400",
        "NaN",
        "*",
        "\"1\"",
        "\"",
        "USD",
        "EUR",
        "JPY",
        "KWD",
        "XXX",
        "usd",
        "US",
        "DE",
        "us",
        "CA",
        "STANDARD",
        "EXPRESS",
        "standard",
        "books",
        "customer",
        "platform_admin",
        "stripe",
        "fedex",
        "pm_sim_visa",
        "pm_sim_declined",
        "4242424242424242",
        "SHARED",
        "a@b",
        "a@b.example",
        "@",
        "2026-02-30T25:61:61Z",
    ];
    match random.below(10) {
        0 => format!("{}_{hex}", random.one_of(&ids)),
        1 => format!("{}_{}", random.one_of(&ids), random.one_of(&["", "0", "zz", &hex[1..], &hex.to_uppercase()])),
        2 => random
            .one_of(&["x", "é", "😀", "\0", " ", "-", "9"])
            .repeat(random.one_of(&[41, 65, 121, 201, 1001, 12_000])),
        _ => random.one_of(&fixed).to_owned(),
    }
}
