//! A connection that a transaction was left open on is nobody's any more.

use std::sync::Arc;

use anyhow::Result;
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::FutureExt;
use ids::TenantId;
use pg::{Conn, Pg};
use testkit::Db;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::counter::Stream;

/// A door to a single connection, which is made here and so lives as long as the test.
async fn narrow() -> Result<(Db, Pg)> {
    let (db, _stream) = Stream::open().await?;
    let pg = Pg::connect("order", db.target(), 1)?;
    remember(&pg, TenantId::new()).await?;
    Ok((db, pg))
}

async fn write(conn: &mut Conn, tenant: TenantId) -> Result<(), pg::Error> {
    diesel::sql_query("INSERT INTO inbox (tenant_id, consumer, event_id) VALUES ($1, 'test', $2)")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<SqlUuid, _>(Uuid::now_v7())
        .execute(conn)
        .await?;
    Ok(())
}

async fn remember(pg: &Pg, tenant: TenantId) -> Result<(), pg::Error> {
    pg.tx("test.write", tenant, move |conn: &mut Conn| write(conn, tenant).boxed()).await
}

/// Rows that a tenant has after somebody else has used the door.
async fn left(db: &Db, pg: &Pg, tenant: TenantId) -> Result<i64> {
    let other = TenantId::new();
    remember(pg, other).await?;
    let count = |of: TenantId| format!("(SELECT count(*) FROM om_order.inbox WHERE tenant_id = '{}')", of.uuid());
    let mut admin = db.admin().await?;
    let others: i64 = diesel::select(sql::<BigInt>(&count(other))).get_result(&mut admin).await?;
    assert_eq!(others, 1, "the next transaction is its own");
    Ok(diesel::select(sql::<BigInt>(&count(tenant))).get_result(&mut admin).await?)
}

async fn write_then(conn: &mut Conn, tenant: TenantId, then: impl Future<Output = ()> + Send) -> Result<(), pg::Error> {
    write(conn, tenant).await?;
    then.await;
    Ok(())
}

#[tokio::test]
async fn what_a_body_wrote_before_it_panicked_is_never_committed() -> Result<()> {
    let (db, pg) = narrow().await?;
    let (door, tenant) = (pg.clone(), TenantId::new());
    let panicked = tokio::spawn(async move {
        door.tx("test.panic", tenant, move |conn: &mut Conn| {
            write_then(conn, tenant, async { panic!("a mistake in a body") }).boxed()
        })
        .await
    });
    assert!(panicked.await.is_err_and(|error| error.is_panic()));
    assert_eq!(left(&db, &pg, tenant).await?, 0);
    Ok(())
}

#[tokio::test]
async fn what_a_body_wrote_before_it_was_dropped_is_never_committed() -> Result<()> {
    let (db, pg) = narrow().await?;
    let (door, tenant) = (pg.clone(), TenantId::new());
    let wrote = Arc::new(Notify::new());
    let written = Arc::clone(&wrote);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(async move {
        door.tx("test.drop", tenant, move |conn: &mut Conn| {
            let written = Arc::clone(&written);
            let forever = async move {
                written.notify_one();
                std::future::pending::<()>().await;
            };
            write_then(conn, tenant, forever).boxed()
        })
        .await
    });
    wrote.notified().await;
    runtime.shutdown_background();
    assert_eq!(left(&db, &pg, tenant).await?, 0);
    Ok(())
}
