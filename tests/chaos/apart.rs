//! Every service as a process of its own would be: reached by address, stopped and started again one after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use diesel_async::RunQueryDsl as _;
use ordermesh::platform::{Database, Outside, Platform, PlatformConfig, Secrets, Transit};
use ordermesh::{defaults, seed, services};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Db, Rest, eventually, order};

use super::process::port;
use crate::journey::world::{PATIENCE, list, state_of, text, unique};

const SHOP: &str = "apart";

/// A bridge with the outside world, and seven services that each can be away.
struct Apart {
    db: Db,
    secrets: Secrets,
    addresses: BTreeMap<&'static str, SocketAddr>,
    edge: Platform,
    running: BTreeMap<&'static str, Platform>,
}

/// People of the shop.
struct People {
    customer: Rest,
    csr: Rest,
    admin: Rest,
}

impl Apart {
    async fn start() -> Result<Self> {
        let db = Db::of(services::sources()).await?;
        let secrets = Secrets::fresh();
        let mut addresses = BTreeMap::new();
        for service in services::ALL {
            addresses.insert(service.name, defaults::local(port()?));
        }
        let config = defaults::embedded(defaults::random_ports(), 0.0, None);
        let database = Database::Url { url: db.target().url("{role}"), admin: None };
        let remote = remote(&addresses, "");
        let config = PlatformConfig {
            database,
            migrate: false,
            services: Vec::new(),
            remote,
            secrets: secrets.clone(),
            metrics: None,
            ..config
        };
        let edge = Platform::start(config).await?;
        let mut apart = Self { db, secrets, addresses, edge, running: BTreeMap::new() };
        for service in services::ALL {
            apart.begin(service.name).await?;
        }
        Ok(apart)
    }

    async fn begin(&mut self, name: &'static str) -> Result<()> {
        let service = services::ALL.iter().find(|service| service.name == name).context("no such service")?;
        let simulators = self.edge.simulators.as_ref().context("the outside world is simulated")?;
        let ms = Duration::from_millis;
        let config = PlatformConfig {
            database: Database::Url { url: self.db.target().url("{role}"), admin: None },
            services: vec![*service],
            remote: remote(&self.addresses, name),
            grpc: self.addresses[name],
            rest: None,
            cors_origins: Vec::new(),
            metrics: None,
            secrets: self.secrets.clone(),
            transit: Transit::default(),
            outside: Outside::Real {
                payments: format!("http://{}", simulators.payments),
                payments_fallback: String::new(),
                wms: format!("http://{}/wms", simulators.wms),
                carrier: format!("http://{}", simulators.carrier),
                mail: format!("smtp://{}", simulators.smtp).into(),
                mail_from: "Ordermesh <orders@ordermesh.example>".to_owned(),
                wms_poll: ms(50),
                carrier_poll: ms(500),
            },
            cache: None,
            drain: serve::Drain { lame_duck: Duration::ZERO, limit: Duration::from_secs(5) },
            migrate: false,
        };
        self.running.insert(name, Platform::start(config).await.with_context(|| format!("start {name}"))?);
        Ok(())
    }

    async fn end(&mut self, name: &'static str) -> Result<()> {
        self.running.remove(name).context("it runs")?.shutdown().await
    }

    /// Waits until the order service has heard all that identity said: what it copies from then on it keeps.
    async fn policy_is_heard(&self) -> Result<()> {
        const UNHEARD: &str = "SELECT FROM om_identity.events e, om_bus.cursors c WHERE c.consumer = 'order' \
            AND c.source = 'om_identity' AND (e.xid, e.gpos) > (c.xid, c.gpos)";
        let heard = eventually(PATIENCE, || async {
            let unheard = diesel::sql_query(UNHEARD).execute(&mut self.db.admin().await?).await?;
            ensure!(unheard == 0, "{unheard} events are not heard");
            Ok(Some(()))
        });
        heard.await.context("wait for the order service to hear of the policy")
    }

    async fn people(&self, slug: &str) -> Result<People> {
        seed::bootstrap(&self.edge).await?;
        let rest = Rest::new(self.edge.rest_url());
        let root = rest.login(&seed::platform_login()).await?;
        seed::tenant(&root, slug).await?;
        let admin = rest.login(&seed::login(slug, "admin")).await?;
        seed::trust(&admin).await?;
        seed::people(&admin, slug).await?;
        seed::goods(&admin).await?;
        let customer = rest.login(&seed::login(slug, "customer")).await?;
        Ok(People { customer, csr: rest.login(&seed::login(slug, "csr")).await?, admin })
    }
}

fn remote(addresses: &BTreeMap<&'static str, SocketAddr>, but: &str) -> Vec<(String, String)> {
    let others = addresses.iter().filter(|(name, _)| **name != but);
    others.map(|(name, address)| ((*name).to_owned(), format!("http://{address}"))).collect()
}

