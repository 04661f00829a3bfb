use std::sync::Arc;
use std::time::Duration;

use contract::{Exposure, MethodPolicy, Tenant};
use ctx::Principal;
use fault::Fault;
use http::HeaderMap;
use ids::TenantId;
use tower::BoxError;
use tracing::Span;

use super::Request;
use crate::auth::{Refused, Verifier};
use crate::header;
use crate::passage::{Passage, single};

/// When it is worth while to ask again for keys that could not be loaded.
const KEYS_PAUSE: Duration = Duration::from_secs(1);

/// Who calls? Credentials that are presented must be good, even where none are needed.
///
/// # Errors
/// Unauthenticated, with the same words for every kind of badness; Unavailable when nobody can say.
pub(crate) async fn authenticate(verifier: Arc<Verifier>, request: Request) -> Result<Request, BoxError> {
    let (mut parts, body) = request.into_parts();
    let mut passage = Passage::take(&mut parts)?;
    match bearer(&parts.headers)? {
        Some(token) => {
            let verified = verifier.verify(token).await.map_err(refused)?;
            passage.principal = verified.principal.clone();
            passage.token_tenant = verified.tenant;
        }
        None if passage.policy.exposure == Exposure::Public => {}
        None => return Err(unauthenticated().into()),
    }
    let (kind, id) = passage.principal.actor();
    Span::current().record("actor", tracing::field::display(format_args!("{kind}:{id}")));
    // A token goes no further than it must.
    parts.headers.remove(header::AUTHORIZATION);
    parts.extensions.insert(passage);
    Ok(Request::from_parts(parts, body))
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let Some(value) = single(headers, header::AUTHORIZATION).map_err(|_| unauthenticated())? else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(Some(token)),
        _ => Err(unauthenticated()),
    }
}

fn refused(why: Refused) -> Fault {
    match why {
        Refused::Bad => unauthenticated(),
        Refused::Away => {
            Fault::unavailable("KEYS_AWAY", "who calls cannot be verified just now").retry_after(KEYS_PAUSE)
        }
    }
}

fn unauthenticated() -> Fault {
    Fault::unauthenticated("TOKEN_INVALID", "a valid access token is needed")
}

/// For which tenant? A person acts only in his own; a service says for whom it acts.
///
/// # Errors
/// Invalid for a header that is not one tenant, Denied for another's, Unauthenticated when one is needed.
pub(crate) fn tenant(request: Request) -> Result<Request, BoxError> {
    let (mut parts, body) = request.into_parts();
    let mut passage = Passage::take(&mut parts)?;
    let named = named_tenant(&parts.headers)?;
    let own = match &passage.principal {
        Principal::User { .. } if named.is_some() && named != passage.token_tenant => {
            return Err(Fault::denied("TENANT_MISMATCH", "the token belongs to another tenant").into());
        }
        Principal::User { .. } => passage.token_tenant,
        Principal::Service { .. } | Principal::Anonymous | Principal::Provider { .. } => named,
    };
    passage.tenant = match passage.policy.tenant {
        Tenant::Required => {
            Some(own.ok_or_else(|| Fault::unauthenticated("TENANT_MISSING", "the call needs a tenant"))?)
        }
        Tenant::Optional => own,
        Tenant::Forbidden if named.is_some() => {
            return Err(Fault::denied("TENANT_FORBIDDEN", "the call is above tenants").into());
        }
        Tenant::Forbidden => None,
    };
    if let Some(tenant) = passage.tenant {
        Span::current().record("tenant", tracing::field::display(tenant));
    }
    parts.extensions.insert(passage);
    Ok(Request::from_parts(parts, body))
}

fn named_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Fault> {
    let refused = || Fault::invalid(header::TENANT, "TENANT_INVALID", "must be given once, as tnt_ and 32 hex digits");
    let value = single(headers, header::TENANT).map_err(|_| refused())?;
    value.map(|value| value.parse().map_err(|_| refused())).transpose()
}

/// May this caller use this method at all?
///
/// # Errors
/// Denied ROLE_MISSING for people, CALLER_NOT_ALLOWED for services.
pub(crate) fn authorize(mut request: Request) -> Result<Request, BoxError> {
    let passage = request
        .extensions_mut()
        .get_mut::<Passage>()
        .ok_or_else(|| Fault::internal("a layer of the stack is missing"))?;
    allowed(passage.policy, &passage.principal)?;
    Ok(request)
}

fn allowed(policy: &MethodPolicy, principal: &Principal) -> Result<(), Fault> {
    match (policy.exposure, principal) {
        (Exposure::Public, _) => Ok(()),
        (_, Principal::Service { name }) if policy.callers.contains(&name.as_str()) => Ok(()),
        (Exposure::Customer | Exposure::Admin, Principal::User { roles, .. }) => {
            if roles.iter().any(|role| policy.any_role.contains(&role.as_str())) {
                Ok(())
            } else {
                Err(Fault::denied("ROLE_MISSING", "none of the caller's roles may do this"))
            }
        }
        (Exposure::Internal, _)
        | (_, Principal::Service { .. } | Principal::Anonymous | Principal::Provider { .. }) => {
            Err(Fault::denied("CALLER_NOT_ALLOWED", "this caller may not use this method"))
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::POLICIES;
    use ctx::Role;
    use http::HeaderValue;
    use ids::UserId;

    use super::*;

    /// A request whose method is above tenants; the contract has none yet.
    fn above_tenants(principal: Principal, own: Option<TenantId>, named: Option<TenantId>) -> Request {
        let policy = Box::leak(Box::new(MethodPolicy { tenant: Tenant::Forbidden, ..POLICIES[0] }));
        let (mut parts, ()) = http::Request::post(policy.path).body(()).expect("a request").into_parts();
        if let Some(named) = named {
            let value = HeaderValue::try_from(named.to_string()).expect("ascii");
            parts.headers.insert(header::TENANT, value);
        }
        let mut passage = Passage::enter(&parts).expect("a known method");
        passage.policy = policy;
        (passage.principal, passage.token_tenant) = (principal, own);
        parts.extensions.insert(passage);
        Request::from_parts(parts, tonic::body::Body::empty())
    }

    #[test]
    fn a_call_above_tenants_has_none_and_refuses_one() {
        let own = TenantId::new();
        let admin = || Principal::User { id: UserId::new(), roles: vec![Role::PlatformAdmin] };
        let passed = tenant(above_tenants(admin(), Some(own), None)).expect("passes");
        assert_eq!(passed.extensions().get::<Passage>().expect("still there").tenant, None);
        for principal in [admin(), Principal::Service { name: "order".into() }] {
            let refused = tenant(above_tenants(principal, Some(own), Some(own))).expect_err("refused");
            let fault = refused.downcast::<Fault>().expect("a fault");
            assert_eq!(fault.reason(), "TENANT_FORBIDDEN");
        }
    }
}
