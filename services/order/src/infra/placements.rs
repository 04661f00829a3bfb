//! Placing many orders in one commit: what arrives while a batch is being written is the next batch, so the counter
//! of a tenant's order numbers is locked once per batch and not once per order.

use std::collections::BTreeMap;

use contract::order::v1 as wire;
use ctx::{Cause, Ctx, IdempotencyKey};
use diesel::sql_types::{Array, BigInt, Binary, Integer, Jsonb, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, TenantId, UserId};
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::{Conn, GroupCommit, Once, Pg};
use prost::Message;
use saga::Definition;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::infra::store::wire_time;

diesel::define_sql_function! {
    /// Which keys are fresh, and the first of their numbers.
    fn order_place_begin(tenant: SqlUuid, scopes: Array<Text>, keys: Array<Text>, fingerprints: Array<Binary>)
        -> Jsonb;
}
diesel::define_sql_function! {
    /// Events, projection, saga and stored answer of each fresh order.
    fn order_place_commit(tenant: SqlUuid, orders: Array<SqlUuid>, numbers: Array<BigInt>, customers: Array<SqlUuid>,
        states: Array<SmallInt>, docs: Array<Binary>, created: Array<Timestamptz>, events: Array<SqlUuid>,
        versions: Array<Integer>, types: Array<Text>, topics: Array<Text>, payloads: Array<Binary>, metas: Jsonb,
        sagas: Jsonb, scopes: Array<Text>, keys: Array<Text>) -> Bool;
}

/// Orders of one batch; larger ones hold the counter longer without saving much more (performance.md 1).
const BATCH: usize = 50;

/// An order that is priced and checked and only lacks its number.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The order.
    pub order_id: OrderId,
    /// Who buys.
    pub customer: UserId,
    /// All but the number.
    pub created: wire::OrderCreated,
    /// What its saga starts with.
    pub saga_state: Value,
    /// What caused it.
    pub cause: Cause,
    /// Who and why, for the events.
    pub meta: Value,
    /// How a repeat is recognised.
    pub idempotency: Option<IdempotencyKey>,
    /// When it was placed.
    pub now: Timestamp,
}

impl Placement {
    /// A placement in a context.
    pub fn new(ctx: &Ctx, order_id: OrderId, customer: UserId, created: wire::OrderCreated, saga_state: Value) -> Self {
        Self {
            order_id,
            customer,
            created,
            saga_state,
            cause: ctx.cause.clone(),
            meta: eventlog::meta(ctx),
            idempotency: ctx.idempotency.clone(),
            now: ctx.now,
        }
    }
}

#[derive(Deserialize)]
struct Begun {
    first: Option<i64>,
    claims: Vec<Option<String>>,
}

/// Writes placements in batches per tenant.
#[derive(Clone, Debug)]
pub struct Placements(GroupCommit<TenantId, Placement, Once<wire::Order>>);

impl Placements {
    /// Placements through a door; each starts a saga of this table.
    pub fn new(pg: Pg, definition: Definition) -> Self {
        let flush = move |tenant: TenantId, batch: Vec<Placement>| {
            let (pg, definition) = (pg.clone(), definition.clone());
            async move { flush(&pg, &definition, tenant, batch).await }.boxed()
        };
        Self(GroupCommit::new(BATCH, flush))
    }

    /// Stores a placement; a repeat of its idempotency key gets the first answer.
    ///
    /// # Errors
    /// Invalid `IDEMPOTENCY_KEY_REUSED`.
    pub async fn place(&self, tenant: TenantId, placement: Placement) -> Result<Once<wire::Order>, Fault> {
        self.0.submit(tenant, placement).await
    }
}

async fn flush(
    pg: &Pg,
    definition: &Definition,
    tenant: TenantId,
    batch: Vec<Placement>,
) -> Vec<Result<Once<wire::Order>, Fault>> {
    match write(pg, definition, tenant, batch.clone()).await {
        Ok(answers) => answers,
        Err(error) if batch.len() == 1 => vec![Err(error.into())],
        Err(error) => {
            // One by one, so that a single bad placement does not take the others down with it.
            tracing::warn!(%error, orders = batch.len(), "batch of placements split");
            let mut answers = Vec::with_capacity(batch.len());
            for placement in batch {
                let one = write(pg, definition, tenant, vec![placement]).await;
                answers.push(one.map_err(Fault::from).and_then(|mut one| {
                    one.pop().unwrap_or_else(|| Err(Fault::internal("a placement got no answer")))
                }));
            }
            answers
        }
    }
}

type Answers = Vec<Result<Once<wire::Order>, Fault>>;

