//! The journal of risk and the queue of people.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ctx::Ctx;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, TenantId};
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::{Conn, Json, Pg, Set};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::judge::{Decision, Policy, Score, Stage};

diesel::define_sql_function! {
    /// Journals a decision about an order of a kind that is counted, if it fits the facts, or says what they are.
    fn risk_record(tenant: SqlUuid, item: Jsonb, most: Integer, window_s: Integer) -> Jsonb;
}
diesel::define_sql_function! {
    /// Journals decisions; per item the entry, or the facts where it does not fit them.
    fn risks_record(tenant: SqlUuid, items: Jsonb) -> Jsonb;
}
diesel::define_sql_function! {
    /// Ends the review of an order.
    fn risk_resolve(tenant: SqlUuid, order: SqlUuid, state: Text, actor: Text, reason: Text, event_type: Text,
        topic: Text, payload: Binary, meta: Jsonb) -> Jsonb;
}

/// Whom and what an order is counted by; digests, and nothing when nothing is counted.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    pub customer: Option<Uuid>,
    pub card: Option<Vec<u8>>,
    pub ip: Option<Vec<u8>>,
    pub address: Option<Vec<u8>>,
}

/// A decision that is made on facts.
#[derive(Debug)]
pub struct Verdict<'a> {
    /// The facts it was made on.
    pub bits: i32,
    /// What is decided.
    pub decision: Decision,
    /// Why.
    pub score: &'a Score,
    /// Who scored.
    pub scorer: &'static str,
    /// The event if a person has to look.
    pub opened: NewEvent,
}

/// An entry of the journal with its review.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    pub order: Uuid,
    pub round: i32,
    pub stage: i32,
    pub decision: String,
    pub score: i32,
    pub reasons: Vec<(String, i32)>,
    pub scorer: String,
    pub at: Timestamp,
    pub review: Option<String>,
    pub actor: Option<String>,
    pub review_reason: Option<String>,
    pub review_at: Option<Timestamp>,
}

/// What became of a verdict.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recorded {
    /// It is in the journal, or what was decided before is.
    Entry(Box<Entry>),
    /// The facts are others; nothing was written.
    Facts(i32),
}

/// How the end of a review went.
#[derive(Debug, Deserialize)]
pub struct Ended {
    pub verdict: Ending,
    pub entry: Option<Entry>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ending {
    /// There is no review.
    None,
    /// It ended now.
    Done,
    /// It had ended so before.
    Same,
    /// It had ended otherwise.
    Other,
}

#[derive(QueryableByName)]
struct Doc {
    #[diesel(sql_type = Jsonb)]
    doc: Value,
}

/// The tables of risk.
#[derive(Debug, Clone)]
pub struct RiskStore {
    pg: Pg,
    verdicts: Set,
}

impl RiskStore {
    pub fn new(pg: Pg) -> Self {
        let verdicts = Set::new(pg.clone(), "risk.record", |conn, tenant, items| {
            async move { Ok(diesel::select(risks_record(tenant.uuid(), items)).get_result(conn).await?) }.boxed()
        });
        Self { pg, verdicts }
    }

    /// Journals a verdict unless the facts are others.
    pub async fn record(
        &self,
        ctx: &Ctx,
        (order, round): (OrderId, i32),
        stage: Stage,
        policy: &Policy,
        subjects: Subjects,
        verdict: Verdict<'_>,
    ) -> Result<Recorded, Fault> {
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| BASE64.encode(bytes));
        let item = json!({
            "order_id": order.uuid(),
            "round": round,
            "stage": if stage == Stage::Placed { 1 } else { 2 },
            "facts": verdict.bits,
            "decision": verdict.decision.as_str(),
            "score": verdict.score.points,
            "reasons": verdict.score.reasons,
            "scorer": verdict.scorer,
            "customer": subjects.customer,
            "card": text(subjects.card),
            "ip": text(subjects.ip),
            "address": text(subjects.address),
            "type": verdict.opened.type_name,
            "topic": verdict.opened.topic,
            "payload": BASE64.encode(verdict.opened.payload),
            "meta": eventlog::meta(ctx),
        });
        // Where orders are counted the transaction holds the tenant's lock, so it does nothing else.
        if stage == Stage::Placed && policy.velocity_limit > 0 {
            let most = (policy.velocity_limit, policy.velocity_window_s);
            let query = diesel::select(risk_record(ctx.tenant.uuid(), item, most.0, most.1));
            let Json(found) = self.pg.call("risk.record", query).boxed().await?;
            Ok(found)
        } else {
            self.verdicts.submit(ctx.tenant, &item).await
        }
    }

