use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use contract::order::v1::CountOrdersResponse;
use futures::FutureExt;
use futures::future::BoxFuture;
use testkit::eventually;

use super::*;

/// A Redis of one test, on a port of its own.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    async fn start(port: u16) -> Result<Self> {
        let port = if port == 0 { std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port() } else { port };
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server is missing; fix: scripts/setup")?;
        let server = Self { process, port };
        eventually(Duration::from_secs(10), || async {
            let mut redis = server.client().await?;
            Ok(Some(redis::cmd("PING").query_async::<String>(&mut redis).await?))
        })
        .await?;
        Ok(server)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn client(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }

    fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped before.
        drop(self.stop());
    }
}

fn copy(scope: Scope) -> Copy {
    Copy { kind: "count", tenant: TenantId::new(), scope, question: "how many?".to_owned(), life: COUNTS }
}

fn answers(count: i64) -> BoxFuture<'static, Result<CountOrdersResponse, Fault>> {
    async move { Ok(CountOrdersResponse { count, more: false }) }.boxed()
}

fn hearing(backend: Backend) -> Cache {
    let cache = Cache::new(backend);
    cache.heard(Instant::now());
    cache
}

async fn ask(cache: &Cache, copy: &Copy, now: i64) -> Result<(i64, Source)> {
    cache.heard(Instant::now());
    let (answer, source) = cache.answer(copy, answers(now)).await?;
    Ok((answer.count, source))
}

/// What holds wherever copies are kept.
async fn holds(cache: &Cache) -> Result<()> {
    let scope = Scope::Order(OrderId::new());
    let one = copy(scope);
    let two = Copy { question: "and how many?".to_owned(), ..one.clone() };
    assert_eq!(ask(cache, &one, 1).await?, (1, Source::Miss));
    assert_eq!(ask(cache, &one, 2).await?, (1, Source::Hit));
    assert_eq!(ask(cache, &two, 2).await?, (2, Source::Miss));
    cache.end(&[(one.tenant, scope)]).await?;
    assert_eq!(ask(cache, &one, 3).await?, (3, Source::Miss), "a write ends every copy of the scope");
    assert_eq!(ask(cache, &two, 3).await?, (3, Source::Miss));
    assert_eq!(ask(cache, &Copy { tenant: TenantId::new(), ..one.clone() }, 4).await?, (4, Source::Miss));

    // The database is asked, then the write ends copies, then the reader comes with what it read before.
    cache.end(&[(one.tenant, scope)]).await?;
    let slow = async {
        cache.end(&[(one.tenant, scope)]).await.map_err(Fault::internal)?;
        answers(5).await
    };
    assert_eq!(cache.answer(&one, slow).await?.0.count, 5);
    assert_eq!(ask(cache, &one, 6).await?, (6, Source::Miss), "a slow reader brings nothing back");
    assert_eq!(ask(cache, &one, 7).await?, (6, Source::Hit));
    cache.end_all().await?;
    assert_eq!(ask(cache, &one, 8).await?, (8, Source::Miss));

    let (order, version) = (OrderId::new(), 3);
    let doubted = copy(Scope::Order(order));
    assert_eq!(ask(cache, &doubted, 1).await?, (1, Source::Miss));
    doubt::writes(order.uuid(), version, &[]);
    assert_eq!(ask(cache, &doubted, 2).await?, (2, Source::Miss), "a commit is under way");
    cache.end(&[(doubted.tenant, doubted.scope)]).await?;
    doubt::written(order.uuid(), version);
    assert_eq!(ask(cache, &doubted, 3).await?, (3, Source::Miss));
    assert_eq!(ask(cache, &doubted, 4).await?, (3, Source::Hit));
    Ok(())
}

#[tokio::test]
async fn ord_41_a_write_ends_copies_at_once_in_memory() -> Result<()> {
    holds(&hearing(Backend::memory())).await
}

#[tokio::test]
async fn ord_41_a_write_ends_copies_at_once_in_redis() -> Result<()> {
    let server = Server::start(0).await?;
    holds(&hearing(Backend::redis(&server.url())?)).await
}

