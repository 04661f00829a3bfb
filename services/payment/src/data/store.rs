//! What do we store? One row of facts per payment, a row per capture and refund written before the provider is asked,
//! and every signed webhook. Commands are one SQL function each: one round trip, one transaction.

mod attempts;
mod books;
mod inbox;
mod look;
mod model;
mod row;
mod seal;
mod sql;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
pub use books::{Discrepancy, ReportRow};
use ctx::Ctx;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Jsonb, Nullable, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use diesel_async::methods::LoadQuery;
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::{OrderId, PaymentId, RefundId, ShipmentId, TenantId, UserId};
use jiff::Timestamp;
pub use model::{Begun, Due, Entry, Figures, Limit, OpenEntries, Parked, Place, Status, Stored, Turn, Webhook};
use money::Money;
use pg::{Conn, Pg, Set};
pub use row::{Capture, Ends, EntryState, Increment, Refund};
use row::{Facts, Row};
pub use seal::Instrument;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;
use vault::Vault;

use super::events;
use super::stripe::PROVIDER;
use crate::logic::state::Payment;

/// A payment that an order wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The order.
    pub order: OrderId,
    /// Which round of paying it, from 1.
    pub round: i32,
    /// How much.
    pub amount: Money,
    /// What it is paid with.
    pub instrument: &'a Instrument,
    /// The customer, when the order told us.
    pub customer: Option<UserId>,
    /// Take the money at once.
    pub immediate: bool,
    /// Who is asked for it.
    pub provider: &'static str,
}

/// The service's tables.
#[derive(Debug, Clone)]
pub struct Store {
    pg: Pg,
    vault: Vault,
    begins: Set,
    changes: Set,
}

impl Store {
    /// The tables behind a door.
    pub fn new(pg: Pg, vault: Vault) -> Self {
        let begins = Set::new(pg.clone(), "payment.begin", |conn, tenant, items| {
            async move { Ok(diesel::select(sql::payments_begin(tenant.uuid(), items)).get_result(conn).await?) }.boxed()
        });
        let changes = Set::new(pg.clone(), "payment.settle", |conn, tenant, items| {
            async move { Ok(diesel::select(sql::payments_settle(tenant.uuid(), items)).get_result(conn).await?) }
                .boxed()
        });
        Self { pg, vault, begins, changes }
    }

    /// Boxed, for the compiler cannot show that a future which holds a diesel query may change threads
    /// (rust-lang/rust#102211).
    fn call<U, Q>(&self, name: &'static str, query: Q) -> BoxFuture<'_, Result<U, pg::Error>>
    where
        U: Send + 'static,
        Q: RunQueryDsl<Conn> + LoadQuery<'static, Conn, U> + Send + 'static,
    {
        self.pg.call(name, query).boxed()
    }

    /// Begins the payment of an order in a round, or finds the one it has.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn begin(&self, ctx: &Ctx, wanted: Wanted<'_>) -> Result<Begun, Fault> {
        let payment = PaymentId::new();
        let Wanted { order, round, amount, instrument, customer, immediate, provider } = wanted;
        let instrument = self.sealed(ctx.tenant, payment, instrument).await?;
        let requested = events::requested(order, payment, amount);
        let item = json!({
            "payment": payment.uuid(),
            "order_id": order.uuid(),
            "round": round,
            "amount": amount.minor,
            "currency": amount.currency.code(),
            "provider": provider,
            "instrument": BASE64.encode(instrument),
            "customer": customer.map(UserId::uuid),
            "immediate": immediate,
            "type": requested.type_name,
            "topic": requested.topic,
            "payload": BASE64.encode(requested.payload),
            "meta": eventlog::meta(ctx),
        });
        #[derive(Deserialize)]
        struct Doc {
            turn: Turn,
            // One of the two: when it began just now, or the payment that there is.
            created_at: Option<Timestamp>,
            payment: Option<Row>,
        }
        let Doc { turn, created_at, payment: found } = self.begins.submit(ctx.tenant, &item).await?;
        let payment = match (created_at, found) {
            (Some(created_at), _) => {
                Payment { customer, immediate, ..Payment::begun(payment, (order, round), amount, provider, created_at) }
            }
            (None, Some(found)) => found.into(),
            (None, None) => return Err(Fault::internal("a payment that began is not there")),
        };
        Ok(Begun { turn, payment })
    }

