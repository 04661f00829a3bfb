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
