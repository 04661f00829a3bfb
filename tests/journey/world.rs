//! A shop in the running system and what its tests look at: REST, the database and the simulators' ledgers.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ctx::Role;
use diesel::QueryableByName;
use diesel::sql_types::{Jsonb, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::future::join_all;
use ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Rest, Shop, System, eventually, kept, order};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use uuid::Uuid;

use super::books::{Books, Ledgers};

/// Longest wait for what the system does by itself.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// The system of faults lives ten times as fast as the world, so that every state can be seen.
const SPEED: f64 = 10.0;

static FAULTY: OnceCell<System> = OnceCell::const_new();
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static FAULTS: Mutex<()> = Mutex::const_new(());

/// A shop with people who are logged in.
#[derive(Clone)]
pub struct World {
    pub system: &'static System,
    pub shop: Shop,
    pub customer: Rest,
    pub csr: Rest,
    pub admin: Rest,
}

/// A shop in the system whose simulators may be broken, by one test at a time.
pub struct Faulty {
    pub world: World,
    _turn: MutexGuard<'static, ()>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Jsonb)]
    row: Value,
}

impl World {
    /// A shop with goods in the system that all tests share.
    pub async fn open(slug: &str) -> Result<Self> {
        Self::within(System::shared().await?, slug).await
    }

    async fn within(system: &'static System, slug: &str) -> Result<Self> {
        let shop = system.shop(slug).await.with_context(|| format!("open the shop {slug}"))?;
        let customer = system.person(&shop, "customer").await?;
        let csr = system.person(&shop, "csr").await?;
        let admin = system.person(&shop, "admin").await?;
        Ok(Self { system, shop, customer, csr, admin })
    }

    pub fn tenant(&self) -> TenantId {
        self.shop.id.parse().expect("the session named a tenant")
    }

    /// Places an order as the customer.
    pub async fn place(&self, body: &Value) -> Result<Value> {
        self.customer.post("/api/v1/orders", body, Some(&unique())).await
    }

    /// So many customers more than the shop has.
    pub async fn buyers(&self, count: usize) -> Result<Vec<String>> {
        let pg = self.system.db.pg("identity");
        let (vault, tenant) = (self.system.platform.vault(&pg)?, self.tenant());
        let (pg, vault) = (&pg, &vault);
        let buyer = async |_| {
            let email = format!("{}@buyer.example", unique());
            let password = "a buyer's password".to_owned().into();
            identity::seed::user(pg, vault, tenant, &email, "A Buyer", &[Role::Customer], password).await
        };
        let made = join_all((0..count).map(buyer)).await.into_iter();
        made.map(|made| Ok(made?.to_string())).collect()
    }

    /// Changes what the shop decided about its orders.
    pub async fn policy(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut policy = self.admin.get("/api/v1/policy").await?;
        change(&mut policy);
        let answer = self.admin.request(Method::PUT, "/api/v1/policy").json(&policy).send().await?;
        anyhow::ensure!(answer.status().is_success(), "the policy was refused: {}", answer.text().await?);
        Ok(())
    }

    /// Adds a product with stock, `(warehouse, units)`.
    pub async fn product(&self, sku: &str, usd: i64, stock: &[(&str, i32)]) -> Result<()> {
        let price = json!({"currencyCode": "USD", "amountMinor": usd.to_string()});
        let product = json!({"sku": sku, "displayName": sku, "prices": [price], "weightGrams": 100});
        self.admin.post("/api/v1/products", &product, None).await?;
        for (warehouse, units) in stock {
            let body = json!({"warehouse": warehouse, "onHandDelta": units, "reason": "first delivery"});
            self.admin.post(&format!("/api/v1/inventory/{sku}:adjust"), &body, Some(&unique())).await?;
        }
        Ok(())
    }

    pub async fn order(&self, id: &str) -> Result<Value> {
        self.csr.get(&format!("/api/v1/orders/{id}")).await
    }

    /// Waits until an order is in a state; another final state ends the wait at once.
    pub async fn until(&self, id: &str, state: &str) -> Result<Value> {
        const FINAL: [&str; 4] = ["DELIVERED", "FAILED", "PAYMENT_FAILED", "CANCELLED"];
        let reached = eventually(PATIENCE, || async {
            let order = self.order(id).await?;
            let now = state_of(&order);
            if now == state || FINAL.contains(&now.as_str()) {
                return Ok(Some(order));
            }
            bail!("order {id} is {now}")
        });
        let order = reached.await.with_context(|| format!("wait for {state}"))?;
        let now = state_of(&order);
        if now != state {
            let reason = text(&order, "stateReason");
            return kept(Err(anyhow::anyhow!("order {id} ended {now} ({reason}) instead of {state}")));
        }
        Ok(order)
    }

    /// Places an order and waits for a state of it.
    pub async fn place_until(&self, body: &Value, state: &str) -> Result<Value> {
        let placed = self.place(body).await?;
        self.until(text(&placed, "id"), state).await
    }

    /// Waits until an order has heard that so much was taken for it, which it hears on another log than of its parcels.
    pub async fn until_captured(&self, id: &str, amount: i64) -> Result<Value> {
        let heard = eventually(PATIENCE, || async {
            let order = self.order(id).await?;
            let captured = minor(&order["payment"]["captured"]);
            anyhow::ensure!(captured == amount, "{captured} is captured");
            Ok(Some(order))
        });
        heard.await.with_context(|| format!("wait for {amount} to be captured for order {id}"))
    }

