use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault::Fault;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

type Waiter<O> = oneshot::Sender<Result<O, Fault>>;
type Queue<I, O> = Vec<(I, Waiter<O>)>;
type Flush<K, I, O> = dyn Fn(K, Vec<I>) -> BoxFuture<'static, Vec<Result<O, Fault>>> + Send + Sync;

/// Makes one transaction of what arrives while the one before is being committed.
///
/// Per key (a tenant, a shard) one flush runs at a time; what is submitted meanwhile is the next batch. While every item
/// comes alone, each is flushed at once; under load batches grow by themselves, and rows that every item touches (a
/// counter, a hot SKU) are locked once per batch. What one batch set free comes back as a burst, so after a batch of
/// several, of whatever key, the next one gathers: else every burst is two batches, its first item and the rest.
pub struct GroupCommit<K, I, O> {
    shared: Arc<Shared<K, I, O>>,
}

/// How long a batch gathers after one of several: a share of what that one took, within bounds.
#[derive(Debug, Clone, Copy)]
struct Gather {
    percent: u32,
    least: Duration,
    most: Duration,
}

impl Gather {
    fn after(self, items: usize, took: Duration) -> Duration {
        // Who comes alone finds nobody to wait for.
        if items > 1 { (took * self.percent / 100).clamp(self.least, self.most) } else { Duration::ZERO }
    }
}

/// Starting a statement costs more than what it does to a row, and the longer it takes, the more will come together.
const WORK: Gather = Gather { percent: 200, least: Duration::from_millis(2), most: Duration::from_millis(60) };
/// Where people wait, a longer pause would leave the processor idle: 64 of them were answered at once, and then nobody
/// for twice as long.
const PEOPLE: Gather = Gather { percent: 50, least: Duration::from_millis(2), most: Duration::from_millis(5) };

struct Shared<K, I, O> {
    max: usize,
    pace: Gather,
    /// How long the next batch gathers, in microseconds.
    gather: AtomicU64,
    flush: Box<Flush<K, I, O>>,
    queues: Mutex<HashMap<K, Queue<I, O>>>,
}

impl<K, I, O> Clone for GroupCommit<K, I, O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, I, O> std::fmt::Debug for GroupCommit<K, I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCommit").field("max", &self.shared.max).finish_non_exhaustive()
    }
}

impl<K, I, O> GroupCommit<K, I, O>
where
    K: Clone + Eq + Hash + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    /// Batches of at most `max` items; `flush` answers every item, in order.
    pub fn new<F>(max: usize, flush: F) -> Self
    where
        F: Fn(K, Vec<I>) -> BoxFuture<'static, Vec<Result<O, Fault>>> + Send + Sync + 'static,
    {
        Self::at(WORK, max, flush)
    }

    /// The same where people wait for the answers: batches gather less.
    pub fn for_people<F>(max: usize, flush: F) -> Self
    where
        F: Fn(K, Vec<I>) -> BoxFuture<'static, Vec<Result<O, Fault>>> + Send + Sync + 'static,
    {
        Self::at(PEOPLE, max, flush)
    }

    fn at<F>(pace: Gather, max: usize, flush: F) -> Self
    where
        F: Fn(K, Vec<I>) -> BoxFuture<'static, Vec<Result<O, Fault>>> + Send + Sync + 'static,
    {
        let queues = Mutex::new(HashMap::new());
        let shared = Shared { max, pace, gather: AtomicU64::new(0), flush: Box::new(flush), queues };
        Self { shared: Arc::new(shared) }
    }

    /// Hands an item in and waits for its answer.
    ///
    /// # Errors
    /// What the flush says of this item; Internal when the flush died.
    ///
    /// # Cancel safety
    /// The item is flushed even when the future is dropped.
    pub async fn submit(&self, key: K, item: I) -> Result<O, Fault> {
        let (waiter, answer) = oneshot::channel();
        let leads = {
            let mut queues = self.shared.queues.lock().expect("no flush panics while it holds the queues");
            match queues.entry(key.clone()) {
                std::collections::hash_map::Entry::Occupied(mut queue) => {
                    queue.get_mut().push((item, waiter));
                    false
                }
                std::collections::hash_map::Entry::Vacant(queue) => {
                    queue.insert(vec![(item, waiter)]);
                    true
                }
            }
        };
        if leads {
            tokio::spawn(lead(Arc::clone(&self.shared), key));
        }
        answer.await.unwrap_or_else(|_| Err(Fault::internal("a batch was dropped before it answered")))
    }
}

