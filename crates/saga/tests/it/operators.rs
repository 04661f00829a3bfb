use anyhow::Result;
use ctx::{Cause, Ctx};
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use jiff::Timestamp;
use pg::Conn;
use saga::{Decided, Decision, Filter, Intervention, Monitor, View};
use uuid::Uuid;

use crate::world::{Process, World};

const WHO: &str = "service test";

/// A saga whose second step does not work any more, and the worker that found out.
async fn stuck(world: &World) -> Result<(Uuid, Process)> {
    world.desk.break_step("second", true);
    let worker = world.process("worker");
    let saga = world.begin(1).await?[0];
    world.until(saga, "attention").await?;
    Ok((saga, worker))
}

async fn decide(world: &World, saga: Uuid, decision: Decision) -> Result<View, Fault> {
    let ctx = Ctx::service("test", world.tenant, Cause::default(), Timestamp::now());
    let wanted = Intervention { saga, decision, reason: " seen to it".to_owned() };
    let record = |_: &Ctx, decided: &Decided<'_>| {
        let words = [decided.kind, decided.step, decided.decision, decided.reason].join(" ");
        NewEvent::new("test.Decided", "test.v1", words.into_bytes())
    };
    saga::operate(&world.pg, &[world.table("none")], &ctx, &wanted, record).await
}

fn skip(step: &str) -> Decision {
    Decision::Skip { step: step.to_owned() }
}

fn reason(result: Result<View, Fault>) -> String {
    result.expect_err("must be refused").reason().to_owned()
}

#[tokio::test]
async fn sag_06_a_retried_step_goes_on_and_the_log_says_who_and_why() -> Result<()> {
    let world = World::start().await?;
    let (saga, worker) = stuck(&world).await?;
    world.desk.break_step("second", false);
    decide(&world, saga, Decision::Retry).await?;
    let done = world.until(saga, "completed").await?;
    let entry = done.log.iter().find(|entry| entry.outcome == "RETRIED").expect("the decision is in the log");
    assert_eq!(
        (entry.step.as_str(), entry.detail.as_str(), entry.actor.as_deref()),
        ("second", "seen to it", Some(WHO))
    );
    assert!(done.log.iter().map(|entry| entry.seq).eq(1..=i32::try_from(done.log.len())?), "without gaps");
    assert_eq!(world.desk.did(saga), ["first do", "second do", "third do"]);
    let told = "SELECT count(*) AS n FROM om_order.events \
                WHERE tenant_id = $1 AND payload = 'test second RETRIED seen to it'::bytea";
    assert_eq!(world.count(told).await?, 1, "the decision is an event");
    assert_eq!(reason(decide(&world, saga, Decision::Retry).await), "SAGA_STATE_FORBIDS");
    worker.stop().await
}

#[tokio::test]
async fn sag_06_a_skipped_step_is_not_done_and_a_repeat_does_not_skip_the_next() -> Result<()> {
    let world = World::start().await?;
    world.desk.break_step("third", true);
    let (saga, worker) = stuck(&world).await?;
    assert_eq!(reason(decide(&world, saga, skip("third")).await), "SAGA_AT_ANOTHER_STEP");
    decide(&world, saga, skip("second")).await?;
    decide(&world, saga, skip("second")).await?;
    let next = world.until(saga, "attention").await?;
    assert_eq!((next.step, world.desk.did(saga)), (2, vec!["first do".to_owned()]));
    let done = decide(&world, saga, skip("third")).await?;
    assert_eq!(done.status, "completed");
    worker.stop().await
}

#[tokio::test]
async fn sag_06_an_operator_turns_a_stuck_saga_back_or_ends_it() -> Result<()> {
    let world = World::start().await?;
    let (saga, worker) = stuck(&world).await?;
    world.desk.break_step("second", false);
    decide(&world, saga, Decision::Compensate).await?;
    let back = world.until(saga, "compensated").await?;
    assert_eq!(world.desk.did(saga), ["first do", "second undo", "first undo"]);
    assert_eq!(back.undo_reason.as_deref(), Some(saga::FORCED));
    assert_eq!(decide(&world, saga, Decision::Compensate).await?.seq, back.seq, "the same again changes nothing");
    worker.stop().await?;
    let (saga, worker) = stuck(&world).await?;
    let ended = decide(&world, saga, Decision::Resolve).await?;
    assert_eq!((ended.status.as_str(), decide(&world, saga, Decision::Resolve).await?.seq), ("resolved", ended.seq));
    assert_eq!(reason(decide(&world, saga, Decision::Compensate).await), "SAGA_STATE_FORBIDS");
    assert_eq!(reason(decide(&world, Uuid::now_v7(), Decision::Resolve).await), "SAGA_NOT_FOUND");
    worker.stop().await
}

