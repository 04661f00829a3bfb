//! Subscriptions in the database: a row with the picture, a row per period, and an event for each change. What is sealed
//! of the picture has a column of its own, so that it can be sealed anew when keys turn (PAY-12).

use contract::Event as _;
use contract::order::v1 as wire;
use ctx::Ctx;
use diesel::OptionalExtension;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Binary, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use ids::{OrderId, SubscriptionId, TenantId, UserId};
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::{Conn, Pg};
use prost::Message;
use serde_json::json;
use uuid::Uuid;

use crate::domain::subscription::{Next, Subscription, Told};

diesel::define_sql_function! {
    /// What is due, of all tenants or of one.
    fn subscription_due(tenant: Nullable<SqlUuid>, most: Integer) -> Jsonb;
}
diesel::define_sql_function! {
    /// Newest first, behind an id; of each what is not sealed and what is.
    fn subscription_page(tenant: SqlUuid, customer: Nullable<SqlUuid>, states: Nullable<Array<SmallInt>>,
        before: Nullable<SqlUuid>, most: Integer) -> Array<Binary>;
}
diesel::define_sql_function! {
    /// Writes a subscription, its event and its period; false when somebody else was faster.
    fn subscription_save(tenant: SqlUuid, subscription: SqlUuid, expected: Integer, customer: SqlUuid, state: SmallInt,
        doc: Binary, sealed: Binary, due: Nullable<Timestamptz>, period: Nullable<Jsonb>, type_name: Text, topic: Text,
        payload: Binary, meta: Jsonb) -> Bool;
}

#[derive(QueryableByName)]
struct Doc {
    #[diesel(sql_type = Binary)]
    doc: Vec<u8>,
    #[diesel(sql_type = Binary)]
    sealed: Vec<u8>,
}

/// Which subscriptions; None = whatever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whose.
    pub customer: Option<UserId>,
    /// In these states.
    pub states: Option<Vec<i16>>,
}

/// What callers hear of a subscription that is not there or not theirs.
pub fn not_found(id: SubscriptionId) -> Fault {
    Fault::not_found("SUBSCRIPTION_NOT_FOUND", "there is no such subscription").with("subscription_id", id)
}

fn decode(doc: &[u8], sealed: Vec<u8>) -> Result<Subscription, Fault> {
    let doc = wire::Subscription::decode(doc).map_err(Fault::internal)?;
    Ok(Subscription::of_doc(wire::Subscription { sealed: Some(sealed.into()), ..doc }))
}

/// Reads a subscription inside a transaction.
///
/// # Errors
/// NotFound `SUBSCRIPTION_NOT_FOUND`.
pub async fn get(conn: &mut Conn, tenant: TenantId, id: SubscriptionId) -> Result<Subscription, pg::Error> {
    const SQL: &str = "SELECT doc, sealed FROM subscriptions WHERE tenant_id = $1 AND subscription_id = $2";
    let query = diesel::sql_query(SQL).bind::<SqlUuid, _>(tenant.uuid()).bind::<SqlUuid, _>(id.uuid());
    let found: Option<Doc> = query.get_result(conn).await.optional()?;
    let Doc { doc, sealed } = found.ok_or_else(|| not_found(id))?;
    Ok(decode(&doc, sealed)?)
}

/// Claims a subscription that is due, for the rest of the transaction; None when another worker has it or was faster.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn claim(conn: &mut Conn, tenant: TenantId, id: SubscriptionId) -> Result<Option<Subscription>, pg::Error> {
    const SQL: &str = "SELECT doc, sealed FROM subscriptions WHERE tenant_id = $1 AND subscription_id = $2 \
        AND due_at <= now() FOR UPDATE SKIP LOCKED";
    let query = diesel::sql_query(SQL).bind::<SqlUuid, _>(tenant.uuid()).bind::<SqlUuid, _>(id.uuid());
    let found: Option<Doc> = query.get_result(conn).await.optional()?;
    Ok(found.map(|Doc { doc, sealed }| decode(&doc, sealed)).transpose()?)
}

