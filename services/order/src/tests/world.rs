use std::time::Duration;

use anyhow::Result;
use contract::common::v1::{Address, Money};
use contract::identity::v1::{ShippingRate, TaxRounding, TaxRule, TenantPolicy, User};
use contract::inventory::v1::Product;
use contract::order::v1 as wire;
use contract::order::v1::{OrderItem, OrderState};
use ctx::{Cause, Ctx, IdempotencyKey, Principal, Role};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, TenantId, UserId};
use jiff::Timestamp;
use pg::{Conn, Once};
use serve::auth::SigningKey;
use serve::{Boot, Mesh, Settings};
use testkit::Db;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::change_order::Subject;
use crate::app::create_order::CreateOrder;
use crate::domain::basket::Basket;
use crate::domain::event::OrderEvent;
use crate::infra::store::Store;

/// A shop whose order service runs no jobs.
#[derive(Clone)]
pub struct World {
    pub app: App,
    pub tenant: TenantId,
    pub customer: UserId,
    pub db: Db,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

pub fn usd(amount_minor: i64) -> Option<Money> {
    Some(Money { currency_code: "USD".to_owned(), amount_minor })
}

/// The seeds' figures.
pub fn policy() -> TenantPolicy {
    TenantPolicy {
        min_order_value_minor: 500,
        max_order_value_minor: 1_000_000,
        min_total_exclusive_minor: 500,
        max_units: 50,
        tax_rounding: TaxRounding::Line.into(),
        tax_rules: vec![TaxRule {
            country_code: "US".to_owned(),
            region: "CA".to_owned(),
            tax_class: "standard".to_owned(),
            rate_ppm: 82_500,
        }],
        shipping_rates: vec![ShippingRate { service: "STANDARD".to_owned(), price: usd(499) }],
        reservation_hold_s: 900,
        require_verified_email: true,
        currencies: vec!["USD".to_owned()],
        ..TenantPolicy::default()
    }
}

pub fn product(sku: &str, minor: i64) -> Product {
    Product {
        sku: sku.to_owned(),
        display_name: sku.to_owned(),
        prices: usd(minor).into_iter().collect(),
        tax_class: "standard".to_owned(),
        ..Product::default()
    }
}

pub fn address(region: &str) -> Address {
    Address {
        recipient: "Ada Lovelace".to_owned(),
        line1: "500 Market Street".to_owned(),
        city: "San Francisco".to_owned(),
        region: region.to_owned(),
        postal_code: if region == "NY" { "10001" } else { "94105" }.to_owned(),
        country_code: "US".to_owned(),
        ..Address::default()
    }
}

pub fn item(sku: &str, quantity: i32) -> OrderItem {
    OrderItem { sku: sku.to_owned(), quantity, expected_unit_price: None, slot_id: String::new() }
}

impl World {
    pub async fn open() -> Result<Self> {
        Self::with(policy()).await
    }

