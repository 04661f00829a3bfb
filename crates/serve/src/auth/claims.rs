use std::time::Duration;

use ctx::Role;
use ids::{TenantId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whom every token is for.
pub(crate) const AUDIENCE: &str = "ordermesh";
/// Issuer of people's tokens.
pub(crate) const USER_ISSUER: &str = "ordermesh";
/// Issuer of services' tokens.
pub(crate) const SERVICE_ISSUER: &str = "ordermesh-mesh";
/// What the subject of a service's token begins with.
pub(crate) const SERVICE_SUBJECT: &str = "service:";

/// What a token says (RFC 7519 section 4.1 and ours).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: "ordermesh" for people, "ordermesh-mesh" for services.
    pub iss: String,
    /// Audience: "ordermesh".
    pub aud: String,
    /// Subject: "usr_…" or "service:order".
    pub sub: String,
    /// End, seconds since 1970.
    pub exp: i64,
    /// Time of issue, seconds since 1970.
    pub iat: i64,
    /// Start, seconds since 1970; a token may not be used earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Id of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Tenant of a person: "tnt_…".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Roles of a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

impl Claims {
    /// Claims of a person in a tenant.
    pub fn user(user: UserId, tenant: TenantId, roles: &[Role], now: Timestamp, ttl: Duration) -> Self {
        Self {
            tenant_id: Some(tenant.to_string()),
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
            ..Self::new(USER_ISSUER, user.to_string(), now, ttl)
        }
    }

    /// Claims of a service of the mesh.
    pub fn service(name: &str, now: Timestamp, ttl: Duration) -> Self {
        Self::new(SERVICE_ISSUER, format!("{SERVICE_SUBJECT}{name}"), now, ttl)
    }

    fn new(issuer: &str, sub: String, now: Timestamp, ttl: Duration) -> Self {
        let iat = now.as_second();
        Self {
            iss: issuer.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub,
            exp: iat.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
            iat,
            nbf: Some(iat),
            jti: Some(Uuid::now_v7().simple().to_string()),
            tenant_id: None,
            roles: Vec::new(),
        }
    }
}
