use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ctx::{Cause, Ctx};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use pg::{Conn, Migrations, Pg};
use saga::{Definition, Engine, Outcome, Run, Step, View};
use serde_json::json;
use testkit::{Db, eventually};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Any service's schema has sagas.
const MIGRATIONS: Migrations = diesel_migrations::embed_migrations!("../../migrations/order");
pub const SOON: Duration = Duration::from_secs(60);
pub const STEPS: [&str; 3] = ["first", "second", "third"];

/// (saga, step and phase, the engine that did it)
type Done = (Uuid, String, &'static str);

/// What the steps of a test did, and what they wait for.
#[derive(Clone)]
pub struct Desk {
    done: Arc<Mutex<Vec<Done>>>,
    /// Steps that do not work just now.
    pub broken: Arc<Mutex<HashMap<&'static str, bool>>>,
    /// The second step waits for this.
    pub gate: watch::Sender<bool>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// A database with sagas, and as many engines as a test wants.
pub struct World {
    pub db: Db,
    pub pg: Pg,
    pub tenant: TenantId,
    pub desk: Desk,
}

/// One process that drives sagas.
pub struct Process {
    cancel: CancellationToken,
    task: JoinHandle<()>,
    runtime: Runtime,
}

impl Process {
    /// As a power cut would: nothing is said, no lease is given back.
    pub async fn kill(self) {
        // Everything of it ends at its next await, wherever it is.
        self.runtime.shutdown_background();
        // Its end is the point.
        drop(self.task.await);
    }

    pub async fn stop(self) -> Result<()> {
        self.cancel.cancel();
        self.task.await?;
        self.runtime.shutdown_background();
        Ok(())
    }
}

impl World {
    pub async fn start() -> Result<Self> {
        let db = Db::fresh("order", MIGRATIONS).await?;
        let pg = db.pg("order");
        let desk = Desk { done: Arc::default(), broken: Arc::default(), gate: watch::Sender::new(true) };
        Ok(Self { db, pg, tenant: TenantId::new(), desk })
    }

    /// The table, as the process of that name has it.
    pub fn table(&self, process: &'static str) -> Definition {
        let step = |name: &'static str| {
            let (doing, undoing) = (self.desk.clone(), self.desk.clone());
            Step::new(name, move |run| doing.clone().act(run, process, name, "do").boxed())
                .tries(2)
                .backoff(Duration::from_millis(1), Duration::from_millis(1))
                .timeout(SOON)
                .forward_only()
                .undo(move |run| undoing.clone().act(run, process, name, "undo").boxed())
        };
        Definition::new("test", 1, STEPS.map(step).to_vec())
    }

    /// Starts a process with pools of its own.
    pub fn process(&self, name: &'static str) -> Process {
        let runtime = Runtime::new().expect("the system gives threads");
        let (db, table, cancel) = (self.db.clone(), self.table(name), CancellationToken::new());
        let stop = cancel.clone();
        let task = runtime.spawn(async move { Engine::new(db.pg("order"), vec![table]).run(stop).await });
        Process { cancel, task, runtime }
    }

    pub async fn begin(&self, count: usize) -> Result<Vec<Uuid>> {
        let (tenant, table) = (self.tenant, self.table("none"));
        let sagas: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        let mine = sagas.clone();
        self.pg
            .tx("test.begin", tenant, move |conn: &mut Conn| {
                let (table, mine) = (table.clone(), mine.clone());
                async move {
                    let ctx = Ctx::service("test", tenant, Cause::default(), Timestamp::now());
                    for saga in mine {
                        saga::start(conn, &ctx, &table, saga, json!({})).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await?;
        Ok(sagas)
    }

    pub async fn view(&self, saga: Uuid) -> Result<View> {
        let tenant = self.tenant;
        let view = self.pg.read("test.view", tenant, move |conn: &mut Conn| {
            async move { saga::view(conn, tenant, saga).await }.boxed()
        });
        view.await?.context("no such saga")
    }

    pub async fn until(&self, saga: Uuid, status: &str) -> Result<View> {
        eventually(SOON, || async {
            let view = self.view(saga).await?;
            anyhow::ensure!(view.status == status, "{} at step {}", view.status, view.step);
            Ok(Some(view))
        })
        .await
    }

    /// Sagas of a status.
    pub async fn count(&self, sql: &str) -> Result<i64> {
        let mut admin = self.db.admin().await?;
        let query = diesel::sql_query(sql).bind::<SqlUuid, _>(self.tenant.uuid());
        let count: Count = query.get_result(&mut admin).await?;
        Ok(count.n)
    }
}

impl Desk {
    async fn act(self, run: Run, process: &'static str, step: &'static str, phase: &'static str) -> Outcome {
        if step == "second" && phase == "do" {
            let mut gate = self.gate.subscribe();
            // The desk outlives its steps.
            drop(gate.wait_for(|open| *open).await);
        }
        if self.broken.lock().expect("no panic while locked").get(step) == Some(&true) {
            return Outcome::Retry { reason: "broken".to_owned() };
        }
        self.done.lock().expect("no panic while locked").push((run.saga_id, format!("{step} {phase}"), process));
        Outcome::done(run.state)
    }

    pub fn break_step(&self, step: &'static str, broken: bool) {
        self.broken.lock().expect("no panic while locked").insert(step, broken);
    }

    /// What was done for a saga, in order.
    pub fn did(&self, saga: Uuid) -> Vec<String> {
        let done = self.done.lock().expect("no panic while locked");
        done.iter().filter(|(id, ..)| *id == saga).map(|(_, what, _)| what.clone()).collect()
    }

    /// How much each process did.
    pub fn by(&self, process: &str) -> usize {
        self.done.lock().expect("no panic while locked").iter().filter(|(.., who)| *who == process).count()
    }
}
