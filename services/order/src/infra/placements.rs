//! Placing many orders in one commit: what arrives while a batch is being written is the next batch, so the counter
//! of a tenant's order numbers is locked once per batch and not once per order.

use std::collections::BTreeMap;

use contract::order::v1 as wire;
use ctx::{Cause, Ctx, IdempotencyKey};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Text, Timestamptz, Uuid as SqlUuid};
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

use crate::domain::customer::had_enough;
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::infra::cache::doubt;
use crate::infra::store::{facts, wire_time};

diesel::define_sql_function! {
    /// Which keys are fresh, which orders look like one of a moment ago, and the first of their numbers.
    fn order_place_begin(tenant: SqlUuid, scopes: Array<Text>, keys: Array<Text>, fingerprints: Array<Binary>,
        customers: Array<SqlUuid>, intents: Array<SqlUuid>, windows: Array<Integer>, refusals: Array<Bool>,
        orders: Array<SqlUuid>, limits: Array<Jsonb>) -> Jsonb;
}
diesel::define_sql_function! {
    /// Events, projection, saga and stored answer of each fresh order.
    fn order_place_commit(tenant: SqlUuid, orders: Array<SqlUuid>, numbers: Array<BigInt>, customers: Array<SqlUuid>,
        facts: Jsonb, docs: Array<Binary>, created: Array<Timestamptz>, events: Array<SqlUuid>,
        versions: Array<Integer>, types: Array<Text>, topics: Array<Text>, payloads: Array<Binary>, metas: Jsonb,
        sagas: Jsonb, scopes: Array<Text>, keys: Array<Text>) -> Bool;
}

/// Orders of one batch; larger ones hold the counter longer without saving much more (performance.md 1).
const BATCH: usize = 50;

/// When an order is taken for one that was sent twice: same customer, lines and total (`domain.md` 4.7 I7).
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    /// Seconds in which the second one is noticed; 0 = never.
    pub within_s: i32,
    /// The second one is refused; else it carries a warning.
    pub refuse: bool,
}

/// An order that is priced and checked and only lacks its number.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The order.
    pub order_id: OrderId,
    /// Who buys.
    pub customer: UserId,
    /// All but the number.
    pub created: wire::OrderCreated,
    /// What its saga starts with; None = a draft, which has none.
    pub saga_state: Option<Value>,
    /// When it is taken for the same order sent twice.
    pub guard: Guard,
    /// By SKU: units of this order, and most that the customer may ever have.
    pub limits: BTreeMap<String, (i64, i32)>,
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
    pub fn new(
        ctx: &Ctx,
        order_id: OrderId,
        customer: UserId,
        created: wire::OrderCreated,
        saga_state: Option<Value>,
        guard: Guard,
    ) -> Self {
        Self {
            order_id,
            customer,
            created,
            saga_state,
            guard,
            limits: BTreeMap::new(),
            cause: ctx.cause.clone(),
            meta: eventlog::meta(ctx),
            idempotency: ctx.idempotency.clone(),
            now: ctx.now,
        }
    }

    /// The same for the same lines and total, in whatever order.
    fn intent(&self) -> uuid::Uuid {
        let mut lines: Vec<String> =
            self.created.lines.iter().map(|line| format!("{}={}", line.sku, line.quantity)).collect();
        lines.sort_unstable();
        let total = self.created.totals.as_ref().and_then(|totals| totals.total.as_ref());
        let total = total.map_or(0, |total| total.amount_minor);
        let text = format!("{} {} {total}", lines.join(" "), self.created.currency_code);
        uuid::Uuid::new_v5(&self.customer.uuid(), text.as_bytes())
    }
}

diesel::define_sql_function! {
    /// The SKU that a customer has enough of; NULL: none, and the units are his.
    fn order_limits(tenant: SqlUuid, customer: SqlUuid, order: SqlUuid, limits: Jsonb) -> Nullable<Text>;
}

diesel::define_sql_function! {
    /// The units of an order that was changed.
    fn order_limits_settle(tenant: SqlUuid, order: SqlUuid, units: Jsonb) -> Bool;
}

/// Counts the units of an order that a customer may have only some of.
///
/// # Errors
/// Precondition `PRODUCT_RESTRICTED` when he has had enough.
pub async fn claim_units(
    conn: &mut Conn,
    ctx: &Ctx,
    order: OrderId,
    customer: UserId,
    limits: &BTreeMap<String, (i64, i32)>,
) -> Result<(), pg::Error> {
    let query = order_limits(ctx.tenant.uuid(), customer.uuid(), order.uuid(), json!(limits));
    match diesel::select(query).get_result::<Option<String>>(conn).await? {
        Some(sku) => Err(had_enough(&sku).into()),
        None => Ok(()),
    }
}

