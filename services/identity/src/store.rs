//! The only file that knows rows.
//!
//! **What do we store?** Tenants and signing keys, which are above tenants and have no row level security; users with
//! their password hashes and policies, which are inside one.

use std::time::Duration;

use contract::Event;
use contract::identity::v1::{CustomerStandingChanged, PolicyChanged, TenantCreated, TenantPolicy, UserRegistered};
use ctx::{Ctx, Role};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Double, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use fault::Fault;
use ids::{TenantId, UserId};
use jiff::Timestamp;
use pg::Conn;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;
use vault::Sealed;

use crate::logic::policy::stale;
use crate::logic::tenants::Tenant;
use crate::logic::users::{Standing, no_user};

#[derive(QueryableByName)]
struct Doc {
    #[diesel(sql_type = Jsonb)]
    doc: serde_json::Value,
}

impl Doc {
    fn decode<T: DeserializeOwned>(self) -> Result<T, pg::Error> {
        serde_json::from_value(self.doc).map_err(|error| Fault::internal(error).into())
    }
}

fn all<T: DeserializeOwned>(docs: Vec<Doc>) -> Result<Vec<T>, pg::Error> {
    docs.into_iter().map(Doc::decode).collect()
}

/// Rows hold bare UUIDs.
pub fn user_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UserId, D::Error> {
    Uuid::deserialize(deserializer).map(UserId::from_uuid)
}

/// Rows hold bare UUIDs.
pub fn tenant_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TenantId, D::Error> {
    Uuid::deserialize(deserializer).map(TenantId::from_uuid)
}

fn event<E: Event>(message: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, message.encode_to_vec())
}

