//! What no contract may say; every rule names the file and the element that breaks it.
use std::collections::BTreeMap;

use crate::ir::{ContractIr, Exposure, Field, HttpBinding, Kind, Label, Message, Method, Service};
use crate::problem::Problem;
use crate::template;

/// Shortest life of a stored answer, seconds.
const MIN_IDEMPOTENCY_TTL_S: u32 = 86_400;

/// Adds a problem for every rule that is broken.
pub fn validate(ir: &ContractIr, problems: &mut Vec<Problem>) {
    for (service, method) in ir.methods() {
        let mut refuse = |message: String| problems.push(Problem::new(&service.file, &method.path, message));
        access(ir, method, &mut refuse);
        budget(method, &mut refuse);
        policy_fields(ir, method, &mut refuse);
        for binding in &method.http {
            http(ir, method, binding, &mut refuse);
        }
        if method.policy.exposure == Exposure::Internal && !method.http.is_empty() {
            refuse("is EXPOSURE_INTERNAL but has a google.api.http rule".to_owned());
        }
    }
    colliding_routes(ir, problems);
    for (name, message) in &ir.messages {
        event(ir, name, message, problems);
        for field in &message.fields {
            sensitive_field(name, message, field, problems);
        }
    }
}

fn access(ir: &ContractIr, method: &Method, refuse: &mut impl FnMut(String)) {
    let policy = &method.policy;
    match policy.exposure {
        Exposure::Internal if policy.callers.is_empty() => {
            refuse("is EXPOSURE_INTERNAL but names no callers: nobody could call it".to_owned());
        }
        Exposure::Customer | Exposure::Admin if policy.any_role.is_empty() && policy.callers.is_empty() => {
            refuse("needs any_role or callers: nobody could call it".to_owned());
        }
        _ => {}
    }
    for caller in policy.callers.iter().filter(|caller| !ir.contexts.contains(caller)) {
        refuse(format!("caller {caller:?} is no context (known: {})", ir.contexts.join(", ")));
    }
}

fn budget(method: &Method, refuse: &mut impl FnMut(String)) {
    let policy = &method.policy;
    let (timeout, per_try, retries) = (policy.timeout_ms, policy.per_try_ms, policy.max_retries);
    if timeout == 0 {
        refuse("budget.timeout_ms must be set: no call may last forever".to_owned());
    }
    if (u64::from(retries) + 1) * u64::from(per_try) > u64::from(timeout) {
        refuse(format!("(max_retries {retries} + 1) * per_try_ms {per_try} exceeds timeout_ms {timeout}"));
    }
    let is_get = method.http.iter().any(|binding| binding.verb == "GET");
    if retries > 0 && !is_get && !policy.idempotency.repeats_are_safe() {
        refuse(format!(
            "max_retries is {retries} but the method is neither a GET nor idempotent (idempotency natural, required or ttl_s)"
        ));
    }
    if (1..MIN_IDEMPOTENCY_TTL_S).contains(&policy.idempotency.ttl_s) {
        refuse(format!("idempotency.ttl_s {} is under {MIN_IDEMPOTENCY_TTL_S}", policy.idempotency.ttl_s));
    }
}

fn policy_fields(ir: &ContractIr, method: &Method, refuse: &mut impl FnMut(String)) {
    let policy = &method.policy;
    let uses = [
        ("etag_field", &policy.etag_field, &method.output),
        ("if_match_field", &policy.if_match_field, &method.input),
        ("stream_resume_field", &policy.stream_resume_field, &method.output),
        ("stream_resume_field", &policy.stream_resume_field, &method.input),
    ];
    for (option, path, message) in uses {
        let Some(path) = path else { continue };
        if !ir.field_at(message, path).is_some_and(is_plain_string) {
            refuse(format!("{option} {path:?} is no string field of {message}"));
        }
    }
    if policy.stream_resume_field.is_some() && !method.server_streaming {
        refuse("stream_resume_field is set but the answer is no stream".to_owned());
    }
}

