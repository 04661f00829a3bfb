use super::assert_none;
use super::source::{Source, sources};

/// Files that only decide, besides everything below a `domain` folder (architecture.md 3).
const PURE_NAMES: [&str; 4] = ["stock.rs", "policy.rs", "rules.rs", "state.rs"];
const PURE_FILES: [&str; 2] = ["services/inventory/src/reservation.rs", "services/shipping/src/scans.rs"];

/// Words that no pure file has a use for.
const BANNED: [&[&str]; 22] = [
    &["async"],
    &["await"],
    &["Instant"],
    &["SystemTime"],
    &["tonic", ":", ":"],
    &["diesel", ":", ":"],
    &["diesel_async", ":", ":"],
    &["tokio", ":", ":"],
    &["reqwest", ":", ":"],
    &["tracing", ":", ":"],
    &["rand", ":", ":"],
    &["pg", ":", ":"],
    &["serve", ":", ":"],
    &["resilience", ":", ":"],
    &["std", ":", ":", "fs"],
    &["std", ":", ":", "net"],
    &["std", ":", ":", "env"],
    &["std", ":", ":", "io"],
    &["std", ":", ":", "thread"],
    &["std", ":", ":", "process"],
    &["println"],
    &["eprintln"],
];

/// Last names of paths that read a clock or a die.
const HIDDEN: [&str; 4] = ["now", "now_v7", "new_v4", "random"];

fn is_pure(path: &str) -> bool {
    let Some(inside) =
        path.strip_prefix("services/").and_then(|rest| rest.split_once("/src/")).map(|(_, inside)| inside)
    else {
        return false;
    };
    let name = inside.rsplit('/').next().unwrap_or(inside);
    // Policies are what identity keeps for its tenants: use cases and rows, not decisions.
    if path.starts_with("services/identity/") && name == "policy.rs" {
        return false;
    }
    inside.starts_with("domain/") || inside == "domain.rs" || PURE_NAMES.contains(&name) || PURE_FILES.contains(&path)
}

fn impurities(source: &Source) -> Vec<String> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for pattern in BANNED {
        found.extend(source.find(pattern).map(|at| (at, pattern.concat())));
    }
    for name in HIDDEN {
        found.extend(source.find(&[":", ":", name]).map(|at| (at, format!("::{name}"))));
    }
    // An id carries the time it was made at.
    let fresh =
        source.find(&[":", ":", "new", "(", ")"]).filter(|at| *at > 0 && source.tokens[at - 1].text.ends_with("Id"));
    found.extend(fresh.map(|at| (at, format!("{}::new()", source.tokens[at - 1].text))));
    found.retain(|(at, _)| !source.in_tests(*at));
    found.sort();
    found.into_iter().map(|(at, what)| format!("{}: {what}", source.place(at))).collect()
}

#[test]
fn domain_files_decide_without_waiting_clock_or_io() {
    let pure: Vec<&Source> = sources().iter().filter(|source| is_pure(&source.path)).collect();
    for service in ["order", "inventory", "payment"] {
        let folder = format!("services/{service}/");
        assert!(pure.iter().any(|source| source.path.starts_with(&folder)), "{service} has a file that decides");
    }
    let broken: Vec<String> = pure.into_iter().flat_map(impurities).collect();
    assert_none("a domain file is not async, reads no clock, draws no random number and does no I/O", &broken);
}

/// What the domain of orders may name: language, messages, values, refusals (ORD-13).
const CORE: [&str; 10] =
    ["contract", "fault", "ids", "jiff", "money", "prost", "prost_types", "serde", "thiserror", "uuid"];

/// Packages that the domain names among those its package depends on.
fn named<'n>(source: &Source, packages: &'n [String]) -> Vec<&'n str> {
    let used = |name: &&String| source.find(&[name.as_str(), ":", ":"]).any(|at| !source.in_tests(at));
    packages.iter().filter(used).map(String::as_str).collect()
}

#[test]
fn ord_13_the_domain_of_orders_names_no_package_that_serves_stores_or_waits() {
    let mut command = cargo_metadata::MetadataCommand::new();
    command.current_dir(super::root()).no_deps().other_options(vec!["--offline".to_owned()]);
    let metadata = command.exec().expect("cargo knows the workspace");
    let order =
        metadata.packages.iter().find(|package| package.name.as_str() == "order").expect("there is a package order");
    let all: Vec<String> = order.dependencies.iter().map(|dependency| dependency.name.replace('-', "_")).collect();
    for outside in ["tonic", "diesel", "diesel_async", "tokio", "pg", "serve"] {
        assert!(all.iter().any(|name| name == outside), "the outside of the onion uses {outside}");
    }
    let outside: Vec<String> = all.into_iter().filter(|name| !CORE.contains(&name.as_str())).collect();
    let domain = sources().iter().filter(|source| {
        source.path.starts_with("services/order/src/domain/") || source.path == "services/order/src/domain.rs"
    });
    let broken: Vec<String> = domain
        .flat_map(|source| named(source, &outside).into_iter().map(|name| format!("{}: {name}", source.path)))
        .collect();
    assert_none("the domain of orders depends on values and messages alone", &broken);
    const OUTER: [&[&str]; 3] =
        [&["crate", ":", ":", "app"], &["crate", ":", ":", "infra"], &["crate", ":", ":", "api"]];
    let outward: Vec<String> = sources()
        .iter()
        .filter(|source| source.path.starts_with("services/order/src/domain/"))
        .filter(|source| OUTER.iter().any(|path| source.find(path).next().is_some()))
        .map(|source| source.path.clone())
        .collect();
    assert_none("and knows nobody further out", &outward);
    let text = "use tokio::time;\nfn a(x: contract::order::v1::Order) {}\n#[cfg(test)]\nmod tests { use serve::Mesh; }";
    let seen = Source::parse("x.rs".to_owned(), text);
    assert_eq!(named(&seen, &["tokio".to_owned(), "serve".to_owned(), "contract".to_owned()]), ["tokio", "contract"]);
}

#[test]
fn impure_code_is_seen() {
    let text = "use tonic::Status;\nasync fn a() { b().await }\nfn c() -> jiff::Timestamp { jiff::Timestamp::now() }\n\
                fn d() -> OrderId { OrderId::new() }\nfn fine(now: jiff::Timestamp) -> Order { Order::new() }\n\
                #[cfg(test)]\nmod tests { fn e() { OrderId::new(); } }";
    let seen = impurities(&Source::parse("x.rs".to_owned(), text));
    assert_eq!(seen, ["x.rs:1: tonic::", "x.rs:2: async", "x.rs:2: await", "x.rs:3: ::now", "x.rs:4: OrderId::new()"]);
    assert!(is_pure("services/order/src/domain/order.rs"));
    assert!(is_pure("services/inventory/src/stock.rs"));
    assert!(!is_pure("services/order/src/infra/store.rs"));
    assert!(!is_pure("gen/rust/src/policy.rs"));
    assert!(!is_pure("services/identity/src/logic/policy.rs"));
}
