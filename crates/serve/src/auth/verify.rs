use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ctx::{Principal, Role};
use ids::{TenantId, UserId};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use moka::Expiry;
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::claims::SERVICE_SUBJECT;
use super::jwks::Found;
use super::{AUDIENCE, Claims, Keys, SERVICE_ISSUER, SigningKey, USER_ISSUER};

/// How far clocks may differ, seconds.
const LEEWAY: u64 = 30;
/// How long a verified token is believed without looking at the key again: bounds the effect of a withdrawn key.
const BELIEVED: Duration = Duration::from_secs(60);
/// Verified tokens that are remembered.
const REMEMBERED: u64 = 20_000;
/// Longest token that is looked at, bytes.
const LONGEST: usize = 8 * 1024;

/// Who a token proves its bearer to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) tenant: Option<TenantId>,
    exp: i64,
}

impl Verified {
    fn expired(&self, now: Timestamp) -> bool {
        now.as_second() > self.exp.saturating_add_unsigned(LEEWAY)
    }
}

/// Why a bearer is nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The token is bad; every kind of badness is the same, so that no caller can tell them apart.
    Bad,
    /// It may be good: identity's keys could not be loaded.
    Away,
}

/// Verifies tokens of people and of services.
pub(crate) struct Verifier {
    mesh_kid: String,
    mesh_key: DecodingKey,
    of_services: Validation,
    of_people: Validation,
    keys: Keys,
    seen: Cache<[u8; 32], Arc<Verified>>,
}

impl Verifier {
    pub(crate) fn new(mesh_key: &SigningKey, keys: Keys) -> Self {
        Self {
            mesh_kid: mesh_key.kid().to_owned(),
            mesh_key: mesh_key.verifying(),
            of_services: validation(SERVICE_ISSUER),
            of_people: validation(USER_ISSUER),
            keys,
            seen: Cache::builder().max_capacity(REMEMBERED).expire_after(UntilExp).build(),
        }
    }

    /// Who the bearer is.
    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Verified>, Refused> {
        if token.len() > LONGEST {
            return Err(Refused::Bad);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.seen.get(&digest) {
            return if known.expired(Timestamp::now()) { Err(Refused::Bad) } else { Ok(known) };
        }
        let verified = Arc::new(self.check(token).await?);
        self.seen.insert(digest, Arc::clone(&verified));
        Ok(verified)
    }

    async fn check(&self, token: &str) -> Result<Verified, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Bad)?;
        // `jku`, `jwk` and `x5u` of the header are never looked at: keys come from identity or the mesh only.
        let kid = header.kid.filter(|_| header.alg == Algorithm::EdDSA).ok_or(Refused::Bad)?;
        if kid == self.mesh_kid {
            return decode(token, &self.mesh_key, &self.of_services).and_then(service).ok_or(Refused::Bad);
        }
        match self.keys.find(&kid).await {
            Found::Key(key) => decode(token, &key, &self.of_people).and_then(person).ok_or(Refused::Bad),
            Found::None => Err(Refused::Bad),
            Found::Away => Err(Refused::Away),
        }
    }
}

fn validation(issuer: &str) -> Validation {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.required_spec_claims = HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
    rules.leeway = LEEWAY;
    rules.validate_nbf = true;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[AUDIENCE]);
    rules
}

fn decode(token: &str, key: &DecodingKey, rules: &Validation) -> Option<Claims> {
    jsonwebtoken::decode::<Claims>(token, key, rules).ok().map(|data| data.claims)
}

fn service(claims: Claims) -> Option<Verified> {
    let name = claims.sub.strip_prefix(SERVICE_SUBJECT).filter(|name| !name.is_empty())?.to_owned();
    Some(Verified { principal: Principal::Service { name }, tenant: None, exp: claims.exp })
}

fn person(claims: Claims) -> Option<Verified> {
    let id: UserId = claims.sub.parse().ok()?;
    let tenant = claims.tenant_id.map(|tenant| tenant.parse()).transpose().ok()?;
    // A role that this version does not know yet grants nothing.
    let roles: Vec<Role> = claims.roles.iter().filter_map(|role| role.parse().ok()).collect();
    Some(Verified { principal: Principal::User { id, roles }, tenant, exp: claims.exp })
}

/// Forgets a token when it expires, and looks at its key again before that.
struct UntilExp;

impl Expiry<[u8; 32], Arc<Verified>> for UntilExp {
    fn expire_after_create(&self, _: &[u8; 32], token: &Arc<Verified>, _: Instant) -> Option<Duration> {
        let left = token.exp.saturating_add_unsigned(LEEWAY).saturating_sub(Timestamp::now().as_second());
        Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(BELIEVED))
    }
}
