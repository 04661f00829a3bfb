//! The saga, webhooks and polling against a real database and the carrier simulator over real HTTP.

mod mesh;
mod saga;
mod scan;
mod sealed;

use std::time::Duration;

use anyhow::Context as _;
use contract::Event;
use contract::common::v1 as common;
use contract::fulfillment::v1 as fulfillment;
use ctx::{Cause, Ctx, Open, Principal};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::FutureExt;
use hmac::{Hmac, KeyInit, Mac};
use ids::{FulfillmentId, OrderId, ShipmentId, TenantId};
use jiff::Timestamp;
use outbox::Delivery;
use prost::Message;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use serve::Settings;
use serve::page::Pages;
use simulators::{Config, Simulators};
use testkit::Db;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use vault::{Master, Vault};

use self::mesh::Others;
use crate::api::{Webhook, ingest};
use crate::carriers::Fedex;
use crate::model::Shipment;
use crate::mount::App;
use crate::store::Store;

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    db: Db,
    app: App,
    others: Others,
    vault: Vault,
    http: resilience::Http,
    _sims: Simulators,
    _engine: DropGuard,
}

impl World {
    /// A fresh database, a carrier whose time stands still but for handed over parcels, and a running saga engine.
    async fn start() -> anyhow::Result<Self> {
        let db = Db::fresh("shipping", crate::MIGRATIONS).await?;
        let sims = Simulators::start(Config { speed: 0.0, ..Config::default() }).await?;
        let url = format!("http://{}", sims.carrier);
        let others = Others::default();
        let settings = Settings { carrier_url: url.clone(), ..Settings::isolated() };
        let vault = Vault::new(db.pg("shipping"), Master::read(&settings.master_keys)?);
        let app = App {
            store: Store::new(db.pg("shipping"), vault.clone()),
            carrier: Fedex::new(&url, settings.carrier_key.clone())?,
            peers: others.mesh()?,
            pages: Pages::new(&settings.page_token_key),
            settings,
        };
        let cancel = CancellationToken::new();
        let engine = ::saga::Engine::new(db.pg("shipping"), vec![crate::saga::definition(&app)]);
        tokio::spawn(engine.run(cancel.clone()));
        let http = resilience::Http::new("sim", &url, Duration::from_secs(5))?;
        Ok(Self { db, app, others, vault, http, _sims: sims, _engine: cancel.drop_guard() })
    }

    /// Delivers FulfillmentPacked, as the consumer does.
    async fn packed(&self, tenant: TenantId, work: fulfillment::Fulfillment) -> anyhow::Result<()> {
        let event = fulfillment::FulfillmentPacked {
            order_id: work.order_id.clone(),
            fulfillment_id: work.id.clone(),
            fulfillment: Some(work),
        };
        let event_id = Uuid::now_v7();
        let cause = Cause { correlation_id: "story".into(), causation_id: event_id.to_string(), traceparent: None };
        let delivery = std::sync::Arc::new(Delivery {
            ctx: Ctx::service("shipping", tenant, cause, Timestamp::now()),
            event_id,
            type_name: fulfillment::FulfillmentPacked::TYPE.to_owned(),
            stream: Uuid::now_v7(),
            version: 1,
            payload: event.encode_to_vec(),
        });
        let ship = std::sync::Arc::new(crate::saga::definition(&self.app));
        let pg = self.db.pg("shipping");
        let handled = pg.tx("test.packed", tenant, move |conn| {
            let (delivery, ship) = (delivery.clone(), ship.clone());
            async move { crate::handlers::packed(conn, &delivery, &ship).await }.boxed()
        });
        Ok(handled.await?)
    }

    /// The only shipment of a tenant.
    async fn shipment(&self, tenant: TenantId) -> anyhow::Result<Shipment> {
        let mut all = self.app.store.list(tenant, None, None, 10).await?;
        anyhow::ensure!(all.len() == 1, "{} shipments", all.len());
        Ok(all.remove(0))
    }

    /// Waits until the saga of a tenant's only shipment has a status.
    async fn saga_is(&self, tenant: TenantId, status: &'static str) -> anyhow::Result<::saga::View> {
        let id = self.shipment(tenant).await?.id().uuid();
        let pg = self.db.pg("shipping");
        testkit::eventually(LIMIT, async || {
            let view =
                pg.read("test.saga", tenant, move |conn| async move { ::saga::view(conn, tenant, id).await }.boxed());
            let view = view.await?.context("no saga")?;
            anyhow::ensure!(
                view.status == status,
                "the saga is {} at step {}: {:?}",
                view.status,
                view.step,
                view.log.last()
            );
            Ok(Some(view))
        })
        .await
    }

