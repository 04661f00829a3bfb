//! Tenants and users that must exist before anybody can log in to make them; running it again changes nothing.

use std::sync::Arc;

use ctx::{Cause, Ctx, Role};
use fault::Fault;
use futures::FutureExt;
use ids::{TenantId, UserId};
use jiff::Timestamp;
use pg::Pg;
use secrecy::SecretString;
use vault::Vault;

use crate::logic::roles::PLATFORM;
use crate::logic::users::{NewUser, normalise};
use crate::logic::{ABOVE, passwords, seal};
use crate::store;

/// Makes the platform's own tenant and its first administrator.
///
/// # Errors
/// Of the database.
pub async fn bootstrap(pg: &Pg, vault: &Vault, email: &str, password: SecretString) -> Result<TenantId, Fault> {
    let platform = tenant(pg, PLATFORM, "Platform").await?;
    user(pg, vault, platform, email, "Platform administrator", &[Role::PlatformAdmin], password).await?;
    Ok(platform)
}

/// Makes a tenant, or finds the one that has the slug.
///
/// # Errors
/// Of the database.
pub async fn tenant(pg: &Pg, slug: &str, display_name: &str) -> Result<TenantId, Fault> {
    let id = TenantId::new();
    let (ctx, names) = (context(id), Arc::new((slug.to_owned(), display_name.to_owned())));
    let added = pg.tx("identity.seed_tenant", id, move |conn| {
        let (ctx, names) = (ctx.clone(), Arc::clone(&names));
        async move {
            match store::add_tenant(conn, &ctx, &names.0, &names.1).await? {
                Some(added) => Ok(Some(added)),
                None => store::tenant_by_slug(conn, &names.0).await,
            }
        }
        .boxed()
    });
    let found = added.await?.ok_or_else(|| Fault::internal("a tenant is neither new nor there"))?;
    Ok(found.id)
}

/// Makes a user with these roles and this password, or finds the one that has the e-mail.
///
/// # Errors
/// Of the database.
pub async fn user(
    pg: &Pg,
    vault: &Vault,
    tenant: TenantId,
    email: &str,
    display_name: &str,
    roles: &[Role],
    password: SecretString,
) -> Result<UserId, Fault> {
    let email = normalise(email);
    let digest = seal::digest(vault, tenant, &email).await?;
    if let Some(found) = look(pg, tenant, digest.clone()).await? {
        return Ok(found);
    }
    let hash = passwords::hash(password).await?;
    let new = NewUser {
        email,
        display_name: display_name.to_owned(),
        roles: roles.to_vec(),
        email_verified: true,
        birth_date: None,
    };
    let (ctx, row) = (context(tenant), Arc::new(seal::person(vault, tenant, &new, hash).await?));
    let added = pg.tx("identity.seed_user", tenant, move |conn| {
        let (ctx, row) = (ctx.clone(), Arc::clone(&row));
        async move { store::add_user(conn, &ctx, &row).await }.boxed()
    });
    match added.await.map_err(Fault::from) {
        Ok(added) => Ok(added.id),
        // Another process seeds at the same moment.
        Err(fault) if fault.reason() == "EMAIL_TAKEN" => look(pg, tenant, digest).await?.ok_or(fault),
        Err(fault) => Err(fault),
    }
}

async fn look(pg: &Pg, tenant: TenantId, digest: Vec<u8>) -> Result<Option<UserId>, Fault> {
    let found = pg.read("identity.seed_look", tenant, move |conn| {
        let digest = digest.clone();
        async move { store::user_by_email(conn, tenant, &digest).await }.boxed()
    });
    Ok(found.await?.map(|(user, _)| user.id))
}

/// Every tenant's slug and id, oldest first.
///
/// # Errors
/// Of the database.
pub async fn tenants(pg: &Pg) -> Result<Vec<(String, TenantId)>, Fault> {
    let first = uuid::Uuid::nil();
    let all = pg.read("identity.seed_tenants", ABOVE, move |conn| store::tenant_page(conn, first, i64::MAX).boxed());
    let all = all.await?;
    Ok(all.into_iter().map(|tenant| (tenant.slug, tenant.id)).collect())
}

fn context(tenant: TenantId) -> Ctx {
    let cause = Cause { correlation_id: "seed".to_owned(), causation_id: "seed".to_owned(), traceparent: None };
    Ctx::service("identity", tenant, cause, Timestamp::now())
}
