use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use saga::{Definition, Engine, Outcome, Step};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::world::{SOON, World};

const COMPLETED: &str = "SELECT count(*) AS n FROM om_order.sagas WHERE tenant_id = $1 AND status = 'completed'";
const EXTRA: &str = "SELECT count(*) AS n FROM om_order.saga_log WHERE tenant_id = $1 AND outcome <> 'DONE'";

async fn completed(world: &World, count: usize) -> Result<()> {
    let count = i64::try_from(count)?;
    eventually(SOON, || async {
        let now = world.count(COMPLETED).await?;
        anyhow::ensure!(now == count, "{now} of {count}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sag_07_two_workers_share_the_sagas_and_each_step_is_run_by_one_of_them() -> Result<()> {
    let world = World::start().await?;
    // Both have leases before there is anything to do.
    let (one, two) = (world.process("one"), world.process("two"));
    let leases =
        "SELECT count(DISTINCT owner) AS n FROM om_order.shard_leases WHERE lease_until > now() AND $1 IS NOT NULL";
    eventually(SOON, || async { Ok((world.count(leases).await? == 2).then_some(())) }).await?;
    let sagas = world.begin(200).await?;
    completed(&world, sagas.len()).await?;
    for saga in &sagas {
        assert_eq!(world.desk.did(*saga), ["first do", "second do", "third do"], "once each, in order");
    }
    assert_eq!(world.count(EXTRA).await?, 0);
    assert!(world.desk.by("one") > 0 && world.desk.by("two") > 0, "both work");
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sag_07_when_a_worker_is_killed_the_other_resumes_its_sagas() -> Result<()> {
    let world = World::start().await?;
    let victim = world.process("victim");
    world.desk.gate.send_replace(false);
    let sagas = world.begin(20).await?;
    // The victim is in the middle of the second step of every saga.
    eventually(SOON, || async { Ok((world.desk.by("victim") == 20).then_some(())) }).await?;
    let firsts = "SELECT count(*) AS n FROM om_order.sagas WHERE tenant_id = $1 AND step = 1";
    eventually(SOON, || async { Ok((world.count(firsts).await? == 20).then_some(())) }).await?;
    victim.kill().await;
    let heir = world.process("heir");
    world.desk.gate.send_replace(true);
    completed(&world, sagas.len()).await?;
    for saga in &sagas {
        let did = world.desk.did(*saga);
        assert_eq!(
            (did.first().map(String::as_str), did.last().map(String::as_str)),
            (Some("first do"), Some("third do"))
        );
        let view = world.view(*saga).await?;
        let log: Vec<_> = view.log.iter().map(|entry| (entry.step.as_str(), entry.outcome.as_str())).collect();
        assert_eq!(log, [("first", "DONE"), ("second", "DONE"), ("third", "DONE")], "each step counts once");
    }
    assert!(world.desk.by("heir") >= 40, "the heir did the rest of all of them");
    heir.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sag_07_round_after_round_one_of_two_workers_dies_and_every_step_counts_once() -> Result<()> {
    const NAMES: [&str; 4] = ["w1", "w2", "w3", "w4"];
    const EACH: usize = 24;
    let world = World::start().await?;
    let mut survivor = world.process("w0");
    let mut all = Vec::new();
    for (round, name) in NAMES.into_iter().enumerate() {
        let second = world.process(name);
        let leases =
            "SELECT count(DISTINCT owner) AS n FROM om_order.shard_leases WHERE lease_until > now() AND $1 IS NOT NULL";
        eventually(SOON, || async { Ok((world.count(leases).await? >= 2).then_some(())) }).await?;
        world.desk.gate.send_replace(false);
        all.extend(world.begin(EACH).await?);
        // Both are in the middle of the second step of their share.
        let firsts = "SELECT count(*) AS n FROM om_order.sagas WHERE tenant_id = $1 AND step = 1";
        let each = i64::try_from(EACH)?;
        eventually(SOON, || async { Ok((world.count(firsts).await? == each).then_some(())) }).await?;
        // Now the older dies, now the younger.
        let victim = if round % 2 == 0 { std::mem::replace(&mut survivor, second) } else { second };
        victim.kill().await;
        world.desk.gate.send_replace(true);
        completed(&world, all.len()).await?;
    }
    for saga in &all {
        let view = world.view(*saga).await?;
        let log: Vec<_> = view.log.iter().map(|entry| (entry.step.as_str(), entry.outcome.as_str())).collect();
        assert_eq!(log, [("first", "DONE"), ("second", "DONE"), ("third", "DONE")], "each step counts once");
        let did = world.desk.did(*saga);
        assert!(did.len() <= 4, "only the step that was under way was begun again: {did:?}");
    }
    assert_eq!(world.count(EXTRA).await?, 0);
    survivor.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sag_02_a_saga_whose_tries_run_out_is_undone_for_its_last_error() -> Result<()> {
    let (world, told) = (World::start().await?, Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&told);
    let fails = Step::new("only", |run| {
        async move { Outcome::Retry { reason: format!("AWAY_{}: it is", run.attempt) } }.boxed()
    })
    .tries(3)
    .backoff(Duration::from_millis(1), Duration::from_millis(1));
    let table = Definition::new("test", 1, vec![fails]).when_undone(move |run| {
        heard.lock().expect("not poisoned").push(run.undo_code().map(str::to_owned));
        async move { Outcome::done(run.state) }.boxed()
    });
    let stop = CancellationToken::new();
    let engine = tokio::spawn(Engine::new(world.db.pg("order"), vec![table]).run(stop.clone()));
    let sagas = world.begin(1).await?;
    let undone = world.until(sagas[0], "compensated").await?;
    assert_eq!(undone.undo_reason.as_deref(), Some("AWAY_3: it is"), "the last of three");
    assert_eq!(*told.lock().expect("not poisoned"), [Some("AWAY_3".to_owned())]);
    stop.cancel();
    engine.await?;
    Ok(())
}
