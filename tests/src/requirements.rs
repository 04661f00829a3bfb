//! The requirement ledger `docs/requirements.tsv`: what was asked for, and what is built.

use std::fmt;
use std::str::FromStr;

/// First line of the ledger.
const HEADER: &str = "id\trequirement\tstate";

/// Name of one requirement, such as ORD-17.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Context it belongs to: two to four capital letters.
    pub group: String,
    /// Number within the group, from 1.
    pub number: u8,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:02}", self.group, self.number)
    }
}

impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (group, number) = text.split_once('-').ok_or("an id has a dash")?;
        if !(2..=4).contains(&group.len()) || !group.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err("an id begins with two to four capital letters");
        }
        if number.len() != 2 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err("an id ends with two digits");
        }
        Ok(Self { group: group.to_owned(), number: number.parse().map_err(|_| "an id ends with two digits")? })
    }
}

/// Whether a requirement holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Asked for, not proven.
    Open,
    /// Proven by a test that carries its id.
    Built,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which requirement.
    pub id: Id,
    /// What was asked for, in short.
    pub text: String,
    /// Where it stands.
    pub state: State,
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("docs/requirements.tsv:{line}: {problem}")]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Reads the ledger.
///
/// # Errors
/// At the first line that is not `id<TAB>text<TAB>open|built`.
pub fn parse(tsv: &str) -> Result<Vec<Row>, BadLine> {
    let mut lines = tsv.lines().enumerate();
    if lines.next().is_none_or(|(_, first)| first != HEADER) {
        return Err(BadLine { line: 1, problem: "the first line names the columns: id, requirement, state" });
    }
    lines.map(|(at, line)| row(line).map_err(|problem| BadLine { line: at + 1, problem })).collect()
}

fn row(line: &str) -> Result<Row, &'static str> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [id, text, state] = columns[..] else { return Err("a line has three columns") };
    if text.trim().is_empty() {
        return Err("a requirement has a text");
    }
    let state = match state {
        "open" => State::Open,
        "built" => State::Built,
        _ => return Err("a state is open or built"),
    };
    Ok(Row { id: id.parse()?, text: text.to_owned(), state })
}

/// Figures of one group.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// Its capital letters.
    pub name: String,
    /// Rows that are built.
    pub built: usize,
    /// Rows that are open.
    pub open: usize,
}

/// Counts per group, in the ledger's order.
pub fn groups(rows: &[Row]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let at = groups.iter().position(|group| group.name == row.id.group).unwrap_or_else(|| {
            groups.push(Group { name: row.id.group.clone(), built: 0, open: 0 });
            groups.len() - 1
        });
        match row.state {
            State::Built => groups[at].built += 1,
            State::Open => groups[at].open += 1,
        }
    }
    groups
}

/// The requirements a test proves: `ord_17_can_03_a_late_cancel_…` proves ORD-17 and CAN-03.
pub fn proven_by(test: &str) -> Vec<Id> {
    let mut ids = Vec::new();
    let mut rest = test;
    while let Some((group, after)) = rest.split_once('_')
        && let Some((number, after)) = after.split_once('_')
        && group.bytes().all(|b| b.is_ascii_lowercase())
        && let Ok(id) = format!("{}-{number}", group.to_ascii_uppercase()).parse()
    {
        ids.push(id);
        rest = after;
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{BadLine, Group, HEADER, Row, State, groups, parse, proven_by};

    fn ledger(lines: &str) -> Result<Vec<Row>, BadLine> {
        parse(&format!("{HEADER}\n{lines}"))
    }

    fn ids(test: &str) -> Vec<String> {
        proven_by(test).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_line_is_id_text_and_state() {
        let rows = ledger("ORD-17\tno late cancel\tbuilt\nPERF-01\tfast\topen\n").expect("two good lines");
        assert_eq!(rows[0].id.to_string(), "ORD-17");
        assert_eq!(rows[0].state, State::Built);
        assert_eq!(rows[1].text, "fast");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (bad, line) in [("ORD-17\tx\tdone", 2), ("ORD-01\tx\topen\nORD-2\tx\topen", 3), ("ord-01\tx\topen", 2)] {
            assert_eq!(ledger(bad).expect_err(bad).line, line, "{bad}");
        }
        assert_eq!(parse("").expect_err("no header").line, 1);
    }

    #[test]
    fn counts_are_per_group_in_the_order_of_the_ledger() {
        let rows = ledger("ORD-01\tx\tbuilt\nINV-01\tx\topen\nORD-02\tx\topen\n").expect("three good lines");
        let expected = [("ORD", 1, 1), ("INV", 0, 1)];
        let expected = expected.map(|(name, built, open)| Group { name: name.to_owned(), built, open });
        assert_eq!(groups(&rows), expected);
    }

    #[test]
    fn a_test_proves_the_ids_its_name_begins_with() {
        assert_eq!(ids("ord_17_cancel_after_fulfilment_started_is_refused"), ["ORD-17"]);
        assert_eq!(ids("ord_17_can_03_a_late_cancel"), ["ORD-17", "CAN-03"]);
        assert_eq!(ids("perf_01_create"), ["PERF-01"]);
        assert!(ids("an_order_of_50_units").is_empty());
        assert!(ids("order_17_x").is_empty());
        assert!(ids("ord_1_x").is_empty());
    }
}
