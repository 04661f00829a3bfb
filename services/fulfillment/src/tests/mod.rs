//! The use cases against a real database and the warehouse simulator over real HTTP.

mod cancel;
mod count;
mod create;
mod poll;
mod race;
mod recall;
mod sealed;

use std::time::Duration;

use anyhow::Context as _;
use ctx::{Cause, Ctx};
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use ids::{OrderId, TenantId};
use jiff::Timestamp;
use serde_json::{Value, json};
use serve::page::Pages;
use simulators::{Config, Simulators};
use testkit::Db;
use vault::{Master, Vault};

use crate::commands::cancel::Cancel;
use crate::commands::create::Create;
use crate::model::{Address, Amount, Body, Line};
use crate::mount::App;
use crate::store::Store;
use crate::wms::Wms;
use crate::wms::poller::Poller;

/// How often a poller of a test asks.
const INTERVAL: Duration = Duration::from_millis(1);

struct World {
    db: Db,
    sims: Simulators,
    app: App,
    http: resilience::Http,
    vault: Vault,
}

#[derive(QueryableByName)]
struct Published {
    #[diesel(sql_type = Text)]
    r#type: String,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
    #[diesel(sql_type = Text)]
    correlation_id: String,
}

impl World {
    /// A fresh database and simulators whose time runs at `speed`; 0 packs at the next question.
    async fn start(speed: f64) -> anyhow::Result<Self> {
        let db = Db::fresh("fulfillment", crate::MIGRATIONS).await?;
        let sims = Simulators::start(Config { speed, ..Config::default() }).await?;
        let vault = vault(&db)?;
        let app = App {
            store: Store::new(db.pg("fulfillment"), vault.clone()),
            wms: Wms::new(&format!("http://{}/wms", sims.wms))?,
            pages: Pages::new(&"k".repeat(32).into()),
        };
        let http = resilience::Http::new("sim", &format!("http://{}", sims.wms), Duration::from_secs(5))?;
        Ok(Self { db, sims, app, http, vault })
    }

    fn poller(&self) -> Poller {
        Poller::new(self.app.store.clone(), self.app.wms.clone(), INTERVAL)
    }

    /// Polls until a round found a tenant whose turn it was.
    async fn poll(&self) -> anyhow::Result<()> {
        let poller = self.poller();
        testkit::eventually(Duration::from_secs(60), async || Ok((poller.round().await? > 0).then_some(()))).await
    }

    async fn faults(&self, rules: Value) -> anyhow::Result<()> {
        let answer = self.http.send("faults", self.http.post("/_sim/faults").json(&rules)).await?;
        anyhow::ensure!(answer.status.is_success(), "{}", answer.text());
        Ok(())
    }

    /// Ledger lines of one operation.
    async fn ledger(&self, op: &str) -> anyhow::Result<Vec<Value>> {
        let lines: Vec<Value> = self.http.send("ledger", self.http.get("/_sim/ledger")).await?.json()?;
        Ok(lines.into_iter().filter(|line| line["op"] == op).collect())
    }

    /// Short names of everything published, in order, with payload and correlation id.
    async fn events(&self) -> anyhow::Result<Vec<(String, Vec<u8>, String)>> {
        let mut admin = self.db.admin().await?;
        let rows: Vec<Published> = diesel::sql_query(
            "SELECT type, payload, meta->>'correlation_id' AS correlation_id FROM om_fulfillment.events ORDER BY gpos",
        )
        .load(&mut admin)
        .await?;
        rows.into_iter()
            .map(|row| {
                let name = row.r#type.rsplit('.').next().context("a name")?.to_owned();
                Ok((name, row.payload, row.correlation_id))
            })
            .collect()
    }

    async fn names(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.events().await?.into_iter().map(|(name, ..)| name).collect())
    }
}

/// As another process has it: it has read no keys yet.
fn vault(db: &Db) -> anyhow::Result<Vault> {
    Ok(Vault::new(db.pg("fulfillment"), Master::read(&"5a".repeat(32).into())?))
}

fn ctx_of(tenant: TenantId) -> Ctx {
    let cause = Cause { correlation_id: "story".into(), causation_id: "test".into(), traceparent: None };
    Ctx::service("order", tenant, cause, Timestamp::now())
}

fn wish(order: OrderId, warehouse: &str) -> Create {
    let body = Body {
        lines: vec![Line { line: 1, sku: "SKU-1".into(), quantity: 2 }],
        shipping_service: "STANDARD".into(),
        capture: Amount { currency: "USD".into(), minor: 1999 },
        final_capture: true,
        weight_grams: 700,
        correlation_id: "story".into(),
        traceparent: None,
    };
    let ship_to = Address {
        recipient: "Ada <Lovelace> & Co".into(),
        line1: "1 Main St".into(),
        line2: String::new(),
        city: "London".into(),
        region: String::new(),
        postal_code: "W1A 1AA".into(),
        country_code: "GB".into(),
    };
    Create { order, warehouse: warehouse.to_owned(), revision: 0, body, ship_to }
}

fn all(order: OrderId) -> Cancel {
    Cancel { order, revision: 0 }
}

fn fault_rule(op: &str, kind: &str, times: u32, delay_ms: u64) -> Value {
    json!([{"op": op, "match": "", "kind": kind, "times": times, "delay_ms": delay_ms}])
}

#[tokio::test]
async fn the_migration_can_be_taken_back_and_run_again() -> anyhow::Result<()> {
    const UP: &str = include_str!("../../../../migrations/fulfillment/20261121010000_fulfillments/up.sql");
    const DOWN: &str = include_str!("../../../../migrations/fulfillment/20261121010000_fulfillments/down.sql");
    let db = Db::fresh("fulfillment", crate::MIGRATIONS).await?;
    let mut admin = db.admin().await?;
    for sql in ["SET search_path = om_fulfillment", DOWN, UP] {
        admin.batch_execute(sql).await?;
    }
    Ok(())
}
