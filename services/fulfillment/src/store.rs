//! What we store: fulfillments, the cancelled orders, and who polls the warehouse system for which tenant.
//!
//! Every method is one round trip to an SQL function of `migrations/fulfillment`.

use std::time::Duration;

use ctx::Ctx;
use diesel::sql_types::{Array, Bool, Integer, Jsonb, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use ids::{FulfillmentId, OrderId, TenantId};
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::{Pg, Set};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;
use vault::Vault;

use crate::commands::create::Create;
use crate::model::Fulfillment;
use crate::state::State;

mod seal;

mod sql {
    use super::*;

    diesel::define_sql_function! {
        fn fulfillments_intend(tenant: SqlUuid, wishes: Jsonb) -> Jsonb;
    }
    diesel::define_sql_function! {
        fn fulfillments_move(tenant: SqlUuid, moves: Jsonb) -> Jsonb;
    }
    diesel::define_sql_function! {
        fn fulfillment_fold(tenant: SqlUuid, moves: Jsonb, heard: Array<SqlUuid>, observed: Timestamptz,
            stale: Timestamptz) -> Integer;
    }
    diesel::define_sql_function! { fn fulfillment_get(tenant: SqlUuid, id: SqlUuid) -> Nullable<Jsonb>; }
    diesel::define_sql_function! {
        fn fulfillment_list(tenant: SqlUuid, order: Nullable<SqlUuid>, before: Nullable<SqlUuid>, limit: Integer) -> Jsonb;
    }
    diesel::define_sql_function! {
        fn fulfillment_open(tenant: SqlUuid, after: Nullable<SqlUuid>, limit: Integer) -> Jsonb;
    }
    diesel::define_sql_function! { fn order_cancel(tenant: SqlUuid, order: SqlUuid, revision: Integer) -> Jsonb; }
    diesel::define_sql_function! { fn fulfillments_revoked(tenant: SqlUuid, ids: Array<SqlUuid>) -> Array<SqlUuid>; }
    diesel::define_sql_function! { fn order_cancel_refused(tenant: SqlUuid, order: SqlUuid) -> Bool; }
    diesel::define_sql_function! {
        fn wms_lease_take(tenant: SqlUuid, owner: SqlUuid, hold_ms: Integer, early_ms: Integer) -> Bool;
    }
    diesel::define_sql_function! { fn wms_lease_keep(tenant: SqlUuid, owner: SqlUuid, hold_ms: Integer) -> Bool; }
    diesel::define_sql_function! {
        fn wms_lease_end(tenant: SqlUuid, owner: SqlUuid, pause_ms: Integer, longest_ms: Integer, failed: Bool) -> Bool;
    }
    diesel::define_sql_function! { fn wms_counts_due(limit: Integer) -> Array<SqlUuid>; }
    diesel::define_sql_function! { fn wms_counts_take(tenant: SqlUuid, pause_ms: Integer) -> Bool; }
    diesel::define_sql_function! { fn wms_counts_again(tenant: SqlUuid, pause_ms: Integer) -> Bool; }
    diesel::define_sql_function! { fn wms_due(early_ms: Integer, limit: Integer) -> Array<SqlUuid>; }
}

/// What became of the wish for work.
pub(crate) enum Intent {
    /// It is stored now, or was before.
    Stored(Box<Fulfillment>),
    /// The order was cancelled.
    Cancelled,
}

/// A new state of a fulfillment with the events that tell of it.
pub(crate) struct Move {
    pub fulfillment: FulfillmentId,
    /// Version that the decision was based on.
    pub expected: i32,
    pub state: State,
    /// Id at the warehouse system; empty keeps what is known.
    pub wms_order_id: String,
    /// When the warehouse system said so.
    pub observed_at: Option<Timestamp>,
    pub events: Vec<NewEvent>,
}

/// The service's rows.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pg: Pg,
    vault: Vault,
    wishes: Set,
    moves: Set,
}

impl Store {
    pub(crate) fn new(pg: Pg, vault: Vault) -> Self {
        let wishes = Set::new(pg.clone(), "fulfillment.intend", |conn, tenant, wishes| {
            async move { Ok(diesel::select(sql::fulfillments_intend(tenant.uuid(), wishes)).get_result(conn).await?) }
                .boxed()
        });
        let moves = Set::new(pg.clone(), "fulfillment.move", |conn, tenant, moves| {
            async move { Ok(diesel::select(sql::fulfillments_move(tenant.uuid(), moves)).get_result(conn).await?) }
                .boxed()
        });
        Self { pg, vault, wishes, moves }
    }

