//! What a fresh `ordermesh dev` has: two shops with the same goods, a person for each role, and all through REST.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use pg::{Pg, Target};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::platform::Platform;
use crate::rest::{Login, Rest, refusal};

/// Slugs of the shops.
pub const TENANTS: [&str; 2] = ["acme", "globex"];
/// Password of everybody in a development system.
pub const PASSWORD: &str = "ordermesh-demo";
const ROLES: [(&str, &str, &str); 3] =
    [("customer", "customer", "Casey Customer"), ("csr", "csr", "Sam Service"), ("warehouse", "warehouse", "Wim Ware")];
const SHOP: &str = include_str!("../demo/shop.json");

/// Login of a person of a seeded shop: customer, csr, warehouse or admin.
pub fn login(tenant: &str, person: &str) -> Login {
    Login { tenant: tenant.to_owned(), email: format!("{person}@{tenant}.example"), password: PASSWORD.to_owned() }
}

/// Login of the platform's administrator.
pub fn platform_login() -> Login {
    login(identity::PLATFORM, "root")
}

#[derive(Deserialize)]
struct Shop {
    warehouses: Vec<Value>,
    products: Vec<Product>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Product {
    sku: String,
    display_name: String,
    #[serde(default)]
    tax_class: String,
    usd: i64,
    eur: i64,
    weight_grams: i32,
    stock: BTreeMap<String, i32>,
}

/// Makes the platform's administrator, whom nobody can create through REST, unless there is one.
///
/// # Errors
/// When identity's database refuses.
pub async fn bootstrap(platform: &Platform) -> Result<()> {
    let pg = Pg::connect("identity", &Target::new(platform.database()), 1)?;
    let Login { email, password, .. } = platform_login();
    identity::bootstrap(&pg, &platform.vault(&pg)?, &email, password.into())
        .await
        .context("make the platform's administrator")?;
    Ok(())
}

/// Makes both shops as far as they are missing; may be repeated and interrupted.
///
/// # Errors
/// Whatever the REST edge refuses.
pub async fn demo(anonymous: &Rest) -> Result<()> {
    let root = anonymous.login(&platform_login()).await.context("log in as the platform's administrator")?;
    try_join_all(TENANTS.map(|tenant| shop(anonymous, &root, tenant))).await?;
    Ok(())
}

/// Opens one shop with an administrator `admin@<slug>.example`; an existing one is left as it is.
///
/// # Errors
/// Whatever the REST edge refuses.
pub async fn tenant(root: &Rest, slug: &str) -> Result<()> {
    let admin = login(slug, "admin");
    let body = json!({
        "tenant": {"slug": slug, "displayName": title(slug)},
        "admin": {"email": admin.email, "displayName": "Alex Admin", "roles": ["tenant_admin"]},
        "adminPassword": admin.password,
    });
    unless_there(root.post_again("/api/v1/tenants", &body).await)
}

async fn shop(anonymous: &Rest, root: &Rest, slug: &str) -> Result<()> {
    tenant(root, slug).await.with_context(|| format!("create tenant {slug}"))?;
    let admin = anonymous.login(&login(slug, "admin")).await.with_context(|| format!("log in as admin of {slug}"))?;
    trust(&admin).await.with_context(|| format!("set the policy of {slug}"))?;
    people(&admin, slug).await?;
    goods(&admin).await.with_context(|| format!("fill the shop of {slug}"))
}

/// Orders of a shop that is tried out come from one customer with one card: how often they come is not counted. A policy
/// that somebody has changed is left as it is.
///
/// # Errors
/// Whatever the REST edge refuses.
pub async fn trust(admin: &Rest) -> Result<()> {
    let mut policy = admin.get("/api/v1/policy").await?;
    if policy["etag"] != "0" {
        return Ok(());
    }
    policy["risk"]["velocityLimit"] = json!(0);
    let answer = admin.request(Method::PUT, "/api/v1/policy").json(&policy).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the policy was refused: {}", answer.text().await?);
    Ok(())
}

/// A person for each role.
///
/// # Errors
/// Whatever the REST edge refuses.
pub async fn people(admin: &Rest, slug: &str) -> Result<()> {
    for (person, role, name) in ROLES {
        let Login { email, password, .. } = login(slug, person);
        // The seed's people exist as long as it does: nobody has to write to them first.
        let user = json!({"email": email, "displayName": name, "roles": [role], "emailVerified": true});
        let body = json!({"user": user, "password": password});
        unless_there(admin.post_again("/api/v1/users", &body).await).with_context(|| format!("create {email}"))?;
    }
    Ok(())
}

/// Warehouses, products and stock of `demo/shop.json`.
///
/// # Errors
/// Whatever the REST edge refuses.
///
/// # Panics
/// When the file that was compiled in is not well-formed.
pub async fn goods(admin: &Rest) -> Result<()> {
    let shop: Shop = serde_json::from_str(SHOP).expect("demo/shop.json is well-formed");
    for warehouse in &shop.warehouses {
        unless_there(admin.post_again("/api/v1/warehouses", warehouse).await)?;
    }
    for product in &shop.products {
        let price = |code: &str, minor: i64| json!({"currencyCode": code, "amountMinor": minor.to_string()});
        let body = json!({
            "sku": product.sku,
            "displayName": product.display_name,
            "prices": [price("USD", product.usd), price("EUR", product.eur)],
            "taxClass": product.tax_class,
            "weightGrams": product.weight_grams,
        });
        unless_there(admin.post_again("/api/v1/products", &body).await)?;
        stock(admin, product).await.with_context(|| format!("stock of {}", product.sku))?;
    }
    Ok(())
}

async fn stock(admin: &Rest, product: &Product) -> Result<()> {
    let now = admin.get(&format!("/api/v1/inventory/{}", product.sku)).await?;
    let there = now["levels"].as_array().cloned().unwrap_or_default();
    for (warehouse, units) in &product.stock {
        // Sold out is not the same as never delivered, so a level that exists is left alone.
        if there.iter().any(|level| level["warehouse"] == warehouse.as_str()) {
            continue;
        }
        let body = json!({"warehouse": warehouse, "onHandDelta": units, "reason": "first delivery"});
        let key = format!("seed-{}-{warehouse}", product.sku);
        admin.post(&format!("/api/v1/inventory/{}:adjust", product.sku), &body, Some(&key)).await?;
    }
    Ok(())
}

fn unless_there(result: Result<Value>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if refusal(&error).is_some_and(|refusal| refusal.exit_code() == 4) => Ok(()),
        Err(error) => Err(error),
    }
}

fn title(slug: &str) -> String {
    let mut letters = slug.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
