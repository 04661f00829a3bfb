//! Sagas as operators see them: one with its log, or a page of those that match.

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::Conn;
use uuid::Uuid;

use crate::Definition;

/// A saga as operators see it.
#[derive(Debug, Clone)]
pub struct View {
    /// The saga.
    pub id: Uuid,
    /// Definition it runs by.
    pub kind: String,
    /// Revision of the definition.
    pub rev: i16,
    /// Writes so far; rises with every change of the saga.
    pub seq: i32,
    /// running, waiting, completed, compensated, attention or resolved.
    pub status: String,
    /// do or undo.
    pub phase: String,
    /// Index of the step that is next.
    pub step: i16,
    /// Tries of that step so far.
    pub attempts: i32,
    /// Why it is being undone.
    pub undo_reason: Option<String>,
    /// What it is about, where its state says so as `subject`.
    pub subject: Option<String>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it is looked at next.
    pub wake_at: Timestamp,
    /// What happened, oldest first; empty in lists.
    pub log: Vec<LogEntry>,
}

impl View {
    /// Name of the step that is next; "end" when there is none.
    pub fn step_name(&self, definitions: &[Definition]) -> &'static str {
        let of = |table: &&Definition| table.kind == self.kind && table.rev == self.rev;
        definitions.iter().find(of).map_or("end", |table| crate::advance::step_name(table, self.step))
    }

    /// Whether nothing will happen to it any more.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "compensated" | "resolved")
    }
}

/// One entry of a saga's history: a step, or what an operator decided.
#[derive(QueryableByName, Debug, Clone)]
pub struct LogEntry {
    /// Position, from 1.
    #[diesel(sql_type = Integer)]
    pub seq: i32,
    /// Name of the step.
    #[diesel(sql_type = Text)]
    pub step: String,
    /// do or undo.
    #[diesel(sql_type = Text)]
    pub phase: String,
    /// DONE, WAIT, RETRY, REJECTED, ATTENTION or COMPENSATED; of an operator RETRIED, SKIPPED, FORCED_BACK or RESOLVED.
    #[diesel(sql_type = Text)]
    pub outcome: String,
    /// Why.
    #[diesel(sql_type = Text)]
    pub detail: String,
    /// The operator who decided, such as "user usr_…".
    #[diesel(sql_type = Nullable<Text>)]
    pub actor: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    occurred_at: jiff_diesel::Timestamp,
}

impl LogEntry {
    /// When, by the database's clock.
    pub fn occurred_at(&self) -> Timestamp {
        self.occurred_at.to_jiff()
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    saga_id: Uuid,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = SmallInt)]
    def_rev: i16,
    #[diesel(sql_type = Integer)]
    seq: i32,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = SmallInt)]
    step: i16,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Nullable<Text>)]
    undo_reason: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    created_at: jiff_diesel::Timestamp,
    #[diesel(sql_type = Timestamptz)]
    wake_at: jiff_diesel::Timestamp,
}

impl Row {
    fn view(self, log: Vec<LogEntry>) -> View {
        View {
            id: self.saga_id,
            kind: self.kind,
            rev: self.def_rev,
            seq: self.seq,
            status: self.status,
            phase: self.phase,
            step: self.step,
            attempts: self.attempts,
            undo_reason: self.undo_reason,
            subject: self.subject,
            created_at: self.created_at.to_jiff(),
            wake_at: self.wake_at.to_jiff(),
            log,
        }
    }
}

/// Reads a saga with its history.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn view(conn: &mut Conn, tenant: TenantId, saga_id: Uuid) -> Result<Option<View>, pg::Error> {
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT saga_id, kind, def_rev, seq, status, phase, step, attempts, undo_reason, \
         state->>'subject' AS subject, created_at, wake_at \
         FROM sagas WHERE tenant_id = $1 AND saga_id = $2",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(saga_id)
    .load(conn)
    .await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let log = diesel::sql_query(
        "SELECT seq, step, phase, outcome, detail, actor, occurred_at FROM saga_log \
         WHERE tenant_id = $1 AND saga_id = $2 ORDER BY seq",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(saga_id)
    .load(conn)
    .await?;
    Ok(Some(row.view(log)))
}

/// Which sagas a list wants; what is empty is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these definitions.
    pub kinds: Vec<String>,
    /// Only these: a status, or "compensating" for those that are being undone.
    pub states: Vec<String>,
    /// Only those at a step of this name.
    pub step: Option<String>,
    /// Only those that were started before this.
    pub started_before: Option<Timestamp>,
}

/// Reads sagas that match, newest id first, behind an id; without their logs.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn list(
    conn: &mut Conn,
    tenant: TenantId,
    definitions: &[Definition],
    filter: &Filter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<View>, pg::Error> {
    let named = |name: &String| places(definitions, name);
    let places = filter.step.as_ref().map(named);
    let some = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT saga_id, kind, def_rev, seq, status, phase, step, attempts, undo_reason, \
         state->>'subject' AS subject, created_at, wake_at \
         FROM sagas WHERE tenant_id = $1 AND ($2 IS NULL OR saga_id < $2) AND ($3 IS NULL OR kind = ANY ($3)) \
         AND ($4 IS NULL OR (CASE WHEN status IN ('running', 'waiting') \
         AND phase = 'undo' THEN 'compensating' ELSE status END) = ANY ($4)) \
         AND ($5 IS NULL OR format('%s/%s/%s', kind, def_rev, step) = ANY ($5)) \
         AND ($6 IS NULL OR created_at < $6) ORDER BY saga_id DESC LIMIT $7",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Nullable<SqlUuid>, _>(before)
    .bind::<Nullable<Array<Text>>, _>(some(&filter.kinds))
    .bind::<Nullable<Array<Text>>, _>(some(&filter.states))
    .bind::<Nullable<Array<Text>>, _>(places)
    .bind::<Nullable<Timestamptz>, _>(filter.started_before.map(ToDiesel::to_diesel))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.view(Vec::new())).collect())
}

/// Where a step of that name stands in the tables: "kind/revision/index".
fn places(definitions: &[Definition], name: &str) -> Vec<String> {
    let of = |table: &Definition| {
        let steps = table.steps.iter().enumerate().filter(|(_, step)| step.name == name);
        steps.map(|(index, _)| format!("{}/{}/{index}", table.kind, table.rev)).collect::<Vec<_>>()
    };
    definitions.iter().flat_map(of).collect()
}