    pub async fn with(policy: TenantPolicy) -> Result<Self> {
        let db = Db::fresh("order", crate::MIGRATIONS).await?;
        let mesh = Mesh::new(SigningKey::from_pkcs8("test", &SigningKey::generate())?);
        let boot = Boot {
            database: db.target().url("{role}"),
            pool_size: 8,
            peers: mesh.peers("order"),
            settings: Settings::isolated(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let app = App::new(&boot, &db.pg("order"))?;
        let world = Self { app, tenant: TenantId::new(), customer: UserId::new(), db };
        let yen = Product { prices: Vec::new(), ..product("YEN", 0) };
        world.known_as(User { email_verified: true, ..User::default() }).await;
        world.know(policy, vec![product("TEE", 1999), product("CAP", 1250), yen]).await;
        Ok(world)
    }

    /// Policy and products as they are from now on.
    pub async fn know(&self, policy: TenantPolicy, products: Vec<Product>) {
        self.app.catalog.know(self.tenant, policy, products).await;
    }

    /// The customer as identity knows him from now on.
    pub async fn known_as(&self, user: User) {
        self.app.catalog.know_customer(self.tenant, self.customer, user).await;
    }

    /// Somebody else in the same shop.
    pub async fn another(&self) -> Self {
        let other = Self { customer: UserId::new(), ..self.clone() };
        other.known_as(User { email_verified: true, ..User::default() }).await;
        other
    }

    pub fn ctx(&self) -> Ctx {
        self.by(Principal::User { id: self.customer, roles: vec![Role::Customer] })
    }

    pub fn csr(&self) -> Ctx {
        self.by(Principal::User { id: UserId::new(), roles: vec![Role::Csr] })
    }

    pub fn by(&self, principal: Principal) -> Ctx {
        let cause = Cause { correlation_id: "test".to_owned(), ..Cause::default() };
        let ctx = Ctx::service("test", self.tenant, cause, Timestamp::now()).within(Duration::from_secs(30));
        Ctx { principal, ..ctx }
    }

    /// The same caller with an idempotency key.
    pub fn keyed(&self, ctx: Ctx, key: &str, body: u8) -> Ctx {
        let key = IdempotencyKey { key: key.to_owned(), scope: "test".to_owned(), fingerprint: [body; 32] };
        Ctx { idempotency: Some(key), ..ctx }
    }

    pub fn order(&self, items: &[(&str, i32)]) -> CreateOrder {
        CreateOrder {
            customer_id: self.customer.to_string(),
            basket: Basket {
                items: items.iter().map(|(sku, quantity)| item(sku, *quantity)).collect(),
                currency_code: "USD".to_owned(),
                address: Some(address("CA")),
                service: "STANDARD".to_owned(),
                agreed: std::collections::BTreeMap::new(),
                kind: Some(wire::OrderKind::Purchase),
                promotion: Default::default(),
            },
            payment_method: "pm_sim_visa".to_owned(),
            note: String::new(),
            expected_total: None,
            draft: false,
            client_ip: String::new(),
            renewal: None,
        }
    }

    pub async fn draft(&self, items: &[(&str, i32)]) -> Result<wire::Order> {
        let command = CreateOrder { draft: true, payment_method: String::new(), ..self.order(items) };
        Ok(self.app.create(&self.ctx(), command).await?.response)
    }

    pub async fn placed(&self, items: &[(&str, i32)]) -> Result<wire::Order> {
        Ok(self.app.create(&self.ctx(), self.order(items)).await?.response)
    }

    pub async fn get(&self, order: &wire::Order) -> Result<wire::Order> {
        Ok(self.app.get(&self.csr(), order.id.parse()?).await?.doc)
    }

    /// The order as the customer reads it.
    pub async fn read(&self, order: &wire::Order) -> Result<wire::Order> {
        Ok(self.app.shown(&self.ctx(), self.get(order).await?).await?)
    }

    /// Leads an order to a state as if its saga and the warehouse had.
    pub async fn lead(&self, order: &wire::Order, states: &[OrderState]) -> Result<wire::Order> {
        let (ctx, id, states) = (self.csr(), order.id.parse::<OrderId>()?, states.to_vec());
        let led = self.app.store.pg.tx("test.lead", self.tenant, move |conn: &mut Conn| {
            let (ctx, states) = (ctx.clone(), states.clone());
            async move {
                let mut order = Store::get_in(conn, ctx.tenant, id).await?;
                for to in states {
                    let changed = wire::OrderStatusChanged {
                        order_id: order.doc.id.clone(),
                        from: order.doc.state,
                        to: to.into(),
                        reason: String::new(),
                    };
                    order = Store::append(conn, &ctx, &order, &[OrderEvent::StatusChanged(changed)]).await?;
                }
                Ok(order.doc)
            }
            .boxed()
        });
        Ok(led.await?)
    }

    /// Rows of a table about this tenant.
    pub async fn count(&self, table: &str) -> Result<i64> {
        let mut conn = self.db.admin().await?;
        let sql = match table {
            "sagas" => "SELECT count(*) AS n FROM om_order.sagas WHERE tenant_id = $1",
            "paid at once" => {
                "SELECT count(*) AS n FROM om_order.sagas WHERE tenant_id = $1 AND state->'capture_now' = 'true'"
            }
            "events" => "SELECT count(*) AS n FROM om_order.events WHERE tenant_id = $1",
            _ => "SELECT count(*) AS n FROM om_order.orders WHERE tenant_id = $1",
        };
        let count: Count = diesel::sql_query(sql).bind::<SqlUuid, _>(self.tenant.uuid()).get_result(&mut conn).await?;
        Ok(count.n)
    }

    /// Numbers of the shop's orders, sorted.
    pub async fn numbers(&self) -> Result<Vec<i64>> {
        let mut conn = self.db.admin().await?;
        let sql = "SELECT order_number AS n FROM om_order.orders WHERE tenant_id = $1 ORDER BY 1";
        let rows: Vec<Count> = diesel::sql_query(sql).bind::<SqlUuid, _>(self.tenant.uuid()).load(&mut conn).await?;
        Ok(rows.into_iter().map(|row| row.n).collect())
    }

    /// Short names of an order's events.
    pub async fn events(&self, order: &wire::Order) -> Result<Vec<String>> {
        let mut conn = self.db.admin().await?;
        let id: OrderId = order.id.parse()?;
        let rows: Vec<Name> = diesel::sql_query(
            "SELECT replace(type, 'ordermesh.order.v1.', '') AS name FROM om_order.events \
             WHERE tenant_id = $1 AND stream_id = $2 ORDER BY version",
        )
        .bind::<SqlUuid, _>(self.tenant.uuid())
        .bind::<SqlUuid, _>(id.uuid())
        .load(&mut conn)
        .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    /// Puts the saga of an order at a step.
    pub async fn at_step(&self, order: &wire::Order, step: i32) -> Result<()> {
        let mut conn = self.db.admin().await?;
        let id: OrderId = order.id.parse()?;
        diesel::sql_query("UPDATE om_order.sagas SET step = $1 WHERE tenant_id = $2 AND saga_id = $3")
            .bind::<diesel::sql_types::Integer, _>(step)
            .bind::<SqlUuid, _>(self.tenant.uuid())
            .bind::<SqlUuid, _>(id.uuid())
            .execute(&mut conn)
            .await?;
        Ok(())
    }

    /// Nobody drives the order for an hour.
    pub async fn rest_saga(&self, order: &wire::Order) -> Result<()> {
        let mut conn = self.db.admin().await?;
        let id: OrderId = order.id.parse()?;
        let sql = "UPDATE om_order.sagas SET step = 3, status = 'waiting', signals = 0, \
            wake_at = now() + interval '1 hour' WHERE tenant_id = $1 AND saga_id = $2";
        let query = diesel::sql_query(sql).bind::<SqlUuid, _>(self.tenant.uuid()).bind::<SqlUuid, _>(id.uuid());
        query.execute(&mut conn).await?;
        Ok(())
    }

    /// What is stored of an order is what its events add up to.
    pub async fn verified(&self, order: &wire::Order) -> Result<bool> {
        Ok(self.app.verify(&self.csr(), order.id.parse()?).await?.equal)
    }
}

pub fn subject(order: &wire::Order) -> Subject {
    Subject { id: order.id.parse().expect("an order's id"), etag: String::new() }
}

/// The reason of a refusal.
pub fn reason<T>(outcome: Result<Once<T>, Fault>) -> String {
    outcome.err().map(|fault| fault.reason().to_owned()).unwrap_or_default()
}

pub fn minor(money: Option<&Money>) -> i64 {
    money.map_or(0, |money| money.amount_minor)
}