    /// Stores the wish for work once per order, warehouse and revision, unless it was taken back.
    pub(crate) async fn intend(
        &self,
        ctx: &Ctx,
        id: FulfillmentId,
        command: Create,
        event: NewEvent,
    ) -> Result<Intent, Fault> {
        #[derive(Deserialize)]
        #[serde(tag = "outcome", rename_all = "lowercase")]
        enum Outcome {
            New,
            Known { fulfillment: Box<Fulfillment> },
            Cancelled,
        }
        let NewEvent { type_name, topic, payload } = event;
        let ship_to = self.sealed(ctx.tenant, id, &command.ship_to).await?;
        let wish = json!({
            "id": id.uuid(),
            "order_id": command.order.uuid(),
            "warehouse": command.warehouse,
            "revision": command.revision,
            "body": serde_json::to_value(&command.body).map_err(Fault::internal)?,
            "ship_to": hex::encode(&ship_to),
            "at": ctx.now,
            "type": type_name,
            "topic": topic,
            "payload": hex::encode(payload),
            "meta": eventlog::meta(ctx),
        });
        Ok(match self.wishes.submit(ctx.tenant, &wish).await? {
            Outcome::New => Intent::Stored(Box::new(Fulfillment::begun(id, command, ship_to, ctx.now))),
            Outcome::Known { fulfillment } => Intent::Stored(fulfillment),
            Outcome::Cancelled => Intent::Cancelled,
        })
    }

    /// Moves a fulfillment; false when it is not at the expected version any more.
    pub(crate) async fn advance(&self, ctx: &Ctx, step: &Move) -> Result<bool, Fault> {
        self.moves.submit(ctx.tenant, &move_json(step, ctx)).await
    }

    /// Writes all that one answer of the warehouse system changed, in one transaction; returns how many moved.
    ///
    /// What was heard of without news gets `observed_at` anew only when it was older than `stale`.
    pub(crate) async fn fold(
        &self,
        tenant: TenantId,
        moves: Vec<(Move, Ctx)>,
        heard: &[FulfillmentId],
        observed: Timestamp,
        stale: Timestamp,
    ) -> Result<i32, Fault> {
        let moves: Vec<Value> = moves.iter().map(|(step, ctx)| move_json(step, ctx)).collect();
        let heard: Vec<Uuid> = heard.iter().map(|id| id.uuid()).collect();
        let query =
            sql::fulfillment_fold(tenant.uuid(), Value::from(moves), heard, observed.to_diesel(), stale.to_diesel());
        Ok(self.pg.call("fulfillment.fold", diesel::select(query)).await?)
    }

    /// A fulfillment of the tenant.
    pub(crate) async fn get(&self, tenant: TenantId, id: FulfillmentId) -> Result<Fulfillment, Fault> {
        let query = diesel::select(sql::fulfillment_get(tenant.uuid(), id.uuid()));
        let row: Option<Value> = self.pg.ask("fulfillment.get", query).await?;
        let row = row.ok_or_else(|| Fault::not_found("FULFILLMENT_NOT_FOUND", format!("no fulfillment {id}")))?;
        read(row)
    }

