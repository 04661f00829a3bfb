use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, sql_query};
use diesel_async::RunQueryDsl;
use fault::Fault;
use ids::TenantId;
use jiff::Timestamp;
use pg::Conn;
use serde::Deserialize;
use uuid::Uuid;

use super::{Doc, accepted, decode, decode_all};
use crate::counting::{Count, IssueKind, IssueState};

/// Products that one statement compares: it must end in time however many lines of the last hour they have.
const AT_A_TIME: usize = 500;

/// A report of what is wrong with stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Unique id.
    pub id: Uuid,
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// What is wrong.
    pub kind: IssueKind,
    /// Units.
    pub quantity: i32,
    /// What left instead; empty unless it is a wrong pick.
    pub picked_sku: String,
    /// What the reporter says.
    pub note: String,
    /// State.
    pub state: IssueState,
    /// Who reported it.
    pub reported_by: String,
    /// Who decided; empty while it waits.
    pub decided_by: String,
    /// Why it was decided so.
    pub decision_note: String,
    /// When it was reported.
    pub created_at: Timestamp,
}

#[derive(Deserialize)]
struct IssueRow {
    issue_id: Uuid,
    sku: String,
    warehouse: String,
    kind: i16,
    quantity: i32,
    picked_sku: String,
    note: String,
    state: i16,
    reported_by: String,
    decided_by: String,
    decision_note: String,
    created_at: Timestamp,
}

impl TryFrom<IssueRow> for Issue {
    type Error = pg::Error;

    fn try_from(row: IssueRow) -> Result<Self, pg::Error> {
        let strange = |what: &str, code: i16| Fault::internal(format!("{what} {code} of a report"));
        Ok(Self {
            id: row.issue_id,
            sku: row.sku,
            warehouse: row.warehouse,
            kind: IssueKind::of(row.kind).ok_or_else(|| strange("kind", row.kind))?,
            quantity: row.quantity,
            picked_sku: row.picked_sku,
            note: row.note,
            state: IssueState::of(row.state).ok_or_else(|| strange("state", row.state))?,
            reported_by: row.reported_by,
            decided_by: row.decided_by,
            decision_note: row.decision_note,
            created_at: row.created_at,
        })
    }
}

