//! Who may depend on whom (architecture.md 2), against what cargo knows.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

use super::{assert_none, root};

/// What a package may use, by package. Names that begin with `*` stand for a group.
const ALLOWED: [(&str, &[&str]); 22] = [
    ("ids", &[]),
    ("money", &[]),
    ("fault", &[]),
    ("contract", &[]),
    ("cluster", &[]),
    ("tls", &[]),
    ("ctx", &["ids", "fault"]),
    ("pg", &["ctx", "fault", "ids", "tls"]),
    ("resilience", &["ctx", "fault"]),
    ("telemetry", &["ctx"]),
    ("eventlog", &["pg", "ctx", "fault", "ids"]),
    // Handlers and steps go on in the trace of the request that caused them, long after it was answered.
    ("outbox", &["pg", "ctx", "fault", "ids", "telemetry"]),
    // A step's events are appended in the commit that moves its saga on, so the engine speaks the log's language.
    ("saga", &["pg", "ctx", "fault", "ids", "telemetry", "eventlog"]),
    ("serve", &["ctx", "fault", "ids", "telemetry", "contract", "tls"]),
    ("transcode", &[]),
    ("vault", &["pg", "fault", "ids"]),
    ("codegen", &[]),
    ("simulators", &[]),
    ("bridge", &["transcode", "serve", "contract", "ctx", "fault", "telemetry", "tls"]),
    ("*services", &["*crates", "contract"]),
    ("testkit", &["*crates", "*services", "contract", "bridge", "simulators", "ordermesh"]),
    ("ordermesh", &["*crates", "*services", "contract", "bridge", "simulators"]),
];

/// What tests may use besides: a private database, and the outside world for those who talk to it.
const FOR_TESTS: [&str; 1] = ["testkit"];
const FOR_TESTS_OF_SERVICES: [&str; 2] = ["testkit", "simulators"];

/// Sits above everything, or exists for tests only: nothing is built upon it.
const ON_TOP: [&str; 3] = ["journeys", "testkit", "codegen"];

const LONGEST_CHAIN: usize = 6;
const DUMPS: [&str; 5] = ["common", "core", "utils", "types", "shared"];

type Edges = BTreeMap<String, BTreeSet<String>>;

/// The workspace as cargo sees it.
struct House {
    /// Folder of each package, relative to the root.
    folders: BTreeMap<String, String>,
    /// Ordinary and build dependencies.
    normal: Edges,
    /// Dependencies of tests.
    tests: Edges,
}

impl House {
    fn read() -> Self {
        let mut command = MetadataCommand::new();
        command.current_dir(root()).no_deps().other_options(vec!["--offline".to_owned()]);
        let metadata = command.exec().expect("cargo knows the workspace");
        let mut house = Self { folders: BTreeMap::new(), normal: Edges::new(), tests: Edges::new() };
        for package in &metadata.packages {
            let folder = package.manifest_path.parent().expect("a manifest stands in a folder");
            let folder = folder.strip_prefix(&metadata.workspace_root).expect("a member stands in the workspace");
            house.folders.insert(package.name.to_string(), folder.to_string());
            for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
                let edges =
                    if dependency.kind == DependencyKind::Development { &mut house.tests } else { &mut house.normal };
                edges.entry(package.name.to_string()).or_default().insert(dependency.name.clone());
            }
        }
        house
    }

    fn group(&self, name: &str) -> Option<&'static str> {
        let folder = self.folders.get(name)?;
        [("services/", "*services"), ("crates/", "*crates")]
            .into_iter()
            .find(|(start, _)| folder.starts_with(start))
            .map(|(_, group)| group)
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        let rule = ALLOWED.iter().find(|(name, _)| *name == from || Some(*name) == self.group(from));
        let Some((_, allowed)) = rule else { return from == "journeys" };
        let by_group = self.group(to).is_some_and(|group| allowed.contains(&group)) && !ON_TOP.contains(&to);
        allowed.contains(&to) || by_group
    }

    fn allows_in_tests(&self, from: &str, to: &str) -> bool {
        let extra = if self.group(from) == Some("*services") { &FOR_TESTS_OF_SERVICES[..] } else { &FOR_TESTS[..] };
        extra.contains(&to) || self.allows(from, to)
    }
}

fn each(edges: &Edges) -> impl Iterator<Item = (&str, &str)> {
    edges.iter().flat_map(|(from, all)| all.iter().map(move |to| (from.as_str(), to.as_str())))
}

/// The longest path from a package, itself included.
fn longest<'a>(from: &'a str, edges: &'a Edges) -> Vec<&'a str> {
    let below = edges.get(from).into_iter().flatten().map(|to| longest(to, edges)).max_by_key(Vec::len);
    let mut chain = vec![from];
    chain.extend(below.unwrap_or_default());
    chain
}

#[test]
fn packages_depend_only_on_what_stands_below_them() {
    let house = House::read();
    let normal =
        each(&house.normal).filter(|(from, to)| !house.allows(from, to)).map(|(from, to)| format!("{from} -> {to}"));
    let tests = each(&house.tests)
        .filter(|(from, to)| !house.allows_in_tests(from, to))
        .map(|(from, to)| format!("{from} -> {to} (tests)"));
    assert_none("dependencies are those of architecture.md 2", &normal.chain(tests).collect::<Vec<_>>());
}

#[test]
fn every_package_has_a_rule() {
    let house = House::read();
    let known = |name: &str| {
        name == "journeys"
            || ALLOWED.iter().any(|(rule, _)| {
                *rule == name || Some(*rule) == house.group(name).filter(|group| *group == "*services")
            })
    };
    let unknown: Vec<String> = house.folders.keys().filter(|name| !known(name)).cloned().collect();
    assert_none("a new package gets its place in ALLOWED", &unknown);
}

#[test]
fn no_chain_of_packages_is_longer_than_six() {
    let house = House::read();
    let packages = house.folders.keys().filter(|name| !ON_TOP.contains(&name.as_str()));
    let chains = packages.map(|name| longest(name, &house.normal)).filter(|chain| chain.len() - 1 > LONGEST_CHAIN);
    assert_none("no chain has more than 6 steps", &chains.map(|chain| chain.join(" -> ")).collect::<Vec<_>>());
}

#[test]
fn no_package_is_a_dump() {
    let house = House::read();
    let dumps: Vec<String> =
        house.folders.keys().filter(|name| name.split(['-', '_']).any(|part| DUMPS.contains(&part))).cloned().collect();
    assert_none("a package says what it is for", &dumps);
}

#[test]
fn a_forbidden_edge_is_seen() {
    let house = House::read();
    for (from, to) in [
        ("order", "payment"),
        ("order", "bridge"),
        ("order", "testkit"),
        ("bridge", "pg"),
        ("outbox", "eventlog"),
        ("transcode", "fault"),
        ("ordermesh", "testkit"),
    ] {
        assert!(!house.allows(from, to), "{from} -> {to}");
    }
    assert!(!house.allows_in_tests("order", "payment"));
    assert!(house.allows_in_tests("order", "simulators"));
    let edges: Edges = [("a", "b"), ("b", "c"), ("a", "c")].into_iter().fold(Edges::new(), |mut edges, (from, to)| {
        edges.entry(from.to_owned()).or_default().insert(to.to_owned());
        edges
    });
    assert_eq!(longest("a", &edges), ["a", "b", "c"]);
}
