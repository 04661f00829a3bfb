use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::caller::content;
use crate::cli::Tenant;

/// `ordermesh tenant create`.
///
/// # Errors
/// When a file cannot be read or the system refuses.
pub async fn tenant(args: Tenant) -> Result<ExitCode> {
    let Tenant::Create { caller, slug, name, admin, password } = args;
    let password = content(&password)?;
    let body = json!({
        "tenant": {"slug": slug, "displayName": name.as_deref().unwrap_or(&slug)},
        "admin": {"email": admin, "displayName": "Administrator", "roles": ["tenant_admin"]},
        "adminPassword": password.trim_end_matches(['\r', '\n']),
    });
    let tenant = caller.open().await?.post("/api/v1/tenants", &body, None).await?;
    println!("{}", tenant["id"].as_str().unwrap_or_default());
    eprintln!("tenant {slug} is open; next: log in as {admin} and create products and warehouses");
    Ok(ExitCode::SUCCESS)
}
