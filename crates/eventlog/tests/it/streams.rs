use anyhow::Result;
use futures::FutureExt;
use pg::Conn;

use crate::counter::{Stream, added, added_v1};

#[tokio::test]
async fn events_are_read_back_as_they_were_appended() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    stream.append(0, vec![added(1), added_v1(2), added(3)]).await?;
    let (tenant, id) = (stream.ctx.tenant, stream.id);
    let read = stream.pg.read("test.load", tenant, move |conn: &mut Conn| {
        async move { eventlog::load_after(conn, tenant, id, 1).await }.boxed()
    });
    let events = read.await?;
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((events[0].type_name.as_str(), events[0].payload.as_slice()), ("test.v1.Added", &b"2"[..]));
    assert_eq!(events[1].payload, 3_i64.to_be_bytes());
    assert_eq!(events[0].meta, eventlog::Meta::of(&stream.ctx));
    let age = jiff::Timestamp::now().duration_since(events[0].occurred_at);
    assert!(age.as_secs().abs() < 600, "written just now: {age}");
    Ok(())
}

#[tokio::test]
async fn a_stream_that_nobody_wrote_to_is_the_default_state_at_version_zero() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    let nothing = stream.replay().await?;
    assert_eq!((nothing.state.count, nothing.version, nothing.snapshot, nothing.events), (0, 0, None, 0));
    Ok(())
}

#[tokio::test]
async fn an_append_at_an_old_version_is_a_conflict() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    stream.append(0, vec![added(1)]).await?;
    let late = stream.append(0, vec![added(2)]).await;
    assert_eq!(late.err().map(|fault| fault.reason().to_owned()).as_deref(), Some("VERSION_CONFLICT"));
    assert_eq!(stream.replay().await?.version, 1);
    Ok(())
}

#[tokio::test]
async fn old_events_are_folded_as_their_newer_type() -> Result<()> {
    let (_db, old) = Stream::open().await?;
    let new = old.of_another_tenant();
    old.append(0, vec![added_v1(17), added_v1(-4), added(5)]).await?;
    new.append(0, vec![added(17), added(-4), added(5)]).await?;
    assert_eq!(old.replay().await?, new.replay().await?);
    old.append(3, vec![eventlog::NewEvent::new("test.v1.Added", "test.v1", b"many".to_vec())]).await?;
    let unreadable = old.replay().await;
    assert_eq!(unreadable.err().map(|fault| fault.reason().to_owned()).as_deref(), Some("INTERNAL"));
    Ok(())
}
