//! What a batch of placements reads first and writes last: one statement each.

use contract::order::v1 as wire;
use diesel::sql_types::{Array, Binary, Integer, Jsonb, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::{Conn, Json};
use prost::Message;
use saga::Definition;
use serde_json::{Value, json};
use uuid::Uuid;

use super::desk::{Begun, Desk};
use super::{POSSIBLE_DUPLICATE, Placement, drafted};
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::infra::store::{facts, wire_time};

diesel::define_sql_function! {
    /// The next number, what is known of the keys, and when the customers placed the same before.
    fn order_place_begin(tenant: SqlUuid, scopes: Array<Text>, keys: Array<Text>, customers: Array<SqlUuid>, intents: Array<SqlUuid>) -> Jsonb;
}
diesel::define_sql_function! {
    /// Number, events, projection, saga and stored answer of each fresh order.
    fn order_place_commit(tenant: SqlUuid, orders: Array<SqlUuid>, facts: Array<Jsonb>, docs: Array<Binary>,
        created: Array<Timestamptz>, streams: Array<SqlUuid>, versions: Array<Integer>, types: Array<Text>,
        topics: Array<Text>, payloads: Array<Binary>, metas: Array<Jsonb>, sagas: Array<Jsonb>, scopes: Array<Text>,
        keys: Array<Text>, fingerprints: Array<Binary>, intents: Jsonb) -> Bool;
}

/// What is known before the batch is looked at.
pub(super) async fn begin(conn: &mut Conn, tenant: TenantId, batch: &[Placement]) -> Result<Begun, pg::Error> {
    let keys = |pick: fn(&ctx::IdempotencyKey) -> &str| -> Vec<&str> {
        batch.iter().map(|placement| placement.idempotency.as_ref().map_or("", pick)).collect()
    };
    let guarded = batch.iter().filter(|placement| placement.guard.within_s > 0);
    let (customers, intents): (Vec<Uuid>, Vec<Uuid>) =
        guarded.map(|placement| (placement.customer.uuid(), placement.intent())).unzip();
    let query = order_place_begin(tenant.uuid(), keys(|key| &key.scope), keys(|key| &key.key), customers, intents);
    let Json(begun) = diesel::select(query).get_result(conn).await?;
    Ok(begun)
}

/// The rows of the fresh orders of a batch, by column.
#[derive(Default)]
pub(super) struct Rows {
    orders: Vec<Uuid>,
    facts: Vec<Value>,
    docs: Vec<Vec<u8>>,
    created: Vec<jiff_diesel::Timestamp>,
    streams: Vec<Uuid>,
    versions: Vec<i32>,
    types: Vec<&'static str>,
    topics: Vec<&'static str>,
    payloads: Vec<Vec<u8>>,
    metas: Vec<Value>,
    sagas: Vec<Value>,
    scopes: Vec<String>,
    keys: Vec<String>,
    fingerprints: Vec<Vec<u8>>,
}

impl Rows {
    /// Adds a fresh placement; the order that it becomes.
    pub(super) fn add(
        &mut self,
        placement: &Placement,
        definition: &Definition,
        number: i64,
        twin: bool,
    ) -> wire::Order {
        let id = placement.order_id.uuid();
        let mut created = wire::OrderCreated { order_number: number, ..placement.created.clone() };
        if twin {
            created.warnings.push(POSSIBLE_DUPLICATE.to_owned());
        }
        let events =
            if placement.saga_state.is_some() { Order::place(created) } else { Order::draft(drafted(created)) };
        let order = Order::default().after(&events, wire_time(placement.now));
        let mut version = 0;
        for (type_name, topic, payload) in events.iter().map(OrderEvent::encode) {
            version += 1;
            self.streams.push(id);
            self.versions.push(version);
            self.types.push(type_name);
            self.topics.push(topic);
            self.payloads.push(payload);
            self.metas.push(placement.meta.clone());
        }
        if let Some(state) = &placement.saga_state {
            let (kind, rev, cause) = (definition.kind(), definition.rev(), &placement.cause);
            self.sagas.push(json!({ "id": id, "kind": kind, "rev": rev, "state": state, "cause": cause }));
        }
        let key = placement.idempotency.as_ref();
        self.scopes.push(key.map(|key| key.scope.clone()).unwrap_or_default());
        self.keys.push(key.map(|key| key.key.clone()).unwrap_or_default());
        self.fingerprints.push(key.map(|key| key.fingerprint.to_vec()).unwrap_or_default());
        let mut facts = facts(&order.doc);
        facts["number"] = number.into();
        facts["version"] = version.into();
        facts["customer"] = placement.customer.uuid().to_string().into();
        self.orders.push(id);
        self.facts.push(facts);
        self.docs.push(order.doc.encode_to_vec());
        let begun = order.doc.create_time.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok());
        self.created.push(begun.unwrap_or(placement.now).to_diesel());
        order.doc
    }

    /// Writes them all.
    pub(super) async fn insert(self, conn: &mut Conn, tenant: TenantId, desk: Desk) -> Result<(), pg::Error> {
        if self.orders.is_empty() {
            return Ok(());
        }
        let query = order_place_commit(
            tenant.uuid(),
            self.orders,
            self.facts,
            self.docs,
            self.created,
            self.streams,
            self.versions,
            self.types,
            self.topics,
            self.payloads,
            self.metas,
            self.sagas,
            self.scopes,
            self.keys,
            self.fingerprints,
            json!(desk.intents()),
        );
        diesel::select(query).get_result::<bool>(conn).await?;
        Ok(())
    }
}
