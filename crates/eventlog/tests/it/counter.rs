//! A stream whose events are numbers, and whose state is their sum and how many they are.

use anyhow::Result;
use ctx::{Cause, Ctx};
use eventlog::{Fold, NewEvent, Recorded, Replay, Upcast, snapshot};
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use pg::{Conn, Migrations, Pg};
use testkit::Db;
use uuid::Uuid;

/// Any service's schema has the event log.
const MIGRATIONS: Migrations = diesel_migrations::embed_migrations!("../../migrations/order");

pub const REV: i32 = 3;

const UPCASTS: [Upcast; 1] = [Upcast {
    from: "test.v1.Added",
    to: "test.v2.Added",
    change: |digits| {
        let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(number.to_be_bytes().to_vec())
    },
}];

/// The current revision.
pub const SUM: Fold<Sum> = Fold { schema_rev: REV, upcasts: &UPCASTS, open: Sum::open, apply: Sum::apply };

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    pub total: i64,
    pub count: i64,
}

impl Sum {
    pub fn encode(&self) -> Vec<u8> {
        [self.total.to_be_bytes(), self.count.to_be_bytes()].concat()
    }

    fn open(state: &[u8]) -> Option<Self> {
        let (total, count) = state.split_at_checked(8)?;
        let number = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
        Some(Self { total: number(total)?, count: number(count)? })
    }

    fn apply(&mut self, event: &Recorded) -> Result<(), Fault> {
        self.add(i64::from_be_bytes(event.payload.as_slice().try_into().map_err(Fault::internal)?));
        Ok(())
    }

    pub fn add(&mut self, number: i64) {
        self.total = self.total.wrapping_mul(31).wrapping_add(number);
        self.count += 1;
    }
}

/// A number as an event of the current type.
pub fn added(number: i64) -> NewEvent {
    NewEvent::new("test.v2.Added", "test.v2", number.to_be_bytes().to_vec())
}

/// A number as it was said before.
pub fn added_v1(number: i64) -> NewEvent {
    NewEvent::new("test.v1.Added", "test.v1", number.to_string().into_bytes())
}

/// One stream of one tenant.
#[derive(Clone)]
pub struct Stream {
    pub pg: Pg,
    pub ctx: Ctx,
    pub id: Uuid,
}

impl Stream {
    /// In a database of its own.
    pub async fn open() -> Result<(Db, Self)> {
        let db = Db::fresh("order", MIGRATIONS).await?;
        let stream = Self { pg: db.pg("order"), ctx: ctx(), id: Uuid::now_v7() };
        Ok((db, stream))
    }

    /// A stream of the same id of another tenant.
    pub fn of_another_tenant(&self) -> Self {
        Self { ctx: ctx(), ..self.clone() }
    }

    /// Appends behind a version.
    pub async fn append(&self, version: i32, events: Vec<NewEvent>) -> Result<i32, Fault> {
        let (ctx, id) = (self.ctx.clone(), self.id);
        let appended = self.pg.tx("test.append", self.ctx.tenant, move |conn: &mut Conn| {
            let (ctx, events) = (ctx.clone(), events.clone());
            async move { eventlog::append(conn, &ctx, id, version, &events).await }.boxed()
        });
        Ok(appended.await?)
    }

    /// Appends behind a version and keeps a snapshot when one is due, in one transaction.
    pub async fn grow(&self, version: i32, before: &Sum, numbers: &[i64]) -> Result<(i32, Sum), Fault> {
        let mut after = before.clone();
        numbers.iter().for_each(|number| after.add(*number));
        let events: Vec<NewEvent> = numbers.iter().copied().map(added).collect();
        let (ctx, id, state) = (self.ctx.clone(), self.id, after.encode());
        let appended = self.pg.tx("test.grow", self.ctx.tenant, move |conn: &mut Conn| {
            let (ctx, events, state) = (ctx.clone(), events.clone(), state.clone());
            async move {
                let now = eventlog::append(conn, &ctx, id, version, &events).await?;
                if snapshot::due(now, version) {
                    snapshot::save(conn, ctx.tenant, id, now, REV, &state).await?;
                }
                Ok(now)
            }
            .boxed()
        });
        Ok((appended.await?, after))
    }

    /// Keeps a state as a snapshot.
    pub async fn save(&self, version: i32, schema_rev: i32, state: &[u8]) -> Result<bool, Fault> {
        self.save_as(self.ctx.tenant, version, schema_rev, state).await
    }

    /// Keeps a snapshot that claims to be of a tenant.
    pub async fn save_as(&self, of: TenantId, version: i32, schema_rev: i32, state: &[u8]) -> Result<bool, Fault> {
        let (id, state) = (self.id, state.to_vec());
        let saved = self.pg.tx("test.save", self.ctx.tenant, move |conn: &mut Conn| {
            let state = state.clone();
            async move { snapshot::save(conn, of, id, version, schema_rev, &state).await }.boxed()
        });
        Ok(saved.await?)
    }

    /// Version of the usable snapshot and the events behind it, asked for as of a tenant.
    pub async fn found_as(&self, of: TenantId, schema_rev: i32) -> Result<(Option<i32>, usize), Fault> {
        let id = self.id;
        let loaded = self.pg.read("test.load", self.ctx.tenant, move |conn: &mut Conn| {
            async move { snapshot::load(conn, of, id, schema_rev).await }.boxed()
        });
        let (snapshot, events) = loaded.await?;
        Ok((snapshot.map(|snapshot| snapshot.version), events.len()))
    }

    pub async fn found(&self, schema_rev: i32) -> Result<(Option<i32>, usize), Fault> {
        self.found_as(self.ctx.tenant, schema_rev).await
    }

    pub async fn replay(&self) -> Result<Replay<Sum>, Fault> {
        let (tenant, id) = (self.ctx.tenant, self.id);
        let replay = self.pg.read("test.replay", tenant, move |conn: &mut Conn| {
            async move { eventlog::replay(conn, tenant, id, &SUM).await }.boxed()
        });
        Ok(replay.await?)
    }

    pub async fn replay_from_first(&self) -> Result<Replay<Sum>, Fault> {
        let (tenant, id) = (self.ctx.tenant, self.id);
        let replay = self.pg.read("test.replay", tenant, move |conn: &mut Conn| {
            async move { eventlog::replay_from_first(conn, tenant, id, &SUM).await }.boxed()
        });
        Ok(replay.await?)
    }
}

fn ctx() -> Ctx {
    Ctx::service("test", TenantId::new(), Cause::default(), Timestamp::now())
}
