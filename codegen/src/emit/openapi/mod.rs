//! `gen/openapi/openapi.json`: OpenAPI 3.1 of everything that REST offers.
mod operation;
mod parameters;
mod schema;
mod shared;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::operation::operation;
use self::schema::Schemas;
use super::json;
use crate::ir::{ContractIr, Exposure};
use crate::template;
use crate::tree::Tree;

/// Path of the document.
pub const PATH: &str = "gen/openapi/openapi.json";

/// Adds the document.
///
/// # Errors
/// The document cannot be serialised.
pub fn emit(ir: &ContractIr, tree: &mut Tree) -> anyhow::Result<()> {
    tree.add(PATH, json::pretty(document(ir))?);
    Ok(())
}

/// The document as a value.
pub fn document(ir: &ContractIr) -> Value {
    let mut schemas = Schemas::new(ir);
    let templates = templates(ir);
    let mut paths: Map<String, Value> = Map::new();
    let mut tags = Vec::new();
    for service in &ir.services {
        let mut offered = false;
        for method in service.methods.iter().filter(|method| method.policy.exposure != Exposure::Internal) {
            for (index, binding) in method.http.iter().enumerate() {
                offered = true;
                let path = &templates[&template::shape(&binding.path)];
                let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
                item[binding.verb.to_lowercase()] = operation(ir, &mut schemas, service, method, index, path);
            }
        }
        if offered {
            tags.push(json!({ "name": service.name, "description": service.comment }));
        }
    }
    let mut components = shared::components();
    components["schemas"] = schemas.finish(shared::problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ordermesh",
            "summary": "Orders from cart to doorstep: catalogue, stock, payment, fulfilment, shipping.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "tags": tags,
        "paths": paths,
        "components": components,
    })
}

/// One template per shape: OpenAPI holds `/products/{sku}` and `/products/{product.sku}` for the same path.
fn templates(ir: &ContractIr) -> BTreeMap<String, String> {
    let mut templates: BTreeMap<String, String> = BTreeMap::new();
    for (_, method) in ir.methods() {
        for binding in &method.http {
            let candidate = template::without_patterns(&binding.path);
            let chosen = templates.entry(template::shape(&binding.path)).or_insert_with(|| candidate.clone());
            if (candidate.len(), &candidate) < (chosen.len(), chosen) {
                *chosen = candidate;
            }
        }
    }
    templates
}
