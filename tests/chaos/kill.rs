//! The server is killed at random while orders are placed: what was acknowledged arrives, and everything once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Rest, eventually};
use tokio::task::JoinHandle;

use super::process::Processes;
use crate::journey::books::{Books, Ledgers};
use crate::journey::world::{order_by, rows, text};

const ORDERS: usize = 200;
const BUYERS: usize = 6;
const KILLS: usize = 12;
/// Nobody waits longer for an answer than this, however often the server dies.
const PATIENCE: Duration = Duration::from_secs(180);
/// All orders have ended this long after the last kill.
const AFTERMATH: Duration = Duration::from_secs(240);
/// Shards of a killed process stay leased for 5 s: some lives are shorter, some long enough to get something done.
const LIFE_MS: std::ops::Range<u64> = 300..7_500;
const PENDING: &str = "SELECT jsonb_build_object('state', state, 'count', count(*)) AS row FROM om_order.orders \
    WHERE tenant_id = $1 AND state NOT IN (7, 13, 16, 17) GROUP BY state";
const NUMBERS: &str =
    "SELECT to_jsonb(order_number) AS row FROM om_order.orders WHERE tenant_id = $1 ORDER BY order_number";

#[derive(Clone)]
struct Wish {
    body: Value,
    cancelled: bool,
}

fn wish(rng: &mut StdRng) -> Wish {
    const GOODS: [&str; 6] = ["MUG-BLUE", "MUG-RED", "TEE-S", "NOTE-A5", "PEN-GEL", "BAG-CITY"];
    let method = match rng.random_range(0..20) {
        0 => "pm_sim_declined",
        1 => "pm_sim_insufficient_funds",
        2 | 3 => "pm_sim_flaky",
        4 => "pm_sim_timeout_then_success",
        _ => "pm_sim_visa",
    };
    let first = rng.random_range(0..GOODS.len());
    let mut items = vec![(GOODS[first], rng.random_range(2..5))];
    if rng.random_bool(0.3) {
        items.push((GOODS[(first + 1) % GOODS.len()], 1));
    }
    Wish { body: order_by(method, &items), cancelled: rng.random_bool(0.1) }
}

