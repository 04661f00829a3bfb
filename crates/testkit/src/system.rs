use std::collections::HashMap;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use ordermesh::platform::{Database, Platform, PlatformConfig};
use ordermesh::rest::{Login, Rest};
use ordermesh::{defaults, seed, services};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

use crate::Db;
use crate::db::keep_when_anything_panics;

static SHARED: OnceCell<System> = OnceCell::const_new();
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The whole platform in this process on ports of its own, with simulators and a database of its own.
#[derive(Debug)]
pub struct System {
    /// The assembly, as `ordermesh dev` has it.
    pub platform: Platform,
    /// Its database, for what a test must see behind the services' backs.
    pub db: Db,
    tokens: Mutex<HashMap<String, String>>,
}

/// A shop of a test.
#[derive(Debug, Clone)]
pub struct Shop {
    /// "tnt_…"
    pub id: String,
    /// Name in logins.
    pub slug: String,
}

impl System {
    /// Starts a system of one test; the simulators' time runs `speed` times as fast, 0 = everything at once.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(speed: f64) -> Result<Self> {
        let db = Db::of(services::sources()).await?;
        let database = Database::Url { url: db.target().url("{role}"), admin: None };
        let embedded = defaults::embedded(defaults::random_ports(), speed, None);
        let platform = Platform::start(PlatformConfig { database, migrate: false, ..embedded }).await?;
        seed::bootstrap(&platform).await?;
        Ok(Self { platform, db, tokens: Mutex::default() })
    }

    /// The system that all tests of the process share, with speed 0; make a shop of your own in it.
    ///
    /// It lives on a runtime of its own, so reach it through its ports only: connections made by a call within the
    /// process would end with the test that made it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn shared() -> Result<&'static Self> {
        let start = || async {
            keep_when_anything_panics();
            let build = || Runtime::new().expect("the system gives threads");
            RUNTIME.get_or_init(build).spawn(Self::start(0.0)).await.context("the start panicked")?
        };
        SHARED.get_or_try_init(start).await
    }

    /// An anonymous caller of REST.
    pub fn rest(&self) -> Rest {
        Rest::new(self.platform.rest_url())
    }

    /// The platform's administrator.
    ///
    /// # Errors
    /// When the login is refused.
    pub async fn root(&self) -> Result<Rest> {
        self.login(&seed::platform_login()).await
    }

    /// A new shop with an administrator, a person for each role, and the goods of `ordermesh/demo/shop.json`.
    ///
    /// # Errors
    /// When REST refuses; a slug can be used once.
    pub async fn shop(&self, slug: &str) -> Result<Shop> {
        let shop = self.empty_shop(slug).await?;
        seed::goods(&self.person(&shop, "admin").await?).await?;
        Ok(shop)
    }

    /// A new shop with people and without goods.
    ///
    /// # Errors
    /// As [`System::shop`].
    pub async fn empty_shop(&self, slug: &str) -> Result<Shop> {
        seed::tenant(&self.root().await?, slug).await?;
        let session = self.rest().post("/api/v1/sessions", &json!(seed::login(slug, "admin")), None).await?;
        let id = session["tenantId"].as_str().context("the session names no tenant")?.to_owned();
        let shop = Shop { id, slug: slug.to_owned() };
        let admin = self.person(&shop, "admin").await?;
        seed::trust(&admin).await?;
        seed::people(&admin, slug).await?;
        Ok(shop)
    }

    /// A person of a shop: customer, csr, warehouse or admin.
    ///
    /// # Errors
    /// When the login is refused.
    pub async fn person(&self, shop: &Shop, person: &str) -> Result<Rest> {
        self.login(&seed::login(&shop.slug, person)).await
    }

    /// A caller with a token; hashing passwords is slow on purpose, so tokens are kept.
    ///
    /// # Errors
    /// When the login is refused.
    pub async fn login(&self, login: &Login) -> Result<Rest> {
        let who = format!("{}/{}", login.tenant, login.email);
        if let Some(token) = self.tokens.lock().await.get(&who) {
            return Ok(self.rest().with_token(token.clone()));
        }
        let rest = self.rest().login(login).await?;
        let token = rest.token().context("a login gives a token")?.to_owned();
        self.tokens.lock().await.insert(who, token);
        Ok(rest)
    }

    /// Control of the payment simulator: `/_sim/ledger`, `/_sim/calls`, `/_sim/faults`, …
    ///
    /// # Panics
    /// Never: a system of tests has simulators.
    pub fn payments(&self) -> Rest {
        Rest::new(format!("http://{}", self.simulators().payments))
    }

    /// Control of the warehouse simulator.
    ///
    /// # Panics
    /// As [`System::payments`].
    pub fn wms(&self) -> Rest {
        Rest::new(format!("http://{}", self.simulators().wms))
    }

    /// Control of the carrier simulator.
    ///
    /// # Panics
    /// As [`System::payments`].
    pub fn carrier(&self) -> Rest {
        Rest::new(format!("http://{}", self.simulators().carrier))
    }

    /// Control of the mail sink; `/_sim/messages?to=…` has the mails.
    ///
    /// # Panics
    /// As [`System::payments`].
    pub fn mail(&self) -> Rest {
        Rest::new(format!("http://{}", self.simulators().smtp_http))
    }

    /// Drains and stops it.
    ///
    /// # Errors
    /// When the database could not be stopped.
    pub async fn stop(self) -> Result<()> {
        self.platform.shutdown().await
    }

    fn simulators(&self) -> &simulators::Simulators {
        self.platform.simulators.as_ref().expect("a system of tests has simulators")
    }
}

/// An order as REST takes it: SKUs with quantities, in dollars, to San Francisco, by a card that works.
pub fn order(items: &[(&str, i32)]) -> Value {
    let items = items.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect::<Vec<_>>();
    json!({
        "items": items,
        "currencyCode": "USD",
        "paymentMethod": "pm_sim_visa",
        "shippingAddress": {
            "recipient": "Ada Lovelace", "line1": "500 Market Street", "city": "San Francisco",
            "region": "CA", "postalCode": "94105", "countryCode": "US",
        },
    })
}
