use std::collections::BTreeSet;

use journeys::requirements::{Id, Row, State, groups, parse, proven_by};

use super::source::sources;
use super::{assert_none, read};

/// Groups in the order of the requirements, with the number of their rows: 222 in all.
const GROUPS: [(&str, usize); 27] = [
    ("ORD", 48),
    ("INV", 18),
    ("PAY", 20),
    ("FRD", 5),
    ("FUL", 13),
    ("SHP", 10),
    ("TRK", 6),
    ("CAN", 5),
    ("RET", 3),
    ("NOT", 9),
    ("HIS", 3),
    ("REP", 7),
    ("USR", 4),
    ("TEN", 5),
    ("GW", 8),
    ("ADM", 3),
    ("WEB", 2),
    ("MOB", 1),
    ("EVT", 9),
    ("SAG", 8),
    ("OBS", 6),
    ("TST", 2),
    ("DEP", 8),
    ("DR", 3),
    ("PERF", 9),
    ("SEC", 5),
    ("CON", 2),
];

fn rows() -> Vec<Row> {
    parse(&read("docs/requirements.tsv")).expect("the ledger can be read")
}

/// Every test with the ids its name carries, as "path:line name".
fn claims() -> Vec<(String, Vec<Id>)> {
    let tests = sources()
        .iter()
        .flat_map(|source| source.functions().into_iter().filter(|f| f.is_test).map(move |f| (source, f)));
    let named = tests.map(|(source, f)| (format!("{}:{} {}", source.path, f.first_line, f.name), proven_by(f.name)));
    named.filter(|(_, ids)| !ids.is_empty()).collect()
}

#[test]
fn every_requirement_stands_in_the_ledger_once_and_in_order() {
    let rows = rows();
    let found: Vec<(String, usize)> =
        groups(&rows).into_iter().map(|group| (group.name, group.built + group.open)).collect();
    assert_eq!(found, GROUPS.map(|(name, count)| (name.to_owned(), count)));
    for (name, count) in GROUPS {
        let numbers = rows.iter().filter(|row| row.id.group == name).map(|row| usize::from(row.id.number));
        assert!(numbers.eq(1..=count), "{name} counts from 1 to {count} in order");
    }
}

#[test]
fn what_is_built_is_proven_by_a_test_of_its_name() {
    let proven: BTreeSet<Id> = claims().into_iter().flat_map(|(_, ids)| ids).collect();
    let unproven = rows().into_iter().filter(|row| row.state == State::Built && !proven.contains(&row.id));
    assert_none(
        "a built row has a test whose name begins with its id",
        &unproven.map(|row| row.id.to_string()).collect::<Vec<_>>(),
    );
}

#[test]
fn no_test_proves_what_nobody_asked_for() {
    let known: BTreeSet<Id> = rows().into_iter().map(|row| row.id).collect();
    let unknown = claims().into_iter().filter(|(_, ids)| ids.iter().any(|id| !known.contains(id)));
    assert_none(
        "a test's name carries ids of docs/requirements.tsv",
        &unknown.map(|(place, _)| place).collect::<Vec<_>>(),
    );
}