/// When the renewal job looks next; nothing else changes.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn look(
    conn: &mut Conn,
    tenant: TenantId,
    id: SubscriptionId,
    due: Option<Timestamp>,
) -> Result<(), pg::Error> {
    const SQL: &str = "UPDATE subscriptions SET due_at = $3 WHERE tenant_id = $1 AND subscription_id = $2";
    let query = diesel::sql_query(SQL).bind::<SqlUuid, _>(tenant.uuid()).bind::<SqlUuid, _>(id.uuid());
    query.bind::<Nullable<Timestamptz>, _>(due.map(|due| due.to_diesel())).execute(conn).await?;
    Ok(())
}

/// Writes a decision; `due` says when the renewal job looks next.
///
/// # Errors
/// Aborted `VERSION_CONFLICT` when somebody else was faster.
pub async fn save(
    conn: &mut Conn,
    ctx: &Ctx,
    before: &Subscription,
    next: &Next,
    due: Option<Timestamp>,
) -> Result<Subscription, pg::Error> {
    let doc = &next.doc;
    let id: SubscriptionId = doc.id.parse().map_err(Fault::internal)?;
    let customer: UserId = doc.customer_id.parse().map_err(Fault::internal)?;
    let period = next.period.zip(doc.renewal.as_ref()).map(|(fresh, renewal)| {
        let order = renewal.order_id.parse::<OrderId>().map(OrderId::uuid).ok();
        json!({ "period": renewal.period, "state": renewal.state, "attempt": renewal.attempt, "order": order, "fresh": fresh })
    });
    let (type_name, topic, payload) = match &next.told {
        Told::Changed(event) => {
            (wire::SubscriptionChanged::TYPE, wire::SubscriptionChanged::TOPIC, event.encode_to_vec())
        }
        Told::Renewed(event) => {
            (wire::SubscriptionRenewed::TYPE, wire::SubscriptionRenewed::TOPIC, event.encode_to_vec())
        }
    };
    let open = wire::Subscription { sealed: None, ..doc.clone() };
    let query = diesel::select(subscription_save(
        ctx.tenant.uuid(),
        id.uuid(),
        before.version,
        customer.uuid(),
        i16::try_from(doc.state).unwrap_or_default(),
        open.encode_to_vec(),
        doc.sealed.as_deref().unwrap_or_default().to_vec(),
        due.map(|due| due.to_diesel()),
        period,
        type_name,
        topic,
        payload,
        eventlog::meta(ctx),
    ));
    if query.get_result::<bool>(conn).await? {
        Ok(Subscription::of_doc(doc.clone()))
    } else {
        Err(Fault::aborted("VERSION_CONFLICT", "the subscription was changed at the same moment").into())
    }
}

/// What is due, of all tenants or of one.
///
/// # Errors
/// As [`Pg::worker_call`].
pub async fn due(pg: &Pg, tenant: Option<TenantId>, most: i32) -> Result<Vec<(TenantId, SubscriptionId)>, Fault> {
    let query = diesel::select(subscription_due(tenant.map(TenantId::uuid), most));
    let found: serde_json::Value = match tenant {
        Some(_) => pg.ask("subscription.due", query).await?,
        None => pg.worker_call("subscription.due", query).await?,
    };
    let found: Vec<(Uuid, Uuid)> = serde_json::from_value(found).map_err(Fault::internal)?;
    Ok(found.into_iter().map(|(tenant, id)| (TenantId::from_uuid(tenant), SubscriptionId::from_uuid(id))).collect())
}

/// Reads a page, newest first, behind an id.
///
/// # Errors
/// As [`Pg::ask`].
pub async fn page(
    pg: &Pg,
    tenant: TenantId,
    filter: &Filter,
    before: Option<Uuid>,
    most: i64,
) -> Result<Vec<Subscription>, Fault> {
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    let customer = filter.customer.map(UserId::uuid);
    let query = diesel::select(subscription_page(tenant.uuid(), customer, filter.states.clone(), before, most));
    let docs: Vec<Vec<u8>> = pg.ask("subscription.page", query).await?;
    docs.chunks_exact(2).map(|one| decode(&one[0], one[1].clone())).collect()
}
