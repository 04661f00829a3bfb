//! One HTTP binding of one method of the contract.

use std::fmt;

use http::Method;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use crate::body::find;
use crate::router::BuildError;
use crate::template::Template;
use crate::violation::Place;

/// Where the body of a request goes.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyRule {
    /// There is none; the rest of the fields are query parameters.
    None,
    /// The whole request message.
    Whole,
    /// One field of it; the rest of the fields are query parameters.
    Field(FieldDescriptor),
}

/// One way to call a method over HTTP.
#[derive(Clone)]
pub struct Route {
    pub(crate) path: String,
    pub(crate) template: String,
    pub(crate) parsed: Template,
    pub(crate) verb: Method,
    pub(crate) method: MethodDescriptor,
    pub(crate) body: BodyRule,
    pub(crate) response_body: Option<FieldDescriptor>,
    /// Field path of every variable of the template.
    pub(crate) variables: Vec<Vec<FieldDescriptor>>,
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} -> {}", self.verb, self.template, self.path)
    }
}

impl Route {
    /// gRPC path, such as `/ordermesh.order.v1.OrderService/CreateOrder`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path template as the contract writes it.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// HTTP method.
    #[must_use]
    pub fn verb(&self) -> &Method {
        &self.verb
    }

    /// Short name of the method, such as `CreateOrder`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.method.name()
    }

    /// Where the body goes.
    #[must_use]
    pub fn body(&self) -> &BodyRule {
        &self.body
    }

    /// Message the method takes.
    #[must_use]
    pub fn input(&self) -> MessageDescriptor {
        self.method.input()
    }

    /// Message the method answers with.
    #[must_use]
    pub fn output(&self) -> MessageDescriptor {
        self.method.output()
    }

    /// Whether the answer is a stream of messages.
    #[must_use]
    pub fn is_server_streaming(&self) -> bool {
        self.method.is_server_streaming()
    }

    /// Dotted field paths of the template's variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parsed.variables.iter().map(|variable| variable.field.as_str())
    }

    /// Whether the body is taken as it is, whatever its type (google.api.HttpBody).
    #[must_use]
    pub fn takes_raw_body(&self) -> bool {
        match &self.body {
            BodyRule::None => false,
            BodyRule::Whole => is_http_body(&self.input()),
            BodyRule::Field(field) => matches!(field.kind(), Kind::Message(message) if is_http_body(&message)),
        }
    }

    /// Where a client wrote a field of the contract, as JSON pointer and part of the request.
    #[must_use]
    pub fn locate(&self, field: &str) -> (String, Place) {
        let names: Vec<&str> = field.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
        let from_path = self.parsed.variables.iter().any(|variable| variable.field == field);
        let (place, skip) = match &self.body {
            BodyRule::Field(body) if from_path && names.first() == Some(&body.name()) => (Place::Path, 1),
            _ if from_path => (Place::Path, 0),
            BodyRule::Whole => (Place::Body, 0),
            BodyRule::Field(body) if names.first() == Some(&body.name()) => (Place::Body, 1),
            BodyRule::Field(body) => {
                // Services may name the fields of a resource without the field that carries it.
                let own = names.first().is_some_and(|name| find(&self.input(), name).is_some());
                let inner = match body.kind() {
                    Kind::Message(message) => names.first().is_some_and(|name| find(&message, name).is_some()),
                    _ => false,
                };
                if inner && !own {
                    return (self.pointer(&[&[body.name()], names.as_slice()].concat(), 1), Place::Body);
                }
                (Place::Query, 0)
            }
            BodyRule::None => (Place::Query, 0),
        };
        (self.pointer(&names, skip), place)
    }

    fn pointer(&self, names: &[&str], skip: usize) -> String {
        let mut pointer = String::new();
        let mut message = Some(self.input());
        for (position, name) in names.iter().enumerate() {
            let field = message.as_ref().and_then(|message| find(message, name));
            let shown = field.as_ref().map_or(*name, |field| field.json_name());
            if position >= skip {
                pointer.push('/');
                pointer.push_str(&shown.replace('~', "~0").replace('/', "~1"));
            }
            if let Some(field) = field {
                message = match field.kind() {
                    Kind::Message(inner) => Some(inner),
                    _ => None,
                };
            }
        }
        pointer
    }
}

pub(crate) fn is_http_body(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.api.HttpBody"
}

/// All routes of the image, in the order of the contract.
pub(crate) fn routes(pool: &DescriptorPool) -> Result<Vec<Route>, BuildError> {
    let http = pool.get_extension_by_name("google.api.http").ok_or(BuildError::NoHttpOption)?;
    let mut routes = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            let options = method.options();
            if !options.has_extension(&http) {
                continue;
            }
            let value = options.get_extension(&http);
            let Some(rule) = value.as_message() else { continue };
            routes.push(route(&method, rule)?);
            if let Some(Value::List(more)) = rule.get_field_by_name("additional_bindings").as_deref() {
                for rule in more.iter().filter_map(Value::as_message) {
                    routes.push(route(&method, rule)?);
                }
            }
        }
    }
    Ok(routes)
}

fn route(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Route, BuildError> {
    let bad = |why: &str| BuildError::BadRule { method: method.full_name().to_owned(), why: why.to_owned() };
    let (verb, template) = pattern(rule).ok_or_else(|| bad("no verb"))?;
    let parsed = Template::parse(&template)?;
    let input = method.input();
    let body = match text(rule, "body").as_str() {
        "" => BodyRule::None,
        "*" => BodyRule::Whole,
        name => BodyRule::Field(input.get_field_by_name(name).ok_or_else(|| bad("body names no field"))?),
    };
    let response_body = match text(rule, "response_body").as_str() {
        "" => None,
        name => {
            let output = method.output();
            Some(output.get_field_by_name(name).ok_or_else(|| bad("response_body names no field"))?)
        }
    };
    let mut variables = Vec::new();
    for variable in &parsed.variables {
        let path = field_path(&input, &variable.field).ok_or_else(|| bad("a variable names no scalar field"))?;
        variables.push(path);
    }
    Ok(Route {
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        template,
        parsed,
        verb,
        method: method.clone(),
        body,
        response_body,
        variables,
    })
}

fn pattern(rule: &DynamicMessage) -> Option<(Method, String)> {
    for (name, verb) in [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ] {
        if rule.has_field_by_name(name) {
            return Some((verb, text(rule, name)));
        }
    }
    let custom = rule.get_field_by_name("custom")?;
    let custom = custom.as_message()?;
    let verb = Method::from_bytes(text(custom, "kind").as_bytes()).ok()?;
    Some((verb, text(custom, "path")))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The fields a dotted path passes; the last one is a single scalar.
pub(crate) fn field_path(message: &MessageDescriptor, path: &str) -> Option<Vec<FieldDescriptor>> {
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    let mut message = Some(message.clone());
    for name in path.split('.') {
        let field = message?.get_field_by_name(name)?;
        if field.is_list() || field.is_map() {
            return None;
        }
        message = match field.kind() {
            Kind::Message(inner) => Some(inner),
            _ => None,
        };
        fields.push(field);
    }
    if message.is_some() { None } else { Some(fields) }
}
