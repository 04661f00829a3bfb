use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause before a job that panicked runs again; doubles up to the second value.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest rest between turns that fail, unless the ordinary one is longer.
const LONGEST_REST: Duration = Duration::from_secs(5);

type Work = dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync;

/// Work that runs until the process drains: pollers, consumers, the saga engine.
#[derive(Clone)]
pub struct Job {
    name: &'static str,
    work: Arc<Work>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.name).finish()
    }
}

/// What a turn of a [`Job::every`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is left to do for now.
    Done,
    /// It took as much as one turn takes, so there may be more: the next turn comes at once.
    Full,
}

impl Turn {
    /// A turn that took so many of the most that one takes.
    pub fn of(taken: usize, most: usize) -> Self {
        if taken < most { Self::Done } else { Self::Full }
    }
}

impl Job {
    /// A job; `work` ends soon after its token is cancelled and is called again when it panicked.
    pub fn new<F>(name: &'static str, work: F) -> Self
    where
        F: Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    {
        Self { name, work: Arc::new(work) }
    }

    /// A job that takes a turn with a copy of `app` and rests for `period`, over and over; the rest is up to a tenth more
    /// or less, so that processes do not fall into step.
    ///
    /// A turn that fails is logged and comes again; while turns fail, the rest doubles up to five seconds. A turn is never
    /// interrupted: the job ends after it.
    pub fn every<A, W>(name: &'static str, period: Duration, app: A, turn: fn(A) -> W) -> Self
    where
        A: Clone + Send + Sync + 'static,
        W: Future<Output = Result<Turn, Fault>> + Send + 'static,
    {
        Self::new(name, move |cancel| {
            let app = app.clone();
            async move {
                let mut failing = period;
                loop {
                    let rest = match turn(app.clone()).await {
                        Ok(turn) => {
                            failing = period;
                            if turn == Turn::Full { Duration::ZERO } else { period }
                        }
                        Err(fault) => {
                            tracing::warn!(job = name, error = ?fault, "a turn of a job failed and comes again");
                            failing = (failing * 2).min(LONGEST_REST.max(period));
                            failing
                        }
                    };
                    let rest = tokio::time::sleep(rest.mul_f64(rand::random_range(0.9..1.1)));
                    if cancel.run_until_cancelled(rest).await.is_none() {
                        return;
                    }
                }
            }
            .boxed()
        })
    }

    /// Its name, such as "wms.poller".
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the job to its end and starts it again after a panic.
    pub async fn run(self, cancel: CancellationToken) {
        let mut pause = RESTART.0;
        loop {
            let work = AssertUnwindSafe((self.work)(cancel.clone())).catch_unwind().await;
            if work.is_ok() || cancel.is_cancelled() {
                return;
            }
            metrics::counter!("job_panics_total", "job" => self.name).increment(1);
            tracing::error!(job = self.name, ?pause, "a job panicked and starts again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => return,
            }
            pause = (pause * 2).min(RESTART.1);
        }
    }

    /// Runs the job on its own task; the tracker is empty when it has ended.
    pub fn spawn(self, tasks: &TaskTracker, cancel: CancellationToken) {
        tasks.spawn(self.run(cancel));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_runs_again_until_it_ends() {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let job = Job::new("test", move |_| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move { assert!(run == 2, "not yet") }.boxed()
        });
        let tasks = TaskTracker::new();
        job.spawn(&tasks, CancellationToken::new());
        tasks.close();
        tasks.wait().await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panicked_does_not_outlive_the_process() {
        let cancel = CancellationToken::new();
        let job = Job::new("test", |_| async { panic!("always") }.boxed());
        let running = tokio::spawn(job.run(cancel.clone()));
        tokio::task::yield_now().await;
        cancel.cancel();
        running.await.expect("ends");
    }

    /// What a job is told that rests a second and ends when nothing more is told to it.
    #[derive(Clone)]
    struct Told {
        outcomes: Arc<Mutex<std::vec::IntoIter<Result<Turn, Fault>>>>,
        begun: Arc<Mutex<Vec<Instant>>>,
        cancel: CancellationToken,
    }

    /// Rests between turns that end as they are told, in whole seconds.
    async fn rests(outcomes: Vec<Result<Turn, Fault>>) -> Vec<f64> {
        let (outcomes, begun) = (Arc::new(Mutex::new(outcomes.into_iter())), Arc::default());
        let told = Told { outcomes, begun: Arc::clone(&begun), cancel: CancellationToken::new() };
        let cancel = told.cancel.clone();
        let job = Job::every("test", Duration::from_secs(1), told, |told| {
            told.begun.lock().expect("no panic").push(Instant::now());
            let next = told.outcomes.lock().expect("no panic").next();
            if next.is_none() {
                told.cancel.cancel();
            }
            std::future::ready(next.unwrap_or(Ok(Turn::Done)))
        });
        job.run(cancel).await;
        let begun = begun.lock().expect("no panic");
        begun.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64().round()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_turn_is_followed_at_once_and_a_done_one_after_the_period() {
        let outcomes = vec![Ok(Turn::Done), Ok(Turn::Full), Ok(Turn::of(2, 3)), Ok(Turn::of(3, 3))];
        assert_eq!(rests(outcomes).await, [1.0, 0.0, 1.0, 0.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_that_fail_come_again_with_longer_rests_until_one_does_not() {
        let failed = || Err(Fault::unavailable("AWAY", "gone for now"));
        let outcomes = vec![failed(), failed(), failed(), failed(), Ok(Turn::Done), failed()];
        assert_eq!(rests(outcomes).await, [2.0, 4.0, 5.0, 5.0, 1.0, 2.0]);
    }
}
