//! The contract's rules as lists that a reviewer sees change.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use contract::{EVENTS, MethodPolicy, POLICIES};

use super::source::{Source, sources};
use super::{assert_golden, assert_none};

/// A call from one context to another; a callee of `*` is chosen at run time.
type Call = (String, String);

/// The context a file belongs to, when it is one that calls.
fn context(path: &str) -> Option<&str> {
    let first = path.strip_prefix("services/").unwrap_or(path);
    let (name, inside) = first.split_once('/')?;
    let calls = path.starts_with("services/") || ["bridge", "ordermesh"].contains(&name);
    (calls && inside.starts_with("src/")).then_some(name)
}

/// Every `peers.to("x")` outside tests.
fn calls(source: &Source) -> Vec<Call> {
    let Some(caller) = context(&source.path) else { return Vec::new() };
    let found = source.find(&[".", "to", "("]).filter(|at| !source.in_tests(*at));
    let callees = found.filter_map(|at| {
        let literal = source.tokens[at + 3].text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let by_peers = at > 0 && source.tokens[at - 1].text.ends_with("peers");
        literal.or(by_peers.then_some("*"))
    });
    callees.map(|callee| (caller.to_owned(), callee.to_owned())).collect()
}

fn call_graph() -> BTreeSet<Call> {
    sources().iter().flat_map(calls).collect()
}

#[test]
fn who_calls_whom_is_agreed() {
    let lines: String = call_graph().into_iter().map(|(caller, callee)| format!("{caller} -> {callee}\n")).collect();
    assert_golden("call-graph.txt", &lines);
}

#[test]
fn a_service_calls_only_where_the_contract_lets_it_in() {
    let services = call_graph().into_iter().filter(|(caller, _)| !["bridge", "ordermesh"].contains(&caller.as_str()));
    let welcome = |caller: &str, callee: &str| {
        POLICIES.iter().any(|policy| policy.context == callee && policy.callers.contains(&caller))
    };
    let strangers = services
        .filter(|(caller, callee)| !welcome(caller, callee))
        .map(|(caller, callee)| format!("{caller} -> {callee}"));
    assert_none("the callee names its caller in a method's policy", &strangers.collect::<Vec<_>>());
}

/// Every `.on(SomeEvent::TYPE, …)` and `.on_all(…)` outside tests: who listens, and to what.
fn listens(source: &Source) -> Vec<(String, String)> {
    let Some(listener) = context(&source.path) else { return Vec::new() };
    let found = ["on", "on_all"].map(|name| source.find(&[".", name, "("]).collect::<Vec<_>>());
    let found = found.into_iter().flatten().filter(|at| !source.in_tests(*at));
    let events = found.filter_map(|at| {
        let end = source.tokens[at + 3..].iter().position(|token| token.text == ",")? + at + 3;
        let path: Vec<&str> = source.tokens[at + 3..end].iter().map(|token| token.text.as_str()).collect();
        matches!(path[..], [.., ":", ":", "TYPE"]).then(|| path[path.len() - 4].to_owned())
    });
    events.map(|event| (listener.to_owned(), event)).collect()
}

#[test]
fn events_are_heard_by_those_whom_the_contract_names() {
    let heard: BTreeSet<Call> = sources().iter().flat_map(listens).collect();
    let short = |name: &'static str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let named = EVENTS
        .iter()
        .flat_map(|event| event.consumers.iter().map(move |who| ((*who).to_owned(), short(event.type_name))));
    let named: BTreeSet<Call> = named.collect();
    let strange =
        heard.difference(&named).map(|(who, event)| format!("{who} listens to {event}, whose policy does not say so"));
    let deaf = named.difference(&heard).map(|(who, event)| format!("{who} is named by {event} and does not listen"));
    assert_none("an event's policy names its consumers", &strange.chain(deaf).collect::<Vec<_>>());
}

fn line(policy: &MethodPolicy) -> String {
    let idempotency = match (policy.idempotency.natural, policy.idempotency.required, policy.idempotency.ttl_s) {
        (true, ..) => "natural".to_owned(),
        (_, true, ttl) => format!("key required, {ttl} s"),
        (_, false, 0) => "none".to_owned(),
        (_, false, ttl) => format!("key optional, {ttl} s"),
    };
    let list = |names: &[&str]| if names.is_empty() { "-".to_owned() } else { names.join(",") };
    let mut text = format!("{}\n", policy.path);
    writeln!(text, "  exposure {:?}, tenant {:?}", policy.exposure, policy.tenant).expect("a string takes everything");
    writeln!(text, "  roles {}", list(policy.any_role)).expect("a string takes everything");
    writeln!(text, "  callers {}", list(policy.callers)).expect("a string takes everything");
    writeln!(text, "  idempotency {idempotency}").expect("a string takes everything");
    for rule in policy.http {
        writeln!(text, "  {} {}", rule.verb, rule.path).expect("a string takes everything");
    }
    text
}

#[test]
fn who_may_call_what_is_agreed() {
    let text: String = POLICIES.iter().map(line).collect();
    assert_golden("rpc-matrix.txt", &text);
}

#[test]
fn listeners_are_found_by_their_events() {
    let text =
        "fn a() { Subscription::new(\"x\").on(pb::PaymentCaptured::TYPE, f).on_all(Other::TYPE, g); x.on(y, z); }";
    let found = listens(&Source::parse("services/order/src/x.rs".to_owned(), text));
    assert_eq!(found.iter().map(|(_, event)| event.as_str()).collect::<Vec<_>>(), ["PaymentCaptured", "Other"]);
}

#[test]
fn calls_are_found_by_their_callee() {
    let text = "fn a(boot: &Boot) { boot.peers.to(\"payment\"); peers.to(context); x.to(y); }\n#[cfg(test)]\nmod tests { fn b() { peers.to(\"z\"); } }";
    let of = |path: &str| calls(&Source::parse(path.to_owned(), text));
    let pair = |caller: &str, callee: &str| (caller.to_owned(), callee.to_owned());
    assert_eq!(of("services/order/src/app/x.rs"), [pair("order", "payment"), pair("order", "*")]);
    assert_eq!(of("bridge/src/x.rs"), [pair("bridge", "payment"), pair("bridge", "*")]);
    assert!(of("crates/serve/src/x.rs").is_empty());
}