fn http(ir: &ContractIr, method: &Method, binding: &HttpBinding, refuse: &mut impl FnMut(String)) {
    let HttpBinding { verb, path, body, response_body } = binding;
    if verb.is_empty() {
        return refuse("google.api.http rule has no verb and path".to_owned());
    }
    if method.client_streaming {
        refuse(format!("{verb} {path}: a client stream cannot be reached over REST"));
    }
    match template::variables(path) {
        Err(message) => refuse(message),
        Ok(variables) => {
            for variable in variables {
                match ir.field_at(&method.input, variable) {
                    Some(field) if is_path_variable(field) => {}
                    Some(_) => refuse(format!("{verb} {path}: path variable {variable:?} is no single scalar or enum")),
                    None => {
                        refuse(format!("{verb} {path}: path variable {variable:?} is no field of {}", method.input))
                    }
                }
            }
        }
    }
    if let Some(body) = body {
        let known = body == "*" || ir.messages.get(&method.input).is_some_and(|input| input.field(body).is_some());
        if !known {
            refuse(format!("{verb} {path}: body {body:?} is no field of {}", method.input));
        }
        if matches!(verb.as_str(), "GET" | "DELETE") {
            refuse(format!("{verb} {path}: {verb} has no body (AIP-127)"));
        }
    }
    if response_body.is_some() {
        refuse(format!("{verb} {path}: response_body is not offered: return the resource itself (AIP-131)"));
    }
}

fn colliding_routes(ir: &ContractIr, problems: &mut Vec<Problem>) {
    let mut taken: BTreeMap<(String, String), (&Service, &Method)> = BTreeMap::new();
    for (service, method) in ir.methods() {
        for binding in &method.http {
            let route = (binding.verb.clone(), template::shape(&binding.path));
            if let Some((_, first)) = taken.insert(route, (service, method)) {
                let message = format!("{} {} is taken by {}", binding.verb, binding.path, first.path);
                problems.push(Problem::new(&service.file, &method.path, message));
            }
        }
    }
}

fn event(ir: &ContractIr, name: &str, message: &Message, problems: &mut Vec<Problem>) {
    let Some(event) = &message.event else { return };
    let mut refuse = |text: String| problems.push(Problem::new(&message.file, name, text));
    if event.topic.is_empty() {
        refuse("event has no topic".to_owned());
    }
    if event.key_field.is_empty() {
        refuse("event has no key_field".to_owned());
    } else if !message.field(&event.key_field).is_some_and(is_plain_string) {
        refuse(format!("event's key_field {:?} is no scalar string field of the message", event.key_field));
    }
    for consumer in event.consumers.iter().filter(|consumer| !ir.contexts.contains(consumer)) {
        refuse(format!("event's consumer {consumer:?} is no context (known: {})", ir.contexts.join(", ")));
    }
}

/// `Debug` masks what it can reach: a field of the message itself, and by part only a string.
fn sensitive_field(name: &str, message: &Message, field: &Field, problems: &mut Vec<Problem>) {
    let Some(policy) = field.policy else { return };
    let mut refuse =
        |text: &str| problems.push(Problem::new(&message.file, &format!("{name}.{}", field.name), text.to_owned()));
    if field.oneof.is_some() {
        refuse("is sensitive but inside a oneof, where Debug cannot mask it: move it out");
    }
    if policy.mask != crate::ir::Mask::Redact && field.kind != Kind::String {
        refuse("is no string: only MASK_REDACT fits");
    }
}

fn is_plain_string(field: &Field) -> bool {
    field.kind == Kind::String && field.label == Label::Singular
}

fn is_path_variable(field: &Field) -> bool {
    let single = matches!(field.label, Label::Singular | Label::Optional);
    single && !matches!(field.kind, Kind::Message(_) | Kind::Bytes | Kind::Double | Kind::Float)
}
