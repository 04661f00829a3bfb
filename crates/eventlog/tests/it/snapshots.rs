use anyhow::Result;
use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;
use eventlog::snapshot;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::counter::{REV, Stream, Sum, added};

diesel::define_sql_function! {
    /// The schema's own policy.
    fn snapshot_due(version: Integer, last: Integer) -> diesel::sql_types::Bool;
}

#[tokio::test]
async fn a_stream_of_a_thousand_events_loads_with_one_snapshot_and_at_most_fifty_events() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    let (mut version, mut sum) = (0, Sum::default());
    let mut most = 0;
    while version < 1000 {
        // Appends of one to seven events, so that some pass a fiftieth event and some hit it.
        let size = (version % 7 + 1).min(1000 - version);
        let numbers: Vec<i64> = (0..size).map(|at| i64::from(version + at)).collect();
        (version, sum) = stream.grow(version, &sum, &numbers).await?;
        let short = stream.replay().await?;
        assert_eq!((&short.state, short.version), (&sum, version));
        assert_eq!(usize::try_from(version - short.snapshot.unwrap_or(0))?, short.events);
        most = most.max(short.events);
    }
    assert!(most < usize::try_from(snapshot::EVERY)?, "{most} events behind a snapshot");
    let (short, long) = (stream.replay().await?, stream.replay_from_first().await?);
    assert!(short.snapshot.is_some());
    assert_eq!((long.snapshot, long.events, long.version), (None, 1000, 1000));
    assert_eq!(short.state, long.state);
    Ok(())
}

#[tokio::test]
async fn a_snapshot_of_another_schema_revision_is_ignored() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    stream.append(0, vec![added(1), added(2), added(3)]).await?;
    assert!(stream.save(2, REV + 1, b"unknown").await?);
    assert_eq!(stream.found(REV + 1).await?, (Some(2), 1));
    assert_eq!(stream.found(REV).await?, (None, 3));
    let replayed = stream.replay().await?;
    assert_eq!((replayed.snapshot, replayed.events, replayed.state.count), (None, 3, 3));
    Ok(())
}

#[tokio::test]
async fn a_snapshot_never_goes_backwards() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    stream.append(0, vec![added(0); 9]).await?;
    assert!(stream.save(5, REV, b"5").await?);
    assert!(!stream.save(4, REV, b"4").await?);
    assert!(!stream.save(4, REV + 1, b"4").await?);
    assert!(!stream.save(5, REV, b"another 5").await?);
    assert_eq!(stream.found(REV).await?, (Some(5), 4));
    assert!(stream.save(5, REV + 1, b"5 of a newer program").await?);
    assert!(!stream.save(5, REV, b"5 of the program before").await?);
    assert!(stream.save(9, REV, b"9").await?);
    assert_eq!(stream.found(REV).await?, (Some(9), 0));
    Ok(())
}

#[tokio::test]
async fn the_snapshot_of_another_tenant_is_neither_seen_nor_written() -> Result<()> {
    let (_db, ours) = Stream::open().await?;
    let theirs = ours.of_another_tenant();
    ours.append(0, vec![added(1), added(2)]).await?;
    theirs.append(0, vec![added(3), added(4), added(5)]).await?;
    assert!(theirs.save(3, REV, b"theirs").await?);
    assert_eq!(ours.found(REV).await?, (None, 2));
    // Naming the other tenant does not help: row level security knows whose passage it is.
    assert_eq!(ours.found_as(theirs.ctx.tenant, REV).await?, (None, 0));
    assert!(ours.save_as(theirs.ctx.tenant, 9, REV, b"forged").await.is_err());
    assert_eq!(theirs.found(REV).await?, (Some(3), 0));
    Ok(())
}

#[tokio::test]
async fn a_snapshot_that_is_ahead_of_its_log_is_ignored() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    stream.append(0, vec![added(1), added(2)]).await?;
    assert!(stream.save(3, REV, &Sum::default().encode()).await?);
    assert_eq!(stream.found(REV).await?, (None, 2));
    Ok(())
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_costs_only_time() -> Result<()> {
    let (_db, stream) = Stream::open().await?;
    stream.append(0, vec![added(1), added(2)]).await?;
    assert!(stream.save(2, REV, b"not a sum").await?);
    let replayed = stream.replay().await?;
    assert_eq!((replayed.snapshot, replayed.events, replayed.state.count), (None, 2, 2));
    Ok(())
}

#[tokio::test]
async fn program_and_schema_agree_on_when_a_snapshot_is_due() -> Result<()> {
    let (db, _) = Stream::open().await?;
    let mut conn = db.connect("om_order").await?;
    for last in [0, 1, 30, 49, 50, 51, 99, 100, 949] {
        for version in last..last + 110 {
            let due: bool = RunQueryDsl::get_result(diesel::select(snapshot_due(version, last)), &mut conn).await?;
            assert_eq!(due, snapshot::due(version, last), "from {last} to {version}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_fold_from_any_snapshot_equals_the_fold_from_nothing() -> Result<()> {
    let (_db, first) = Stream::open().await?;
    let histories = (prop::collection::vec(any::<i64>(), 1..90), any::<prop::sample::Index>());
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let (numbers, cut) = histories.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
        let stream = first.of_another_tenant();
        stream.append(0, numbers.iter().copied().map(added).collect()).await?;
        let cut = cut.index(numbers.len()) + 1;
        let mut state = Sum::default();
        numbers[..cut].iter().for_each(|number| state.add(*number));
        assert!(stream.save(i32::try_from(cut)?, REV, &state.encode()).await?);
        let (short, long) = (stream.replay().await?, stream.replay_from_first().await?);
        assert_eq!((short.events, long.events), (numbers.len() - cut, numbers.len()), "{numbers:?} cut at {cut}");
        assert_eq!((short.state, short.version), (long.state, long.version), "{numbers:?} cut at {cut}");
    }
    Ok(())
}