    /// Ends a review.
    pub async fn resolve(
        &self,
        ctx: &Ctx,
        order: OrderId,
        state: &'static str,
        reason: &str,
        resolved: NewEvent,
    ) -> Result<Ended, Fault> {
        let (kind, id) = ctx.principal.actor();
        let query = diesel::select(risk_resolve(
            ctx.tenant.uuid(),
            order.uuid(),
            state,
            format!("{kind} {id}"),
            reason.to_owned(),
            resolved.type_name,
            resolved.topic,
            resolved.payload,
            eventlog::meta(ctx),
        ));
        let ended: Value = self.pg.call("risk.resolve", query).boxed().await?;
        serde_json::from_value(ended).map_err(Fault::internal)
    }

    /// What was decided about an order, oldest first.
    pub async fn of_order(&self, tenant: TenantId, order: OrderId) -> Result<Vec<Entry>, Fault> {
        let found = self.pg.read("risk.of_order", tenant, move |conn: &mut Conn| {
            async move {
                let query = diesel::sql_query(
                    "SELECT risk_get($1, $2, round, stage) AS doc FROM risk_journal \
                     WHERE tenant_id = $1 AND order_id = $2 ORDER BY round, stage",
                );
                let query = query.bind::<SqlUuid, _>(tenant.uuid()).bind::<SqlUuid, _>(order.uuid());
                Ok(query.load::<Doc>(conn).await?)
            }
            .boxed()
        });
        entries(found.await?)
    }

    /// Reviews that are open, oldest first, behind a cursor.
    pub async fn queue(
        &self,
        tenant: TenantId,
        behind: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> Result<Vec<(Timestamp, Entry)>, Fault> {
        #[derive(QueryableByName)]
        struct Open {
            #[diesel(sql_type = Timestamptz)]
            opened_at: jiff_diesel::Timestamp,
            #[diesel(sql_type = Jsonb)]
            doc: Value,
        }
        let found = self.pg.read("risk.queue", tenant, move |conn: &mut Conn| {
            async move {
                let query = diesel::sql_query(
                    "SELECT opened_at, risk_get($1, order_id, round, stage::int) AS doc FROM risk_reviews \
                     WHERE tenant_id = $1 AND state = 'OPEN' AND ($2 IS NULL OR (opened_at, order_id) > ($2, $3)) \
                     ORDER BY opened_at, order_id LIMIT $4",
                );
                let query = query
                    .bind::<SqlUuid, _>(tenant.uuid())
                    .bind::<Nullable<Timestamptz>, _>(behind.map(|(at, _)| at.to_diesel()))
                    .bind::<Nullable<SqlUuid>, _>(behind.map(|(_, order)| order))
                    .bind::<BigInt, _>(limit);
                Ok(query.load::<Open>(conn).await?)
            }
            .boxed()
        });
        let rows = found.await?.into_iter();
        rows.map(|row| Ok((row.opened_at.to_jiff(), serde_json::from_value(row.doc).map_err(Fault::internal)?)))
            .collect()
    }
}

fn entries(rows: Vec<Doc>) -> Result<Vec<Entry>, Fault> {
    rows.into_iter().map(|row| serde_json::from_value(row.doc).map_err(Fault::internal)).collect()
}
