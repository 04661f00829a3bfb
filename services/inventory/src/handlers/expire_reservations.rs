//! Gives back what was held too long (INV-02).

use std::collections::BTreeMap;
use std::time::Duration;

use ctx::{Cause, Ctx};
use fault::Fault;
use futures::{FutureExt, StreamExt};
use serve::{Job, Turn};

use crate::commands::{Inventory, give_back};
use crate::reservation::State;
use crate::store::{self, Due};

/// Pause between two passes.
const EVERY: Duration = Duration::from_secs(1);
/// Holds that are looked at together: looking costs little, and among them tenants take turns.
const PAGE: i64 = 20_000;
/// Transactions at a time: requests must not wait for a connection because of a sweep.
const AT_ONCE: usize = 4;

/// The job that sweeps every second; any number of processes may run it.
pub fn sweeper(inventory: Inventory) -> Job {
    Job::every("inventory.expire", EVERY, inventory, |inventory| async move {
        inventory.expire_reservations().await.map(|_| Turn::Done)
    })
}

impl Inventory {
    /// Gives back every hold whose time ran out, of all tenants; returns how many.
    ///
    /// A hold that cannot be given back is left for the next pass and stops no other.
    ///
    /// # Errors
    /// When the database does not tell what is due.
    pub async fn expire_reservations(&self) -> Result<usize, Fault> {
        let (mut expired, mut last) = (0, None);
        loop {
            let page = self
                .pg
                .worker("inventory.expire.look", move |conn| async move { store::due(conn, last, PAGE).await }.boxed())
                .await?;
            let Some(end) = page.last().copied() else { return Ok(expired) };
            let page = in_turns(page, Due::tenant);
            let passes = futures::stream::iter(page).map(|due| self.expire(due)).buffer_unordered(AT_ONCE);
            expired += passes.filter(|gone| std::future::ready(*gone)).count().await;
            last = Some(end);
        }
    }

    async fn expire(&self, due: Due) -> bool {
        match self
            .pg
            .tx("inventory.expire", due.tenant(), move |conn| async move { run(conn, due).await }.boxed())
            .await
        {
            Ok(gone) => gone,
            Err(error) => {
                tracing::warn!(tenant = %due.tenant(), order = %due.order(), %error, "a hold could not be given back");
                false
            }
        }
    }
}

/// One of each, then a second of each: who has few does not wait for who has many.
fn in_turns<T, K: Ord>(all: Vec<T>, whose: impl Fn(&T) -> K) -> Vec<T> {
    let mut counts: BTreeMap<K, usize> = BTreeMap::new();
    let turn = |one: T| {
        let count = counts.entry(whose(&one)).or_default();
        *count += 1;
        (*count, one)
    };
    let mut turns: Vec<(usize, T)> = all.into_iter().map(turn).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, one)| one).collect()
}

async fn run(conn: &mut pg::Conn, due: Due) -> Result<bool, pg::Error> {
    let found = store::lock(conn, due.tenant(), &[due.order()], &[]).await?.reservations.pop();
    // Confirmed, released or held anew since the database called it due: the row has decided.
    let Some(found) = found.filter(|it| it.state == State::Held && it.expires_at == due.expires_at()) else {
        return Ok(false);
    };
    let cause = Cause { correlation_id: found.id.to_string(), causation_id: found.id.to_string(), traceparent: None };
    let ctx = Ctx::service("inventory", due.tenant(), cause, found.expires_at);
    give_back(conn, &ctx, found, State::Expired).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_02_a_tenant_with_one_hold_does_not_wait_for_all_of_another() {
        let holds = vec![('a', 1), ('a', 2), ('a', 3), ('b', 4), ('a', 5), ('b', 6), ('c', 7)];
        let turns: Vec<i32> = in_turns(holds, |(tenant, _)| *tenant).into_iter().map(|(_, at)| at).collect();
        assert_eq!(turns, [1, 4, 7, 2, 6, 3, 5], "the oldest of each first");
    }
}
