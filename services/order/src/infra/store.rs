//! What do we store? An order's events, the picture they add up to, the saga that drives it, and answers to
//! idempotency keys.

use std::collections::BTreeSet;

use contract::order::v1 as wire;
use ctx::Ctx;
use diesel::sql_types::{Array, Binary, Integer, Jsonb, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::{NewEvent, Recorded};
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, TenantId, UserId};
use jiff::Timestamp;
use pg::{Conn, GroupCommit, Pg};
use prost::Message;
use serde_json::{Value, json};

use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::infra::cache::doubt;

diesel::define_sql_function! {
    /// One order's picture; sets the tenant itself.
    fn order_doc(tenant: SqlUuid, order: SqlUuid) -> Nullable<Binary>;
}
diesel::define_sql_function! {
    /// Pictures of orders, one each; sets the tenant itself.
    fn order_docs(tenant: SqlUuid, orders: Array<SqlUuid>) -> Array<Nullable<Binary>>;
}
diesel::define_sql_function! {
    /// Appends to an order and projects it; false when somebody else was faster.
    fn order_append(tenant: SqlUuid, order: SqlUuid, expected: Integer, types: Array<Text>, topics: Array<Text>,
        payloads: Array<Binary>, meta: Jsonb, doc: Jsonb) -> Bool;
}

diesel::define_sql_function! {
    /// How an order is listed; NULL for one that is not there.
    fn order_listing(tenant: SqlUuid, order: SqlUuid) -> Nullable<Jsonb>;
}

/// Orders in the database.
#[derive(Clone, Debug)]
pub struct Store {
    /// The service's door.
    pub pg: Pg,
    pictures: GroupCommit<TenantId, OrderId, Option<Vec<u8>>>,
}

/// Time of a decision as messages carry it.
pub fn wire_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// The projection of an order as the schema's `project` function takes it.
///
/// Who asks for it is about to commit it: copies of it are in doubt from here on.
pub fn doc(order: &Order) -> Value {
    use base64::Engine as _;
    let customer = order.doc.customer_id.parse().map(UserId::uuid);
    if let (Ok(id), Ok(customer)) = (order.doc.id.parse().map(OrderId::uuid), customer) {
        doubt::writes(id, order.version, &[customer]);
    }
    json!({
        "state": order.doc.state,
        "rev": Order::REV,
        "doc": base64::prelude::BASE64_STANDARD.encode(order.doc.encode_to_vec()),
        "facts": facts(&order.doc),
    })
}

/// What lists and searches look at, beside the picture.
pub fn facts(doc: &wire::Order) -> Value {
    let total = doc.totals.as_ref().and_then(|totals| totals.total.as_ref());
    let skus: BTreeSet<&str> = doc.lines.iter().map(|line| line.sku.as_str()).collect();
    json!({
        "state": doc.state,
        "retail": doc.status_retail,
        "lifecycle": doc.status_lifecycle,
        "currency": doc.currency_code,
        "total": total.map_or(0, |total| total.amount_minor),
        "skus": skus,
    })
}

/// How a picture would be listed, as `order_listing` says it.
pub fn listing(order: &Order) -> Value {
    let at = order.doc.create_time.unwrap_or_default();
    let micros = at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos / 1_000));
    let customer = order.doc.customer_id.parse().map(|id: UserId| id.uuid().to_string());
    let mut listing = facts(&order.doc);
    listing["version"] = order.version.into();
    listing["base"] = order.doc.state.into();
    listing["number"] = order.doc.order_number.into();
    listing["customer"] = customer.unwrap_or_default().into();
    listing["created"] = micros.into();
    listing
}

/// Events as the event log takes them.
pub fn encode(events: &[OrderEvent]) -> Vec<NewEvent> {
    events
        .iter()
        .map(|event| {
            let (type_name, topic, payload) = event.encode();
            NewEvent::new(type_name, topic, payload)
        })
        .collect()
}

/// Most orders that one query reads.
const TOGETHER: usize = 50;

impl Store {
    /// The orders behind a door.
    pub fn new(pg: Pg) -> Self {
        let door = pg.clone();
        let pictures = GroupCommit::new(TOGETHER, move |tenant, ids| read_together(door.clone(), tenant, ids).boxed());
        Self { pg, pictures }
    }

