//! People with a login (USR-01).

use std::sync::Arc;

use contract::identity::v1 as pb;
use ctx::{Ctx, Role};
use fault::Fault;
use futures::FutureExt;
use ids::UserId;
use jiff::Timestamp;
use jiff::civil::Date;
use pg::Once;
use secrecy::SecretString;
use serde::Deserialize;

use super::{Identity, Page, passwords, roles};
use crate::api::wire;
use crate::store;

const LIST: &[u8] = b"users";

/// A person as somebody wants to register it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Login name, lower case.
    pub email: String,
    /// Name shown to people.
    pub display_name: String,
    /// What the person may be.
    pub roles: Vec<Role>,
    /// Somebody vouches for the address.
    pub email_verified: bool,
    /// Day of birth, if it is known.
    pub birth_date: Option<Date>,
}

/// What is known of a person as a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// May not buy any more.
    pub blocked: bool,
    /// Mail to the address has arrived.
    pub email_verified: bool,
    /// Day of birth, if it is known.
    pub birth_date: Option<Date>,
    /// Why it is said now.
    pub reason: String,
}

/// A person with a login.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Unique id.
    #[serde(rename = "user_id", deserialize_with = "store::user_id")]
    pub id: UserId,
    /// Login name, lower case; unique in the tenant.
    pub email: String,
    /// Name shown to people.
    pub display_name: String,
    /// What the person may be.
    pub roles: Vec<Role>,
    /// May not buy any more.
    pub blocked: bool,
    /// Mail to the address has arrived.
    pub email_verified: bool,
    /// Day of birth, if it is known.
    pub birth_date: Option<Date>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The one form of an e-mail address that is stored and looked for.
pub fn normalise(email: &str) -> String {
    email.trim().to_lowercase()
}

impl Identity {
    /// Registers a person in the caller's tenant, once per idempotency key.
    ///
    /// # Errors
    /// AlreadyExists EMAIL_TAKEN; Denied ROLE_NOT_GRANTABLE.
    pub async fn create_user(&self, ctx: &Ctx, new: NewUser, password: SecretString) -> Result<Once<pb::User>, Fault> {
        let hash = passwords::hash(password).await?;
        let (context, arguments) = (ctx.clone(), Arc::new((new, hash)));
        let once = self.pg.once("identity.create_user", ctx, move |conn| {
            let (ctx, arguments) = (context.clone(), Arc::clone(&arguments));
            async move { create(conn, &ctx, &arguments.0, &arguments.1).await.map(wire::user) }.boxed()
        });
        Ok(once.await?)
    }

    /// A user of the caller's tenant; a customer sees only himself.
    ///
    /// # Errors
    /// NotFound USER_NOT_FOUND.
    pub async fn get_user(&self, ctx: &Ctx, user: UserId) -> Result<User, Fault> {
        let gone = || no_user(user);
        if ctx.principal.is_customer_only() && ctx.principal.user_id() != Some(user) {
            return Err(gone());
        }
        let tenant = ctx.tenant;
        let found =
            self.pg.read("identity.get_user", tenant, move |conn| store::user(conn, tenant, user).boxed()).await?;
        found.ok_or_else(gone)
    }

    /// Says whether a user may buy, and what is known of him.
    ///
    /// # Errors
    /// NotFound USER_NOT_FOUND.
    pub async fn set_standing(&self, ctx: &Ctx, user: UserId, standing: Standing) -> Result<User, Fault> {
        let (context, standing) = (ctx.clone(), Arc::new(standing));
        let changed = self.pg.tx("identity.set_standing", ctx.tenant, move |conn| {
            let (ctx, standing) = (context.clone(), Arc::clone(&standing));
            async move { store::change_standing(conn, &ctx, user, &standing).await }.boxed()
        });
        Ok(changed.await?)
    }

    /// A page of the tenant's users, oldest first, and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_users(&self, ctx: &Ctx, page: Page) -> Result<(Vec<User>, String), Fault> {
        let (tenant, size) = (ctx.tenant, page.size);
        let after = self.cursor(Some(tenant), LIST, &page)?;
        let mut users = self
            .pg
            .read("identity.list_users", tenant, move |conn| store::user_page(conn, tenant, after, size + 1).boxed())
            .await?;
        let token = self.next(Some(tenant), LIST, &mut users, size, |user| user.id.uuid());
        Ok((users, token))
    }
}

/// What callers hear of a user who is not there.
pub(crate) fn no_user(user: UserId) -> Fault {
    Fault::not_found("USER_NOT_FOUND", "the tenant has no such user").with("user_id", user)
}

async fn create(conn: &mut pg::Conn, ctx: &Ctx, new: &NewUser, hash: &str) -> Result<User, pg::Error> {
    let tenant = store::tenant(conn, ctx.tenant).await?;
    // A token outlives nothing but itself: a tenant that is not there has no slug that anything may be granted in.
    let slug = tenant.map_or_else(String::new, |tenant| tenant.slug);
    roles::grant(&ctx.principal, &slug, &new.roles)
        .map_err(|error| Fault::denied("ROLE_NOT_GRANTABLE", error.to_string()))?;
    store::add_user(conn, ctx, UserId::new(), new, hash).await
}