impl People {
    /// Reads until an order is in a state, or behind it.
    async fn until(&self, id: &str, states: &[&str]) -> Result<String> {
        let path = format!("/api/v1/orders/{id}");
        let reached = eventually(PATIENCE, || async {
            let state = state_of(&self.csr.get(&path).await?);
            ensure!(states.contains(&state.as_str()), "{id} is {state}");
            Ok(Some(state))
        });
        reached.await.with_context(|| format!("wait for {states:?}"))
    }

    /// Places an order, as often as it takes where the shop is not to be reached at once.
    async fn place(&self) -> Result<Value> {
        let (body, key) = (order(&[("PEN-GEL", 2)]), unique());
        eventually(PATIENCE, || async { Ok(Some(self.customer.post("/api/v1/orders", &body, Some(&key)).await?)) })
            .await
    }

    /// A function of the shop that must answer.
    async fn works(&self, function: &str, id: &str) -> Result<()> {
        let answer = match function {
            "read an order" => self.customer.get(&format!("/api/v1/orders/{id}")).await,
            "list orders" => self.customer.get("/api/v1/orders").await,
            "read an order's history" => self.csr.get(&format!("/api/v1/orders/{id}/history")).await,
            "read an order's saga" => self.csr.get(&format!("/api/v1/sagas/{id}")).await,
            "note something" => {
                let body = json!({"text": "all is well"});
                self.csr.post(&format!("/api/v1/orders/{id}/notes"), &body, Some(&unique())).await
            }
            "read stock" => self.admin.get("/api/v1/inventory/PEN-GEL").await,
            "count stock" => {
                let body = json!({"warehouse": "OAK", "onHandDelta": 1, "reason": "found one"});
                self.admin.post("/api/v1/inventory/PEN-GEL:adjust", &body, Some(&unique())).await
            }
            "browse products" => self.admin.get("/api/v1/products").await,
            "list payments" => self.csr.get("/api/v1/payments").await,
            "list fulfillments" => self.csr.get("/api/v1/fulfillments").await,
            "list shipments" => self.csr.get("/api/v1/shipments").await,
            "log in" => {
                let answer = self.customer.request(Method::POST, "/api/v1/sessions");
                let answer = answer.json(&json!(seed::login(SHOP, "customer"))).send().await?;
                ensure!(answer.status().is_success(), "{}", answer.text().await?);
                Ok(Value::Null)
            }
            other => anyhow::bail!("nobody knows how to {other}"),
        };
        answer.map(drop).with_context(|| format!("{function} must work"))
    }
}

