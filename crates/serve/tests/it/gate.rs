//! Who may reach which method: every method of the contract × every sort of caller, and the tenant header's tricks.

use contract::{Exposure, MethodPolicy, POLICIES};
use ctx::{Principal, Role};
use ids::TenantId;
use tonic::Code;

use crate::house::{House, Said, bearer};

const SERVICES: [&str; 8] =
    ["order", "inventory", "payment", "fulfillment", "shipping", "notification", "identity", "stranger"];
const GET_POLICY: &str = "/ordermesh.identity.v1.PolicyService/GetPolicy";
const GET_USER: &str = "/ordermesh.identity.v1.IdentityService/GetUser";
const LOGIN: &str = "/ordermesh.identity.v1.IdentityService/Login";

/// WatchOrder would stream for an hour; its cells are those of any other method, so its silence is cut short.
fn headers<'a>(token: &'a str, tenant: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![("authorization", token), ("x-tenant-id", tenant), ("idempotency-key", "k"), ("grpc-timeout", "200m")]
}

fn passed(policy: &MethodPolicy, said: &Said) {
    let by_gate = ["TOKEN_INVALID", "TENANT_MISSING", "TENANT_MISMATCH", "ROLE_MISSING", "CALLER_NOT_ALLOWED"];
    assert!(!by_gate.contains(&said.reason.as_str()), "{}: {said:?}", policy.path);
}

#[tokio::test]
async fn every_method_lets_in_exactly_the_roles_of_its_policy() {
    let house = House::new();
    let tenant = house.tenant.to_string();
    for policy in POLICIES {
        for role in Role::ALL {
            let token = bearer(&house.token(&[role]));
            let said = house.call(policy.path, &headers(&token, &tenant)).await;
            let may = policy.exposure == Exposure::Public
                || (policy.exposure != Exposure::Internal && policy.any_role.contains(&role.as_str()));
            if may {
                passed(policy, &said);
            } else {
                assert_eq!(said.code, Code::PermissionDenied, "{} as {role:?}: {said:?}", policy.path);
                let internal = policy.exposure == Exposure::Internal;
                assert_eq!(said.reason, if internal { "CALLER_NOT_ALLOWED" } else { "ROLE_MISSING" });
            }
        }
    }
}

#[tokio::test]
async fn every_method_lets_in_exactly_the_services_of_its_policy() {
    let house = House::new();
    let tenant = house.tenant.to_string();
    for policy in POLICIES {
        for service in SERVICES {
            let token = bearer(&house.service_token(service));
            let said = house.call(policy.path, &headers(&token, &tenant)).await;
            if policy.exposure == Exposure::Public || policy.callers.contains(&service) {
                passed(policy, &said);
            } else {
                assert_eq!(said.code, Code::PermissionDenied, "{} by {service}: {said:?}", policy.path);
                assert_eq!(said.reason, "CALLER_NOT_ALLOWED");
            }
        }
    }
}

#[tokio::test]
async fn without_a_token_only_public_methods_answer() {
    let house = House::new();
    let tenant = house.tenant.to_string();
    for policy in POLICIES {
        let said = house.call(policy.path, &[("x-tenant-id", &tenant), ("idempotency-key", "k")]).await;
        if policy.exposure == Exposure::Public {
            passed(policy, &said);
        } else {
            assert_eq!((said.code, said.reason.as_str()), (Code::Unauthenticated, "TOKEN_INVALID"), "{}", policy.path);
        }
    }
}

#[tokio::test]
async fn a_person_acts_only_in_the_tenant_of_his_token() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Csr]));
    let said = house.call(GET_POLICY, &[("authorization", &token)]).await;
    assert_eq!(said.code, Code::Ok);
    assert_eq!(house.log.last().tenant, Some(house.tenant));
    assert!(matches!(house.log.last().principal, Principal::User { id, .. } if id == house.user));

    let other = TenantId::new().to_string();
    for path in [GET_POLICY, "/ordermesh.identity.v1.IdentityService/Login"] {
        let said = house.call(path, &[("authorization", &token), ("x-tenant-id", &other)]).await;
        assert_eq!((said.code, said.reason.as_str()), (Code::PermissionDenied, "TENANT_MISMATCH"), "{path}");
    }
}

