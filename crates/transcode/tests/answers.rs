//! What a wire answer becomes, and that nothing is lost or panics on the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{IMAGE, call, contract, fixture};
use http::Method;
use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver};
use serde_json::json;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use transcode::{Input, Route, Router};

fn json_of(router: &Router, verb: Method, path: &str, wire: &[u8]) -> serde_json::Value {
    let route = call(router, verb, path, "").route;
    serde_json::from_slice(&route.response(wire).unwrap().json().unwrap()).unwrap()
}

#[test]
fn defaults_are_written_and_presence_fields_only_when_set() {
    let empty = json_of(&contract(), Method::GET, "/api/v1/payments/p", &[]);
    assert_eq!(empty["orderId"], "");
    assert!(empty.get("createTime").is_none());
    let thing = json_of(&fixture(), Method::GET, "/v1/search", &[]);
    assert_eq!(thing["big"], "0");
    assert_eq!(thing["tags"], json!([]));
    assert_eq!(thing["labels"], json!({}));
    assert_eq!(thing["colour"], "COLOUR_UNSPECIFIED");
    for unset in ["maybe", "inner", "leftSide", "at"] {
        assert!(thing.get(unset).is_none(), "{unset}");
    }
}

#[test]
fn a_response_body_is_one_field_of_the_answer() {
    let router = fixture();
    let thing = call(&router, Method::POST, "/v1/things:tag", r#"["a"]"#);
    assert_eq!(json_of(&router, Method::GET, "/v1/tags", &thing.message().encode_to_vec()), json!(["a"]));
}

#[test]
fn raw_answers_keep_their_type_and_bytes() {
    let router = fixture();
    let input = Input { body: b"\xff\x00", content_type: Some("image/png"), ..Input::default() };
    let body = common::call_with(&router, Method::POST, "/v1/upload", &input);
    let route = call(&router, Method::GET, "/v1/download/x", "").route;
    let decoded = route.response(&body.message().encode_to_vec()).unwrap();
    assert_eq!(decoded.raw(), Some(("image/png".to_owned(), bytes::Bytes::from_static(b"\xff\x00"))));
}

#[test]
fn fields_are_read_by_their_path() {
    let router = fixture();
    let thing = call(&router, Method::PUT, "/v1/things/x", r#"{"number":7,"name":"n"}"#);
    let decoded = thing.route.response(&thing.message().encode_to_vec()).unwrap();
    assert_eq!(decoded.text("inner.id").as_deref(), Some("x"));
    assert_eq!(decoded.text("number").as_deref(), Some("7"));
    for none in ["inner", "inner.display_name", "nobody", "name.id", ""] {
        assert_eq!(decoded.text(none), None, "{none}");
    }
}

#[test]
fn bytes_that_are_not_the_message_are_an_error() {
    let route = call(&contract(), Method::GET, "/api/v1/orders/x", "").route;
    assert!(route.response(&[0x0a, 0xff]).is_err());
    let year_10000 = DynamicMessage::decode(
        route.output(),
        [0x82_u8, 0x01, 0x07, 0x08, 0x80, 0xa0, 0x9a, 0xc6, 0xf1, 0x3b].as_slice(),
    );
    if let Ok(message) = year_10000 {
        assert!(route.response(&message.encode_to_vec()).unwrap().json().is_err());
    }
}

static FIXTURE: LazyLock<Router> = LazyLock::new(fixture);

/// A method per message of the contract and the fixture, so that all of them can be sent and answered.
static ECHO: LazyLock<Router> = LazyLock::new(|| Router::from_image(&echo_image()).unwrap());

fn echo_image() -> Vec<u8> {
    struct Echo(String);
    impl FileResolver for Echo {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name {
                "echo.proto" => File::from_source(name, &self.0),
                _ => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let image = common::fixture_image();
    let mut source = String::from("syntax = \"proto3\"; package echo;\nimport \"google/api/annotations.proto\";\n");
    let mut methods = String::new();
    let pool = DescriptorPool::decode(IMAGE).unwrap();
    let fixture = DescriptorPool::decode(image.as_slice()).unwrap();
    let ours = pool.all_messages().chain(fixture.all_messages()).filter(|message| {
        let package = message.package_name();
        !message.is_map_entry()
            && (package.starts_with("fixture")
                || package.starts_with("ordermesh.") && package != "ordermesh.options.v1")
    });
    let mut files = Vec::new();
    for (n, message) in ours.enumerate() {
        files.push(message.parent_file().name().to_owned());
        let name = message.full_name();
        let _ = writeln!(
            methods,
            "rpc E{n}(.{name}) returns (.{name}) {{ option (google.api.http) = {{post: \"/e/{n}\" body: \"*\"}}; }}"
        );
    }
    files.sort();
    files.dedup();
    for file in files {
        let _ = writeln!(source, "import \"{file}\";");
    }
    let _ = writeln!(source, "service Echo {{ {methods} }}");
    let mut resolver = ChainFileResolver::new();
    resolver.add(Echo(source));
    resolver.add(DescriptorSetFileResolver::decode(image.as_slice()).unwrap());
    resolver.add(DescriptorSetFileResolver::decode(IMAGE).unwrap());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("echo.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// Values drawn from a string of bytes, so that proptest can shrink them.
struct Draw<'b>(&'b [u8]);

impl Draw<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn wide(&mut self) -> u64 {
        let length = self.byte() % 9;
        (0..length).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    fn text(&mut self) -> String {
        let length = self.byte() % 5;
        (0..length).map(|_| char::from_u32((self.wide() % 0x11_0000) as u32).unwrap_or('\u{0}')).collect()
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                message.set_field_by_name("seconds", Value::I64((self.wide() % 253_402_300_800) as i64));
                message.set_field_by_name("nanos", Value::I32((self.wide() % 1_000_000_000) as i32));
            }
            "google.protobuf.Duration" => {
                message.set_field_by_name("seconds", Value::I64((self.wide() % 315_576_000_000) as i64));
            }
            "google.protobuf.FieldMask" => {
                let paths = (0..self.byte() % 3).map(|n| {
                    Value::String(format!("inner.display_name{n}").replace(|c: char| c.is_ascii_digit(), "x"))
                });
                message.set_field_by_name("paths", Value::List(paths.collect()));
            }
            "google.protobuf.Struct"
            | "google.protobuf.Value"
            | "google.protobuf.Any"
            | "google.protobuf.ListValue" => {
                if descriptor.name() == "Value" {
                    message.set_field_by_name("bool_value", Value::Bool(true));
                }
            }
            _ => self.fields(descriptor, depth, &mut message),
        }
        message
    }

    fn fields(&mut self, descriptor: &MessageDescriptor, depth: usize, message: &mut DynamicMessage) {
        for field in descriptor.fields() {
            let is_any = matches!(field.kind(), Kind::Message(inner) if inner.full_name() == "google.protobuf.Any");
            let is_deep = depth > 4 && matches!(field.kind(), Kind::Message(_));
            if self.byte().is_multiple_of(2) || is_any || is_deep {
                continue;
            }
            let value = self.field(&field, depth);
            message.set_field(&field, value);
        }
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let count = self.byte() % 4;
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let value = entry.map_entry_value_field().kind();
            let pairs = (0..count).map(|_| {
                let key = match entry.map_entry_key_field().kind() {
                    Kind::String => MapKey::String(self.text()),
                    _ => MapKey::I32(self.wide() as i32),
                };
                (key, self.single(&value, depth))
            });
            return Value::Map(pairs.collect());
        }
        if field.is_list() {
            return Value::List((0..count).map(|_| self.single(&field.kind(), depth)).collect());
        }
        self.single(&field.kind(), depth)
    }

    fn single(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.byte().is_multiple_of(2)),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.wide() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.wide() as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.wide() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.wide()),
            Kind::Float => Value::F32(self.wide() as f32 / 7.0),
            Kind::Double => Value::F64(self.wide() as f64 / 7.0),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Enum(descriptor) => {
                let values: Vec<i32> = descriptor.values().map(|value| value.number()).collect();
                Value::EnumNumber(values[usize::from(self.byte()) % values.len()])
            }
            Kind::Message(inner) => Value::Message(self.message(inner, depth + 1)),
        }
    }
}

