//! What we store: messages, when they are due, and what became of each try.

use std::collections::BTreeMap;
use std::time::Duration;

use ctx::Ctx;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Jsonb, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use fault::Fault;
use ids::{MessageId, OrderId, TenantId, UserId};
use pg::{Conn, Pg};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::model::{Facts, Kind, Message, Outcome, State};

mod sql {
    use super::*;

    diesel::define_sql_function! {
        fn messages_create(tenant: SqlUuid, items: Jsonb) -> Array<SmallInt>;
    }
    diesel::define_sql_function! { fn messages_due(limit: Integer) -> Jsonb; }
    diesel::define_sql_function! { fn messages_claim(tenant: SqlUuid, ids: Array<SqlUuid>, lease_ms: BigInt) -> Jsonb; }
    diesel::define_sql_function! {
        fn message_settle(tenant: SqlUuid, id: SqlUuid, attempt: Integer, outcome: Text, state: SmallInt, delay_ms: BigInt,
            types: Array<Text>, topics: Array<Text>, payloads: Array<Binary>, meta: Jsonb) -> Bool;
    }
    diesel::define_sql_function! { fn message_get(tenant: SqlUuid, id: SqlUuid) -> Nullable<Jsonb>; }
    diesel::define_sql_function! {
        fn message_list(tenant: SqlUuid, order: Nullable<SqlUuid>, customer: Nullable<SqlUuid>, state: Nullable<SmallInt>,
            before: Nullable<SqlUuid>, limit: Integer) -> Jsonb;
    }
    diesel::define_sql_function! { fn message_retry(tenant: SqlUuid, id: SqlUuid) -> Bool; }
}

/// A message that may have to be sent.
pub(crate) struct New {
    pub kind: Kind,
    /// What is told of once.
    pub cause: Uuid,
    pub order: OrderId,
    pub customer: UserId,
    pub facts: Facts,
}

/// Which messages to list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filter {
    pub order: Option<OrderId>,
    pub customer: Option<UserId>,
    pub state: Option<State>,
}

/// The service's rows.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pg: Pg,
}

impl Store {
    pub(crate) fn new(pg: Pg) -> Self {
        Self { pg }
    }

    /// Changes when something may be due.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.pg.commits()
    }

    /// A message of the tenant with its tries.
    pub(crate) async fn get(&self, tenant: TenantId, id: MessageId) -> Result<Message, Fault> {
        let query = diesel::select(sql::message_get(tenant.uuid(), id.uuid()));
        let row: Option<Value> = self.pg.ask("notification.get", query).await?;
        read(row.ok_or_else(|| Fault::not_found("MESSAGE_NOT_FOUND", format!("no message {id}")))?)
    }

    /// A page of a tenant's messages, newest first.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        filter: Filter,
        before: Option<Uuid>,
        limit: i32,
    ) -> Result<Vec<Message>, Fault> {
        let Filter { order, customer, state } = filter;
        let (order, customer) = (order.map(OrderId::uuid), customer.map(UserId::uuid));
        let state = state.map(|state| state as i16);
        let query = sql::message_list(tenant.uuid(), order, customer, state, before, limit);
        read(self.pg.ask("notification.list", diesel::select(query)).await?)
    }

    /// Puts a failed message back in line; any other stays as it is.
    pub(crate) async fn retry(&self, tenant: TenantId, id: MessageId) -> Result<(), Fault> {
        let query = diesel::select(sql::message_retry(tenant.uuid(), id.uuid()));
        let _back_in_line: bool = self.pg.call("notification.retry", query).await?;
        Ok(())
    }

    /// Messages that are due, of every tenant its longest waiting one before anybody's second.
    pub(crate) async fn due(&self, limit: i32) -> Result<BTreeMap<TenantId, Vec<Uuid>>, Fault> {
        let rows = self.pg.worker_call("notification.due", diesel::select(sql::messages_due(limit))).await?;
        let mut due: BTreeMap<TenantId, Vec<Uuid>> = BTreeMap::new();
        for (tenant, message) in read::<Vec<(Uuid, Uuid)>>(rows)? {
            due.entry(TenantId::from_uuid(tenant)).or_default().push(message);
        }
        Ok(due)
    }

    /// Takes those of them that nobody else has; for the lease nobody else will.
    pub(crate) async fn claim(&self, tenant: TenantId, ids: Vec<Uuid>, lease: Duration) -> Result<Vec<Message>, Fault> {
        let query = sql::messages_claim(tenant.uuid(), ids, millis(lease));
        read(self.pg.ask("notification.claim", diesel::select(query)).await?)
    }

    /// Writes down what became of a try; `again` is the pause to the next, if there is one.
    pub(crate) async fn settle(
        &self,
        ctx: &Ctx,
        message: &Message,
        outcome: &Outcome,
        again: Option<Duration>,
        event: Option<NewEvent>,
    ) -> Result<bool, Fault> {
        let state = match (outcome, again) {
            (Outcome::Sent, _) => State::Sent,
            (_, Some(_)) => State::Pending,
            (_, None) => State::Failed,
        };
        let (types, topics, payloads) = match event {
            Some(event) => (vec![event.type_name], vec![event.topic], vec![event.payload]),
            None => (Vec::new(), Vec::new(), Vec::new()),
        };
        let query = sql::message_settle(
            ctx.tenant.uuid(),
            message.id().uuid(),
            message.attempts,
            outcome.name().to_owned(),
            state as i16,
            millis(again.unwrap_or_default()),
            types,
            topics,
            payloads,
            eventlog::meta(ctx),
        );
        Ok(self.pg.share("notification.settle", ctx.tenant, diesel::select(query)).await?)
    }
}

/// Stores messages inside the transaction of the events that ask for them; the kinds of those that are new, for of some
/// the customer is told already.
pub(crate) async fn create(conn: &mut Conn, tenant: TenantId, news: &[(&Ctx, New)]) -> Result<Vec<Kind>, pg::Error> {
    let item = |(ctx, new): &(&Ctx, New)| {
        json!({
            "message_id": MessageId::new().uuid(),
            "kind": new.kind as i16,
            "cause_id": new.cause,
            "order_id": new.order.uuid(),
            "customer_id": new.customer.uuid(),
            "facts": new.facts,
            "trace": ctx.cause,
            "created_at": ctx.now,
        })
    };
    let query = sql::messages_create(tenant.uuid(), Value::Array(news.iter().map(item).collect()));
    let new: Vec<i16> = diesel::select(query).get_result(conn).await?;
    Ok(new.into_iter().map(Kind::try_from).collect::<Result<_, _>>().map_err(Fault::internal)?)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What our own SQL functions wrote is readable; if not, it is our mistake.
fn read<T: DeserializeOwned>(row: Value) -> Result<T, Fault> {
    serde_json::from_value(row).map_err(Fault::internal)
}