#[tokio::test]
async fn sag_06_a_running_saga_is_turned_back_by_its_worker() -> Result<()> {
    let world = World::start().await?;
    world.desk.gate.send_replace(false);
    let worker = world.process("worker");
    let saga = world.begin(1).await?[0];
    testkit::eventually(crate::world::SOON, || async { Ok((world.view(saga).await?.step == 1).then_some(())) }).await?;
    decide(&world, saga, Decision::Compensate).await?;
    world.desk.gate.send_replace(true);
    world.until(saga, "compensated").await?;
    assert_eq!(world.desk.did(saga).last().map(String::as_str), Some("first undo"));
    worker.stop().await
}

#[tokio::test]
async fn sag_06_people_are_told_once_of_a_stuck_saga_and_again_when_it_is_stuck_again() -> Result<()> {
    let world = World::start().await?;
    let (saga, worker) = stuck(&world).await?;
    let event = |stuck: &saga::Stuck| {
        Some(eventlog::NewEvent::new("test.Stuck", "test.v1", format!("{} {}", stuck.kind, stuck.step).into_bytes()))
    };
    let monitor = Monitor::new(world.pg.clone(), vec![world.table("none")], event);
    assert_eq!((monitor.look().await?, monitor.look().await?), (1, 0));
    let told = "SELECT count(*) AS n FROM om_order.events WHERE tenant_id = $1 AND payload = 'test second'::bytea";
    assert_eq!(world.count(told).await?, 1);
    decide(&world, saga, Decision::Retry).await?;
    world.until(saga, "attention").await?;
    assert_eq!((monitor.look().await?, world.count(told).await?), (1, 2));
    worker.stop().await?;
    // A saga that nobody drives is stuck as well.
    world.begin(1).await?;
    assert_eq!(monitor.look().await?, 0, "it is due just now");
    use diesel_async::SimpleAsyncConnection as _;
    let late = "UPDATE om_order.sagas SET wake_at = now() - interval '6 minutes' WHERE status = 'running'";
    world.db.admin().await?.batch_execute(late).await?;
    assert_eq!(monitor.look().await?, 1);
    Ok(())
}

#[tokio::test]
async fn sag_06_sagas_are_listed_by_state_kind_step_and_age() -> Result<()> {
    let world = World::start().await?;
    let (saga, worker) = stuck(&world).await?;
    worker.stop().await?;
    let fresh = world.begin(3).await?;
    let listed = |filter: Filter, before: Option<Uuid>, limit: i64| {
        let (pg, tenant, table) = (world.pg.clone(), world.tenant, world.table("none"));
        async move {
            let list = pg.read("test.list", tenant, move |conn: &mut Conn| {
                let (filter, table) = (filter.clone(), table.clone());
                async move { saga::list(conn, tenant, &[table], &filter, before, limit).await }.boxed()
            });
            let views = list.await?;
            anyhow::Ok(views.into_iter().map(|view| view.id).collect::<Vec<_>>())
        }
    };
    let by = |states: &[&str], step: Option<&str>| Filter {
        states: states.iter().map(|state| (*state).to_owned()).collect(),
        step: step.map(str::to_owned),
        ..Filter::default()
    };
    let newest_first: Vec<Uuid> = fresh.iter().rev().copied().chain([saga]).collect();
    assert_eq!(listed(Filter::default(), None, 10).await?, newest_first);
    assert_eq!(listed(Filter::default(), Some(newest_first[1]), 10).await?, newest_first[2..]);
    assert_eq!(listed(Filter::default(), None, 2).await?, newest_first[..2]);
    assert_eq!(listed(by(&["attention"], None), None, 10).await?, [saga]);
    assert_eq!(listed(by(&["running", "attention"], Some("second")), None, 10).await?, [saga]);
    assert_eq!(listed(by(&["compensating"], None), None, 10).await?, [] as [Uuid; 0]);
    let other = Filter { kinds: vec!["other".to_owned()], ..Filter::default() };
    assert_eq!(listed(other, None, 10).await?, [] as [Uuid; 0]);
    let old = Filter { started_before: Some(jiff::Timestamp::UNIX_EPOCH), ..Filter::default() };
    assert_eq!(listed(old, None, 10).await?, [] as [Uuid; 0]);
    Ok(())
}