/// Places an order with one key until somebody answers, and returns its id.
async fn place(customer: &Rest, wish: &Wish, key: &str, acknowledged: &AtomicUsize) -> Result<String> {
    let started = Instant::now();
    loop {
        if let Some((StatusCode::CREATED, order)) =
            ask(customer, Method::POST, "/api/v1/orders", &wish.body, key).await?
        {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            let id = text(&order, "id").to_owned();
            if wish.cancelled {
                // Too late is an answer as well, and nobody is bound to hear it.
                let path = format!("/api/v1/orders/{id}:cancel");
                ask(customer, Method::POST, &path, &json!({"reason": "chaos"}), key).await?;
            }
            return Ok(id);
        }
        if started.elapsed() > PATIENCE {
            bail!("nobody answered for {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One try; none when nobody answered or the system said "later".
async fn ask(rest: &Rest, method: Method, path: &str, body: &Value, key: &str) -> Result<Option<(StatusCode, Value)>> {
    let request = rest.request(method, path).json(body).header("idempotency-key", key).timeout(Duration::from_secs(10));
    let Ok(answer) = request.send().await else { return Ok(None) };
    let status = answer.status();
    let Ok(body) = answer.json::<Value>().await else { return Ok(None) };
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(None);
    }
    let in_flight = text(&body, "reason") == "IN_FLIGHT";
    ensure!(status.is_success() || status == StatusCode::CONFLICT, "{path}: {status} {body}");
    Ok((!in_flight).then_some((status, body)))
}

/// Kills the server until it has died often enough and nobody places any more.
async fn reaper<T>(
    processes: &mut Processes,
    rng: &mut StdRng,
    buying: &JoinHandle<T>,
    acknowledged: &AtomicUsize,
) -> Result<usize> {
    let (started, mut kills) = (Instant::now(), 0);
    while kills < KILLS || !buying.is_finished() {
        ensure!(
            started.elapsed() < Duration::from_secs(600),
            "{} placed after {kills} kills",
            acknowledged.load(Ordering::Relaxed)
        );
        let life = Duration::from_millis(rng.random_range(LIFE_MS));
        tokio::time::sleep(life).await;
        ensure!(processes.is_alive(), "the server died by itself; see {}", processes.log().display());
        if kills < KILLS {
            processes.kill().await?;
            kills += 1;
        }
    }
    Ok(kills)
}

fn seed() -> u64 {
    let named = std::env::var_os("CHAOS_SEED").and_then(|seed| seed.to_str()?.parse().ok());
    named.unwrap_or_else(rand::random)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evt_02_sag_01_orders_survive_a_server_that_is_killed_again_and_again() -> Result<()> {
    let seed = seed();
    eprintln!("CHAOS_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut processes = Processes::start("20").await?;
    let (customer, acknowledged) = (processes.customer.clone(), Arc::new(AtomicUsize::new(0)));
    let wishes: Vec<Wish> = (0..ORDERS).map(|_| wish(&mut rng)).collect();
    // Spread over the kills, or all would be placed before the first.
    let pace = Duration::from_millis(250);
    let counter = Arc::clone(&acknowledged);
    let buying = tokio::spawn(async move {
        let ticks = tokio_stream_of(pace).zip(futures::stream::iter(wishes.into_iter().enumerate()));
        let placed = ticks.map(|((), (index, wish))| {
            let (customer, counter) = (customer.clone(), Arc::clone(&counter));
            // Without the seed: some would look like a card's number.
            async move { place(&customer, &wish, &format!("chaos-{index}"), &counter).await }
        });
        placed.buffer_unordered(BUYERS).collect::<Vec<_>>().await
    });
    let kills = reaper(&mut processes, &mut rng, &buying, &acknowledged).await;
    // What a buyer says tells more than that not all was placed.
    let placed = buying.await?.into_iter().collect::<Result<BTreeSet<String>>>();
    let acknowledged = placed.with_context(|| format!("CHAOS_SEED={seed}"))?;
    let kills = kills.with_context(|| format!("CHAOS_SEED={seed}"))?;
    judge(&processes, &acknowledged)
        .await
        .with_context(|| format!("CHAOS_SEED={seed}, {kills} kills; see {}", processes.log().display()))?;
    eprintln!("CHAOS_SEED={seed}: {} orders, {kills} kills", acknowledged.len());
    processes.stop().await
}

fn tokio_stream_of(pace: Duration) -> impl futures::Stream<Item = ()> {
    futures::stream::unfold(tokio::time::interval(pace), |mut ticks| async move {
        ticks.tick().await;
        Some(((), ticks))
    })
}

async fn judge(processes: &Processes, acknowledged: &BTreeSet<String>) -> Result<()> {
    ensure!(acknowledged.len() == ORDERS, "{} answers name an order", acknowledged.len());
    let mut conn = processes.db.admin().await?;
    let tenant = processes.tenant;
    let ended = eventually(AFTERMATH, || {
        let db = processes.db.clone();
        async move {
            let pending = rows(&mut db.admin().await?, PENDING, tenant.uuid()).await?;
            ensure!(pending.is_empty(), "orders that have not ended: {pending:?}");
            Ok(Some(()))
        }
    });
    ended.await?;
    let agreed = eventually(AFTERMATH, || async {
        let ledgers = Ledgers::read(&processes.payments, &processes.wms, &processes.carrier).await?;
        let books = Books::read(&mut processes.db.admin().await?, tenant).await?;
        let differences = books.differences(&ledgers);
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(Some((books, ledgers)))
    });
    let (books, ledgers) = agreed.await?;
    let numbers = rows(&mut conn, NUMBERS, tenant.uuid()).await?;
    ensure!(numbers == (1..=ORDERS).map(Value::from).collect::<Vec<_>>(), "gaps or doubles: {numbers:?}");
    for id in acknowledged {
        let verdict = processes.csr.post(&format!("/api/v1/orders/{id}:verify"), &json!({}), None).await?;
        ensure!(verdict["equal"] == true, "the events of {id} do not add up: {verdict}");
    }
    let count = |lines: &[Value], op: &str| lines.iter().filter(|line| line["op"] == op).count();
    eprintln!(
        "{:?}; {} held, {} taken, {} let go; {} asked of warehouses; {} labels for {} parcels",
        books.states(),
        count(&ledgers.payments, "authorize"),
        count(&ledgers.payments, "capture"),
        count(&ledgers.payments, "void"),
        count(&ledgers.wms, "create"),
        count(&ledgers.carrier, "label"),
        books.parcels(),
    );
    Ok(())
}