/// Adds the tenant of the context; none: the slug is taken.
///
/// # Errors
/// Of the database.
pub async fn add_tenant(
    conn: &mut Conn,
    ctx: &Ctx,
    slug: &str,
    display_name: &str,
) -> Result<Option<Tenant>, pg::Error> {
    let added = sql_query(
        "INSERT INTO tenants AS t (tenant_id, slug, display_name) VALUES ($1, $2, $3) \
         ON CONFLICT (slug) DO NOTHING RETURNING to_jsonb(t) AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<Text, _>(slug)
    .bind::<Text, _>(display_name)
    .get_result::<Doc>(conn)
    .await
    .optional()?;
    let Some(added) = added else { return Ok(None) };
    let message = TenantCreated { tenant_id: ctx.tenant.to_string(), slug: slug.to_owned() };
    eventlog::append(conn, ctx, ctx.tenant.uuid(), 0, &[event(&message)]).await?;
    added.decode().map(Some)
}

/// A tenant by id.
///
/// # Errors
/// Of the database.
pub async fn tenant(conn: &mut Conn, tenant: TenantId) -> Result<Option<Tenant>, pg::Error> {
    let found = sql_query("SELECT to_jsonb(t) AS doc FROM tenants t WHERE tenant_id = $1")
        .bind::<SqlUuid, _>(tenant.uuid())
        .get_result::<Doc>(conn)
        .await
        .optional()?;
    found.map(Doc::decode).transpose()
}

/// A tenant by its name in URLs.
///
/// # Errors
/// Of the database.
pub async fn tenant_by_slug(conn: &mut Conn, slug: &str) -> Result<Option<Tenant>, pg::Error> {
    let found = sql_query("SELECT to_jsonb(t) AS doc FROM tenants t WHERE slug = $1")
        .bind::<Text, _>(slug)
        .get_result::<Doc>(conn)
        .await
        .optional()?;
    found.map(Doc::decode).transpose()
}

/// Up to `limit` tenants behind one, oldest first: ids sort by time.
///
/// # Errors
/// Of the database.
pub async fn tenant_page(conn: &mut Conn, after: Uuid, limit: i64) -> Result<Vec<Tenant>, pg::Error> {
    let rows = sql_query("SELECT to_jsonb(t) AS doc FROM tenants t WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2")
        .bind::<SqlUuid, _>(after)
        .bind::<BigInt, _>(limit)
        .load::<Doc>(conn)
        .await?;
    all(rows)
}

/// A user as he is stored; what says who he is is sealed.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    /// Unique id.
    #[serde(rename = "user_id", deserialize_with = "user_id")]
    pub id: UserId,
    /// Login name.
    pub email: Sealed,
    /// Name shown to people.
    pub display_name: Sealed,
    /// Day of birth, if it is known.
    pub birth_date: Option<Sealed>,
    /// What the person may be.
    pub roles: Vec<Role>,
    /// May not buy any more.
    pub blocked: bool,
    /// Mail to the address has arrived.
    pub email_verified: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A user who is to be stored.
#[derive(Clone)]
pub struct NewRow {
    /// Unique id.
    pub id: UserId,
    /// Login name, sealed.
    pub email: Vec<u8>,
    /// Digest of the login name.
    pub email_digest: Vec<u8>,
    /// Name shown to people, sealed.
    pub display_name: Vec<u8>,
    /// Day of birth, sealed.
    pub birth_date: Option<Vec<u8>>,
    /// What the person may be.
    pub roles: Vec<Role>,
    /// Somebody vouches for the address.
    pub email_verified: bool,
    /// Hash of the password.
    pub password_hash: String,
}

/// Adds a user to the tenant of the context.
///
/// # Errors
/// AlreadyExists EMAIL_TAKEN.
pub async fn add_user(conn: &mut Conn, ctx: &Ctx, new: &NewRow) -> Result<Row, pg::Error> {
    let roles: Vec<&str> = new.roles.iter().copied().map(Role::as_str).collect();
    let added = sql_query(
        "INSERT INTO users AS u (tenant_id, user_id, email, email_digest, display_name, birth_date, roles, password_hash, \
         email_verified) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT ON CONSTRAINT users_email DO NOTHING \
         RETURNING to_jsonb(u) - 'password_hash' AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<SqlUuid, _>(new.id.uuid())
    .bind::<Binary, _>(&new.email)
    .bind::<Binary, _>(&new.email_digest)
    .bind::<Binary, _>(&new.display_name)
    .bind::<Nullable<Binary>, _>(new.birth_date.as_ref())
    .bind::<Array<Text>, _>(&roles)
    .bind::<Text, _>(&new.password_hash)
    .bind::<Bool, _>(new.email_verified)
    .get_result::<Doc>(conn)
    .await
    .optional()?
    .ok_or_else(|| Fault::already_exists("EMAIL_TAKEN", "the tenant has a user with this e-mail"))?;
    let roles = roles.into_iter().map(str::to_owned).collect();
    let message = UserRegistered { user_id: new.id.to_string(), roles };
    eventlog::append(conn, ctx, new.id.uuid(), 0, &[event(&message)]).await?;
    added.decode()
}

/// Replaces what is known of a user as a customer; `birth_date` is the sealed one.
///
/// # Errors
/// NotFound USER_NOT_FOUND.
pub async fn change_standing(
    conn: &mut Conn,
    ctx: &Ctx,
    id: UserId,
    standing: &Standing,
    birth_date: Option<&Vec<u8>>,
) -> Result<Row, pg::Error> {
    // The lock comes before the first write, so that the events are in the log's order (data.md H3).
    let version =
        sql_query("SELECT to_jsonb(version) AS doc FROM users WHERE tenant_id = $1 AND user_id = $2 FOR NO KEY UPDATE")
            .bind::<SqlUuid, _>(ctx.tenant.uuid())
            .bind::<SqlUuid, _>(id.uuid())
            .get_result::<Doc>(conn)
            .await
            .optional()?
            .ok_or_else(|| no_user(id))?;
    let version: i32 = version.decode()?;
    let changed = sql_query(
        "UPDATE users AS u SET blocked = $3, email_verified = $4, birth_date = $5, version = version + 1 \
         WHERE tenant_id = $1 AND user_id = $2 RETURNING to_jsonb(u) - 'password_hash' AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<SqlUuid, _>(id.uuid())
    .bind::<Bool, _>(standing.blocked)
    .bind::<Bool, _>(standing.email_verified)
    .bind::<Nullable<Binary>, _>(birth_date)
    .get_result::<Doc>(conn)
    .await?;
    let message =
        CustomerStandingChanged { user_id: id.to_string(), blocked: standing.blocked, reason: standing.reason.clone() };
    eventlog::append(conn, ctx, id.uuid(), version, &[event(&message)]).await?;
    changed.decode()
}

/// A user by id.
///
/// # Errors
/// Of the database.
pub async fn user(conn: &mut Conn, tenant: TenantId, user: UserId) -> Result<Option<Row>, pg::Error> {
    let found =
        sql_query("SELECT to_jsonb(u) - 'password_hash' AS doc FROM users u WHERE tenant_id = $1 AND user_id = $2")
            .bind::<SqlUuid, _>(tenant.uuid())
            .bind::<SqlUuid, _>(user.uuid())
            .get_result::<Doc>(conn)
            .await
            .optional()?;
    found.map(Doc::decode).transpose()
}

/// A user with the hash of the password, by the digest of the login name.
///
/// # Errors
/// Of the database.
pub async fn user_by_email(
    conn: &mut Conn,
    tenant: TenantId,
    digest: &[u8],
) -> Result<Option<(Row, String)>, pg::Error> {
    #[derive(QueryableByName)]
    struct Credentials {
        #[diesel(embed)]
        user: Doc,
        #[diesel(sql_type = Text)]
        password_hash: String,
    }
    let found = sql_query(
        "SELECT to_jsonb(u) - 'password_hash' AS doc, password_hash FROM users u WHERE tenant_id = $1 AND email_digest = $2",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Binary, _>(digest)
    .get_result::<Credentials>(conn)
    .await
    .optional()?;
    found.map(|found| Ok((found.user.decode()?, found.password_hash))).transpose()
}

/// Up to `limit` users behind one, oldest first: ids sort by time.
///
/// # Errors
/// Of the database.
pub async fn user_page(conn: &mut Conn, tenant: TenantId, after: Uuid, limit: i64) -> Result<Vec<Row>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(u) - 'password_hash' AS doc FROM users u WHERE tenant_id = $1 AND user_id > $2 \
         ORDER BY user_id LIMIT $3",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(after)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    all(rows)
}

#[derive(QueryableByName)]
struct PolicyRow {
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Binary)]
    policy: Vec<u8>,
}

/// The policy of a tenant that changed it, with its version.
///
/// # Errors
/// Of the database.
pub async fn policy(conn: &mut Conn, tenant: TenantId) -> Result<Option<(TenantPolicy, i32)>, pg::Error> {
    let found = sql_query("SELECT version, policy FROM policies WHERE tenant_id = $1")
        .bind::<SqlUuid, _>(tenant.uuid())
        .get_result::<PolicyRow>(conn)
        .await
        .optional()?;
    let decode = |row: PolicyRow| Ok((TenantPolicy::decode(&row.policy[..]).map_err(Fault::internal)?, row.version));
    found.map(decode).transpose()
}

/// Replaces the policy of the context's tenant and returns the new version.
///
/// # Errors
/// Aborted ETAG_MISMATCH.
pub async fn change_policy(
    conn: &mut Conn,
    ctx: &Ctx,
    policy: &TenantPolicy,
    based_on: Option<i32>,
) -> Result<i32, pg::Error> {
    // The lock comes before the first write, so that the events are in the log's order (data.md H3).
    let found = sql_query("SELECT version, policy FROM policies WHERE tenant_id = $1 FOR NO KEY UPDATE")
        .bind::<SqlUuid, _>(ctx.tenant.uuid())
        .get_result::<PolicyRow>(conn)
        .await
        .optional()?;
    let version = found.map_or(0, |row| row.version);
    if based_on.is_some_and(|based_on| based_on != version) {
        return Err(stale().with("etag", version).into());
    }
    let statement = if version == 0 {
        "INSERT INTO policies (tenant_id, version, policy) VALUES ($1, $2, $3)"
    } else {
        "UPDATE policies SET version = $2, policy = $3, updated_at = now() WHERE tenant_id = $1"
    };
    let bare = TenantPolicy { etag: String::new(), ..policy.clone() };
    sql_query(statement)
        .bind::<SqlUuid, _>(ctx.tenant.uuid())
        .bind::<Integer, _>(version + 1)
        .bind::<Binary, _>(bare.encode_to_vec())
        .execute(conn)
        .await?;
    let message = PolicyChanged { tenant_id: ctx.tenant.to_string() };
    let stream = Uuid::new_v5(&ctx.tenant.uuid(), b"policy");
    eventlog::append(conn, ctx, stream, version, &[event(&message)]).await?;
    Ok(version + 1)
}

/// A signing key with its private half.
#[derive(Clone, QueryableByName)]
pub struct StoredKey {
    /// Counts the keys, from 1; the highest signs.
    #[diesel(sql_type = Integer)]
    pub generation: i32,
    /// Id in the header of tokens.
    #[diesel(sql_type = Text)]
    pub kid: String,
    /// Private key, sealed.
    #[diesel(sql_type = Binary)]
    pub pkcs8: Vec<u8>,
}

/// The key that signs, if there is one.
///
/// # Errors
/// Of the database.
pub async fn newest_key(conn: &mut Conn) -> Result<Option<StoredKey>, pg::Error> {
    let newest = "SELECT generation, kid, pkcs8 FROM signing_keys ORDER BY generation DESC LIMIT 1";
    Ok(sql_query(newest).get_result(conn).await.optional()?)
}

/// Keys that verify, the newest first.
///
/// # Errors
/// Of the database.
pub async fn keys(conn: &mut Conn) -> Result<Vec<StoredKey>, pg::Error> {
    let good = "SELECT generation, kid, pkcs8 FROM signing_keys \
                WHERE verify_until IS NULL OR verify_until > now() ORDER BY generation DESC";
    Ok(sql_query(good).load(conn).await?)
}

/// Adds a key; false: there is one of that generation.
///
/// # Errors
/// Of the database.
pub async fn add_key(conn: &mut Conn, key: &StoredKey) -> Result<bool, pg::Error> {
    let added = sql_query(
        "INSERT INTO signing_keys (generation, kid, pkcs8) VALUES ($1, $2, $3) ON CONFLICT (generation) DO NOTHING",
    )
    .bind::<Integer, _>(key.generation)
    .bind::<Text, _>(&key.kid)
    .bind::<Binary, _>(&key.pkcs8)
    .execute(conn)
    .await?;
    Ok(added == 1)
}

/// Lets keys before a generation verify for a while yet.
///
/// # Errors
/// Of the database.
pub async fn retire_keys(conn: &mut Conn, before: i32, until: Duration) -> Result<(), pg::Error> {
    sql_query(
        "UPDATE signing_keys SET verify_until = now() + make_interval(secs => $2) \
         WHERE generation < $1 AND verify_until IS NULL",
    )
    .bind::<Integer, _>(before)
    .bind::<Double, _>(until.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(())
}
