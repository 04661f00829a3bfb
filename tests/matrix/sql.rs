//! What PostgreSQL itself holds of tenants, tried as the roles that the services log in with.
//!
//! A database of its own with made-up rows of two tenants in every table: row level security is to be seen at work,
//! not the services.

use std::collections::BTreeSet;

use anyhow::Result;
use ids::TenantId;
use testkit::Db;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::world::connect;

/// insufficient_privilege: no grant, or a row that a policy refuses.
const NOT_ALLOWED: &str = "42501";

/// What must hold, and a question to the catalog for whatever breaks it.
const RULES: &[(&str, &str)] = &[
    (
        "row level security is forced, with a policy that checks what is written, and tenant_id is never null",
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped \
             WHERE n.nspname LIKE 'om\\_%' AND c.relkind IN ('r', 'p') \
               AND NOT (n.nspname = 'om_identity' AND c.relname = 'tenants') \
               AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND t.attnotnull AND EXISTS (\
                 SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd = '*' AND p.polpermissive \
                   AND p.polroles = ARRAY[(SELECT oid FROM pg_roles WHERE rolname = n.nspname)] \
                   AND pg_get_expr(p.polqual, p.polrelid) LIKE '%tenant_id = %app.tenant%' \
                   AND pg_get_expr(p.polwithcheck, p.polrelid) LIKE '%tenant_id = %app.tenant%'))",
    ),
    (
        "tenant_id is first in every primary key and unique index",
        "SELECT format('%s on %I.%I', i.relname, n.nspname, c.relname) FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid \
             JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped \
             WHERE n.nspname LIKE 'om\\_%' AND n.nspname <> 'om_bus' AND x.indisunique AND x.indkey[0] <> t.attnum \
               AND NOT (n.nspname = 'om_identity' AND c.relname = 'tenants')",
    ),
    (
        "every table has a primary key",
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname LIKE 'om\\_%' AND n.nspname <> 'om_bus' AND c.relkind IN ('r', 'p') \
               AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary)",
    ),
    (
        "a foreign key begins with the tenant",
        "SELECT format('%s of %s', k.conname, k.conrelid::regclass) FROM pg_constraint k \
             JOIN pg_namespace n ON n.oid = k.connamespace \
             JOIN pg_attribute t ON t.attrelid = k.conrelid AND t.attname = 'tenant_id' \
             WHERE n.nspname LIKE 'om\\_%' AND k.contype = 'f' AND k.conkey[1] <> t.attnum",
    ),
    (
        "no role is superuser or bypasses row level security",
        "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'om\\_%' \
             AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)",
    ),
    (
        "no role owns anything",
        "SELECT format('%I.%I of %s', n.nspname, c.relname, r.rolname) FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner \
             WHERE n.nspname LIKE 'om\\_%' AND r.rolname LIKE 'om\\_%' \
             UNION ALL SELECT format('schema %I of %s', nspname, rolname) FROM pg_namespace n \
             JOIN pg_roles r ON r.oid = n.nspowner WHERE nspname LIKE 'om\\_%' AND rolname LIKE 'om\\_%' \
             UNION ALL SELECT format('function %s of %s', p.oid::regprocedure, r.rolname) FROM pg_proc p \
             JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner \
             WHERE n.nspname LIKE 'om\\_%' AND r.rolname LIKE 'om\\_%'",
    ),
    (
        "nobody may TRUNCATE, REFERENCE, add triggers or hand grants on, and everybody may nothing",
        "SELECT format('%s on %I.%I to %s', g.privilege_type, n.nspname, c.relname, \
               CASE g.grantee WHEN 0 THEN 'everybody' ELSE g.grantee::regrole::text END) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) g \
             WHERE n.nspname LIKE 'om\\_%' AND g.grantee <> c.relowner \
               AND (g.grantee = 0 OR g.is_grantable OR g.privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN'))",
    ),
    (
        "nothing runs with its owner's rights",
        "SELECT format('%s %s', CASE c.relkind WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' \
               ELSE 'view' END, c.oid::regclass) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname LIKE 'om\\_%' AND (c.relkind IN ('m', 'f') OR c.relkind = 'v' \
               AND NOT coalesce(c.reloptions @> ARRAY['security_invoker=true'], false)) \
             UNION ALL SELECT format('SECURITY DEFINER %s', p.oid::regprocedure) FROM pg_proc p \
             JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname LIKE 'om\\_%' AND p.prosecdef \
             UNION ALL SELECT format('partition %s with grants', c.oid::regclass) FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) g \
             WHERE n.nspname LIKE 'om\\_%' AND c.relispartition AND g.grantee <> c.relowner",
    ),
];