/// Counts the units that an order has after a change, or still has without it.
///
/// # Errors
/// Of the database.
pub async fn settle_units(
    conn: &mut Conn,
    tenant: TenantId,
    id: OrderId,
    order: &wire::Order,
) -> Result<(), pg::Error> {
    let mut units: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &order.lines {
        *units.entry(&line.sku).or_default() += i64::from(line.quantity - line.cancelled);
    }
    let query = order_limits_settle(tenant.uuid(), id.uuid(), json!(units));
    diesel::select(query).get_result::<bool>(conn).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Begun {
    first: Option<i64>,
    claims: Vec<Option<String>>,
    twins: Vec<bool>,
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
        let order = placement.order_id.uuid();
        doubt::writes(order, 1, &[placement.customer.uuid(), tenant.uuid()]);
        let answer = self.0.submit(tenant, placement).await;
        if answer.as_ref().is_ok_and(|answer| answer.replayed) {
            doubt::written(order, i32::MAX);
        }
        answer
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
            let begun_each = begun.claims.iter().zip(begun.twins);
            for (index, (placement, (claim, twin))) in batch.iter().zip(begun_each).enumerate() {
                let key = placement.idempotency.as_ref().map(|key| (key.scope.as_str(), key.key.as_str()));
                if let Some(claim) = claim {
                    // A twin in the same batch finds its first sibling's answer here: it is not stored yet.
                    let sibling = key.and_then(|key| firsts.get(&key)).and_then(|first| answers.get(*first));
                    answers.push(replay(claim, sibling.and_then(|answer| answer.as_ref().ok())));
                    continue;
                }
                let order = rows.add(placement, &definition, number, twin);
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
    let query = order_place_begin(
        tenant.uuid(),
        keys(|key| &key.scope),
        keys(|key| &key.key),
        prints.collect::<Vec<&[u8]>>(),
        batch.iter().map(|placement| placement.customer.uuid()).collect::<Vec<_>>(),
        batch.iter().map(Placement::intent).collect::<Vec<_>>(),
        batch.iter().map(|placement| placement.guard.within_s).collect::<Vec<_>>(),
        batch.iter().map(|placement| placement.guard.refuse).collect::<Vec<_>>(),
        batch.iter().map(|placement| placement.order_id.uuid()).collect::<Vec<_>>(),
        batch.iter().map(|placement| json!(placement.limits)).collect::<Vec<_>>(),
    );
    let begun: Value = diesel::select(query).get_result(conn).await?;
    Ok(serde_json::from_value(begun).map_err(Fault::internal)?)
}

/// The answer to what is not fresh: hex of one byte (0 another request, 1 the same, 2 a twin under another key, 3 more
/// than a customer may have) and the stored order or the SKU.
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
        Some(("02", _)) => Err(Fault::aborted(
            "POSSIBLE_DUPLICATE",
            "the customer placed the same order a moment ago; this shop does not take it twice",
        )),
        Some(("03", sku)) => {
            let sku = hex::decode(sku).map_err(Fault::internal)?;
            Err(had_enough(&String::from_utf8_lossy(&sku)))
        }
        _ => Err(Fault::invalid(
            "idempotency_key",
            "IDEMPOTENCY_KEY_REUSED",
            "the key was used for another request before",
        )),
    }
}

/// A draft keeps no payment method: there is no money in it.
fn drafted(order: wire::OrderCreated) -> wire::OrderDrafted {
    wire::OrderDrafted {
        order_id: order.order_id,
        order_number: order.order_number,
        customer_id: order.customer_id,
        currency_code: order.currency_code,
        lines: order.lines,
        totals: order.totals,
        shipping_address: order.shipping_address,
        shipping_service: order.shipping_service,
        note: order.note,
        create_time: order.create_time,
        channel: order.channel,
    }
}

#[derive(Default)]
struct Rows {
    orders: Vec<uuid::Uuid>,
    numbers: Vec<i64>,
    customers: Vec<uuid::Uuid>,
    docs: Vec<Vec<u8>>,
    created: Vec<jiff_diesel::Timestamp>,
    events: Vec<uuid::Uuid>,
    versions: Vec<i32>,
    types: Vec<&'static str>,
    topics: Vec<&'static str>,
    payloads: Vec<Vec<u8>>,
    metas: serde_json::Map<String, Value>,
    sagas: serde_json::Map<String, Value>,
    facts: serde_json::Map<String, Value>,
    scopes: Vec<String>,
    keys: Vec<String>,
}

impl Rows {
    fn add(&mut self, placement: &Placement, definition: &Definition, number: i64, twin: bool) -> wire::Order {
        let id = placement.order_id.uuid();
        let mut created = wire::OrderCreated { order_number: number, ..placement.created.clone() };
        if twin {
            created.warnings.push("POSSIBLE_DUPLICATE".to_owned());
        }
        let events =
            if placement.saga_state.is_some() { Order::place(created) } else { Order::draft(drafted(created)) };
        let order = Order::default().after(&events, wire_time(placement.now));
        self.orders.push(id);
        self.numbers.push(number);
        self.customers.push(placement.customer.uuid());
        self.docs.push(order.doc.encode_to_vec());
        self.facts.insert(id.to_string(), facts(&order.doc));
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
        if let Some(state) = &placement.saga_state {
            let (kind, rev, cause) = (definition.kind(), definition.rev(), &placement.cause);
            let saga = json!({ "kind": kind, "rev": rev, "state": state, "cause": cause });
            self.sagas.insert(id.to_string(), saga);
        }
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
            Value::Object(self.facts),
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
