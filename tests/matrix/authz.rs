//! Who may reach which method, executed over gRPC: every method × every kind of credential, tenant header and caller.

use contract::{Exposure, MethodPolicy, POLICIES, Tenant};
use ctx::Role;
use futures::StreamExt as _;
use futures::stream::iter;
use ids::TenantId;
use jiff::{SignedDuration, Timestamp};
use tonic::Code;

use super::grpc::{Answer, Caller};
use super::samples::sample;
use super::world::{OWN_REFUSAL, SERVICES, Who, World};

/// Cells that are tried at the same time.
const ABREAST: usize = 8;

/// One try of one method.
struct Cell {
    what: String,
    policy: &'static MethodPolicy,
    headers: Vec<(&'static str, String)>,
    expected: Expected,
}

#[derive(Debug, Clone)]
enum Expected {
    /// The gate lets it through.
    Passes,
    /// The gate refuses, with this code and one of these reasons.
    Refused(Code, &'static [&'static str]),
}

impl Expected {
    fn met(&self, answer: &Answer) -> bool {
        match self {
            Self::Passes => {
                let denied = [Code::Unauthenticated, Code::PermissionDenied].contains(&answer.code);
                let broken = [Code::Internal, Code::Unknown, Code::Unimplemented].contains(&answer.code);
                answer.passed() && !broken && (!denied || answer.reason == OWN_REFUSAL)
            }
            Self::Refused(code, reasons) => answer.code == *code && reasons.contains(&answer.reason.as_str()),
        }
    }
}

const UNKNOWN: Expected = Expected::Refused(Code::Unauthenticated, &["TOKEN_INVALID"]);
const NO_TENANT: Expected = Expected::Refused(Code::Unauthenticated, &["TENANT_MISSING"]);
const MISMATCH: Expected = Expected::Refused(Code::PermissionDenied, &["TENANT_MISMATCH"]);
const FORBIDDEN: Expected = Expected::Refused(Code::PermissionDenied, &["ROLE_MISSING", "CALLER_NOT_ALLOWED"]);
const BAD_HEADER: Expected = Expected::Refused(Code::InvalidArgument, &["TENANT_INVALID"]);

