use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::QueueMode;
use diesel_async::methods::LoadQuery;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::TenantId;
use tokio::sync::watch;
use tracing::Instrument;

use crate::connect::connect;
use crate::shared::{self, Answer, Call, Calls};
use crate::{Conn, Error, GroupCommit, commits};

/// How often a transaction is repeated when the database asks for it.
const REPEATS: u32 = 5;
/// How long a caller waits for a connection before it is told that there is too much at once.
const POOL_WAIT: Duration = Duration::from_secs(2);

/// Where a database is: a connection string with `{role}` where the role's name goes.
///
/// With `sslmode=require` or `sslmode=verify-full` and `sslrootcert=FILE` it is reached over TLS, and the certificate of
/// the database is checked (PAY-12).
#[derive(Debug, Clone)]
pub struct Target(String);

impl Target {
    /// A connection string such as `postgresql://{role}@/ordermesh?host=/run/ordermesh`.
    pub fn new(template: impl Into<String>) -> Self {
        Self(template.into())
    }

    /// The connection string of a role.
    pub fn url(&self, role: &str) -> String {
        self.0.replace("{role}", role)
    }
}

/// A service's way to its schema.
#[derive(Clone)]
pub struct Pg {
    service: &'static str,
    app: Pool<Conn>,
    worker: Pool<Conn>,
    calls: Calls,
    commits: Arc<watch::Sender<u64>>,
}

impl std::fmt::Debug for Pg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pg").field("service", &self.service).finish_non_exhaustive()
    }
}

enum Mode {
    Write,
    Read,
}

impl Pg {
    /// Prepares the pools of a service; connections are made when they are needed.
    ///
    /// # Errors
    /// [`Error::Busy`] when the pool cannot be built.
    pub fn connect(service: &'static str, target: &Target, pool_size: usize) -> Result<Self, Error> {
        let role = format!("om_{service}");
        let pool = |url: String, size: usize| {
            // A closed connection is seen without asking; a test query would double the round trips of every call.
            let mut config = ManagerConfig::<Conn>::default();
            config.recycling_method = RecyclingMethod::Fast;
            config.custom_setup = Box::new(|url| connect(url).boxed());
            Pool::builder(AsyncDieselConnectionManager::new_with_config(url, config))
                .max_size(size)
                // The connection used last has the warmest caches.
                .queue_mode(QueueMode::Lifo)
                .wait_timeout(Some(POOL_WAIT))
                .runtime(deadpool::Runtime::Tokio1)
                .build()
                .map_err(|_| Error::Busy)
        };
        let app = pool(target.url(&role), pool_size)?;
        let shared = app.clone();
        Ok(Self {
            service,
            calls: GroupCommit::new(shared::MOST, move |tenant, calls| together(shared.clone(), tenant, calls).boxed()),
            app,
            // Polls, claims and sweeps take turns; three never starve each other.
            worker: pool(target.url(&format!("{role}_worker")), 3)?,
            commits: commits::sender(service),
        })
    }