    /// A parcel that has left: its tenant and what it is.
    async fn sent(&self) -> anyhow::Result<(TenantId, Shipment)> {
        let tenant = TenantId::new();
        self.packed(tenant, work()).await?;
        self.saga_is(tenant, "completed").await?;
        Ok((tenant, self.shipment(tenant).await?))
    }

    async fn faults(&self, rules: Value) -> anyhow::Result<()> {
        let answer = self.http.send("faults", self.http.post("/_sim/faults").json(&rules)).await?;
        anyhow::ensure!(answer.status.is_success(), "{}", answer.text());
        Ok(())
    }

    /// How many times the carrier did something.
    async fn did(&self, op: &str) -> anyhow::Result<usize> {
        let lines: Vec<Value> = self.http.send("ledger", self.http.get("/_sim/ledger")).await?.json()?;
        Ok(lines.iter().filter(|line| line["op"] == op).count())
    }

    /// Short names of everything published, in order.
    async fn events(&self) -> anyhow::Result<Vec<String>> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            name: String,
        }
        let mut admin = self.db.admin().await?;
        let rows: Vec<Row> =
            diesel::sql_query("SELECT split_part(type, '.', 4) AS name FROM om_shipping.events ORDER BY gpos")
                .load(&mut admin)
                .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    /// A webhook about a parcel, signed for `signer` now plus `shift_s`.
    fn webhook(&self, signer: TenantId, shift_s: i64, event: &str, shipment: ShipmentId, code: &str) -> Webhook {
        let body = json!({"id": event, "tracking_number": "794", "reference": shipment.to_string(), "code": code,
            "at": "2026-11-21T08:00:00Z", "location": "Memphis"});
        let body = body.to_string().into_bytes();
        let time = Timestamp::now().as_second() + shift_s;
        let secret = self.app.settings.webhook_secret("carriers", signer);
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length");
        mac.update(format!("{time}.").as_bytes());
        mac.update(&body);
        let signature = format!("t={time},v1={}", hex::encode(mac.finalize().into_bytes()));
        Webhook { carrier: "fedex".into(), tenant: signer.to_string(), signature, body }
    }

    async fn scan(&self, tenant: TenantId, event: &str, shipment: ShipmentId, code: &str) -> Result<(), fault::Fault> {
        ingest(&self.app, open(), self.webhook(tenant, 0, event, shipment, code)).await
    }
}

fn open() -> Open {
    let cause = Cause::default();
    Open {
        tenant: None,
        principal: Principal::Anonymous,
        cause,
        deadline: None,
        now: Timestamp::now(),
        idempotency: None,
    }
}

fn address() -> common::Address {
    common::Address {
        recipient: "Ada Lovelace".into(),
        line1: "1 Main St".into(),
        city: "Ockham".into(),
        postal_code: "90210".into(),
        country_code: "US".into(),
        ..common::Address::default()
    }
}

fn work() -> fulfillment::Fulfillment {
    fulfillment::Fulfillment {
        id: FulfillmentId::new().to_string(),
        order_id: OrderId::new().to_string(),
        warehouse: "W1".into(),
        state: fulfillment::FulfillmentState::Packed.into(),
        lines: vec![fulfillment::FulfillmentLine { line: 1, sku: "SKU-1".into(), quantity: 2 }],
        shipping_service: "STANDARD".into(),
        capture_amount: Some(common::Money { currency_code: "USD".into(), amount_minor: 1999 }),
        final_capture: true,
        weight_grams: 700,
        ..fulfillment::Fulfillment::default()
    }
}

#[tokio::test]
async fn the_migration_can_be_taken_back_and_run_again() -> anyhow::Result<()> {
    const UP: &str = include_str!("../../../../migrations/shipping/20261121010000_shipments/up.sql");
    const DOWN: &str = include_str!("../../../../migrations/shipping/20261121010000_shipments/down.sql");
    let db = Db::fresh("shipping", crate::MIGRATIONS).await?;
    let mut admin = db.admin().await?;
    for sql in ["SET search_path = om_shipping", DOWN, UP] {
        admin.batch_execute(sql).await?;
    }
    Ok(())
}