    /// Reads an order in one query with what else is asked for while the query before is under way: for those who are
    /// many and in no hurry, such as sagas.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn get_together(&self, tenant: TenantId, id: OrderId) -> Result<Order, Fault> {
        picture(id, self.pictures.submit(tenant, id).await?)
    }

    /// Reads an order in one round trip.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn get(&self, tenant: TenantId, id: OrderId) -> Result<Order, Fault> {
        let query = diesel::select(order_doc(tenant.uuid(), id.uuid()));
        picture(id, self.pg.ask("order.get", query).await?)
    }

    /// Reads an order inside a transaction.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn get_in(conn: &mut Conn, tenant: TenantId, id: OrderId) -> Result<Order, pg::Error> {
        let query = diesel::select(order_doc(tenant.uuid(), id.uuid()));
        Ok(picture(id, query.get_result(conn).await?)?)
    }

    /// How an order is listed.
    ///
    /// # Errors
    /// Of the database.
    pub async fn listed(conn: &mut Conn, tenant: TenantId, id: OrderId) -> Result<Value, pg::Error> {
        let query = diesel::select(order_listing(tenant.uuid(), id.uuid()));
        Ok(query.get_result::<Option<Value>>(conn).await?.unwrap_or_default())
    }

    /// Appends decisions to an order inside a transaction and gives the picture after them.
    ///
    /// # Errors
    /// Aborted `VERSION_CONFLICT` when somebody else was faster.
    pub async fn append(conn: &mut Conn, ctx: &Ctx, order: &Order, events: &[OrderEvent]) -> Result<Order, pg::Error> {
        let after = order.after(events, wire_time(ctx.now));
        let id: OrderId = order.doc.id.parse().map_err(Fault::internal)?;
        doubt::writes(id.uuid(), after.version, &[ctx.tenant.uuid()]);
        let encoded: Vec<_> = events.iter().map(OrderEvent::encode).collect();
        let query = diesel::select(order_append(
            ctx.tenant.uuid(),
            id.uuid(),
            order.version,
            encoded.iter().map(|(type_name, _, _)| *type_name).collect::<Vec<_>>(),
            encoded.iter().map(|(_, topic, _)| *topic).collect::<Vec<_>>(),
            encoded.iter().map(|(_, _, payload)| payload.as_slice()).collect::<Vec<_>>(),
            eventlog::meta(ctx),
            doc(&after),
        ));
        if query.get_result::<bool>(conn).await? {
            Ok(after)
        } else {
            Err(Fault::aborted("VERSION_CONFLICT", "the order was changed at the same moment").into())
        }
    }

    /// Reads the history of an order, oldest first.
    ///
    /// # Errors
    /// As [`Pg::read`].
    pub async fn history(&self, tenant: TenantId, id: OrderId) -> Result<Vec<Recorded>, Fault> {
        let history = self.pg.read("order.history", tenant, move |conn: &mut Conn| {
            async move { eventlog::load(conn, tenant, id.uuid()).await }.boxed()
        });
        Ok(history.await?)
    }
}

/// What callers hear of an order that is not there or not theirs.
pub fn not_found(id: OrderId) -> Fault {
    Fault::not_found("ORDER_NOT_FOUND", "there is no such order").with("order_id", id)
}

fn picture(id: OrderId, found: Option<Vec<u8>>) -> Result<Order, Fault> {
    let bytes = found.ok_or_else(|| not_found(id))?;
    Ok(Order::of_doc(wire::Order::decode(bytes.as_slice()).map_err(Fault::internal)?))
}

async fn read_together(pg: Pg, tenant: TenantId, ids: Vec<OrderId>) -> Vec<Result<Option<Vec<u8>>, Fault>> {
    let query = order_docs(tenant.uuid(), ids.iter().map(|id| id.uuid()).collect::<Vec<_>>());
    match pg.ask::<Vec<Option<Vec<u8>>>, _>("order.get", diesel::select(query)).await {
        Ok(docs) => docs.into_iter().map(Ok).collect(),
        Err(error) => {
            tracing::warn!(%error, orders = ids.len(), "orders could not be read");
            ids.iter().map(|_| Err(Fault::unavailable("ORDERS_UNREADABLE", "orders cannot be read just now"))).collect()
        }
    }
}