impl<K: Eq + Hash, I, O> Shared<K, I, O> {
    fn gathers(&self, key: &K) -> Option<Duration> {
        let queues = self.queues.lock().expect("no flush panics while it holds the queues");
        queues.get(key).filter(|queue| queue.len() < self.max)?;
        Some(Duration::from_micros(self.gather.load(Ordering::Relaxed))).filter(|gather| !gather.is_zero())
    }

    fn flushed(&self, items: usize, took: Duration) {
        let gather = self.pace.after(items, took);
        self.gather.store(u64::try_from(gather.as_micros()).unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Flushes a key's queue until it stays empty; the entry in the map is the mark that somebody leads.
async fn lead<K, I, O>(shared: Arc<Shared<K, I, O>>, key: K)
where
    K: Clone + Eq + Hash + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    loop {
        if let Some(gather) = shared.gathers(&key) {
            tokio::time::sleep(gather).await;
        }
        let batch: Vec<(I, Waiter<O>)> = {
            let mut queues = shared.queues.lock().expect("no flush panics while it holds the queues");
            let Some(queue) = queues.get_mut(&key) else { return };
            if queue.is_empty() {
                queues.remove(&key);
                return;
            }
            let take = queue.len().min(shared.max);
            queue.drain(..take).collect()
        };
        let (count, start) = (batch.len(), Instant::now());
        let (items, waiters): (Vec<I>, Vec<Waiter<O>>) = batch.into_iter().unzip();
        // A panic in a flush must not leave the key without a leader for ever.
        let answers = match tokio::spawn((shared.flush)(key.clone(), items)).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::error!(%error, "a batch panicked");
                Vec::new()
            }
        };
        shared.flushed(count, start.elapsed());
        for (waiter, answer) in waiters.into_iter().zip(answers) {
            // The caller may have left; its item is committed all the same.
            drop(waiter.send(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn every_item_gets_its_own_answer_and_batches_form_under_load() {
        let flushes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&flushes);
        let group = GroupCommit::new(50, move |_key: u8, items: Vec<usize>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                items.into_iter().map(|item| Ok(item * 2)).collect()
            }
            .boxed()
        });
        let calls = (0..500).map(|item| {
            let group = group.clone();
            async move { (item, group.submit(1, item).await.expect("an answer")) }
        });
        for (item, answer) in futures::future::join_all(calls).await {
            assert_eq!(answer, item * 2);
        }
        let flushes = flushes.load(Ordering::SeqCst);
        assert!((10..100).contains(&flushes), "{flushes} flushes for 500 items");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_batch_of_several_the_next_waits_for_what_comes_late() {
        let batches: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let seen = Arc::clone(&batches);
        let group = GroupCommit::new(50, move |(): (), items: Vec<u8>| {
            seen.lock().expect("no panic").push(items.clone());
            async move { items.into_iter().map(Ok).collect() }.boxed()
        });
        let submit = async |item: u8| group.submit((), item).await.expect("an answer");
        let start = tokio::time::Instant::now();
        submit(1).await;
        submit(2).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "who comes alone does not wait");
        tokio::join!(submit(3), submit(4));
        let late = async |item: u8| {
            tokio::time::advance(WORK.least / 2).await;
            submit(item).await
        };
        tokio::join!(submit(5), late(6));
        assert_eq!(*batches.lock().expect("no panic"), [vec![1], vec![2], vec![3, 4], vec![5, 6]]);
    }

    #[test]
    fn people_wait_for_others_a_part_of_what_work_does() {
        let took = |ms| Duration::from_millis(ms);
        let pauses = |pace: Gather| [1, 8, 100].map(|ms| pace.after(32, took(ms)).as_millis());
        assert_eq!((pauses(PEOPLE), pauses(WORK)), ([2, 4, 5], [2, 16, 60]));
        assert_eq!((PEOPLE.after(1, took(8)), WORK.after(1, took(8))), (Duration::ZERO, Duration::ZERO));
    }

    #[tokio::test]
    async fn a_batch_that_panics_answers_and_the_key_lives_on() {
        let group = GroupCommit::new(10, |(): (), items: Vec<bool>| {
            async move {
                assert!(!items.contains(&true), "told to die");
                items.into_iter().map(Ok).collect()
            }
            .boxed()
        });
        assert!(group.submit((), true).await.is_err());
        assert!(!group.submit((), false).await.expect("the next batch"));
    }
}