#[tokio::test]
async fn a_service_says_for_which_tenant_it_acts() {
    let house = House::new();
    let token = bearer(&house.service_token("order"));
    let missing = house.call(GET_POLICY, &[("authorization", &token)]).await;
    assert_eq!((missing.code, missing.reason.as_str()), (Code::Unauthenticated, "TENANT_MISSING"));
    let other = TenantId::new();
    let said = house.call(GET_POLICY, &[("authorization", &token), ("x-tenant-id", &other.to_string())]).await;
    assert_eq!(said.code, Code::Ok);
    assert_eq!(house.log.last().tenant, Some(other));
    assert_eq!(house.log.last().principal, Principal::Service { name: "order".into() });

    let listing = bearer(&house.service_token("fulfillment"));
    let said = house.call("/ordermesh.identity.v1.TenantService/ListTenants", &[("authorization", &listing)]).await;
    assert_eq!(said.code, Code::Ok);
    assert_eq!(house.log.last().tenant, None, "an optional tenant that nobody named stays open");
}

#[tokio::test]
async fn a_tenant_header_that_is_not_one_tenant_is_refused() {
    let house = House::new();
    let (own, other) = (house.tenant.to_string(), TenantId::new().to_string());
    let (user, service) = (bearer(&house.token(&[Role::Csr])), bearer(&house.service_token("order")));
    let joined = format!("{own},{other}");
    let joined_twice = format!("{own}, {own}");
    let upper = own.to_uppercase();
    let tricks: [Vec<&str>; 8] = [
        vec![&own, &other],
        vec![&own, &own],
        vec![""],
        vec![&joined],
        vec![&joined_twice],
        vec![&upper],
        vec!["usr_0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b"],
        vec!["*"],
    ];
    for trick in tricks {
        for token in [&user, &service] {
            let mut headers = vec![("authorization", token.as_str())];
            headers.extend(trick.iter().map(|value| ("x-tenant-id", *value)));
            let said = house.call(GET_POLICY, &headers).await;
            assert_eq!((said.code, said.reason.as_str()), (Code::InvalidArgument, "TENANT_INVALID"), "{trick:?}");
            assert_eq!(said.fields, ["x-tenant-id"]);
        }
    }
    assert_eq!(house.log.reached(), 0, "no handler saw any of it");
}

#[tokio::test]
async fn an_anonymous_caller_of_a_public_method_names_his_tenant() {
    let house = House::new();
    assert_eq!(house.call(LOGIN, &[]).await.code, Code::Ok);
    assert_eq!((house.log.last().tenant, house.log.last().principal), (None, Principal::Anonymous));
    assert_eq!(house.call(LOGIN, &[("x-tenant-id", &house.tenant.to_string())]).await.code, Code::Ok);
    assert_eq!(house.log.last().tenant, Some(house.tenant));
}

#[tokio::test]
async fn headers_cannot_claim_an_identity_or_another_method() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::Customer]));
    let claims = [
        ("authorization", token.as_str()),
        ("x-user-id", "usr_0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b"),
        ("x-roles", "platform_admin"),
        ("x-service", "order"),
    ];
    let said = house.call(GET_POLICY, &claims).await;
    assert_eq!(said.reason, "ROLE_MISSING");
    let overridden = [claims[0], ("x-http-method-override", "GET"), ("x-original-url", GET_USER)];
    assert_eq!(house.call(GET_POLICY, &overridden).await.reason, "ROLE_MISSING");
}

#[tokio::test]
async fn a_method_that_the_contract_does_not_know_is_not_reached() {
    let house = House::new();
    let token = bearer(&house.token(&[Role::PlatformAdmin]));
    for path in [
        "/ordermesh.identity.v1.IdentityService/DropTables",
        "/ordermesh.identity.v1.identityservice/Login",
        "/ordermesh.identity.v1.IdentityService/Login/",
        "//ordermesh.identity.v1.IdentityService/Login",
        "/ordermesh.identity.v1.IdentityService/%4Cogin",
        "/",
    ] {
        let said = house.call(path, &[("authorization", &token)]).await;
        assert_eq!((said.code, said.reason.as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"), "{path}");
    }
    assert_eq!(house.log.reached(), 0);
}
