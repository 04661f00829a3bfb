//! What a tenant gets that names things of another: exactly what it gets for things that do not exist.

use contract::{MethodPolicy, POLICIES, Tenant};
use ctx::Role;

use super::grpc::{Answer, Caller};
use super::samples::sample;
use super::world::{Known, Who, World};

/// The answer with every name that was asked for replaced, so that two questions can be compared.
fn without_names(text: &str, names: &Known) -> String {
    let mut names = names.names();
    // Longer ones first: a slug is part of an e-mail address.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.iter().fold(text.to_owned(), |text, name| text.replace(name, "<name>"))
}

async fn ask(world: &World, caller: &Caller, policy: &MethodPolicy, who: Who, names: &Known) -> Answer {
    let token = world.bearer(who, &world.beta);
    let key = ids::EventId::new().to_string();
    let headers =
        [("authorization", token.as_str()), ("x-tenant-id", &world.beta.tenant), ("idempotency-key", key.as_str())];
    caller.call(policy.path, &headers, sample(policy.path, names)).await
}

/// Names of the victim in an answer that were not in the question.
fn leaked<'a>(answer: &Answer, asked: &[u8], victim: &'a Known) -> Vec<&'a str> {
    let says = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|part| part == name.as_bytes());
    let names = victim.names().into_iter();
    let said = |name: &str| answer.bodies.iter().chain([&answer.details]).any(|bytes| says(bytes, name));
    names.filter(|name| said(name) && !says(asked, name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_05_ids_of_another_tenant_are_answered_like_ids_of_nobody() {
    let world = World::get().await;
    let (caller, nobodys) = (world.grpc(), Known::nobodys());
    let before = world.rows(&world.victim).await;
    assert!(before.iter().filter(|(_, rows)| *rows > 0).count() > 8, "the victim has something to lose: {before:?}");
    let (mut cells, mut wrong) = (0, Vec::new());
    for policy in POLICIES.iter().filter(|policy| policy.tenant == Tenant::Required) {
        // A platform_admin is above tenants; of all others nobody is.
        for who in Who::allowed(policy).into_iter().filter(|who| *who != Who::Person(Role::PlatformAdmin)) {
            cells += 1;
            let foreign = ask(world, &caller, policy, who, &world.victim).await;
            let unknown = ask(world, &caller, policy, who, &nobodys).await;
            let picture = |answer: &Answer, names| {
                let fields = answer.fields().join(" ");
                (answer.code, answer.reason.clone(), without_names(&answer.message, names), fields)
            };
            let (seen, same) = (picture(&foreign, &world.victim), picture(&unknown, &nobodys));
            if seen != same {
                wrong.push(format!("{} as {who:?}: {seen:?}, but for nobody's {same:?}", policy.path));
            }
            let leaks = leaked(&foreign, &sample(policy.path, &world.victim), &world.victim);
            if !leaks.is_empty() {
                wrong.push(format!("{} as {who:?} tells of the victim: {leaks:?}", policy.path));
            }
        }
    }
    println!("foreign ids: {cells} cells, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(world.rows(&world.victim).await, before, "not one row of the victim came or went");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_05_the_victim_itself_gets_what_others_do_not() {
    let world = World::get().await;
    let caller = world.grpc();
    let reads = POLICIES.iter().filter(|policy| policy.method.starts_with("Get") || policy.method.starts_with("List"));
    let (mut cells, mut wrong) = (0, Vec::new());
    for policy in reads.filter(|policy| policy.tenant == Tenant::Required) {
        let who = Who::allowed(policy)[0];
        let token = world.bearer(who, &world.victim);
        let headers = [("authorization", token.as_str()), ("x-tenant-id", world.victim.tenant.as_str())];
        let answer = caller.call(policy.path, &headers, sample(policy.path, &world.victim)).await;
        cells += 1;
        if answer.code != tonic::Code::Ok || answer.bodies.len() != 1 {
            wrong.push(format!("{} as {who:?}: {:?} {}", policy.path, answer.code, answer.reason));
        }
    }
    println!("own ids: {cells} cells, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
}