struct Database {
    db: Db,
    admin: Client,
}

/// A table of a tenant.
#[derive(Debug, Clone)]
struct Table {
    schema: String,
    name: String,
    /// Columns that may be written, with an expression that makes a value.
    columns: Vec<(String, String)>,
}

impl Table {
    fn full(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Writes a made-up row of a tenant.
    fn insert(&self, tenant: TenantId) -> String {
        let of = |(name, value): &(String, String)| {
            if name == "tenant_id" { format!("'{}'", tenant.uuid()) } else { value.clone() }
        };
        let names: Vec<_> = self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let values: Vec<_> = self.columns.iter().map(of).collect();
        format!("INSERT INTO {} ({}) VALUES ({})", self.full(), names.join(", "), values.join(", "))
    }
}

impl Database {
    async fn fresh() -> Self {
        let db = Db::of(ordermesh::services::sources()).await.expect("a database");
        let admin = connect(&db.target().url(cluster::ADMIN)).await.expect("the superuser may log in");
        Self { db, admin }
    }

    /// With checks and foreign keys gone, so that any row can be made; row level security stays.
    async fn with_rows(tenants: &[TenantId]) -> Result<(Self, Vec<Table>)> {
        let this = Self::fresh().await;
        this.admin
            .batch_execute(
                "DO $$ DECLARE c record; BEGIN \
                   FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint k \
                     JOIN pg_namespace n ON n.oid = k.connamespace WHERE contype IN ('c', 'f') AND coninhcount = 0 \
                     AND n.nspname LIKE 'om\\_%' \
                   LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', c.t, c.conname); END LOOP; END $$; \
                 SET session_replication_role = replica",
            )
            .await?;
        let tables = this.tables().await;
        for table in &tables {
            for tenant in tenants {
                this.admin.batch_execute(&table.insert(*tenant)).await?;
            }
        }
        Ok((this, tables))
    }

    /// Rows of one text column.
    async fn list(&self, sql: &str) -> Vec<String> {
        let rows = self.admin.query(sql, &[]).await.expect("the catalog can be read");
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn tables(&self) -> Vec<Table> {
        let columns = self
            .admin
            .query(
                "SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), \
                   a.attidentity::text, a.attgenerated::text \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
                 WHERE n.nspname LIKE 'om\\_%' AND n.nspname <> 'om_bus' AND c.relkind IN ('r', 'p') AND a.attnum > 0 \
                   AND NOT c.relispartition AND NOT a.attisdropped AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid \
                     AND t.attname = 'tenant_id' AND NOT t.attisdropped) \
                   AND NOT (n.nspname = 'om_identity' AND c.relname = 'tenants') \
                 ORDER BY 1, 2, a.attnum",
                &[],
            )
            .await
            .expect("the catalog can be read");
        let mut tables: Vec<Table> = Vec::new();
        for column in columns {
            let text = |at: usize| column.get::<_, String>(at);
            let (schema, name) = (text(0), text(1));
            if tables.last().is_none_or(|last| last.schema != schema || last.name != name) {
                tables.push(Table { schema, name, columns: Vec::new() });
            }
            // Generated columns and those that are always counted make themselves.
            if text(4) != "a" && text(5).is_empty() {
                tables.last_mut().expect("one was pushed").columns.push((text(2), value(&text(3))));
            }
        }
        assert!(tables.len() > 40, "every service has tables: {}", tables.len());
        tables
    }

    async fn role(&self, role: &str) -> Client {
        connect(&self.db.target().url(role)).await.expect("the role may log in")
    }

    async fn services(&self) -> Vec<String> {
        let services = self
            .list("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'om\\_%' AND nspname <> 'om_bus'")
            .await;
        assert_eq!(services.len(), ordermesh::services::ALL.len(), "{services:?}");
        services
    }
}

/// An expression of a type; every two rows get the same but for the tenant.
fn value(kind: &str) -> String {
    let base = kind.split('(').next().unwrap_or(kind);
    let value = match base {
        "uuid" => "'00000000-0000-7000-8000-000000000001'",
        "text" | "character varying" | "character" => "'x'",
        "integer" | "smallint" | "bigint" | "numeric" | "double precision" | "real" => "1",
        "boolean" => "false",
        "jsonb" | "json" => "'{}'",
        "bytea" => "'\\x00'",
        "xid8" => "'1'",
        "date" => "'2026-11-21'",
        "interval" => "'1 s'",
        kind if kind.starts_with("timestamp") => "now()",
        kind if kind.ends_with("[]") => "'{}'",
        _ => "NULL",
    };
    value.to_owned()
}

/// What came of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// Rows that were seen or touched.
    Rows(u64),
    /// SQLSTATE.
    Error(String),
}