    /// A page of a tenant's fulfillments, newest first.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        order: Option<OrderId>,
        before: Option<Uuid>,
        limit: i32,
    ) -> Result<Vec<Fulfillment>, Fault> {
        let query = sql::fulfillment_list(tenant.uuid(), order.map(OrderId::uuid), before, limit);
        read(self.pg.ask("fulfillment.list", diesel::select(query)).await?)
    }

    /// Open work of a tenant in id order.
    pub(crate) async fn open(
        &self,
        tenant: TenantId,
        after: Option<FulfillmentId>,
        limit: i32,
    ) -> Result<Vec<Fulfillment>, Fault> {
        let query = sql::fulfillment_open(tenant.uuid(), after.map(FulfillmentId::uuid), limit);
        read(self.pg.ask("fulfillment.open", diesel::select(query)).await?)
    }

    /// Marks work of lower revisions as taken back unless it has begun; returns what it is either way.
    pub(crate) async fn cancel_order(
        &self,
        tenant: TenantId,
        order: OrderId,
        below: i32,
    ) -> Result<Vec<Fulfillment>, Fault> {
        let query = diesel::select(sql::order_cancel(tenant.uuid(), order.uuid(), below));
        read(self.pg.call("fulfillment.cancel_order", query).await?)
    }

    /// Those of these fulfillments that were taken back. We mark them before we ask the warehouse system to cancel: what
    /// it says is cancelled and has no mark afterwards, it has cancelled by itself.
    pub(crate) async fn revoked(&self, tenant: TenantId, ids: &[FulfillmentId]) -> Result<Vec<FulfillmentId>, Fault> {
        let ids = ids.iter().map(|id| id.uuid()).collect::<Vec<_>>();
        let query = diesel::select(sql::fulfillments_revoked(tenant.uuid(), ids));
        let revoked: Vec<Uuid> = self.pg.ask("fulfillment.revoked", query).await?;
        Ok(revoked.into_iter().map(FulfillmentId::from_uuid).collect())
    }

    /// Takes the mark back.
    pub(crate) async fn cancel_refused(&self, tenant: TenantId, order: OrderId) -> Result<(), Fault> {
        let query = diesel::select(sql::order_cancel_refused(tenant.uuid(), order.uuid()));
        let _: bool = self.pg.call("fulfillment.cancel_refused", query).await?;
        Ok(())
    }

    /// Tenants with open work whose turn it is, longest waiting first.
    pub(crate) async fn due(&self, early: Duration, limit: i32) -> Result<Vec<TenantId>, Fault> {
        let early = millis(early);
        let due = self.pg.worker("wms.due", move |conn| {
            async move { Ok(diesel::select(sql::wms_due(early, limit)).get_result::<Vec<Uuid>>(conn).await?) }.boxed()
        });
        Ok(due.await?.into_iter().map(TenantId::from_uuid).collect())
    }

    /// Tenants whose warehouses are to be counted now.
    pub(crate) async fn counts_due(&self, limit: i32) -> Result<Vec<TenantId>, Fault> {
        let due = self.pg.worker("wms.counts_due", move |conn| {
            async move { Ok(diesel::select(sql::wms_counts_due(limit)).get_result::<Vec<Uuid>>(conn).await?) }.boxed()
        });
        Ok(due.await?.into_iter().map(TenantId::from_uuid).collect())
    }

    /// Takes a tenant's turn and sets the next one; false when somebody else did.
    pub(crate) async fn counts_take(&self, tenant: TenantId, pause: Duration) -> Result<bool, Fault> {
        let query = sql::wms_counts_take(tenant.uuid(), millis(pause));
        Ok(self.pg.ask("wms.counts_take", diesel::select(query)).await?)
    }

    /// Sets a turn that comes sooner, after a failure.
    pub(crate) async fn counts_again(&self, tenant: TenantId, pause: Duration) -> Result<(), Fault> {
        let query = sql::wms_counts_again(tenant.uuid(), millis(pause));
        let _: bool = self.pg.ask("wms.counts_again", diesel::select(query)).await?;
        Ok(())
    }

    /// Takes the right to poll for a tenant; false when somebody else has it or it is not the tenant's turn.
    pub(crate) async fn take(
        &self,
        tenant: TenantId,
        owner: Uuid,
        hold: Duration,
        early: Duration,
    ) -> Result<bool, Fault> {
        let query = sql::wms_lease_take(tenant.uuid(), owner, millis(hold), millis(early));
        Ok(self.pg.ask("wms.lease_take", diesel::select(query)).await?)
    }

    /// Keeps it longer; false when it was lost.
    pub(crate) async fn keep(&self, tenant: TenantId, owner: Uuid, hold: Duration) -> Result<bool, Fault> {
        let query = sql::wms_lease_keep(tenant.uuid(), owner, millis(hold));
        Ok(self.pg.ask("wms.lease_keep", diesel::select(query)).await?)
    }

    /// Gives it back; the next turn is after `pause`, after failures later and later up to `longest`.
    pub(crate) async fn release(
        &self,
        tenant: TenantId,
        owner: Uuid,
        pause: Duration,
        longest: Duration,
        failed: bool,
    ) -> Result<(), Fault> {
        let query = sql::wms_lease_end(tenant.uuid(), owner, millis(pause), millis(longest), failed);
        let _: bool = self.pg.ask("wms.lease_end", diesel::select(query)).await?;
        Ok(())
    }
}

fn move_json(step: &Move, ctx: &Ctx) -> Value {
    let events = &step.events;
    json!({
        "id": step.fulfillment.uuid(),
        "expected": step.expected,
        "state": step.state as i16,
        "wms_order_id": step.wms_order_id,
        "observed": step.observed_at,
        "types": events.iter().map(|event| event.type_name).collect::<Vec<_>>(),
        "topics": events.iter().map(|event| event.topic).collect::<Vec<_>>(),
        "payloads": events.iter().map(|event| hex::encode(&event.payload)).collect::<Vec<_>>(),
        "meta": eventlog::meta(ctx),
    })
}

/// What our own SQL functions wrote is readable; if not, it is our mistake.
fn read<T: DeserializeOwned>(row: Value) -> Result<T, Fault> {
    serde_json::from_value(row).map_err(Fault::internal)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