/// Stores a report, of a product and place that exist.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition PRODUCT_IS_RESOURCE.
pub async fn add_issue(conn: &mut Conn, tenant: TenantId, issue: &Issue) -> Result<(), pg::Error> {
    for sku in [&issue.sku, &issue.picked_sku].into_iter().filter(|sku| !sku.is_empty()) {
        let place = sql_query("SELECT coalesce(stock_place($1, $2, $3), '{}') AS doc")
            .bind::<SqlUuid, _>(tenant.uuid())
            .bind::<Text, _>(sku)
            .bind::<Text, _>(&issue.warehouse);
        accepted(place.get_result::<Doc>(conn).await?.doc)?;
    }
    sql_query(
        "INSERT INTO stock_issues (tenant_id, issue_id, sku, warehouse, kind, quantity, picked_sku, note, reported_by, \
         created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(issue.id)
    .bind::<Text, _>(&issue.sku)
    .bind::<Text, _>(&issue.warehouse)
    .bind::<SmallInt, _>(issue.kind.code())
    .bind::<Integer, _>(issue.quantity)
    .bind::<Text, _>(&issue.picked_sku)
    .bind::<Text, _>(&issue.note)
    .bind::<Text, _>(&issue.reported_by)
    .bind::<Timestamptz, _>(jiff_diesel::Timestamp::from(issue.created_at))
    .execute(conn)
    .await?;
    Ok(())
}

/// A report under lock.
///
/// # Errors
/// NotFound ISSUE_NOT_FOUND.
pub async fn locked_issue(conn: &mut Conn, tenant: TenantId, id: Uuid) -> Result<Issue, pg::Error> {
    let row = sql_query(
        "SELECT to_jsonb(i) AS doc FROM stock_issues i WHERE tenant_id = $1 AND issue_id = $2 FOR NO KEY UPDATE",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(id)
    .get_result::<Doc>(conn)
    .await
    .optional()?;
    let row = row.ok_or_else(|| Fault::not_found("ISSUE_NOT_FOUND", "the tenant has no such report"))?;
    decode::<IssueRow>(row.doc)?.try_into()
}

/// Writes what was decided of a locked report.
///
/// # Errors
/// Of the database.
pub async fn decide_issue(conn: &mut Conn, tenant: TenantId, issue: &Issue) -> Result<(), pg::Error> {
    sql_query(
        "UPDATE stock_issues SET state = $3, decided_by = $4, decision_note = $5 WHERE tenant_id = $1 AND issue_id = $2",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(issue.id)
    .bind::<SmallInt, _>(issue.state.code())
    .bind::<Text, _>(&issue.decided_by)
    .bind::<Text, _>(&issue.decision_note)
    .execute(conn)
    .await?;
    Ok(())
}

/// Up to `limit` reports before one that was seen, newest first.
///
/// # Errors
/// Of the database.
pub async fn issue_page(
    conn: &mut Conn,
    tenant: TenantId,
    before: Option<Uuid>,
    state: Option<IssueState>,
    limit: i64,
) -> Result<Vec<Issue>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(i) AS doc FROM stock_issues i WHERE tenant_id = $1 AND ($2 IS NULL OR issue_id < $2) \
         AND ($3 IS NULL OR state = $3) ORDER BY issue_id DESC LIMIT $4",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Nullable<SqlUuid>, _>(before)
    .bind::<Nullable<SmallInt>, _>(state.map(IssueState::code))
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    decode_all::<IssueRow>(rows)?.into_iter().map(Issue::try_from).collect()
}

/// Makes several corrections in a warehouse through the ledger, all or, with the transaction, none.
///
/// # Errors
/// As [`super::adjust`], with the SKU that refuses.
pub async fn correct(
    conn: &mut Conn,
    tenant: TenantId,
    warehouse: &str,
    changes: &[(String, i32)],
    (reason, reference): (&str, &str),
) -> Result<(), pg::Error> {
    let query = sql_query("SELECT correct_stock($1, $2, $3, $4, $5, $6) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(warehouse)
        .bind::<Array<Text>, _>(changes.iter().map(|(sku, _)| sku.as_str()).collect::<Vec<_>>())
        .bind::<Array<Integer>, _>(changes.iter().map(|(_, delta)| *delta).collect::<Vec<_>>())
        .bind::<Text, _>(reason)
        .bind::<Text, _>(reference);
    accepted(query.get_result::<Doc>(conn).await?.doc)?;
    Ok(())
}

/// A snapshot with the ledger at its moment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Comparison {
    /// The warehouse.
    pub warehouse: String,
    /// The snapshot.
    pub snapshot: String,
    /// Its moment.
    pub taken_at: Timestamp,
    /// Each product, by SKU.
    pub counts: Vec<Count>,
}

/// Stores what a warehouse counted; false: the snapshot was stored before.
///
/// # Errors
/// NotFound WAREHOUSE_NOT_FOUND.
pub async fn add_snapshot(
    conn: &mut Conn,
    tenant: TenantId,
    (warehouse, snapshot): (&str, &str),
    taken_at: Timestamp,
    observations: &[(String, i32)],
) -> Result<bool, pg::Error> {
    if super::warehouse(conn, tenant, warehouse).await?.is_none() {
        return Err(crate::queries::no_warehouse(warehouse).into());
    }
    let added = sql_query(
        "INSERT INTO wms_snapshots (tenant_id, snapshot_id, warehouse, taken_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(snapshot)
    .bind::<Text, _>(warehouse)
    .bind::<Timestamptz, _>(jiff_diesel::Timestamp::from(taken_at))
    .execute(conn)
    .await?;
    if added == 0 {
        return Ok(false);
    }
    sql_query(
        "INSERT INTO observations (tenant_id, snapshot_id, sku, on_hand) \
         SELECT $1, $2, o.sku, o.on_hand FROM unnest($3, $4) AS o (sku, on_hand)",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(snapshot)
    .bind::<Array<Text>, _>(observations.iter().map(|(sku, _)| sku.as_str()).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(observations.iter().map(|(_, on_hand)| *on_hand).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(true)
}

/// Completes a stored snapshot of the whole warehouse: goods of our books that it left out were not there. Slots of
/// resources are no goods, and nobody counts them.
///
/// # Errors
/// Of the database.
pub async fn add_absent(conn: &mut Conn, tenant: TenantId, snapshot: &str) -> Result<(), pg::Error> {
    // A difference of sets costs the same however little is known yet of the rows that were just stored.
    let left_out = sql_query(
        "SELECT coalesce(jsonb_agg(d.sku), '[]') AS doc FROM (SELECT k.sku FROM wms_snapshots s \
         JOIN stock k ON k.tenant_id = s.tenant_id AND k.warehouse = s.warehouse AND strpos(k.sku, '@') = 0 \
         WHERE s.tenant_id = $1 AND s.snapshot_id = $2 \
         EXCEPT SELECT sku FROM observations WHERE tenant_id = $1 AND snapshot_id = $2) d",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(snapshot);
    let left_out: Vec<String> = decode(left_out.get_result::<Doc>(conn).await?.doc)?;
    for some in left_out.chunks(AT_A_TIME) {
        sql_query("SELECT observe_absent($1, $2, $3)")
            .bind::<SqlUuid, _>(tenant.uuid())
            .bind::<Text, _>(snapshot)
            .bind::<Array<Text>, _>(some)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// The snapshots of a warehouse's newest count: parts of one moment, the last name first. None: nobody counted yet.
///
/// # Errors
/// NotFound WAREHOUSE_NOT_FOUND.
pub async fn newest_count(conn: &mut Conn, tenant: TenantId, warehouse: &str) -> Result<Vec<String>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(snapshot_id) AS doc FROM wms_snapshots WHERE tenant_id = $1 AND warehouse = $2 AND taken_at = \
         (SELECT max(taken_at) FROM wms_snapshots WHERE tenant_id = $1 AND warehouse = $2) ORDER BY snapshot_id DESC",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(warehouse)
    .load::<Doc>(conn)
    .await?;
    if rows.is_empty() && super::warehouse(conn, tenant, warehouse).await?.is_none() {
        return Err(crate::queries::no_warehouse(warehouse).into());
    }
    decode_all(rows)
}

/// Lets corrections of a warehouse come one after the other; from then on the transaction gives way to what sells.
///
/// # Errors
/// Of the database.
pub async fn take_turn(conn: &mut Conn, tenant: TenantId, warehouse: &str) -> Result<(), pg::Error> {
    sql_query("SELECT FROM warehouses WHERE tenant_id = $1 AND code = $2 FOR NO KEY UPDATE")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(warehouse)
        .execute(conn)
        .await?;
    // Orders wait for what it has locked while it waits itself: a fifth of what they wait at most.
    sql_query("SET LOCAL lock_timeout = '200ms'").execute(conn).await?;
    Ok(())
}

/// Compares all of a snapshot with the ledger at its moment.
///
/// # Errors
/// Of the database.
pub async fn compare_all(conn: &mut Conn, tenant: TenantId, snapshot: &str) -> Result<Comparison, pg::Error> {
    let skus = sql_query(
        "SELECT coalesce(jsonb_agg(sku ORDER BY sku), '[]') AS doc FROM observations WHERE tenant_id = $1 AND snapshot_id = $2",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(snapshot);
    let skus: Vec<String> = decode(skus.get_result::<Doc>(conn).await?.doc)?;
    let mut whole = compare(conn, tenant, snapshot, &[]).await?;
    for some in skus.chunks(AT_A_TIME) {
        whole.counts.extend(compare(conn, tenant, snapshot, some).await?.counts);
    }
    Ok(whole)
}

/// Compares some products of a snapshot with the ledger at its moment.
///
/// # Errors
/// Of the database.
pub async fn compare(
    conn: &mut Conn,
    tenant: TenantId,
    snapshot: &str,
    skus: &[String],
) -> Result<Comparison, pg::Error> {
    let query = sql_query("SELECT compare_snapshot($1, $2, $3) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(snapshot)
        .bind::<Array<Text>, _>(skus);
    decode(query.get_result::<Doc>(conn).await?.doc)
}
