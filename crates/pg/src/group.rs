use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
/// several, of whatever key, the next one gathers for 2 ms: else every burst is two batches, its first item and the rest.
pub struct GroupCommit<K, I, O> {
    shared: Arc<Shared<K, I, O>>,
}

/// How long a batch gathers when several came together before.
const GATHER: Duration = Duration::from_millis(2);

struct Shared<K, I, O> {
    max: usize,
    /// Whether the last batch had several items.
    crowded: AtomicBool,
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
        let queues = Mutex::new(HashMap::new());
        let shared = Shared { max, crowded: AtomicBool::new(false), flush: Box::new(flush), queues };
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
    fn gathers(&self, key: &K) -> bool {
        let queues = self.queues.lock().expect("no flush panics while it holds the queues");
        self.crowded.load(Ordering::Relaxed) && queues.get(key).is_some_and(|queue| queue.len() < self.max)
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
        if shared.gathers(&key) {
            tokio::time::sleep(GATHER).await;
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
        shared.crowded.store(batch.len() > 1, Ordering::Relaxed);
        let (items, waiters): (Vec<I>, Vec<Waiter<O>>) = batch.into_iter().unzip();
        // A panic in a flush must not leave the key without a leader for ever.
        let answers = match tokio::spawn((shared.flush)(key.clone(), items)).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::error!(%error, "a batch panicked");
                Vec::new()
            }
        };
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
