//! What we store: shipments with their labels, scans, and which carrier events have had their effect.

use ctx::Ctx;
use diesel::QueryableByName;
use diesel::sql_types::{Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{FulfillmentId, OrderId, ShipmentId, TenantId};
use jiff::Timestamp;
use jiff_diesel::ToDiesel;
use pg::{Conn, Pg};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;
use vault::{Sealed, Vault};

use crate::events;
use crate::model::{Body, Label, Scan, Shipment};
use crate::scans::{self, State};

mod seal;

mod sql {
    use super::*;

    diesel::define_sql_function! {
        fn shipment_create(tenant: SqlUuid, id: SqlUuid, order: SqlUuid, fulfillment: SqlUuid, body: Jsonb,
            at: Timestamptz) -> Bool;
    }
    diesel::define_sql_function! { fn shipment_get(tenant: SqlUuid, id: SqlUuid) -> Nullable<Jsonb>; }
    diesel::define_sql_function! { fn shipment_label(tenant: SqlUuid, id: SqlUuid) -> Nullable<Jsonb>; }
    diesel::define_sql_function! {
        fn shipment_list(tenant: SqlUuid, order: Nullable<SqlUuid>, before: Nullable<SqlUuid>, limit: Integer) -> Jsonb;
    }
    diesel::define_sql_function! { fn label_intend(tenant: SqlUuid, id: SqlUuid) -> Nullable<Jsonb>; }
    diesel::define_sql_function! {
        fn scans_take(tenant: SqlUuid, id: SqlUuid, carrier: Text, event: Nullable<Text>, scans: Jsonb,
            poll_at: Timestamptz) -> Nullable<Jsonb>;
    }
    diesel::define_sql_function! {
        fn shipment_move(tenant: SqlUuid, id: SqlUuid, state: SmallInt, version: Integer) -> Bool;
    }
    diesel::define_sql_function! {
        fn poll_take(tenant: SqlUuid, id: SqlUuid, poll_at: Timestamptz) -> Nullable<Text>;
    }
}

/// Scans of one parcel on their way in.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub shipment: ShipmentId,
    pub carrier: String,
    /// The carrier's id of the event that told of them; `None` when we asked.
    pub event_id: Option<String>,
    pub scans: Vec<Scan>,
    /// When to ask the carrier if it stays silent from now on.
    pub poll_at: Timestamp,
}

/// A label with what is printed.
pub(crate) struct Printed {
    pub label: Label,
    pub data: String,
}

/// The service's rows.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pg: Pg,
    vault: Vault,
}

impl Store {
    pub(crate) fn new(pg: Pg, vault: Vault) -> Self {
        Self { pg, vault }
    }

    /// A shipment of the tenant.
    pub(crate) async fn get(&self, tenant: TenantId, id: ShipmentId) -> Result<Shipment, Fault> {
        let query = diesel::select(sql::shipment_get(tenant.uuid(), id.uuid()));
        let row: Option<Value> = self.pg.ask("shipping.get", query).await?;
        read(row.ok_or_else(|| not_found(id))?)
    }

    /// The label of a shipment with what is printed; `None` before it is bought.
    pub(crate) async fn label(&self, tenant: TenantId, id: ShipmentId) -> Result<Option<Printed>, Fault> {
        #[derive(Deserialize)]
        struct Row {
            label: Option<Label>,
            printed: Option<Sealed>,
        }
        let query = diesel::select(sql::shipment_label(tenant.uuid(), id.uuid()));
        let row: Option<Value> = self.pg.ask("shipping.label", query).await?;
        let Row { label, printed } = read(row.ok_or_else(|| not_found(id))?)?;
        let (Some(label), Some(printed)) = (label, printed) else { return Ok(None) };
        Ok(Some(Printed { label, data: self.open_printed(tenant, id, &printed).await? }))
    }