    /// The events of an order as REST shows them.
    pub async fn history(&self, id: &str) -> Result<Vec<Value>> {
        let page = self.csr.get(&format!("/api/v1/orders/{id}/history")).await?;
        Ok(list(&page, "events"))
    }

    /// Units on hand and reserved in a warehouse.
    pub async fn stock(&self, sku: &str, warehouse: &str) -> Result<(i64, i64)> {
        let stock = self.admin.get(&format!("/api/v1/inventory/{sku}")).await?;
        let levels = list(&stock, "levels");
        let level = levels.iter().find(|level| level["warehouse"] == warehouse).context("no such level")?;
        Ok((number(&level["onHand"]), number(&level["reserved"])))
    }

    /// Rows of a statement about this tenant (`$1`) that gives one JSON column `row`.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Value>> {
        rows(&mut self.system.db.admin().await?, sql, self.tenant().uuid()).await
    }

    /// What the payment provider did for an order.
    pub async fn money_moves(&self, order: &str) -> Result<Vec<Value>> {
        let lines = ledger(&self.system.payments()).await?;
        Ok(lines.into_iter().filter(|line| line["metadata"]["order"] == order).collect())
    }

    /// Waits until our tables and the outside world's ledgers say the same about this shop.
    pub async fn books_agree(&self) -> Result<()> {
        let agree = eventually(PATIENCE, || async {
            let ledgers = Ledgers::read(&self.system.payments(), &self.system.wms(), &self.system.carrier()).await?;
            let mut conn = self.system.db.admin().await?;
            let differences = Books::read(&mut conn, self.tenant()).await?.differences(&ledgers);
            anyhow::ensure!(differences.is_empty(), "{}", differences.join("\n"));
            Ok(Some(()))
        });
        agree.await.context("our books and the ledgers outside differ")
    }
}

impl Faulty {
    /// A shop in the system of faults; other tests of faults wait until it is dropped.
    pub async fn open(slug: &str) -> Result<Self> {
        let turn = FAULTS.lock().await;
        let start = || async {
            RUNTIME
                .get_or_init(|| Runtime::new().expect("the system gives threads"))
                .spawn(System::start(SPEED))
                .await
                .context("the start panicked")?
        };
        let system = FAULTY.get_or_try_init(start).await?;
        let faulty = Self { world: World::within(system, slug).await?, _turn: turn };
        faulty.mend().await?;
        Ok(faulty)
    }

    /// Another shop in the same system.
    pub async fn another(&self, slug: &str) -> Result<World> {
        World::within(self.world.system, slug).await
    }

    /// No faults any more.
    pub async fn mend(&self) -> Result<()> {
        let system = self.world.system;
        for simulator in [system.payments(), system.wms(), system.carrier()] {
            script(&simulator, &json!([])).await?;
        }
        Ok(())
    }

    /// Runs what calls services within the process where their connections live.
    pub async fn inside<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        let runtime = RUNTIME.get().context("the system was started")?.handle().clone();
        tokio::task::spawn_blocking(move || runtime.block_on(work())).await?
    }
}

/// Replaces a simulator's fault script.
pub async fn script(simulator: &Rest, faults: &Value) -> Result<()> {
    let answer = simulator.request(Method::POST, "/_sim/faults").json(faults).send().await?;
    anyhow::ensure!(answer.status().is_success(), "faults were refused: {}", answer.text().await?);
    Ok(())
}

/// Sets how fast a simulator's time runs.
pub async fn speed(simulator: &Rest, factor: f64) -> Result<()> {
    let answer = simulator.request(Method::POST, "/_sim/speed").json(&json!({"factor": factor})).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the speed was refused");
    Ok(())
}

/// The effects a simulator has accepted.
pub async fn ledger(simulator: &Rest) -> Result<Vec<Value>> {
    Ok(simulator.get("/_sim/ledger").await?.as_array().cloned().unwrap_or_default())
}

/// Rows of a statement with one tenant as `$1` and one JSON column `row`.
pub async fn rows(conn: &mut pg::Conn, sql: &str, tenant: Uuid) -> Result<Vec<Value>> {
    let rows: Vec<Row> = diesel::sql_query(sql).bind::<SqlUuid, _>(tenant).load(conn).await?;
    Ok(rows.into_iter().map(|row| row.row).collect())
}

/// An order paid with another method.
pub fn order_by(method: &str, items: &[(&str, i32)]) -> Value {
    let mut body = order(items);
    body["paymentMethod"] = method.into();
    body
}

pub fn unique() -> String {
    Uuid::now_v7().simple().to_string()
}

/// "DELIVERED" and so on.
pub fn state_of(order: &Value) -> String {
    text(order, "state").trim_start_matches("ORDER_STATE_").to_owned()
}

pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

pub fn list(value: &Value, name: &str) -> Vec<Value> {
    value[name].as_array().cloned().unwrap_or_default()
}

/// A figure: JSON writes 64-bit ones as texts.
pub fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// Minor units of an amount.
pub fn minor(amount: &Value) -> i64 {
    number(&amount["amountMinor"])
}

/// What an order costs.
pub fn total(order: &Value) -> i64 {
    minor(&order["totals"]["total"])
}
