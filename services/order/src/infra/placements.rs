//! Placing many orders in one commit: what arrives while a batch is being written is the next batch, so the counter
//! of a tenant's order numbers is locked once per batch and not once per order.

mod desk;
mod rows;

use std::collections::BTreeMap;

use contract::order::v1 as wire;
use ctx::{Cause, Ctx, IdempotencyKey};
use diesel::sql_types::{Jsonb, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, TenantId, UserId};
use jiff::Timestamp;
use pg::{Conn, GroupCommit, Once, Pg};
use saga::Definition;
use serde_json::{Value, json};

use self::desk::{Desk, Seen};
use self::rows::Rows;
use crate::domain::customer::had_enough;
use crate::infra::cache::doubt;

/// Orders of one batch; larger ones hold the counter longer without saving much more (performance.md 1).
const BATCH: usize = 50;

/// What an order that is taken for one sent twice carries, or is refused with.
pub const POSSIBLE_DUPLICATE: &str = "POSSIBLE_DUPLICATE";

/// When an order is taken for one that was sent twice: same customer, lines and total (`domain.md` 4.7 I7).
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    /// Seconds in which the second one is noticed; 0 = never.
    pub within_s: i32,
    /// The second one is refused; else it carries a warning.
    pub refuse: bool,
}

impl Guard {
    /// Whether an order is taken for the same sent twice, of a customer who placed the same so many seconds ago.
    ///
    /// # Errors
    /// Aborted `POSSIBLE_DUPLICATE` when the shop refuses twins.
    fn is_twin(self, age: Option<f64>) -> Result<bool, Fault> {
        let twin = age.is_some_and(|age| age < f64::from(self.within_s));
        if twin && self.refuse {
            let text = "the customer placed the same order a moment ago; this shop does not take it twice";
            return Err(Fault::aborted(POSSIBLE_DUPLICATE, text));
        }
        Ok(twin)
    }
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

    fn intent(&self) -> uuid::Uuid {
        intent(self.customer, &self.created)
    }
}

/// The same for the same lines and total, in whatever order.
fn intent(customer: UserId, created: &wire::OrderCreated) -> uuid::Uuid {
    let mut lines: Vec<String> = created.lines.iter().map(|line| format!("{}={}", line.sku, line.quantity)).collect();
    lines.sort_unstable();
    let total = created.totals.as_ref().and_then(|totals| totals.total.as_ref());
    let total = total.map_or(0, |total| total.amount_minor);
    let text = format!("{} {} {total}", lines.join(" "), created.currency_code);
    uuid::Uuid::new_v5(&customer.uuid(), text.as_bytes())
}

diesel::define_sql_function! {
    /// Notes what a customer places; how many seconds ago he placed the same, or NULL.
    fn order_intent(tenant: SqlUuid, customer: SqlUuid, order: SqlUuid, intent: SqlUuid) -> Nullable<Double>;
}

/// Notes that a draft is placed; whether it is taken for the same order sent twice.
///
/// # Errors
/// Aborted `POSSIBLE_DUPLICATE` when the shop refuses twins.
pub async fn note_intent(
    conn: &mut Conn,
    tenant: TenantId,
    guard: Guard,
    order: OrderId,
    customer: UserId,
    created: &wire::OrderCreated,
) -> Result<bool, pg::Error> {
    if guard.within_s <= 0 {
        return Ok(false);
    }
    let query = order_intent(tenant.uuid(), customer.uuid(), order.uuid(), intent(customer, created));
    Ok(guard.is_twin(diesel::select(query).get_result(conn).await?)?)
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
    match enough(conn, ctx.tenant, order, customer, limits).await? {
        Some(sku) => Err(had_enough(&sku).into()),
        None => Ok(()),
    }
}

/// The SKU that the customer has enough of; None: none, and the units are his.
async fn enough(
    conn: &mut Conn,
    tenant: TenantId,
    order: OrderId,
    customer: UserId,
    limits: &BTreeMap<String, (i64, i32)>,
) -> Result<Option<String>, pg::Error> {
    if limits.is_empty() {
        return Ok(None);
    }
    let query = order_limits(tenant.uuid(), customer.uuid(), order.uuid(), json!(limits));
    Ok(diesel::select(query).get_result(conn).await?)
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
        Self(GroupCommit::for_people(BATCH, flush))
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
            let mut desk = Desk::new(rows::begin(conn, tenant, &batch).await?);
            let mut answers: Answers = Vec::with_capacity(batch.len());
            let mut rows = Rows::default();
            for (index, placement) in batch.iter().enumerate() {
                let twin = match desk.look(index, placement) {
                    Ok(Seen::Fresh { twin }) => twin,
                    Ok(Seen::Repeat(response)) => {
                        answers.push(Ok(Once { response: *response, replayed: true }));
                        continue;
                    }
                    Err(fault) => {
                        answers.push(Err(fault));
                        continue;
                    }
                };
                if let Some(sku) =
                    enough(conn, tenant, placement.order_id, placement.customer, &placement.limits).await?
                {
                    answers.push(Err(had_enough(&sku)));
                    continue;
                }
                let order = rows.add(placement, &definition, desk.next, twin);
                desk.placed(placement, &order);
                answers.push(Ok(Once { response: order, replayed: false }));
            }
            rows.insert(conn, tenant, desk).await?;
            Ok(answers)
        }
        .boxed()
    })
    .await
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
        promotion: order.promotion,
    }
}