    /// Name of the service.
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Runs a transaction that writes inside one tenant.
    ///
    /// The body runs again when the database reports a serialization failure or a deadlock, so it must have no effect
    /// outside the connection.
    ///
    /// # Errors
    /// Whatever the body says; [`Error::Busy`] when no connection is free in time.
    ///
    /// # Cancel safety
    /// The transaction runs to its end when the future is dropped.
    pub async fn tx<T, F>(&self, name: &'static str, tenant: TenantId, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + Sync + 'static,
    {
        let result = self.passage(name, self.app.clone(), Some(tenant), Mode::Write, body).await;
        if result.is_ok() {
            self.committed();
        }
        result
    }

    /// Runs a read-only transaction inside one tenant.
    ///
    /// # Errors
    /// As [`Pg::tx`].
    pub async fn read<T, F>(&self, name: &'static str, tenant: TenantId, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + Sync + 'static,
    {
        self.passage(name, self.app.clone(), Some(tenant), Mode::Read, body).await
    }

    /// Runs a transaction of the worker's narrow role, which sees due work of every tenant but not what it is about.
    ///
    /// # Errors
    /// As [`Pg::tx`].
    pub async fn worker<T, F>(&self, name: &'static str, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + Sync + 'static,
    {
        self.passage(name, self.worker.clone(), None, Mode::Write, body).await
    }

    /// Calls one SQL function in one round trip; the function sets the tenant as its first line and commits by itself.
    ///
    /// # Errors
    /// [`Error::Db`], [`Error::Busy`].
    ///
    /// # Cancel safety
    /// The statement runs to its end when the future is dropped.
    pub async fn call<U, Q>(&self, name: &'static str, query: Q) -> Result<U, Error>
    where
        U: Send + 'static,
        Q: RunQueryDsl<Conn> + LoadQuery<'static, Conn, U> + Send + 'static,
    {
        let result = self.measured(name, single(self.app.clone(), query)).await;
        if result.is_ok() {
            self.committed();
        }
        result
    }

    /// [`Pg::call`] in one transaction with what else of the tenant arrives while the batch before is being committed
    /// (see [`GroupCommit`]): many small commands, one commit.
    ///
    /// When the transaction fails each call is made again in a transaction of its own, so nobody pays for another's
    /// mistake. Calls of a batch wait for the same locks: what waits long for a lock belongs into [`Pg::call`].
    ///
    /// # Errors
    /// As [`Pg::call`].
    pub async fn share<U, Q>(&self, name: &'static str, tenant: TenantId, query: Q) -> Result<U, Error>
    where
        U: Send + 'static,
        Q: Clone + Send + Sync + for<'c> LoadQuery<'static, &'c Conn, U> + 'static,
    {
        let (calls, call) = (self.calls.clone(), shared::call::<Q, U>(query));
        let task = async move {
            let answer = calls.submit(tenant, call).await??;
            answer
                .downcast::<U>()
                .map(|answer| *answer)
                .map_err(|_| Fault::internal("an answer of another call").into())
        };
        let result = self.measured(name, task).await;
        if result.is_ok() {
            self.committed();
        }
        result
    }

    /// [`Pg::call`] of a function that only reads: nobody is woken to look for what it wrote.
    ///
    /// # Errors
    /// As [`Pg::call`].
    pub async fn ask<U, Q>(&self, name: &'static str, query: Q) -> Result<U, Error>
    where
        U: Send + 'static,
        Q: RunQueryDsl<Conn> + LoadQuery<'static, Conn, U> + Send + 'static,
    {
        self.measured(name, single(self.app.clone(), query)).await
    }

    /// One SQL function of the worker's narrow role in one round trip; see [`Pg::worker`].
    ///
    /// # Errors
    /// As [`Pg::call`].
    pub async fn worker_call<U, Q>(&self, name: &'static str, query: Q) -> Result<U, Error>
    where
        U: Send + 'static,
        Q: RunQueryDsl<Conn> + LoadQuery<'static, Conn, U> + Send + 'static,
    {
        self.measured(name, single(self.worker.clone(), query)).await
    }

    /// Tells consumers and saga engine of this process that something may be due.
    pub fn committed(&self) {
        self.commits.send_modify(|count| *count += 1);
    }

    /// Changes whenever this service has committed something in this process; see [`crate::commits_of`].
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    async fn passage<T, F>(
        &self,
        name: &'static str,
        pool: Pool<Conn>,
        tenant: Option<TenantId>,
        mode: Mode,
        body: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + Sync + 'static,
    {
        let begin = match (&mode, tenant) {
            (Mode::Write, Some(tenant)) => format!("BEGIN; SET LOCAL app.tenant = '{}'", tenant.uuid()),
            (Mode::Read, Some(tenant)) => format!("BEGIN READ ONLY; SET LOCAL app.tenant = '{}'", tenant.uuid()),
            (_, None) => "BEGIN".to_owned(),
        };
        let task = async move {
            let mut attempt = 1;
            loop {
                match transaction(&pool, &begin, &body).await {
                    Err(error) if error.transient() && attempt < REPEATS => attempt += 1,
                    result => return result,
                }
            }
        };
        self.measured(name, task).await
    }

    async fn measured<T, F>(&self, name: &'static str, task: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let start = Instant::now();
        let result = match tokio::spawn(task.in_current_span()).await {
            Ok(result) => result,
            Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
            Err(_) => Err(Error::Aborted),
        };
        let outcome = result.as_ref().map_or_else(Error::outcome, |_| "ok");
        metrics::counter!("pg_operations_total", "operation" => name, "outcome" => outcome).increment(1);
        metrics::histogram!("pg_operation_duration_seconds", "operation" => name).record(start.elapsed().as_secs_f64());
        result
    }
}

async fn single<U, Q>(pool: Pool<Conn>, query: Q) -> Result<U, Error>
where
    U: Send + 'static,
    Q: RunQueryDsl<Conn> + LoadQuery<'static, Conn, U> + Send + 'static,
{
    let mut conn = checkout(&pool).await?;
    let result = query.get_result::<U>(&mut *conn).await.map_err(Error::from);
    if matches!(&result, Err(error) if gone(error)) {
        drop(Object::take(conn));
    }
    result
}

/// One transaction for all calls; when it fails, one for each.
async fn together(
    pool: Pool<Conn>,
    tenant: TenantId,
    calls: Vec<Arc<dyn Call>>,
) -> Vec<Result<Result<Answer, Error>, Fault>> {
    if calls.len() > 1 {
        match batch(&pool, tenant, calls.clone()).await {
            Ok(answers) => return answers.into_iter().map(|answer| Ok(Ok(answer))).collect(),
            // It may have been committed: whoever asks again finds out.
            Err(error) if gone(&error) => return calls.iter().map(|_| Err(lost())).collect(),
            Err(error) => tracing::debug!(%error, calls = calls.len(), "a batch of calls is made one by one"),
        }
    }
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(Ok(alone(&pool, &call).await));
    }
    answers
}

async fn batch(pool: &Pool<Conn>, tenant: TenantId, calls: Vec<Arc<dyn Call>>) -> Result<Vec<Answer>, Error> {
    let begin = format!("BEGIN; SET LOCAL app.tenant = '{}'", tenant.uuid());
    transaction(pool, &begin, &move |conn: &mut Conn| {
        let calls = calls.clone();
        async move { shared::send(conn, &calls).await }.boxed()
    })
    .await
}

fn lost() -> Fault {
    Fault::unavailable("DATABASE_GONE", "the database connection broke").retry_after(Duration::from_millis(500))
}

async fn alone(pool: &Pool<Conn>, call: &Arc<dyn Call>) -> Result<Answer, Error> {
    let conn = checkout(pool).await?;
    let result = call.send(&conn).await;
    if matches!(&result, Err(error) if gone(error)) {
        drop(Object::take(conn));
    }
    result
}

async fn checkout(pool: &Pool<Conn>) -> Result<Object<Conn>, Error> {
    pool.get().await.map_err(|error| {
        tracing::warn!(error = %error, "no database connection");
        Error::Busy
    })
}

/// A connection with an open transaction, which nobody else may get: it goes back into the pool only when the
/// transaction has ended, and is closed when a panic or the end of its runtime leaves it open. The pool itself cannot
/// tell, for diesel has not seen the BEGIN.
struct Lent(Option<Object<Conn>>);

impl Lent {
    fn conn(&mut self) -> Result<&mut Conn, Error> {
        self.0.as_deref_mut().ok_or(Error::Aborted)
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            drop(Object::take(conn));
        }
    }
}

/// BEGIN and the tenant travel together; diesel's transaction manager would make a round trip of each.
async fn transaction<T, F>(pool: &Pool<Conn>, begin: &str, body: &F) -> Result<T, Error>
where
    F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>>,
{
    let mut lent = Lent(Some(checkout(pool).await?));
    let conn = lent.conn()?;
    conn.batch_execute(begin).await?;
    let result = body(conn).await;
    conn.batch_execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    lent.give_back();
    result
}

fn gone(error: &Error) -> bool {
    use diesel::result::{DatabaseErrorKind, Error as DieselError};
    match error {
        Error::Db(DieselError::DatabaseError(kind, _)) => {
            matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand)
        }
        Error::Db(DieselError::BrokenTransactionManager) => true,
        Error::Db(_) | Error::Fault(_) | Error::Busy | Error::Aborted => false,
    }
}
