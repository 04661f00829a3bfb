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

use super::{Identity, Page, passwords, roles, seal};
use crate::api::wire;
use crate::store::{self, NewRow, Row};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Unique id.
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
        let (context, row) = (ctx.clone(), Arc::new(seal::person(&self.vault, ctx.tenant, &new, hash).await?));
        let once = self.pg.once("identity.create_user", ctx, move |conn| {
            let (ctx, row) = (context.clone(), Arc::clone(&row));
            async move { create(conn, &ctx, &row).await.map(|row| wire::nameless(&row)) }.boxed()
        });
        let Once { response, replayed } = once.await?;
        // The answer is kept without the names (PAY-12): a repeat is the same request, so it brings them along.
        Ok(Once { response: wire::named(response, new), replayed })
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
        seal::open(&self.vault, tenant, found.ok_or_else(gone)?).await
    }

    /// Says whether a user may buy, and what is known of him.
    ///
    /// # Errors
    /// NotFound USER_NOT_FOUND.
    pub async fn set_standing(&self, ctx: &Ctx, user: UserId, standing: Standing) -> Result<User, Fault> {
        let birth_date = seal::birth_date(&self.vault, ctx.tenant, user, standing.birth_date).await?;
        let (context, arguments) = (ctx.clone(), Arc::new((standing, birth_date)));
        let changed = self.pg.tx("identity.set_standing", ctx.tenant, move |conn| {
            let (ctx, arguments) = (context.clone(), Arc::clone(&arguments));
            async move { store::change_standing(conn, &ctx, user, &arguments.0, arguments.1.as_ref()).await }.boxed()
        });
        seal::open(&self.vault, ctx.tenant, changed.await?).await
    }

    /// A page of the tenant's users, oldest first, and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_users(&self, ctx: &Ctx, page: Page) -> Result<(Vec<User>, String), Fault> {
        let (tenant, size) = (ctx.tenant, page.size);
        let after = self.cursor(Some(tenant), LIST, &page)?;
        let mut rows = self
            .pg
            .read("identity.list_users", tenant, move |conn| store::user_page(conn, tenant, after, size + 1).boxed())
            .await?;
        let token = self.next(Some(tenant), LIST, &mut rows, size, |row| row.id.uuid());
        let mut users = Vec::with_capacity(rows.len());
        for row in rows {
            users.push(seal::open(&self.vault, tenant, row).await?);
        }
        Ok((users, token))
    }
}

/// What callers hear of a user who is not there.
pub(crate) fn no_user(user: UserId) -> Fault {
    Fault::not_found("USER_NOT_FOUND", "the tenant has no such user").with("user_id", user)
}

async fn create(conn: &mut pg::Conn, ctx: &Ctx, new: &NewRow) -> Result<Row, pg::Error> {
    let tenant = store::tenant(conn, ctx.tenant).await?;
    // A token outlives nothing but itself: a tenant that is not there has no slug that anything may be granted in.
    let slug = tenant.map_or_else(String::new, |tenant| tenant.slug);
    roles::grant(&ctx.principal, &slug, &new.roles)
        .map_err(|error| Fault::denied("ROLE_NOT_GRANTABLE", error.to_string()))?;
    store::add_user(conn, ctx, new).await
}
