//! From a message to the REST call that means the same, by the method's own HTTP rules.

use std::sync::LazyLock;

use contract::{HttpRule, MethodPolicy};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use testkit::Rest;

/// The contract's messages.
pub(super) static MESSAGES: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(contract::IMAGE).expect("the contract's image is well-formed"));

/// The request message of a method.
pub(super) fn input(policy: &MethodPolicy) -> MessageDescriptor {
    MESSAGES.get_message_by_name(policy.input).expect("the image has every message")
}

/// A REST call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// With its query.
    pub(super) path: String,
    /// Body and its type.
    pub(super) body: Option<(String, Vec<u8>)>,
}

impl Call {
    /// The call in somebody's name.
    pub(super) fn by(&self, rest: &Rest) -> RequestBuilder {
        let request = rest.request(self.method.clone(), &self.path);
        match &self.body {
            Some((kind, body)) => request.header("content-type", kind).body(body.clone()),
            None => request,
        }
    }
}

/// The call of one HTTP rule for a message; none when its names do not fit into a path.
pub(super) fn call(policy: &MethodPolicy, rule: &HttpRule, message: &[u8]) -> Option<Call> {
    let message = DynamicMessage::decode(input(policy), message).expect("a sample is a message");
    let mut json = serde_json::to_value(&message).ok()?;
    let mut path = String::new();
    let mut rest = rule.path;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').expect("a template's brackets are closed");
        let name = variable.split('=').next().unwrap_or_default();
        let value = take(&mut json, name).filter(|value| !value.is_empty())?;
        path.push_str(before);
        path.push_str(&encode(&value));
        rest = after;
    }
    path.push_str(rest);
    let body = match rule.body {
        Some("*") => Some(("application/json".to_owned(), serde_json::to_vec(&json).ok()?)),
        Some(field) => Some(one_field(&message, json.as_object_mut()?.remove(&camel(field))?, field)?),
        None => None,
    };
    if rule.body != Some("*") {
        let mut query = Vec::new();
        flatten("", &json, &mut query);
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query.join("&"));
        }
    }
    Some(Call { method: rule.verb.parse().ok()?, path, body })
}

fn one_field(message: &DynamicMessage, json: Value, field: &str) -> Option<(String, Vec<u8>)> {
    let value = message.get_field_by_name(field)?;
    let raw = value.as_message().filter(|inner| inner.descriptor().full_name() == "google.api.HttpBody");
    let Some(raw) = raw else { return Some(("application/json".to_owned(), serde_json::to_vec(&json).ok()?)) };
    let kind = raw.get_field_by_name("content_type")?.as_str()?.to_owned();
    // What no header can hold cannot be sent.
    http::HeaderValue::from_str(&kind).ok()?;
    let data = raw.get_field_by_name("data")?.as_bytes()?.to_vec();
    Some((kind, data))
}

fn take(json: &mut Value, field: &str) -> Option<String> {
    let mut at = json;
    let (parents, last) = field.rsplit_once('.').map_or(("", field), |(parents, last)| (parents, last));
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        at = at.get_mut(camel(parent))?;
    }
    match at.as_object_mut()?.remove(&camel(last))? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn flatten(prefix: &str, json: &Value, into: &mut Vec<String>) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| flatten(prefix, value, into)),
        Value::String(text) => into.push(format!("{prefix}={}", encode(text))),
        other => into.push(format!("{prefix}={other}")),
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// proto3's JSON name of a field.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        name + &letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    })
}

/// What REST said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) reason: String,
    pub(super) challenge: Option<String>,
    pub(super) json: Value,
}

/// Sends a request and reads the whole answer.
///
/// A kept connection may be closed by the other side at the moment it is used, which says nothing about the request: it
/// is sent once more.
pub(super) async fn ask(request: RequestBuilder) -> Said {
    let again = request.try_clone().expect("the body is in memory");
    match request.send().await {
        Ok(response) => Said::of(response).await,
        Err(_) => Said::of(again.send().await.expect("REST answers")).await,
    }
}

impl Said {
    /// The end of an answer; a stream's too, so it must be one that ends.
    async fn of(response: Response) -> Self {
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (status, content_type) = (response.status().as_u16(), header("content-type").unwrap_or_default());
        let challenge = header("www-authenticate");
        let json: Value = serde_json::from_slice(&response.bytes().await.unwrap_or_default()).unwrap_or_default();
        let reason = json["reason"].as_str().unwrap_or_default().to_owned();
        Self { status, content_type, reason, challenge, json }
    }

    /// Whether it is a problem document (RFC 9457).
    pub(super) fn is_problem(&self) -> bool {
        self.content_type == "application/problem+json" && self.json["status"] == self.status
    }

    /// Wrong fields: field and reason.
    pub(super) fn errors(&self) -> Vec<(String, String)> {
        let text = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let errors = self.json["errors"].as_array().into_iter().flatten();
        errors.map(|error| (text(error, "field"), text(error, "reason"))).collect()
    }
}