#[tokio::test]
async fn ord_41_copies_in_redis_have_the_lives_that_were_asked_for() -> Result<()> {
    let server = Server::start(0).await?;
    let cache = hearing(Backend::redis(&server.url())?);
    let mut redis = server.client().await?;
    for (kind, scope, life) in [
        ("order", Scope::Order(OrderId::new()), DETAILS),
        ("list", Scope::User(UserId::new()), LISTS),
        ("count", Scope::Tenant, COUNTS),
    ] {
        let copy = Copy { kind, life, ..copy(scope) };
        ask(&cache, &copy, 1).await?;
        let ttl: i64 = redis::cmd("TTL").arg(copy.key()).query_async(&mut redis).await?;
        let most = i64::try_from(life.as_secs())?;
        assert!((most - 5..=most).contains(&ttl), "{}: {ttl} of {most}", copy.key());
    }
    assert_eq!((DETAILS.as_secs(), LISTS.as_secs(), COUNTS.as_secs()), (300, 120, 30));
    Ok(())
}

#[tokio::test]
async fn ord_41_two_processes_share_the_copies_in_redis() -> Result<()> {
    let server = Server::start(0).await?;
    let (here, there) = (hearing(Backend::redis(&server.url())?), hearing(Backend::redis(&server.url())?));
    let one = copy(Scope::User(UserId::new()));
    assert_eq!(ask(&here, &one, 1).await?, (1, Source::Miss));
    assert_eq!(ask(&there, &one, 2).await?, (1, Source::Hit));
    there.end(&[(one.tenant, one.scope)]).await?;
    assert_eq!(ask(&here, &one, 3).await?, (3, Source::Miss));
    Ok(())
}

#[tokio::test]
async fn ord_41_answers_are_right_while_redis_is_down_and_after_it_came_back() -> Result<()> {
    let mut server = Server::start(0).await?;
    let cache = hearing(Backend::redis(&server.url())?);
    let one = copy(Scope::Order(OrderId::new()));
    assert_eq!(ask(&cache, &one, 1).await?, (1, Source::Miss));
    server.stop()?;
    for now in 2..5 {
        assert_eq!(ask(&cache, &one, now).await?, (now, Source::Miss), "down");
    }
    assert!(cache.end(&[(one.tenant, one.scope)]).await.is_err(), "a writer hears that copies may live on");
    let server = Server::start(server.port).await?;
    eventually(Duration::from_secs(10), || async {
        cache.end(&[(one.tenant, one.scope)]).await?;
        Ok(Some(()))
    })
    .await?;
    eventually(Duration::from_secs(10), || async {
        let (_, source) = ask(&cache, &one, 9).await?;
        anyhow::ensure!(source == Source::Hit, "not yet");
        Ok(Some(()))
    })
    .await?;
    drop(server);
    Ok(())
}

#[tokio::test]
async fn ord_41_who_does_not_hear_the_log_takes_no_copies() -> Result<()> {
    let cache = Cache::new(Backend::memory());
    let one = copy(Scope::Tenant);
    for count in 1..4 {
        assert_eq!(
            cache.answer(&one, answers(count)).await?,
            (CountOrdersResponse { count, more: false }, Source::Miss)
        );
    }
    assert_eq!(ask(&cache, &one, 4).await?, (4, Source::Miss));
    assert_eq!(ask(&cache, &one, 5).await?, (4, Source::Hit));
    Ok(())
}

#[tokio::test]
async fn a_copy_in_memory_dies_when_its_life_is_over() -> Result<()> {
    let cache = hearing(Backend::memory());
    let short = Copy { life: Duration::from_millis(30), ..copy(Scope::Tenant) };
    assert_eq!(ask(&cache, &short, 1).await?, (1, Source::Miss));
    eventually(Duration::from_secs(10), || async {
        let (count, source) = ask(&cache, &short, 2).await?;
        anyhow::ensure!(count == 2, "{source:?}");
        Ok(Some(()))
    })
    .await
}