/// Runs it inside a transaction that is undone, with a tenant or without.
async fn attempt(client: &Client, tenant: Option<TenantId>, statement: &str) -> Came {
    client.batch_execute("BEGIN").await.expect("a transaction begins");
    if let Some(tenant) = tenant {
        let set = format!("SELECT set_config('app.tenant', '{}', true)", tenant.uuid());
        client.batch_execute(&set).await.expect("a tenant can be set");
    }
    let came = match client.simple_query(statement).await {
        Ok(messages) => {
            let rows = messages.iter().map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => *rows,
                _ => 0,
            });
            Came::Rows(rows.sum())
        }
        Err(error) => Came::Error(error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())),
    };
    client.batch_execute("ROLLBACK").await.expect("a transaction ends");
    came
}

#[track_caller]
fn none(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}; not so:\n{}", wrong.join("\n"));
}

/// Everything in the catalog that breaks a rule, under the rule.
async fn open_doors(database: &Database) -> Vec<String> {
    let mut found = Vec::new();
    for (rule, query) in RULES {
        found.extend(database.list(query).await.into_iter().map(|what| format!("{rule}: {what}")));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_every_table_forces_row_level_security_and_no_role_has_a_way_around_it() {
    let database = Database::fresh().await;
    database.services().await;
    none("the catalog has no open door", &open_doors(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_a_door_that_is_left_open_is_found() -> Result<()> {
    let database = Database::fresh().await;
    for (door, seen) in [
        ("ALTER TABLE om_order.orders NO FORCE ROW LEVEL SECURITY", "om_order.orders"),
        ("CREATE TABLE om_order.loose (tenant_id uuid NOT NULL, id uuid PRIMARY KEY)", "loose_pkey on om_order.loose"),
        ("GRANT TRUNCATE ON om_inventory.stock TO om_inventory", "TRUNCATE on om_inventory.stock"),
        ("GRANT SELECT ON om_inventory.stock TO PUBLIC", "everybody"),
        ("CREATE VIEW om_order.all_orders AS SELECT * FROM om_order.orders", "view om_order.all_orders"),
        ("CREATE FUNCTION om_order.f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'", "SECURITY DEFINER"),
        ("ALTER TABLE om_shipping.scans OWNER TO om_shipping", "om_shipping.scans of om_shipping"),
        (
            "DROP POLICY tenant ON om_identity.users; CREATE POLICY tenant ON om_identity.users TO om_identity \
             USING (true) WITH CHECK (true)",
            "om_identity.users",
        ),
    ] {
        database.admin.batch_execute(&format!("BEGIN; {door}")).await?;
        let found = open_doors(&database).await;
        assert!(found.iter().any(|what| what.contains(seen)), "{door} is not seen: {found:?}");
        database.admin.batch_execute("ROLLBACK").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_without_a_tenant_nothing_is_seen_or_written() -> Result<()> {
    let (database, tables) = Database::with_rows(&[TenantId::new()]).await?;
    let (mut cells, mut wrong) = (0, Vec::new());
    for schema in database.services().await {
        let role = database.role(&schema).await;
        for table in tables.iter().filter(|table| table.schema == schema) {
            let full = table.full();
            for statement in [
                format!("SELECT * FROM {full}"),
                table.insert(TenantId::new()),
                format!("UPDATE {full} SET tenant_id = tenant_id"),
                format!("DELETE FROM {full}"),
                format!("TRUNCATE {full}"),
            ] {
                cells += 1;
                match attempt(&role, None, &statement).await {
                    Came::Rows(0) => {}
                    Came::Rows(rows) => wrong.push(format!("{rows} rows: {statement}")),
                    Came::Error(code) if ["42501", "42704", "22P02"].contains(&code.as_str()) => {}
                    Came::Error(code) => wrong.push(format!("{code}: {statement}")),
                }
            }
        }
    }
    println!("SQL without a tenant: {cells} cells, {} wrong", wrong.len());
    none("without a tenant every statement fails or finds nothing", &wrong);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_with_one_tenant_no_row_of_another_is_seen_changed_or_made() -> Result<()> {
    let (own, other) = (TenantId::new(), TenantId::new());
    let (database, tables) = Database::with_rows(&[own, other]).await?;
    let (mut cells, mut wrong) = (0, Vec::new());
    for schema in database.services().await {
        let role = database.role(&schema).await;
        for table in tables.iter().filter(|table| table.schema == schema) {
            let (full, foreign) = (table.full(), other.uuid());
            let denied = || Came::Error(NOT_ALLOWED.to_owned());
            let append = attempt(&role, Some(own), &format!("DELETE FROM {full} WHERE false")).await == denied();
            let written = |rows| if append { denied() } else { Came::Rows(rows) };
            for (statement, expected) in [
                (format!("SELECT * FROM {full}"), Came::Rows(1)),
                (format!("SELECT * FROM {full} WHERE tenant_id = '{foreign}'"), Came::Rows(0)),
                (table.insert(other), denied()),
                (format!("UPDATE {full} SET tenant_id = tenant_id"), written(1)),
                (format!("UPDATE {full} SET tenant_id = '{foreign}'"), denied()),
                (format!("UPDATE {full} SET tenant_id = '{}' WHERE tenant_id = '{foreign}'", own.uuid()), written(0)),
                (format!("DELETE FROM {full}"), written(1)),
                (format!("DELETE FROM {full} WHERE tenant_id = '{foreign}'"), written(0)),
                (format!("TRUNCATE {full}"), denied()),
            ] {
                cells += 1;
                let came = attempt(&role, Some(own), &statement).await;
                if came != expected {
                    wrong.push(format!("{came:?} instead of {expected:?}: {statement}"));
                }
            }
        }
    }
    println!("SQL with a tenant: {cells} cells, {} wrong", wrong.len());
    none("a tenant's rows are its own", &wrong);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_no_service_reads_the_schema_of_another_but_workers_what_they_consume() -> Result<()> {
    let (database, tables) = Database::with_rows(&[TenantId::new()]).await?;
    let (services, mut wrong) = (database.services().await, Vec::new());
    let mut cells = 0;
    let reached: BTreeSet<String> = tables.iter().map(Table::full).collect();
    for service in &services {
        for role in [service.clone(), format!("{service}_worker")] {
            let client = database.role(&role).await;
            for table in tables.iter().filter(|table| table.schema != *service) {
                cells += 1;
                let came = attempt(&client, Some(TenantId::new()), &format!("SELECT * FROM {}", table.full())).await;
                if came != Came::Error(NOT_ALLOWED.to_owned()) {
                    wrong.push(format!("{role} on {}: {came:?}", table.full()));
                }
            }
            for log in services.iter().filter(|log| *log != service) {
                // To consume events is what workers are for.
                let may = role.ends_with("_worker");
                cells += 1;
                let tail = format!("SELECT * FROM {log}.events_tail('0', 0, '{{}}', 10)");
                let came = attempt(&client, Some(TenantId::new()), &tail).await;
                if (came == Came::Error(NOT_ALLOWED.to_owned())) == may {
                    wrong.push(format!("{role} on the log of {log}: {came:?}"));
                }
            }
        }
    }
    println!("SQL of others: {cells} cells over {} tables, {} wrong", reached.len(), wrong.len());
    none("a role sees its own schema only, and a worker the events of others", &wrong);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_01_workers_see_what_is_due_and_write_no_tenants_rows() -> Result<()> {
    let tenant = TenantId::new();
    let (database, tables) = Database::with_rows(&[tenant]).await?;
    let mut wrong = Vec::new();
    for schema in database.services().await {
        let worker = database.role(&format!("{schema}_worker")).await;
        for table in tables.iter().filter(|table| table.schema == schema) {
            let full = table.full();
            for statement in [table.insert(tenant), format!("UPDATE {full} SET tenant_id = tenant_id")] {
                let came = attempt(&worker, Some(tenant), &statement).await;
                if came != Came::Error(NOT_ALLOWED.to_owned()) {
                    wrong.push(format!("{came:?}: {statement}"));
                }
            }
        }
    }
    none("a worker's role claims; it is not what writes", &wrong);
    Ok(())
}
