//! The contract's image, and a fixture with the shapes the contract does not use.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::sync::Arc;

use http::Method;
use prost_reflect::DynamicMessage;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};
use transcode::{Input, Problems, Resolution, Route, Router};

pub const IMAGE: &[u8] = include_bytes!("../../../../gen/rust/src/image.binpb");

struct Fixture;

impl FileResolver for Fixture {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "fixture.proto" => File::from_source(name, include_str!("fixture.proto")),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

pub fn fixture_image() -> Vec<u8> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Fixture);
    resolver.add(GoogleFileResolver::new());
    resolver.add(DescriptorSetFileResolver::decode(IMAGE).unwrap());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("fixture.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

pub fn fixture() -> Router {
    Router::from_image(&fixture_image()).unwrap()
}

pub fn contract() -> Router {
    Router::from_image(IMAGE).unwrap()
}

/// What a request becomes.
pub struct Call {
    pub route: Arc<Route>,
    pub outcome: Result<DynamicMessage, Problems>,
}

impl Call {
    pub fn message(&self) -> &DynamicMessage {
        self.outcome.as_ref().unwrap_or_else(|problems| panic!("refused: {:?}", problems.violations()))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self.message()).unwrap()
    }

    /// Pointer and reason of every violation.
    pub fn wrong(&self) -> Vec<(String, String)> {
        let problems = self.outcome.as_ref().expect_err("accepted");
        problems.violations().iter().map(|v| (v.pointer.clone(), v.reason.clone())).collect()
    }
}

pub fn call_with(router: &Router, verb: Method, uri: &str, input: &Input<'_>) -> Call {
    let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    let Resolution::Route(route, captures) = router.resolve(&verb, path) else {
        panic!("no route: {verb} {path}");
    };
    let input = Input { captures: &captures, query, ..*input };
    let outcome = route.request(&input).map(|wire| DynamicMessage::decode(route.input(), wire.as_slice()).unwrap());
    Call { route, outcome }
}

pub fn call(router: &Router, verb: Method, uri: &str, body: &str) -> Call {
    call_with(router, verb, uri, &Input { body: body.as_bytes(), ..Input::default() })
}