    /// A payment by its id.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn get(&self, tenant: TenantId, payment: PaymentId) -> Result<Option<Payment>, Fault> {
        let query = diesel::select(sql::payment_get(tenant.uuid(), Some(payment.uuid()), None::<Uuid>, 0));
        optional(self.call("payment.get", query).await?)
    }

    /// The payment of an order in a round.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn of_order(&self, tenant: TenantId, order: OrderId, round: i32) -> Result<Option<Payment>, Fault> {
        let query = diesel::select(sql::payment_get(tenant.uuid(), None::<Uuid>, Some(order.uuid()), round));
        optional(self.call("payment.get", query).await?)
    }

    /// Whether the order's risk wants the bank to ask the customer who he is.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn challenged(&self, tenant: TenantId, payment: &Payment) -> Result<bool, Fault> {
        let query = diesel::select(sql::risk_challenged(tenant.uuid(), payment.order.uuid(), payment.round));
        Ok(self.call("payment.challenged", query).await?)
    }

    /// Writes `next` over `before` with its events; none when the row moved on meanwhile.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn settle(
        &self,
        ctx: &Ctx,
        before: &Payment,
        next: &Payment,
        ends: Option<Ends<'_>>,
    ) -> Result<Option<Payment>, Fault> {
        let written = Written::of(before, next, ends)?;
        let mut meta = eventlog::meta(ctx);
        if let Some(refusal) = ends.and_then(Ends::refusal) {
            tell(&mut meta, refusal);
        }
        self.write(ctx, (before, next), written, meta).await
    }

    /// [`Store::settle`] with the words of the person who wanted it, for the audit.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn settle_because(
        &self,
        ctx: &Ctx,
        before: &Payment,
        next: &Payment,
        why: &str,
    ) -> Result<Option<Payment>, Fault> {
        let mut written = Written::of(before, next, None)?;
        if next.manual && !before.manual {
            written.push(events::marked_paid(ctx, next, why));
        }
        let mut meta = eventlog::meta(ctx);
        meta["note"] = why.into();
        self.write(ctx, (before, next), written, meta).await
    }

    /// [`Store::settle`] that tells the audit what was done beside the row.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn note(
        &self,
        ctx: &Ctx,
        before: &Payment,
        next: &Payment,
        done: (&'static str, i64, &str),
    ) -> Result<Option<Payment>, Fault> {
        let written = Written::of(before, next, None)?;
        let mut meta = eventlog::meta(ctx);
        tell(&mut meta, done);
        self.write(ctx, (before, next), written, meta).await
    }

    async fn write(
        &self,
        ctx: &Ctx,
        (before, next): (&Payment, &Payment),
        written: Written,
        meta: Value,
    ) -> Result<Option<Payment>, Fault> {
        /// What the row alone knows: the rest is as it was written.
        #[derive(Deserialize)]
        struct Settled {
            revision: i32,
            checks: i16,
            pending: i32,
            authorized_at: Option<Timestamp>,
        }
        let item = json!({
            "payment": before.id.uuid(),
            "revision": before.revision,
            "doc": written.doc,
            "types": written.types,
            "topics": written.topics,
            "payloads": written.payloads.iter().map(|payload| BASE64.encode(payload)).collect::<Vec<_>>(),
            "meta": meta,
        });
        let settled: Option<Settled> = self.changes.submit(ctx.tenant, &item).await?;
        Ok(settled.map(|Settled { revision, checks, pending, authorized_at }| Payment {
            revision,
            checks,
            pending,
            authorized_at,
            ..next.clone()
        }))
    }

    /// Marks that an order wants no money held for a round, before anybody asked or after.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn void(&self, ctx: &Ctx, order: OrderId, round: i32) -> Result<Payment, Fault> {
        let payment = PaymentId::new();
        let marked = events::marked_void(order, payment);
        let query = diesel::select(sql::payment_void(
            ctx.tenant.uuid(),
            payment.uuid(),
            order.uuid(),
            round,
            PROVIDER,
            marked.type_name,
            marked.topic,
            marked.payload,
            eventlog::meta(ctx),
        ));
        Ok(decode::<Row>(self.call("payment.void", query).await?)?.into())
    }

    /// Takes a shipment's place under what is held.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn begin_capture(
        &self,
        ctx: &Ctx,
        order: OrderId,
        shipment: ShipmentId,
        amount: Money,
        last: bool,
    ) -> Result<Place<Capture>, Fault> {
        let (tenant, code) = (ctx.tenant.uuid(), amount.currency.code());
        let (order, meta) = (order.uuid(), eventlog::meta(ctx));
        let query = diesel::select(sql::capture_begin(tenant, order, shipment.uuid(), amount.minor, code, last, meta));
        place(self.call("payment.capture", query).await?, |payment: &Payment, seen: &Capture| {
            let asked = payment.asked.is_some_and(|asked| asked.currency == amount.currency);
            asked && seen.payment() == payment.id && seen.amount == amount.minor && seen.last == last
        })
    }

    /// Takes a refund's place under what was captured; no amount means all that is left.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn begin_refund(
        &self,
        ctx: &Ctx,
        payment: PaymentId,
        refund: RefundId,
        amount: Option<Money>,
        reason: &str,
        fingerprint: [u8; 32],
    ) -> Result<Place<Refund>, Fault> {
        let query = diesel::select(sql::refund_begin(
            ctx.tenant.uuid(),
            payment.uuid(),
            refund.uuid(),
            amount.map(|amount| amount.minor),
            amount.map(|amount| amount.currency.code()),
            reason.to_owned(),
            fingerprint.to_vec(),
            eventlog::meta(ctx),
        ));
        place(self.call("payment.refund", query).await?, |_, _| true)
    }

    /// A payment with what has not ended of it.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn open_entries(&self, tenant: TenantId, payment: PaymentId) -> Result<OpenEntries, Fault> {
        #[derive(Deserialize)]
        struct Doc {
            payment: Row,
            captures: Vec<Capture>,
            increments: Vec<Increment>,
            refunds: Vec<Refund>,
        }
        let query = diesel::select(sql::payment_open_entries(tenant.uuid(), payment.uuid()));
        let doc: Doc = decode(self.call("payment.open_entries", query).await?)?;
        let Doc { payment, captures, increments, refunds } = doc;
        Ok(OpenEntries { payment: payment.into(), captures, increments, refunds })
    }

    /// Newest payments first, behind a cursor.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn page(
        &self,
        tenant: TenantId,
        order: Option<OrderId>,
        behind: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<Payment>, Fault> {
        #[derive(QueryableByName)]
        struct Doc {
            #[diesel(sql_type = Jsonb)]
            doc: Value,
        }
        let rows = self.pg.read("payment.list", tenant, move |conn| {
            async move {
                // Payment ids are made in order of time, so the key is the order.
                let query = diesel::sql_query(
                    "SELECT to_jsonb(p) AS doc FROM payments p WHERE tenant_id = $1 AND ($2 IS NULL OR order_id = $2) \
                     AND ($3 IS NULL OR payment_id < $3) ORDER BY payment_id DESC LIMIT $4",
                );
                let query = query
                    .bind::<SqlUuid, _>(tenant.uuid())
                    .bind::<Nullable<SqlUuid>, _>(order.map(OrderId::uuid))
                    .bind::<Nullable<SqlUuid>, _>(behind.map(PaymentId::uuid))
                    .bind::<BigInt, _>(limit);
                Ok(query.load::<Doc>(conn).await?)
            }
            .boxed()
        });
        rows.await?.into_iter().map(|row| Ok(decode::<Row>(row.doc)?.into())).collect()
    }
}

