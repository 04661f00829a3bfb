//! What this process is about to commit: from just before the commit until the log shows it, nobody here trusts a copy
//! of it. One list for the process, as the ids in it are of the whole world and a commit has no other way to say so.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Longer than a transaction may take; what was rolled back is never shown.
const LONGEST: Duration = Duration::from_secs(10);

static DOUBTS: LazyLock<Mutex<Doubts>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Doubts {
    orders: HashMap<Uuid, Doubt>,
    /// How many orders bring a user or a tenant into doubt.
    others: HashMap<Uuid, usize>,
    swept: Option<Instant>,
}

struct Doubt {
    version: i32,
    others: HashSet<Uuid>,
    since: Instant,
}

impl Doubts {
    fn remove(&mut self, order: Uuid) {
        let Some(doubt) = self.orders.remove(&order) else { return };
        for other in doubt.others {
            if let Some(count) = self.others.get_mut(&other) {
                *count -= 1;
                if *count == 0 {
                    self.others.remove(&other);
                }
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < Duration::from_secs(1)) {
            return;
        }
        self.swept = Some(now);
        let old = self.orders.iter().filter(|(_, doubt)| now - doubt.since > LONGEST).map(|(order, _)| *order);
        for order in old.collect::<Vec<_>>() {
            self.remove(order);
        }
    }
}

/// An order gets a version, if the commit succeeds; users and tenants whose lists and counts it is in are others.
pub fn writes(order: Uuid, version: i32, others: &[Uuid]) {
    let now = Instant::now();
    let mut doubts = DOUBTS.lock().unwrap_or_else(PoisonError::into_inner);
    doubts.sweep(now);
    let doubts = &mut *doubts;
    let doubt = doubts.orders.entry(order).or_insert(Doubt { version, others: HashSet::new(), since: now });
    doubt.version = doubt.version.max(version);
    doubt.since = now;
    for other in others {
        if doubt.others.insert(*other) {
            *doubts.others.entry(*other).or_default() += 1;
        }
    }
}

/// The log shows a version of an order, and its copies are ended.
pub fn written(order: Uuid, version: i32) {
    let mut doubts = DOUBTS.lock().unwrap_or_else(PoisonError::into_inner);
    if doubts.orders.get(&order).is_some_and(|doubt| doubt.version <= version) {
        doubts.remove(order);
    }
}

/// Whether a commit may be under way that changes what belongs to this id.
pub fn is_doubtful(id: Uuid) -> bool {
    let mut doubts = DOUBTS.lock().unwrap_or_else(PoisonError::into_inner);
    doubts.sweep(Instant::now());
    doubts.orders.contains_key(&id) || doubts.others.contains_key(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_in_doubt_until_its_last_version_is_shown() {
        let (order, another, user) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        writes(order, 3, &[user]);
        writes(order, 4, &[user]);
        writes(another, 1, &[user]);
        written(order, 3);
        assert!(is_doubtful(order) && is_doubtful(user), "version 4 may be committed at any moment");
        written(order, 4);
        assert!(!is_doubtful(order) && is_doubtful(user), "the other order is the user's too");
        written(another, 7);
        assert!(!is_doubtful(user) && !is_doubtful(another));
        written(another, 8);
    }
}