fn echo(index: usize) -> &'static Arc<Route> {
    static ROUTES: LazyLock<Vec<&'static Arc<Route>>> =
        LazyLock::new(|| ECHO.routes().iter().filter(|route| route.path().starts_with("/echo.")).collect());
    ROUTES[index % ROUTES.len()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn con_01_any_message_survives_wire_to_json_to_wire(index in any::<usize>(), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let route = echo(index);
        let message = Draw(&bytes).message(&route.input(), 0);
        // Fields set to their default are not on the wire.
        let message = DynamicMessage::decode(route.input(), message.encode_to_vec().as_slice()).unwrap();
        let json = route.response(&message.encode_to_vec()).unwrap().json().unwrap();
        let wire = route.request(&Input { body: &json, ..Input::default() });
        let wire = wire.map_err(|problems| TestCaseError::fail(format!("{problems:?} {}", String::from_utf8_lossy(&json))))?;
        let back = DynamicMessage::decode(route.input(), wire.as_slice()).unwrap();
        // Debug of a message that contains itself does not end, so no prop_assert_eq.
        let again = route.response(&back.encode_to_vec()).unwrap().json().unwrap();
        prop_assert!(back == message, "{}: {} became {}", route.input().full_name(), String::from_utf8_lossy(&json), String::from_utf8_lossy(&again));
    }

    #[test]
    fn random_bytes_never_panic(index in any::<usize>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let route = echo(index);
        let _ = route.request(&Input { body: &bytes, ..Input::default() });
        if let Ok(decoded) = route.response(&bytes) {
            let _ = decoded.json();
        }
    }

    #[test]
    fn mutated_json_never_panics(index in any::<usize>(), seed in prop::collection::vec(any::<u8>(), 0..300), at in any::<usize>(), with in any::<u8>()) {
        let route = echo(index);
        let message = Draw(&seed).message(&route.input(), 0);
        let mut json = route.response(&message.encode_to_vec()).unwrap().json().unwrap();
        let length = json.len();
        json[at % length] = with;
        let _ = route.request(&Input { body: &json, ..Input::default() });
    }

    #[test]
    fn random_text_in_well_known_types_never_panics(text in "\\PC{0,40}") {
        let body = json!({"at": text, "wait": text, "updateMask": text, "wrapped": text, "number": text, "blob": text, "colour": text}).to_string();
        let _ = common::call(&FIXTURE, Method::PUT, "/v1/things/x", &body);
        for field in ["at", "wait", "updateMask", "wrapped", "number", "blob", "ratio"] {
            let uri = format!("/v1/search?{field}={}", transcode::encode_segment(&text));
            let _ = common::call(&FIXTURE, Method::GET, &uri, "");
        }
    }

    #[test]
    fn random_paths_and_queries_never_panic(path in "/\\PC{0,60}", query in "\\PC{0,60}") {
        let _ = ECHO.resolve(&Method::GET, &path);
        let uri = format!("/v1/search?{query}");
        let _ = common::call(&FIXTURE, Method::GET, &uri, "");
    }
}