/// A change of a payment as `payments_settle` takes it.
struct Written {
    doc: Value,
    types: Vec<&'static str>,
    topics: Vec<&'static str>,
    payloads: Vec<Vec<u8>>,
}

impl Written {
    fn of(before: &Payment, next: &Payment, ends: Option<Ends<'_>>) -> Result<Self, Fault> {
        let mut events = events::changed(before, next);
        match ends {
            Some(Ends::Captured(capture)) => events.push(events::captured(next, capture)),
            Some(Ends::Refunded(refund, _)) => events.push(events::refunded(next, refund)),
            Some(Ends::RefundRefused(refund, code)) => {
                events.push(events::refund_failed(next, refund, code, false));
            }
            Some(Ends::RefundReturned(refund, code)) => {
                events.push(events::refund_failed(next, refund, code, true));
            }
            Some(Ends::CaptureRefused(..) | Ends::Incremented(_) | Ends::IncrementRefused(..)) | None => {}
        }
        Ok(Self {
            doc: serde_json::to_value(Facts::of(next, ends)).map_err(Fault::internal)?,
            types: events.iter().map(|event| event.type_name).collect(),
            topics: events.iter().map(|event| event.topic).collect(),
            payloads: events.into_iter().map(|event| event.payload).collect(),
        })
    }

    fn push(&mut self, event: NewEvent) {
        self.types.push(event.type_name);
        self.topics.push(event.topic);
        self.payloads.push(event.payload);
    }
}

/// What the audit cannot see in the row: the name of a change, minor units, and why.
fn tell(meta: &mut Value, (action, amount, note): (&str, i64, &str)) {
    meta["action"] = action.into();
    meta["amount"] = amount.into();
    meta["note"] = note.into();
}

fn decode<T: DeserializeOwned>(doc: Value) -> Result<T, Fault> {
    serde_json::from_value(doc).map_err(Fault::internal)
}

fn optional(doc: Option<Value>) -> Result<Option<Payment>, Fault> {
    doc.map(|doc| decode::<Row>(doc).map(Payment::from)).transpose()
}

fn place<E: DeserializeOwned>(doc: Value, same: impl Fn(&Payment, &E) -> bool) -> Result<Place<E>, Fault> {
    #[derive(Deserialize)]
    struct Doc {
        verdict: String,
        payment: Option<Row>,
        #[serde(default)]
        entry: Value,
        #[serde(default)]
        remaining: i64,
        same: Option<bool>,
    }
    let doc: Doc = decode(doc)?;
    let Some(payment) = doc.payment.map(Payment::from) else { return Ok(Place::NoPayment) };
    let why = match doc.verdict.as_str() {
        "CURRENCY" => Limit::Currency,
        "CLOSED" => Limit::Closed,
        "EXPIRED" => Limit::Expired,
        "BUSY" => Limit::Busy,
        "EXCEEDS" => Limit::Exceeds,
        "BEFORE" => return Ok(Place::Before { payment }),
        _ => {
            let entry: E = decode(doc.entry)?;
            let same = doc.same.unwrap_or(true) && same(&payment, &entry);
            return Ok(Place::Taken { payment, entry, fresh: doc.verdict == "BEGUN", same });
        }
    };
    Ok(Place::Refused { why, payment, remaining: doc.remaining })
}
