//! Who somebody is, and the keys that tokens are signed with, are sealed (PAY-12).

use fault::Fault;
use ids::{TenantId, UserId};
use jiff::civil::Date;
use vault::{Sealed, Vault};

use super::ABOVE;
use super::users::{NewUser, User};
use crate::store::{NewRow, Row};

/// Where e-mails are, for their digests.
const EMAILS: &str = "users.email";

/// As `sealed_below` of `migrations/identity` says it.
fn of_user(column: &str, id: UserId) -> String {
    format!("users.{column}:{}", id.uuid())
}

/// As `sealed_below` of `migrations/identity` says it.
fn of_key(generation: i32) -> String {
    format!("signing_keys.pkcs8:{generation}")
}

/// What a login name, in its one form, is found by.
///
/// # Errors
/// Of the vault.
pub async fn digest(vault: &Vault, tenant: TenantId, email: &str) -> Result<Vec<u8>, Fault> {
    vault.digest(tenant, EMAILS, email.as_bytes()).await
}

/// A new person ready to be stored.
///
/// # Errors
/// Of the vault.
pub async fn person(vault: &Vault, tenant: TenantId, new: &NewUser, password_hash: String) -> Result<NewRow, Fault> {
    let id = UserId::new();
    Ok(NewRow {
        id,
        email: vault.seal(tenant, &of_user("email", id), new.email.as_bytes()).await?,
        email_digest: digest(vault, tenant, &new.email).await?,
        display_name: vault.seal(tenant, &of_user("display_name", id), new.display_name.as_bytes()).await?,
        birth_date: birth_date(vault, tenant, id, new.birth_date).await?,
        roles: new.roles.clone(),
        email_verified: new.email_verified,
        password_hash,
    })
}

/// A day of birth, sealed.
///
/// # Errors
/// Of the vault.
pub async fn birth_date(
    vault: &Vault,
    tenant: TenantId,
    id: UserId,
    date: Option<Date>,
) -> Result<Option<Vec<u8>>, Fault> {
    let Some(date) = date else { return Ok(None) };
    vault.seal(tenant, &of_user("birth_date", id), date.to_string().as_bytes()).await.map(Some)
}

/// The person whom a row stands for.
///
/// # Errors
/// Internal when it does not open: it was sealed for another row or tenant.
pub async fn open(vault: &Vault, tenant: TenantId, row: Row) -> Result<User, Fault> {
    let text = async |column: &str, sealed: &Sealed| {
        let plain = vault.open(tenant, &of_user(column, row.id), sealed.as_ref()).await?;
        String::from_utf8(plain).map_err(Fault::internal)
    };
    let birth_date = match &row.birth_date {
        Some(sealed) => Some(text("birth_date", sealed).await?.parse().map_err(Fault::internal)?),
        None => None,
    };
    Ok(User {
        id: row.id,
        email: text("email", &row.email).await?,
        display_name: text("display_name", &row.display_name).await?,
        birth_date,
        roles: row.roles,
        blocked: row.blocked,
        email_verified: row.email_verified,
        created_at: row.created_at,
    })
}

/// A signing key, sealed; it is above tenants, and so is what seals it.
///
/// # Errors
/// Of the vault.
pub async fn key(vault: &Vault, generation: i32, pkcs8: &[u8]) -> Result<Vec<u8>, Fault> {
    vault.seal(ABOVE, &of_key(generation), pkcs8).await
}

/// A signing key as it was.
///
/// # Errors
/// Internal when it does not open: it was sealed as another generation.
pub async fn open_key(vault: &Vault, generation: i32, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
    vault.open(ABOVE, &of_key(generation), sealed).await
}
