//! Shops of the platform (TEN-01).

use std::sync::Arc;

use ctx::{Ctx, Open, Role};
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use super::users::NewUser;
use super::{ABOVE, Identity, Page, passwords, seal};
use crate::store::{self, NewRow};

const LIST: &[u8] = b"tenants";

/// A company that runs its shop on this system.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    /// Unique id.
    #[serde(rename = "tenant_id", deserialize_with = "store::tenant_id")]
    pub id: TenantId,
    /// Name in URLs.
    pub slug: String,
    /// Name shown to people.
    pub display_name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A shop that is about to open.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Name in URLs; unique.
    pub slug: String,
    /// Name shown to people.
    pub display_name: String,
    /// Its first administrator.
    pub admin: NewUser,
    /// Password of the administrator.
    pub password: SecretString,
}

impl Identity {
    /// Opens a shop with its first administrator, both or neither.
    ///
    /// # Errors
    /// AlreadyExists SLUG_TAKEN.
    pub async fn create_tenant(&self, open: Open, new: NewTenant) -> Result<Tenant, Fault> {
        let hash = passwords::hash(new.password.clone()).await?;
        let tenant = TenantId::new();
        // A slug that is taken leaves a key that seals nothing.
        let admin = seal::person(&self.vault, tenant, &new.admin, hash).await?;
        let (ctx, arguments) = (open.in_tenant(tenant), Arc::new((new, admin)));
        let opened = self.pg.tx("identity.create_tenant", tenant, move |conn| {
            let (ctx, arguments) = (ctx.clone(), Arc::clone(&arguments));
            async move { create(conn, &ctx, &arguments.0, &arguments.1).await }.boxed()
        });
        Ok(opened.await?)
    }

    /// The caller's own tenant, or any tenant for a platform_admin.
    ///
    /// # Errors
    /// NotFound TENANT_NOT_FOUND.
    pub async fn get_tenant(&self, ctx: &Ctx, tenant: TenantId) -> Result<Tenant, Fault> {
        let gone = || Fault::not_found("TENANT_NOT_FOUND", "no such tenant").with("tenant_id", tenant);
        if tenant != ctx.tenant && !ctx.principal.has(Role::PlatformAdmin) {
            return Err(gone());
        }
        let found =
            self.pg.read("identity.get_tenant", ctx.tenant, move |conn| store::tenant(conn, tenant).boxed()).await?;
        found.ok_or_else(gone)
    }

    /// A page of all tenants, oldest first, and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_tenants(&self, page: Page) -> Result<(Vec<Tenant>, String), Fault> {
        let size = page.size;
        let after = self.cursor(None, LIST, &page)?;
        let mut tenants = self
            .pg
            .read("identity.list_tenants", ABOVE, move |conn| store::tenant_page(conn, after, size + 1).boxed())
            .await?;
        let token = self.next(None, LIST, &mut tenants, size, |tenant| tenant.id.uuid());
        Ok((tenants, token))
    }
}

async fn create(conn: &mut pg::Conn, ctx: &Ctx, new: &NewTenant, admin: &NewRow) -> Result<Tenant, pg::Error> {
    let tenant = store::add_tenant(conn, ctx, &new.slug, &new.display_name).await?;
    let tenant = tenant.ok_or_else(|| {
        Fault::already_exists("SLUG_TAKEN", "there is a tenant with this slug").with("slug", &new.slug)
    })?;
    store::add_user(conn, ctx, admin).await?;
    Ok(tenant)
}
