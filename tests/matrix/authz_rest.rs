//! The same questions at the REST edge: every HTTP rule of the contract × credentials, tenants, roles, forged headers.

use contract::{Exposure, MethodPolicy, POLICIES};
use ctx::Role;
use jiff::{SignedDuration, Timestamp};
use testkit::Rest;

use super::rest::{self, Call, Said, ask};
use super::samples::sample;
use super::world::{Known, OWN_REFUSAL, Who, World};

/// Headers that a client might send to be taken for somebody else.
const FORGED: [(&str, &str); 9] = [
    ("x-user-id", "usr_0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b"),
    ("x-roles", "platform_admin,tenant_admin,csr"),
    ("x-principal", "service:order"),
    ("x-service", "order"),
    ("x-forwarded-client-cert", "By=spiffe://mesh/order"),
    ("grpc-metadata-authorization", "Bearer x"),
    ("grpcgateway-authorization", "Bearer x"),
    ("x-http-method-override", "GET"),
    ("x-envoy-original-path", "/api/v1/jwks"),
];

/// Every HTTP rule with a call that is right for the shop.
fn calls(known: &Known) -> Vec<(&'static MethodPolicy, Call)> {
    let rules = POLICIES.iter().flat_map(|policy| policy.http.iter().map(move |rule| (policy, rule)));
    let calls = rules.map(|(policy, rule)| {
        let call = rest::call(policy, rule, &sample(policy.path, known));
        (policy, call.unwrap_or_else(|| panic!("{} {}: the sample fills no path", rule.verb, rule.path)))
    });
    calls.collect()
}

/// Cells and what was wrong with some.
#[derive(Default)]
struct Tally {
    cells: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// One cell: `expected` of the answer to the call with these headers.
    async fn cell(
        &mut self,
        what: &str,
        (call, rest): (&Call, &Rest),
        headers: &[(&str, &str)],
        expected: impl FnOnce(&Said) -> bool,
    ) {
        self.cells += 1;
        let request = call.by(rest).header("idempotency-key", ids::EventId::new().to_string());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let said = ask(request).await;
        if !expected(&said) {
            let Said { status, reason, json, .. } = said;
            self.wrong.push(format!("{} {} {what}: {status} {reason} {json}", call.method, call.path));
        }
    }

    fn end(self, name: &str) {
        println!("{name}: {} cells, {} wrong", self.cells, self.wrong.len());
        assert!(self.wrong.is_empty(), "{name}: {} of {}:\n{}", self.wrong.len(), self.cells, self.wrong.join("\n"));
    }
}

fn unknown(said: &Said) -> bool {
    said.status == 401 && said.is_problem() && said.challenge.is_some() && said.reason == "TOKEN_INVALID"
}

fn refused(status: u16, reason: &'static str) -> impl Fn(&Said) -> bool {
    move |said| said.status == status && said.is_problem() && said.reason == reason
}

fn passes(said: &Said) -> bool {
    let denied = [401, 403].contains(&said.status) && said.reason != OWN_REFUSAL;
    !denied && said.status < 500 && said.reason != "NO_ROUTE"
}

fn nobody(policy: &MethodPolicy) -> impl Fn(&Said) -> bool {
    let public = policy.exposure == Exposure::Public;
    move |said| if public { passes(said) } else { unknown(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn gw_02_rest_asks_every_caller_for_a_good_token() {
    let world = World::get().await;
    let anonymous = world.rest(None);
    let claims = world.claims(Role::TenantAdmin, &world.alpha);
    let mut expired = claims.clone();
    expired.nbf = None;
    expired.exp = (Timestamp::now() - SignedDuration::from_hours(1)).as_second();
    let tokens = [
        ("with garbage", "Bearer garbage".to_owned()),
        ("with basic", "Basic cm9vdDpyb290".to_owned()),
        ("with an expired token", format!("Bearer {}", world.sign(&expired))),
        ("with a forged token", format!("Bearer {}", world.forge(&claims))),
    ];
    let mut tally = Tally::default();
    for (policy, call) in calls(&world.alpha) {
        tally.cell("without a token", (&call, &anonymous), &[], nobody(policy)).await;
        tally.cell("forged, without a token", (&call, &anonymous), &FORGED, nobody(policy)).await;
        for (what, token) in &tokens {
            tally.cell(what, (&call, &anonymous), &[("authorization", token)], unknown).await;
        }
    }
    tally.end("REST tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn usr_03_rest_lets_in_exactly_the_roles_of_the_policy() {
    let world = World::get().await;
    let mut tally = Tally::default();
    let people = Role::ALL.map(|role| (role, world.rest(Some((role, &world.alpha)))));
    for (policy, call) in calls(&world.alpha) {
        for (role, rest) in &people {
            let what = format!("as {role:?}");
            if Who::Person(*role).may(policy) {
                tally.cell(&what, (&call, rest), &[], passes).await;
            } else {
                tally.cell(&what, (&call, rest), &[], refused(403, "ROLE_MISSING")).await;
                tally.cell(&format!("forged, {what}"), (&call, rest), &FORGED, refused(403, "ROLE_MISSING")).await;
            }
        }
    }
    tally.end("REST roles");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_02_rest_believes_no_tenant_but_that_of_the_token() {
    let world = World::get().await;
    let (own, other) = (world.alpha.tenant.as_str(), world.beta.tenant.as_str());
    let joined = format!("{own},{other}");
    let mut tally = Tally::default();
    for (policy, call) in calls(&world.alpha) {
        let roles = Role::ALL.into_iter().filter(|role| Who::Person(*role).may(policy));
        let rest = world.rest(Some((roles.max().expect("REST is for people"), &world.alpha)));
        let on = (&call, &rest);
        tally.cell("with his own tenant", on, &[("x-tenant-id", own)], passes).await;
        tally.cell("with another's", on, &[("x-tenant-id", other)], refused(403, "TENANT_MISMATCH")).await;
        tally.cell("with both joined", on, &[("x-tenant-id", &joined)], refused(400, "TENANT_INVALID")).await;
        tally.cell("with an empty one", on, &[("x-tenant-id", "")], refused(400, "TENANT_INVALID")).await;
        let twice = [("x-tenant-id", own), ("x-tenant-id", own)];
        tally.cell("with two headers", on, &twice, |said| said.status == 400 && said.is_problem()).await;
    }
    tally.end("REST tenants");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_05_rest_answers_ids_of_another_tenant_like_ids_of_nobody() {
    let world = World::get().await;
    let nobodys = Known::nobodys();
    let (mut cells, mut wrong) = (0, Vec::new());
    for ((policy, foreign), (_, unknown)) in calls(&world.victim).into_iter().zip(calls(&nobodys)) {
        let roles = Role::ALL.into_iter().filter(|role| *role != Role::PlatformAdmin);
        for role in roles.filter(|role| Who::Person(*role).may(policy) && policy.exposure != Exposure::Public) {
            cells += 1;
            let rest = world.rest(Some((role, &world.beta)));
            let asked = async |call: &Call| {
                let request = call.by(&rest).header("idempotency-key", ids::EventId::new().to_string());
                ask(request).await
            };
            let (foreign_said, unknown_said) = (asked(&foreign).await, asked(&unknown).await);
            let same = foreign_said.status == unknown_said.status && foreign_said.reason == unknown_said.reason;
            if !same || foreign_said.status >= 500 {
                let (one, two) = (&foreign_said.json, &unknown_said.json);
                wrong.push(format!("{} {} as {role:?}: {one}, but for nobody's {two}", foreign.method, foreign.path));
            }
        }
    }
    println!("REST foreign ids: {cells} cells, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
}
