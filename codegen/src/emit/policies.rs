//! `gen/rust/src/generated/policies.rs`: the policy of every method, sorted by gRPC path.
use std::fmt::Write;

use super::rust::{HEADER, option, strings};
use crate::ir::{ContractIr, HttpBinding, Method, Service};
use crate::tree::Tree;

/// Adds the policy table.
pub fn emit(ir: &ContractIr, tree: &mut Tree) {
    let mut methods: Vec<_> = ir.methods().collect();
    methods.sort_by(|a, b| a.1.path.cmp(&b.1.path));
    let mut out = String::from(HEADER);
    out.push_str("use crate::policy::{Exposure, HttpRule, Idempotency, MethodPolicy, RateTier, Tenant};\n\n");
    out.push_str("/// Policies of all methods, sorted by path.\npub static POLICIES: &[MethodPolicy] = &[\n");
    for (service, method) in methods {
        out.push_str(&policy(service, method));
    }
    out.push_str("];\n");
    tree.add("gen/rust/src/generated/policies.rs", out);
}

fn policy(service: &Service, method: &Method) -> String {
    let policy = &method.policy;
    let idempotency = &policy.idempotency;
    let rules: Vec<String> = method.http.iter().map(rule).collect();
    let lines = [
        format!("path: {:?}", method.path),
        format!("context: {:?}", service.context),
        format!("service: {:?}", service.full_name),
        format!("method: {:?}", method.name),
        format!("input: {:?}", method.input),
        format!("output: {:?}", method.output),
        format!("server_streaming: {}", method.server_streaming),
        format!("tenant: Tenant::{:?}", policy.tenant),
        format!("exposure: Exposure::{:?}", policy.exposure),
        format!("any_role: {}", strings(&policy.any_role)),
        format!("callers: {}", strings(&policy.callers)),
        format!(
            "idempotency: Idempotency {{ required: {}, ttl_s: {}, natural: {} }}",
            idempotency.required, idempotency.ttl_s, idempotency.natural
        ),
        format!("timeout_ms: {}", policy.timeout_ms),
        format!("per_try_ms: {}", policy.per_try_ms),
        format!("max_retries: {}", policy.max_retries),
        format!("rate_tier: RateTier::{:?}", policy.rate_tier),
        format!("max_request_bytes: {}", policy.max_request_bytes),
        format!("audit: {}", policy.audit),
        format!("etag_field: {}", option(policy.etag_field.as_ref())),
        format!("if_match_field: {}", option(policy.if_match_field.as_ref())),
        format!("stream_resume_field: {}", option(policy.stream_resume_field.as_ref())),
        format!("http: &[{}]", rules.join(", ")),
    ];
    let mut out = String::from("    MethodPolicy {\n");
    for line in lines {
        let _ = writeln!(out, "        {line},");
    }
    out.push_str("    },\n");
    out
}

fn rule(binding: &HttpBinding) -> String {
    format!(
        "HttpRule {{ verb: {:?}, path: {:?}, body: {} }}",
        binding.verb,
        binding.path,
        option(binding.body.as_ref())
    )
}
