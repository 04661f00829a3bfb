//! Looking for what must not be in a database.

use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use pg::Conn;

/// Lives as long as the connection.
const SEARCH: &str = "CREATE OR REPLACE FUNCTION pg_temp.columns_with(value bytea) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  k     record;
  holds text;
  found boolean;
BEGIN
  FOR k IN SELECT format('%I.%I', n.nspname, c.relname) AS tables, quote_ident(a.attname) AS name, a.atttypid = 'bytea'::regtype AS bytes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname LIKE 'om\\_%' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2 LOOP
    holds := CASE WHEN k.bytes THEN format('position($1 IN %s) > 0', k.name)
      ELSE format('position(convert_from($1, ''UTF8'') IN %1$s::text) > 0 OR position(encode($1, ''hex'') IN %1$s::text) > 0', k.name) END;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s)', k.tables, holds) INTO found USING value;
    IF found THEN
      RETURN NEXT k.tables || '.' || k.name;
    END IF;
  END LOOP;
END $$";

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Every column of ours, as `schema.table.column`, that holds a value anywhere: as it is, in its bytes, or in hex
/// inside of text and JSON.
///
/// The connection must see all rows: [`Db::admin`]. Case counts.
///
/// # Errors
/// When the database refuses.
///
/// [`Db::admin`]: crate::Db::admin
pub async fn columns_with(conn: &mut Conn, value: &str) -> Result<Vec<String>> {
    anyhow::ensure!(!value.is_empty(), "everything holds nothing");
    conn.batch_execute(SEARCH).await?;
    let found = diesel::sql_query("SELECT name FROM pg_temp.columns_with($1) AS name");
    let found: Vec<Column> = found.bind::<Binary, _>(value.as_bytes()).load(conn).await?;
    Ok(found.into_iter().map(|column| column.name).collect())
}
