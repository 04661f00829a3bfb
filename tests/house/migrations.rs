//! The rules of tables, read from the migrations.

use super::sql::{Table, joined_to_arrays, primary_key, statements, table, unique_index};
use super::{assert_none, files, read};

/// The list may only shrink: lower this with it.
const MOST_EXCEPTIONS: usize = 6;

/// One schema's migrations in the order they run.
struct Schema {
    name: String,
    statements: Vec<String>,
}

impl Schema {
    fn tables(&self) -> impl Iterator<Item = (usize, Table)> {
        self.statements.iter().enumerate().filter_map(|(at, statement)| {
            let mut table = table(statement)?;
            if let Some(key) = self.statements[at..].iter().find_map(|later| primary_key(later, &table.name)) {
                table.has_primary_key = true;
                table.keys.push(key);
            }
            Some((at, table))
        })
    }

    /// Whether row level security is put on a table after the statement at `from`.
    fn protects(&self, name: &str, from: usize) -> bool {
        let call = format!("om_protect('{name}'");
        self.statements[from..].iter().any(|statement| statement.starts_with("SELECT") && statement.contains(&call))
    }

    fn qualified(&self, table: &str) -> String {
        format!("{}.{table}", self.name)
    }
}

fn schemas() -> Vec<Schema> {
    let mut all: Vec<Schema> = Vec::new();
    for path in files("up.sql") {
        let Some(name) = path.strip_prefix("migrations/").and_then(|rest| rest.split('/').next()) else { continue };
        let found = statements(&read(&path));
        match all.last_mut().filter(|schema| schema.name == name) {
            Some(schema) => schema.statements.extend(found),
            None => all.push(Schema { name: name.to_owned(), statements: found }),
        }
    }
    assert!(all.len() > 5, "the migrations are found");
    all
}

/// Tables that belong to no tenant, with the reason.
fn exceptions() -> Vec<(String, String)> {
    let text = read("tests/golden/tables-without-tenant.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            line.split_once(char::is_whitespace).map_or_else(
                || (line.to_owned(), String::new()),
                |(name, why)| (name.to_owned(), why.trim().to_owned()),
            )
        })
        .collect()
}

fn is_tenants(table: &Table) -> bool {
    table.columns.iter().any(|column| column == "tenant_id")
}

#[test]
fn every_tenant_table_is_under_row_level_security() {
    let excepted = exceptions();
    let mut broken = Vec::new();
    for schema in schemas() {
        for (at, table) in schema.tables() {
            let name = schema.qualified(&table.name);
            if !schema.protects(&table.name, at) && !excepted.iter().any(|(other, _)| *other == name) {
                broken.push(format!(
                    "{name}{}",
                    if is_tenants(&table) { " is not protected" } else { " has no tenant_id" }
                ));
            }
        }
    }
    assert_none("a table has a tenant_id and SELECT om_protect('table')", &broken);
}

#[test]
fn the_list_of_tables_without_a_tenant_only_shrinks() {
    let excepted = exceptions();
    assert!(
        excepted.len() <= MOST_EXCEPTIONS,
        "{} tables without a tenant, {MOST_EXCEPTIONS} are agreed",
        excepted.len()
    );
    let all = schemas();
    let needed = |name: &str| {
        all.iter().any(|schema| {
            schema
                .tables()
                .any(|(at, table)| schema.qualified(&table.name) == name && !schema.protects(&table.name, at))
        })
    };
    let stale: Vec<String> =
        excepted.iter().filter(|(name, why)| !needed(name) || why.is_empty()).map(|(name, _)| name.clone()).collect();
    assert_none("an exception has a reason and a table that needs it", &stale);
}

#[test]
fn every_key_leads_with_the_tenant() {
    let excepted = exceptions();
    let mut broken = Vec::new();
    for schema in schemas() {
        for (_, table) in schema
            .tables()
            .filter(|(_, table)| !excepted.iter().any(|(name, _)| *name == schema.qualified(&table.name)))
        {
            let name = schema.qualified(&table.name);
            if !table.has_primary_key {
                broken.push(format!("{name} has no primary key"));
            }
            broken.extend(
                table.keys.iter().filter(|key| key[0] != "tenant_id").map(|key| format!("{name} ({})", key.join(", "))),
            );
        }
        let indexes = schema.statements.iter().filter_map(|statement| unique_index(statement));
        broken
            .extend(indexes.filter(|(_, columns)| columns[0] != "tenant_id").map(|(name, _)| schema.qualified(&name)));
    }
    assert_none("primary keys, unique constraints and unique indexes lead with tenant_id", &broken);
}

/// An array counts as ten rows, so where tenants have few rows on average a large tenant's are walked (docs/adr/0009).
#[test]
fn a_set_that_is_joined_to_what_it_changes_counts_as_one_row() {
    let migrations = files("up.sql").into_iter().filter(|path| path.starts_with("migrations/"));
    let joined: Vec<String> = migrations
        .flat_map(|path| joined_to_arrays(&read(&path)).into_iter().map(move |table| format!("{path}: {table}")))
        .collect();
    assert_none("UPDATE … FROM (SELECT * FROM unnest(set) LIMIT cardinality(set))", &joined);
}

#[test]
fn every_migration_can_be_taken_back() {
    let lonely = files("up.sql").into_iter().filter(|path| path.starts_with("migrations/"));
    let lonely: Vec<String> =
        lonely.filter(|path| !super::root().join(path.replace("up.sql", "down.sql")).exists()).collect();
    assert_none("an up.sql has a down.sql", &lonely);
}

#[test]
fn an_unprotected_table_is_seen() {
    let text = "CREATE TABLE a (tenant_id uuid, PRIMARY KEY (tenant_id));\nSELECT om_protect('a', 'append');\nCREATE TABLE b (tenant_id uuid);";
    let schema = Schema { name: "x".to_owned(), statements: statements(text) };
    let seen: Vec<_> = schema.tables().map(|(at, table)| schema.protects(&table.name, at)).collect();
    assert_eq!(seen, [true, false]);
}
