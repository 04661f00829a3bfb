//! Enough of SQL to read migrations: statements, and the columns and keys of tables.

/// A table as its migration makes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Columns of the primary key and of every unique constraint.
    pub(super) keys: Vec<Vec<String>>,
    pub(super) has_primary_key: bool,
}

/// The text without `-- …` and `/* … */`; quoted text stays.
pub(super) fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                out.push('\n');
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.split_once("*/").map_or("", |(_, after)| after);
                continue;
            }
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            _ => first.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Statements in order, without comments; bodies between dollars are not taken apart.
pub(super) fn statements(text: &str) -> Vec<String> {
    let text = without_comments(text);
    let (mut all, mut one) = (Vec::new(), String::new());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ';' => {
                all.push(std::mem::take(&mut one).trim().to_owned());
                rest = &rest[1..];
                continue;
            }
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            '$' => dollar_quoted(rest),
            _ => first.len_utf8(),
        };
        one.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    all.retain(|statement| !statement.is_empty());
    all
}

/// Length of `$tag$ … $tag$` at the start of the text, or 1.
fn dollar_quoted(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else { return 1 };
    let tag = &text[..end + 2];
    if !tag[1..=end].chars().all(|c| c.is_alphanumeric() || c == '_') {
        return 1;
    }
    text[tag.len()..].find(tag).map_or(text.len(), |close| close + 2 * tag.len())
}

/// The table that a statement creates.
pub(super) fn table(statement: &str) -> Option<Table> {
    let upper = statement.to_uppercase();
    let mut first = words(&upper);
    if first.next() != Some("CREATE") || !first.by_ref().take(2).any(|word| word == "TABLE") {
        return None;
    }
    let (head, rest) = statement.split_once('(').unwrap_or((statement, ""));
    let name = head.split_whitespace().last()?.to_owned();
    let mut table = Table { name, columns: Vec::new(), keys: Vec::new(), has_primary_key: false };
    for entry in entries(rest) {
        table.add(&entry);
    }
    Some(table)
}

impl Table {
    fn add(&mut self, entry: &str) {
        let upper = entry.to_uppercase();
        let all: Vec<&str> = words(&upper).collect();
        let says = |pair: [&str; 2]| all.windows(2).any(|two| two == pair);
        let primary = says(["PRIMARY", "KEY"]);
        self.has_primary_key |= primary;
        let is_constraint =
            matches!(all.first(), Some(&("PRIMARY" | "UNIQUE" | "CONSTRAINT" | "CHECK" | "FOREIGN" | "EXCLUDE")));
        if !is_constraint {
            let column = entry.split_whitespace().next().unwrap_or_default().to_owned();
            if primary || all.contains(&"UNIQUE") {
                self.keys.push(vec![column.clone()]);
            }
            self.columns.push(column);
        } else if primary || all.contains(&"UNIQUE") {
            let inside =
                entry.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
            self.keys.push(inside.split(',').map(|column| column.trim().to_owned()).collect());
        }
    }
}

/// What stands between the commas of a column list, up to its closing bracket.
fn entries(list: &str) -> Vec<String> {
    let (mut all, mut one, mut depth) = (Vec::new(), String::new(), 0_u32);
    let mut quoted = false;
    for c in list.chars() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(std::mem::take(&mut one).trim().to_owned());
                continue;
            }
            _ => {}
        }
        one.push(c);
    }
    all.push(one.trim().to_owned());
    all.retain(|entry| !entry.is_empty());
    all
}

/// Columns of the primary key that a statement gives a table which has none yet.
pub(super) fn primary_key(statement: &str, table: &str) -> Option<Vec<String>> {
    statement.strip_prefix(&format!("ALTER TABLE {table} ADD PRIMARY KEY (")).map(entries)
}

/// The UPDATEs of a text, in function bodies too, that join what they change to an array as it is.
pub(super) fn joined_to_arrays(text: &str) -> Vec<String> {
    let text = without_comments(text);
    let updates = text.match_indices("UPDATE ").map(|(at, _)| &text[at..]);
    updates
        .filter(|update| joins_an_array(update))
        .map(|update| words(update).nth(1).unwrap_or("").to_owned())
        .collect()
}

fn joins_an_array(update: &str) -> bool {
    let mut depth = 0_i32;
    for (at, c) in update.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            'F' if depth == 0 && update[at..].starts_with("FROM unnest(") => return true,
            _ => {}
        }
        if depth < 0 || c == ';' {
            return false;
        }
    }
    false
}

/// Name and columns of the unique index that a statement creates.
pub(super) fn unique_index(statement: &str) -> Option<(String, Vec<String>)> {
    let rest = statement.strip_prefix("CREATE UNIQUE INDEX ")?;
    let (head, list) = rest.split_once('(')?;
    let name = head.split_whitespace().next()?.to_owned();
    Some((
        name,
        entries(list).iter().map(|column| column.split_whitespace().next().unwrap_or_default().to_owned()).collect(),
    ))
}

#[test]
fn a_table_has_its_columns_and_keys() {
    let text = "-- a; b\nCREATE TABLE t (\n  tenant_id uuid NOT NULL, -- first\n  n numeric(5, 2) CHECK (n IN ('a,', ')')),\n  \
                code text UNIQUE,\n  PRIMARY KEY (tenant_id, n),\n  CONSTRAINT t_x UNIQUE (n, code)\n) WITH (fillfactor = 70);\n\
                CREATE FUNCTION f() AS $$ BEGIN; CREATE TABLE no (); END $$;\nCREATE UNIQUE INDEX t_y ON t (code DESC, n);";
    let all = statements(text);
    assert_eq!(all.len(), 3);
    let found = table(&all[0]).expect("a table");
    assert_eq!(found.name, "t");
    assert_eq!(found.columns, ["tenant_id", "n", "code"]);
    assert_eq!(found.keys, [vec!["code"], vec!["tenant_id", "n"], vec!["n", "code"]]);
    assert!(found.has_primary_key);
    assert_eq!(table(&all[1]), None);
    assert_eq!(
        primary_key("ALTER TABLE t ADD PRIMARY KEY (tenant_id, n)", "t"),
        Some(vec!["tenant_id".into(), "n".into()])
    );
    assert_eq!(primary_key("ALTER TABLE t ADD PRIMARY KEY (tenant_id, n)", "s"), None);
    assert_eq!(unique_index(&all[2]), Some(("t_y".to_owned(), vec!["code".to_owned(), "n".to_owned()])));
}

#[test]
fn an_update_of_an_array_is_seen() {
    let text = "WITH done AS (UPDATE a SET n = (SELECT max(k) FROM unnest(ks) AS k) FROM unnest(p) AS p WHERE a.id = p.id);\n\
                UPDATE b SET n = 1 FROM (SELECT * FROM unnest(p) LIMIT cardinality(p)) AS p WHERE b.id = p.id;\n\
                UPDATE c SET n = 1; SELECT FROM unnest(p);";
    assert_eq!(joined_to_arrays(text), ["a"]);
}