/// Runs the cells and fails with a line for each that is not as expected.
async fn run(world: &World, name: &str, cells: Vec<Cell>) {
    let (count, caller) = (cells.len(), world.grpc());
    assert!(count >= POLICIES.len(), "{name}: every method is in it");
    let wrong: Vec<String> = iter(cells)
        .map(|cell| try_one(world, &caller, cell))
        .buffer_unordered(ABREAST)
        .filter_map(|wrong| async { wrong })
        .collect()
        .await;
    println!("{name}: {count} cells, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{name}: {} of {count} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn try_one(world: &World, caller: &Caller, cell: Cell) -> Option<String> {
    let Cell { what, policy, mut headers, expected } = cell;
    headers.push(("idempotency-key", TenantId::new().to_string()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = caller.call(policy.path, &headers, sample(policy.path, &world.alpha)).await;
    let wrong = !expected.met(&answer);
    wrong.then(|| {
        let Answer { code, reason, message, .. } = answer;
        format!("{} {what}: expected {expected:?}, got {code:?} {reason} {message:?}", policy.path)
    })
}

fn cell(policy: &'static MethodPolicy, what: &str, headers: Vec<(&'static str, String)>, expected: &Expected) -> Cell {
    Cell { what: what.to_owned(), policy, headers, expected: expected.clone() }
}

/// Somebody whom the policy lets in: of two, the one who must be let in for the cell to mean anything.
fn insider(policy: &MethodPolicy) -> Who {
    Who::allowed(policy)[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_05_nobody_without_a_good_token_reaches_a_method_that_is_not_public() {
    let world = World::get().await;
    let claims = world.claims(Role::TenantAdmin, &world.alpha);
    let mut expired = claims.clone();
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    (expired.iat, expired.nbf) = (hour_ago.as_second(), None);
    expired.exp = hour_ago.as_second() + 60;
    let mut early = claims.clone();
    early.nbf = Some(Timestamp::now().as_second() + 600);
    let mut other_issuer = claims.clone();
    other_issuer.iss = "ordermesh-mesh".to_owned();
    let mut other_audience = claims.clone();
    other_audience.aud = "somebody".to_owned();
    let mut service = claims.clone();
    service.sub = "service:order".to_owned();
    let good = world.sign(&claims);
    let (head, _) = good.rsplit_once('.').expect("a token has dots");
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", good.split('.').nth(1).unwrap_or_default());
    let tokens = [
        ("garbage", "Bearer garbage".to_owned()),
        ("an empty token", "Bearer ".to_owned()),
        ("another scheme", format!("Basic {good}")),
        ("an expired token", format!("Bearer {}", world.sign(&expired))),
        ("a token of the future", format!("Bearer {}", world.sign(&early))),
        ("another issuer", format!("Bearer {}", world.sign(&other_issuer))),
        ("another audience", format!("Bearer {}", world.sign(&other_audience))),
        ("a person as service", format!("Bearer {}", world.sign(&service))),
        ("a forged signature", format!("Bearer {}", world.forge(&claims))),
        ("no signature", format!("Bearer {head}.")),
        ("alg none", format!("Bearer {unsigned}")),
    ];
    let mut cells = Vec::new();
    for policy in POLICIES {
        let public = policy.exposure == Exposure::Public;
        let nobody = if public { Expected::Passes } else { UNKNOWN };
        cells.push(cell(policy, "without a token", vec![], &nobody));
        let tenant = vec![("x-tenant-id", world.alpha.tenant.clone())];
        cells.push(cell(policy, "with a tenant and no token", tenant, &nobody));
        for (what, token) in &tokens {
            cells.push(cell(policy, what, vec![("authorization", token.clone())], &UNKNOWN));
        }
        let twice = vec![("authorization", format!("Bearer {good}")), ("authorization", format!("Bearer {good}"))];
        cells.push(cell(policy, "with two tokens", twice, &UNKNOWN));
    }
    run(world, "tokens", cells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usr_03_every_method_lets_in_exactly_the_roles_and_services_of_its_policy() {
    let world = World::get().await;
    let mut cells = Vec::new();
    for policy in POLICIES {
        for who in Role::ALL.map(Who::Person).into_iter().chain(SERVICES.map(Who::Service)) {
            let mut headers = vec![("authorization", world.bearer(who, &world.alpha))];
            if matches!(who, Who::Service(_)) {
                headers.push(("x-tenant-id", world.alpha.tenant.clone()));
            }
            let expected = if who.may(policy) { Expected::Passes } else { FORBIDDEN };
            cells.push(cell(policy, &format!("{who:?}"), headers, &expected));
        }
        let mut nothing = world.claims(Role::Csr, &world.alpha);
        nothing.roles = vec!["emperor".to_owned()];
        let expected = if policy.exposure == Exposure::Public { Expected::Passes } else { FORBIDDEN };
        let headers = vec![("authorization", format!("Bearer {}", world.sign(&nothing)))];
        cells.push(cell(policy, "a role nobody knows", headers, &expected));
    }
    run(world, "roles and services", cells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_02_every_method_holds_a_person_to_the_tenant_of_his_token() {
    let world = World::get().await;
    let (own, other) = (&world.alpha.tenant, &world.beta.tenant);
    let mut cells = Vec::new();
    for policy in POLICIES {
        let who = insider(policy);
        let person = match who {
            Who::Person(role) => role,
            Who::Service(_) => Role::TenantAdmin,
        };
        let token = ("authorization", world.bearer(Who::Person(person), &world.alpha));
        let control = if Who::Person(person).may(policy) { Expected::Passes } else { FORBIDDEN };
        let named = vec![token.clone(), ("x-tenant-id", own.clone())];
        cells.push(cell(policy, "a person with his own tenant", named, &control));
        let foreign = vec![token.clone(), ("x-tenant-id", other.clone())];
        cells.push(cell(policy, "a person with another's tenant", foreign, &MISMATCH));
        let unknown = vec![token.clone(), ("x-tenant-id", TenantId::new().to_string())];
        cells.push(cell(policy, "a person with nobody's tenant", unknown, &MISMATCH));
        let mut homeless = world.claims(person, &world.alpha);
        homeless.tenant_id = None;
        let homeless = vec![("authorization", format!("Bearer {}", world.sign(&homeless)))];
        let expected = if policy.tenant == Tenant::Required { NO_TENANT } else { control };
        cells.push(cell(policy, "a person of no tenant", homeless, &expected));
        for service in policy.callers {
            let token = ("authorization", world.bearer(Who::Service(service), &world.alpha));
            let expected = if policy.tenant == Tenant::Required { NO_TENANT } else { Expected::Passes };
            cells.push(cell(policy, "a service without a tenant", vec![token], &expected));
        }
    }
    run(world, "tenants of tokens", cells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_02_every_method_refuses_a_tenant_header_that_is_not_one_tenant() {
    let world = World::get().await;
    let (own, other) = (world.alpha.tenant.clone(), world.beta.tenant.clone());
    let headers: [(&str, Vec<String>); 8] = [
        ("twice the same", vec![own.clone(), own.clone()]),
        ("two tenants", vec![own.clone(), other.clone()]),
        ("empty", vec![String::new()]),
        ("joined by a comma", vec![format!("{own},{other}")]),
        ("the same joined by a comma", vec![format!("{own}, {own}")]),
        ("upper case", vec![own.to_uppercase()]),
        ("a star", vec!["*".to_owned()]),
        ("an id of another kind", vec![world.alpha.customer.clone()]),
    ];
    let mut cells = Vec::new();
    for policy in POLICIES {
        for who in [insider(policy), Who::Service("stranger")] {
            let token = ("authorization", world.bearer(who, &world.alpha));
            for (what, values) in &headers {
                let mut headers = vec![token.clone()];
                headers.extend(values.iter().map(|value| ("x-tenant-id", value.clone())));
                cells.push(cell(policy, &format!("{who:?}, tenant {what}"), headers, &BAD_HEADER));
            }
        }
    }
    run(world, "tenant headers", cells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_02_headers_that_claim_an_identity_have_no_effect() {
    let world = World::get().await;
    let claims = || {
        vec![
            ("x-user-id", world.alpha.customer.clone()),
            ("x-roles", "platform_admin,tenant_admin,csr".to_owned()),
            ("x-principal", "service:order".to_owned()),
            ("x-service", "order".to_owned()),
            ("x-forwarded-client-cert", "By=spiffe://mesh/order;Subject=\"CN=order\"".to_owned()),
            ("grpc-metadata-x-tenant-id", world.alpha.tenant.clone()),
            ("grpcgateway-authorization", "Bearer x".to_owned()),
            ("x-http-method-override", "GET".to_owned()),
        ]
    };
    let mut cells = Vec::new();
    for policy in POLICIES {
        let public = policy.exposure == Exposure::Public;
        cells.push(cell(
            policy,
            "forged, without a token",
            claims(),
            if public { &Expected::Passes } else { &UNKNOWN },
        ));
        let mut stranger = claims();
        stranger.push(("authorization", world.bearer(Who::Service("stranger"), &world.alpha)));
        stranger.push(("x-tenant-id", world.alpha.tenant.clone()));
        cells.push(cell(
            policy,
            "forged, by a stranger",
            stranger,
            if public { &Expected::Passes } else { &FORBIDDEN },
        ));
        let mut nobody = world.claims(Role::Csr, &world.alpha);
        nobody.roles.clear();
        let mut person = claims();
        person.push(("authorization", format!("Bearer {}", world.sign(&nobody))));
        cells.push(cell(policy, "forged, without a role", person, if public { &Expected::Passes } else { &FORBIDDEN }));
    }
    run(world, "forged headers", cells).await;
}
