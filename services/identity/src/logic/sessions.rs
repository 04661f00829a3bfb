//! Logging in (USR-01, USR-02).

use ctx::Open;
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use secrecy::SecretString;
use serve::auth::Claims;

use super::users::{User, normalise};
use super::{ABOVE, Identity, passwords, seal};
use crate::store;

/// What somebody logs in with.
#[derive(Debug, Clone)]
pub struct Login {
    /// Slug of the tenant.
    pub tenant: String,
    /// Login name, in any case.
    pub email: String,
    /// Password.
    pub password: SecretString,
}

/// A session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The tenant.
    pub tenant: TenantId,
    /// Who logged in.
    pub user: User,
    /// Signed token.
    pub token: String,
    /// Seconds until it expires.
    pub expires_in_s: i32,
}

impl Identity {
    /// Exchanges a password for an access token.
    ///
    /// # Errors
    /// Unauthenticated LOGIN_FAILED; the same words after the same work whether tenant, e-mail or password is wrong.
    pub async fn login(&self, open: &Open, login: Login) -> Result<Session, Fault> {
        let slug = login.tenant;
        let tenant = self.pg.read("identity.login.tenant", ABOVE, move |conn| {
            let slug = slug.clone();
            async move { store::tenant_by_slug(conn, &slug).await }.boxed()
        });
        // A tenant that is not there has no users: the second look costs the same and finds nobody.
        let tenant = tenant.await?.map_or(ABOVE, |tenant| tenant.id);
        let digest = seal::digest(&self.vault, tenant, &normalise(&login.email)).await?;
        let found = self.pg.read("identity.login.user", tenant, move |conn| {
            let digest = digest.clone();
            async move { store::user_by_email(conn, tenant, &digest).await }.boxed()
        });
        let (row, stored) = found.await?.unzip();
        let right = passwords::verify(login.password, stored).await?;
        let Some(row) = row.filter(|_| right) else {
            metrics::counter!("logins_total", "outcome" => "failed").increment(1);
            return Err(Fault::unauthenticated("LOGIN_FAILED", "tenant, e-mail or password is wrong"));
        };
        metrics::counter!("logins_total", "outcome" => "ok").increment(1);
        let user = seal::open(&self.vault, tenant, row).await?;
        let claims = Claims::user(user.id, tenant, &user.roles, open.now, self.token_ttl);
        let token = self.signing_key().await?.sign(&claims)?;
        let expires_in_s = i32::try_from(self.token_ttl.as_secs()).unwrap_or(i32::MAX);
        Ok(Session { tenant, user, token, expires_in_s })
    }
}