/// Who is away, how far an order that is placed meanwhile gets (nowhere: none is taken), and what must work all the
/// same.
const AWAY: [(&str, &[&str], &[&str]); 5] = [
    // First, while the others' copies of its policy are fresh: new orders are taken for as long as those live.
    (
        "identity",
        &["DELIVERED"],
        &[
            "read an order",
            "list orders",
            "read an order's history",
            "note something",
            "read stock",
            "count stock",
            "browse products",
            "list payments",
            "list fulfillments",
            "list shipments",
        ],
    ),
    (
        "payment",
        &["PAYMENT_REVIEW"],
        &[
            "read an order",
            "list orders",
            "read an order's history",
            "read an order's saga",
            "note something",
            "read stock",
            "count stock",
            "browse products",
            "list fulfillments",
            "list shipments",
            "log in",
        ],
    ),
    (
        "inventory",
        // Nobody knows a price: new orders have to wait.
        &[],
        &[
            "read an order",
            "list orders",
            "read an order's history",
            "note something",
            "list payments",
            "list fulfillments",
            "list shipments",
            "log in",
        ],
    ),
    (
        "fulfillment",
        &["PAYMENT_COMPLETED"],
        &[
            "read an order",
            "list orders",
            "read an order's saga",
            "read stock",
            "count stock",
            "list payments",
            "list shipments",
            "log in",
        ],
    ),
    (
        "shipping",
        &["FULFILLMENT_IN_PROGRESS"],
        &["read an order", "list orders", "read stock", "list payments", "list fulfillments", "log in"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sag_08_while_one_service_is_away_the_others_work_and_orders_go_on_when_it_is_back() -> Result<()> {
    let mut apart = Apart::start().await?;
    let people = apart.people(SHOP).await?;
    apart.policy_is_heard().await?;
    let first = people.place().await?;
    let first = text(&first, "id");
    people.until(first, &["DELIVERED"]).await?;
    for (service, stops, functions) in AWAY {
        // Everybody has seen a token by then: who checks them keeps identity's public keys.
        for function in functions {
            people.works(function, first).await?;
        }
        apart.end(service).await?;
        let mut placed = None;
        if !stops.is_empty() {
            placed = Some(people.place().await.with_context(|| format!("place while {service} is away"))?);
        }
        for function in functions {
            people.works(function, first).await.with_context(|| format!("while {service} is away"))?;
        }
        if let Some(placed) = &placed {
            people.until(text(placed, "id"), stops).await.with_context(|| format!("while {service} is away"))?;
        }
        apart.begin(service).await?;
        let placed = match placed {
            Some(placed) => placed,
            None => people.place().await.with_context(|| format!("place when {service} is back"))?,
        };
        let back = people.until(text(&placed, "id"), &["DELIVERED"]).await;
        back.with_context(|| format!("when {service} is back"))?;
    }
    // The order service: who has nothing to do with orders does not notice, and parcels that are packed leave.
    let placed = people.place().await?;
    let id = text(&placed, "id").to_owned();
    people.until(&id, &["FULFILLMENT_PENDING", "FULFILLMENT_IN_PROGRESS", "SHIPPED", "DELIVERED"]).await?;
    apart.end("order").await?;
    let others = [
        "read stock",
        "count stock",
        "browse products",
        "list payments",
        "list fulfillments",
        "list shipments",
        "log in",
    ];
    for function in others {
        people.works(function, &id).await.context("while order is away")?;
    }
    let left = eventually(PATIENCE, || async {
        let page = people.csr.get(&format!("/api/v1/shipments?orderId={id}")).await?;
        let parcels = list(&page, "shipments");
        Ok(parcels.iter().any(|parcel| text(parcel, "state").ends_with("DELIVERED")).then_some(()))
    });
    left.await.context("the parcel arrives without the order service")?;
    apart.begin("order").await?;
    people.until(&id, &["DELIVERED"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_08_without_notifications_orders_arrive_and_each_mail_comes_once_when_they_are_back() -> Result<()> {
    const SILENT: &str = "silent";
    let mut apart = Apart::start().await?;
    let people = apart.people(SILENT).await?;
    let sink = apart.edge.simulators.as_ref().context("the outside world is simulated")?.smtp_http;
    let sink = Rest::new(format!("http://{sink}"));
    let mails = async || -> Result<Vec<Value>> {
        let mails = sink.get(&format!("/_sim/messages?to=customer@{SILENT}.example")).await?;
        Ok(mails.as_array().cloned().unwrap_or_default())
    };
    apart.end("notification").await?;
    let mut placed = Vec::new();
    for _ in 0..3 {
        placed.push(text(&people.place().await?, "id").to_owned());
    }
    for id in &placed {
        people.until(id, &["DELIVERED"]).await?;
    }
    ensure!(mails().await?.is_empty(), "nobody writes");
    apart.begin("notification").await?;
    let told = eventually(PATIENCE, || async {
        let page = people.csr.get("/api/v1/messages").await?;
        let messages = list(&page, "messages");
        let sent = messages.iter().filter(|message| text(message, "state") == "MESSAGE_STATE_SENT").count();
        // Of each order the confirmation, the parcel that left, and that it arrived.
        ensure!(sent == 3 * placed.len(), "{sent} of {} are sent", messages.len());
        Ok(Some(()))
    });
    told.await.context("the backlog is worked off")?;
    let mails = mails().await?;
    let mut subjects: Vec<&str> = mails.iter().map(|mail| text(mail, "subject")).collect();
    subjects.sort_unstable();
    subjects.dedup();
    ensure!((mails.len(), subjects.len()) == (9, 9), "each mail once: {subjects:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frd_04_an_order_that_nobody_can_judge_is_treated_as_the_policy_says() -> Result<()> {
    let modes = [
        ("fail-open", "RISK_FAIL_MODE_OPEN", "PAYMENT_PROCESSING", "DELIVERED"),
        ("fail-closed", "RISK_FAIL_MODE_CLOSED", "PAYMENT_FAILED", "PAYMENT_FAILED"),
        ("fail-review", "RISK_FAIL_MODE_REVIEW", "PAYMENT_REVIEW", "DELIVERED"),
    ];
    let mut apart = Apart::start().await?;
    let mut shops = Vec::new();
    for (slug, mode, ..) in modes {
        let people = apart.people(slug).await?;
        let mut policy = people.admin.get("/api/v1/policy").await?;
        policy["risk"]["failMode"] = json!(mode);
        let answer = people.admin.request(Method::PUT, "/api/v1/policy").json(&policy).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        shops.push(people);
    }
    apart.end("payment").await?;
    let mut placed = Vec::new();
    for people in &shops {
        placed.push(text(&people.place().await?, "id").to_owned());
    }
    for ((people, id), (_, mode, away, _)) in shops.iter().zip(&placed).zip(modes) {
        people.until(id, &[away]).await.context(mode)?;
    }
    let goes_on = eventually(PATIENCE, || async {
        let saga = shops[0].csr.get(&format!("/api/v1/sagas/{}", placed[0])).await?;
        Ok((text(&saga, "step") == "authorize_payment").then_some(()))
    });
    goes_on.await.context("an order that nobody could judge goes on")?;
    apart.begin("payment").await?;
    for ((people, id), (_, mode, _, end)) in shops.iter().zip(&placed).zip(modes) {
        people.until(id, &[end]).await.context(mode)?;
    }
    let closed = shops[1].csr.get(&format!("/api/v1/orders/{}", placed[1])).await?;
    assert_eq!(text(&closed, "stateReason"), "RISK_UNAVAILABLE");
    Ok(())
}