    /// A page of a tenant's shipments, newest first.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        order: Option<OrderId>,
        before: Option<Uuid>,
        limit: i32,
    ) -> Result<Vec<Shipment>, Fault> {
        let query = sql::shipment_list(tenant.uuid(), order.map(OrderId::uuid), before, limit);
        read(self.pg.ask("shipping.list", diesel::select(query)).await?)
    }

    /// Remembers that the carrier is about to be asked for a label; true when it may have been asked before.
    pub(crate) async fn intend_label(&self, tenant: TenantId, id: ShipmentId) -> Result<(bool, Shipment), Fault> {
        #[derive(Deserialize)]
        struct Row {
            asked: bool,
            shipment: Shipment,
        }
        let query = diesel::select(sql::label_intend(tenant.uuid(), id.uuid()));
        let row: Option<Value> = self.pg.call("shipping.intend_label", query).await?;
        let Row { asked, shipment } = read(row.ok_or_else(|| not_found(id))?)?;
        Ok((asked, shipment))
    }

    /// Stores scans and moves the parcel as far as all of its scans say, never back; each event counts once (I5).
    pub(crate) async fn hear(&self, ctx: &Ctx, heard: Heard) -> Result<(), Fault> {
        let tenant = ctx.tenant;
        let ctx = ctx.clone();
        let scans = self.sealed_scans(tenant, heard.shipment, &heard.scans).await?;
        let scans = serde_json::to_value(&scans).map_err(Fault::internal)?;
        let passage = self.pg.tx("shipping.hear", tenant, move |conn| {
            let (ctx, heard, scans) = (ctx.clone(), heard.clone(), scans.clone());
            async move { take(conn, &ctx, heard, scans).await }.boxed()
        });
        Ok(passage.await?)
    }

    /// Parcels on their way of which nothing was heard for long, of any tenant.
    pub(crate) async fn silent(&self, limit: i32) -> Result<Vec<(TenantId, ShipmentId)>, Fault> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = SqlUuid)]
            tenant: Uuid,
            #[diesel(sql_type = SqlUuid)]
            shipment: Uuid,
        }
        let rows = self.pg.worker("shipping.silent", move |conn| {
            async move {
                let query = diesel::sql_query("SELECT tenant, shipment FROM silent_shipments($1)");
                Ok(query.bind::<Integer, _>(limit).load::<Row>(conn).await?)
            }
            .boxed()
        });
        let name = |row: Row| (TenantId::from_uuid(row.tenant), ShipmentId::from_uuid(row.shipment));
        Ok(rows.await?.into_iter().map(name).collect())
    }

    /// Takes the turn to ask about a silent parcel; its tracking number, unless somebody else was faster.
    pub(crate) async fn take_poll(
        &self,
        tenant: TenantId,
        id: ShipmentId,
        poll_at: Timestamp,
    ) -> Result<Option<String>, Fault> {
        let query = sql::poll_take(tenant.uuid(), id.uuid(), poll_at.to_diesel());
        Ok(self.pg.ask("shipping.poll_take", diesel::select(query)).await?)
    }
}

/// Stores a shipment inside the transaction of the event that asks for it; false when the fulfillment has one.
pub(crate) async fn create(
    conn: &mut Conn,
    ctx: &Ctx,
    id: ShipmentId,
    order: OrderId,
    fulfillment: FulfillmentId,
    body: &Body,
) -> Result<bool, pg::Error> {
    let body = serde_json::to_value(body).map_err(Fault::internal)?;
    let query =
        sql::shipment_create(ctx.tenant.uuid(), id.uuid(), order.uuid(), fulfillment.uuid(), body, ctx.now.to_diesel());
    if !diesel::select(query).get_result::<bool>(conn).await? {
        return Ok(false);
    }
    eventlog::append(conn, ctx, id.uuid(), 0, &[events::created(order, id, fulfillment)]).await?;
    Ok(true)
}

async fn take(conn: &mut Conn, ctx: &Ctx, heard: Heard, scans: Value) -> Result<(), pg::Error> {
    let tenant = ctx.tenant.uuid();
    let id = heard.shipment.uuid();
    let query = sql::scans_take(tenant, id, heard.carrier, heard.event_id, scans, heard.poll_at.to_diesel());
    let Some(row) = diesel::select(query).get_result::<Option<Value>>(conn).await? else { return Ok(()) };
    let shipment: Shipment = read(row)?;
    let codes = shipment.scans.iter().map(|scan| scan.code.as_str());
    let Some(state) = scans::fold(shipment.state, codes) else { return Ok(()) };
    let mut version = shipment.version;
    if state == State::Delivered {
        version = eventlog::append(conn, ctx, id, version, &[events::delivered(&shipment)]).await?;
    }
    let query = sql::shipment_move(tenant, id, state as i16, version);
    diesel::select(query).get_result::<bool>(conn).await?;
    Ok(())
}

fn not_found(id: ShipmentId) -> Fault {
    Fault::not_found("SHIPMENT_NOT_FOUND", format!("no shipment {id}"))
}

/// What our own SQL functions wrote is readable; if not, it is our mistake.
fn read<T: DeserializeOwned>(row: Value) -> Result<T, Fault> {
    serde_json::from_value(row).map_err(Fault::internal)
}