async fn write(
    pg: &Pg,
    definition: &Definition,
    tenant: TenantId,
    batch: Vec<Placement>,
) -> Result<Answers, pg::Error> {
    let definition = definition.clone();
    pg.tx("order.place", tenant, move |conn: &mut Conn| {
        let (batch, definition) = (batch.clone(), definition.clone());
        async move {
            let begun = begin(conn, tenant, &batch).await?;
            let mut number = begun.first.unwrap_or(0);
            let mut answers: Answers = Vec::with_capacity(batch.len());
            let mut rows = Rows::default();
            let mut firsts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for (index, (placement, claim)) in batch.iter().zip(&begun.claims).enumerate() {
                let key = placement.idempotency.as_ref().map(|key| (key.scope.as_str(), key.key.as_str()));
                if let Some(claim) = claim {
                    // A twin in the same batch finds its first sibling's answer here: it is not stored yet.
                    let sibling = key.and_then(|key| firsts.get(&key)).and_then(|first| answers.get(*first));
                    answers.push(replay(claim, sibling.and_then(|answer| answer.as_ref().ok())));
                    continue;
                }
                let order = rows.add(placement, &definition, number);
                number += 1;
                if let Some(key) = key {
                    firsts.insert(key, index);
                }
                answers.push(Ok(Once { response: order, replayed: false }));
            }
            if !rows.orders.is_empty() {
                rows.insert(conn, tenant).await?;
            }
            Ok(answers)
        }
        .boxed()
    })
    .await
}

async fn begin(conn: &mut Conn, tenant: TenantId, batch: &[Placement]) -> Result<Begun, pg::Error> {
    let keys = |pick: fn(&IdempotencyKey) -> &str| -> Vec<&str> {
        batch.iter().map(|placement| placement.idempotency.as_ref().map_or("", pick)).collect()
    };
    let prints = batch.iter().map(|placement| placement.idempotency.as_ref().map_or(&[][..], |key| &key.fingerprint));
    let query =
        order_place_begin(tenant.uuid(), keys(|key| &key.scope), keys(|key| &key.key), prints.collect::<Vec<&[u8]>>());
    let begun: Value = diesel::select(query).get_result(conn).await?;
    Ok(serde_json::from_value(begun).map_err(Fault::internal)?)
}

/// The answer to a key that was seen before: hex of one byte (0 another request, 1 the same) and the stored order.
fn replay(claim: &str, sibling: Option<&Once<wire::Order>>) -> Result<Once<wire::Order>, Fault> {
    match claim.split_at_checked(2) {
        Some(("01", "")) => {
            let sibling = sibling.ok_or_else(|| Fault::aborted("IN_FLIGHT", "the first call is still under way"))?;
            Ok(Once { response: sibling.response.clone(), replayed: true })
        }
        Some(("01", stored)) => {
            let bytes = hex::decode(stored).map_err(Fault::internal)?;
            let response = wire::Order::decode(bytes.as_slice()).map_err(Fault::internal)?;
            Ok(Once { response, replayed: true })
        }
        _ => Err(Fault::invalid(
            "idempotency_key",
            "IDEMPOTENCY_KEY_REUSED",
            "the key was used for another request before",
        )),
    }
}

#[derive(Default)]
struct Rows {
    orders: Vec<uuid::Uuid>,
    numbers: Vec<i64>,
    customers: Vec<uuid::Uuid>,
    states: Vec<i16>,
    docs: Vec<Vec<u8>>,
    created: Vec<jiff_diesel::Timestamp>,
    events: Vec<uuid::Uuid>,
    versions: Vec<i32>,
    types: Vec<&'static str>,
    topics: Vec<&'static str>,
    payloads: Vec<Vec<u8>>,
    metas: serde_json::Map<String, Value>,
    sagas: serde_json::Map<String, Value>,
    scopes: Vec<String>,
    keys: Vec<String>,
}

impl Rows {
    fn add(&mut self, placement: &Placement, definition: &Definition, number: i64) -> wire::Order {
        let id = placement.order_id.uuid();
        let events = Order::place(wire::OrderCreated { order_number: number, ..placement.created.clone() });
        let order = Order::default().after(&events, wire_time(placement.now));
        self.orders.push(id);
        self.numbers.push(number);
        self.customers.push(placement.customer.uuid());
        self.states.push(i16::try_from(order.doc.state).unwrap_or(i16::MAX));
        self.docs.push(order.doc.encode_to_vec());
        self.created.push(placement.now.to_diesel());
        for (event, version) in events.iter().map(OrderEvent::encode).zip(1..) {
            let (type_name, topic, payload) = event;
            self.events.push(id);
            self.versions.push(version);
            self.types.push(type_name);
            self.topics.push(topic);
            self.payloads.push(payload);
        }
        self.metas.insert(id.to_string(), placement.meta.clone());
        self.sagas.insert(
            id.to_string(),
            json!({
                "kind": definition.kind(),
                "rev": definition.rev(),
                "state": placement.saga_state,
                "cause": placement.cause,
            }),
        );
        let key = placement.idempotency.as_ref();
        self.scopes.push(key.map(|key| key.scope.clone()).unwrap_or_default());
        self.keys.push(key.map(|key| key.key.clone()).unwrap_or_default());
        order.doc
    }

    async fn insert(self, conn: &mut Conn, tenant: TenantId) -> Result<(), pg::Error> {
        let query = order_place_commit(
            tenant.uuid(),
            self.orders,
            self.numbers,
            self.customers,
            self.states,
            self.docs,
            self.created,
            self.events,
            self.versions,
            self.types,
            self.topics,
            self.payloads,
            Value::Object(self.metas),
            Value::Object(self.sagas),
            self.scopes,
            self.keys,
        );
        diesel::select(query).get_result::<bool>(conn).await?;
        Ok(())
    }
}
