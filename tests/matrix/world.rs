//! The system that the matrix runs against, its shops, and tokens for whoever a cell needs.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use contract::{Exposure, MethodPolicy};
use ctx::{Cause, Role};
use futures::future::try_join_all;
use ids::{FulfillmentId, MessageId, OrderId, PaymentId, RefundId, ShipmentId, TenantId, UserId};
use jiff::Timestamp;
use serde_json::{Value, json};
use serve::auth::{Claims, SigningKey};
use testkit::{Rest, System, eventually, order};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use super::grpc::Caller;

static WORLD: OnceCell<World> = OnceCell::const_new();
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Services of the mesh, and one that is none.
pub(super) const SERVICES: [&str; 8] =
    ["order", "inventory", "payment", "fulfillment", "shipping", "notification", "identity", "stranger"];
/// What a webhook without a provider's signature is told, after the gate has let it through.
pub(super) const OWN_REFUSAL: &str = "WEBHOOK_SIGNATURE";
/// A payment provider, and a day of which every shop has a report.
pub(super) const PROVIDER: &str = "stripe";
pub(super) const DAY: &str = "2026-01-02";
/// Life of a token of a test.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// The system with everything that samples need.
///
/// It is not the system that other tests share: the matrix rotates keys and asks for keys that nobody has.
pub(super) struct World {
    pub(super) system: System,
    key: SigningKey,
    /// Where calls are tried.
    pub(super) alpha: Known,
    /// Whom nobody but another tenant calls: nothing may ever change here.
    pub(super) victim: Known,
    /// Who calls the victim.
    pub(super) beta: Known,
    /// Where mutated messages go.
    pub(super) mutants: Known,
    /// Where wrong orders are placed; its policy stays as the seeds have it.
    pub(super) desk: Known,
}

/// What a shop has that a sample request can name; or what nobody has.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) tenant: String,
    pub(super) slug: String,
    pub(super) email: String,
    pub(super) customer: String,
    pub(super) order: String,
    /// An order whose warehouse must wait, with a change that was declined.
    pub(super) changed: String,
    pub(super) change: String,
    pub(super) payment: String,
    pub(super) refund: String,
    pub(super) fulfillment: String,
    pub(super) shipment: String,
    pub(super) message: String,
    pub(super) issue: String,
    pub(super) subscription: String,
    pub(super) sku: String,
    pub(super) warehouse: String,
}

impl Known {
    /// The same kinds of names, of nothing that exists.
    pub(super) fn nobodys() -> Self {
        let one = ids::EventId::new().uuid().simple().to_string();
        Self {
            tenant: TenantId::new().to_string(),
            slug: format!("none-{}", &one[20..]),
            email: format!("nobody-{one}@nowhere.example"),
            customer: UserId::new().to_string(),
            order: OrderId::new().to_string(),
            changed: OrderId::new().to_string(),
            change: ids::ChangeId::new().to_string(),
            payment: PaymentId::new().to_string(),
            refund: RefundId::new().to_string(),
            fulfillment: FulfillmentId::new().to_string(),
            shipment: ShipmentId::new().to_string(),
            message: MessageId::new().to_string(),
            issue: ids::EventId::new().uuid().simple().to_string(),
            subscription: ids::SubscriptionId::new().to_string(),
            sku: format!("NO-{one}"),
            warehouse: format!("NO-{}", one[20..].to_uppercase()),
        }
    }

    /// Every name, for a search in answers.
    pub(super) fn names(&self) -> [&str; 16] {
        [
            &self.tenant,
            &self.slug,
            &self.email,
            &self.customer,
            &self.order,
            &self.changed,
            &self.change,
            &self.payment,
            &self.refund,
            &self.fulfillment,
            &self.shipment,
            &self.message,
            &self.issue,
            &self.subscription,
            &self.sku,
            &self.warehouse,
        ]
    }

    fn tenant_id(&self) -> TenantId {
        self.tenant.parse().expect("a tenant's id")
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Person(Role),
    Service(&'static str),
}

impl Who {
    /// Everybody whom a policy lets in; for methods open to all, one person.
    pub(super) fn allowed(policy: &MethodPolicy) -> Vec<Self> {
        let everybody = Role::ALL.map(Self::Person).into_iter().chain(SERVICES.map(Self::Service));
        everybody.filter(|who| who.may(policy)).collect()
    }

    /// What the policy table says of this caller.
    pub(super) fn may(self, policy: &MethodPolicy) -> bool {
        match (policy.exposure, self) {
            (Exposure::Public, _) => true,
            (Exposure::Internal, Self::Person(_)) => false,
            (_, Self::Person(role)) => policy.any_role.contains(&role.as_str()),
            (_, Self::Service(name)) => policy.callers.contains(&name),
        }
    }
}

impl World {
    /// The one world of the process; lives on a runtime of its own, so that no test ends it.
    pub(super) async fn get() -> &'static Self {
        let start = || async {
            let build = || Runtime::new().expect("the system gives threads");
            RUNTIME.get_or_init(build).spawn(Self::start()).await.context("the start panicked")?
        };
        WORLD.get_or_try_init(start).await.expect("the system starts")
    }

    async fn start() -> Result<Self> {
        let system = System::start(0.0).await?;
        let shops = ["alpha", "victim", "beta", "mutants", "desk"].map(|slug| shop(&system, slug));
        let shops: Result<[Known; 5], _> = try_join_all(shops).await?.try_into();
        let [alpha, victim, beta, mutants, desk] = shops.expect("as many as were asked for");
        let key = signing_key(&system).await?;
        Ok(Self { system, key, alpha, victim, beta, mutants, desk })
    }

    /// A gRPC caller on the runtime of the test.
    pub(super) fn grpc(&self) -> Caller {
        Caller::new(self.system.platform.grpc)
    }

    /// A REST caller with the token of a person; none is anonymous.
    pub(super) fn rest(&self, person: Option<(Role, &Known)>) -> Rest {
        match person {
            Some((role, of)) => self.system.rest().with_token(self.sign(&self.claims(role, of))),
            None => self.system.rest(),
        }
    }

    /// Claims of a person of a shop; its customer is the one who bought.
    pub(super) fn claims(&self, role: Role, of: &Known) -> Claims {
        let customer = of.customer.parse().expect("a user's id");
        let user = if role == Role::Customer { customer } else { UserId::new() };
        Claims::user(user, of.tenant_id(), &[role], Timestamp::now(), TOKEN_LIFE)
    }

    /// A token of identity's own key.
    pub(super) fn sign(&self, claims: &Claims) -> String {
        self.key.sign(claims).expect("a key that was read can sign")
    }

    /// The same claims, signed by nobody whom the system knows, under the id of its own key.
    pub(super) fn forge(&self, claims: &Claims) -> String {
        let key = SigningKey::from_pkcs8(self.key.kid(), &SigningKey::generate()).expect("a good key");
        key.sign(claims).expect("signs")
    }

    /// Value of the authorization header.
    pub(super) fn bearer(&self, who: Who, of: &Known) -> String {
        match who {
            Who::Person(role) => format!("Bearer {}", self.sign(&self.claims(role, of))),
            Who::Service(name) => {
                let request = self.system.platform.mesh.peers(name).request_above_tenants(&Cause::default(), ());
                let value = request.metadata().get("authorization").expect("a service has a token");
                value.to_str().expect("a token is text").to_owned()
            }
        }
    }

    /// A connection of a role, past the services.
    pub(super) async fn sql(&self, role: &str) -> Client {
        connect(&self.system.db.target().url(role)).await.expect("the role may log in")
    }

    /// Rows of the shop in every table that has a tenant: "om_order.orders" and their number.
    pub(super) async fn rows(&self, of: &Known) -> Vec<(String, i64)> {
        rows(&self.sql(cluster::ADMIN).await, of.tenant_id()).await.expect("the superuser may count")
    }
}

/// A connection past the services; it ends with the client.
pub(super) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn rows(client: &Client, tenant: TenantId) -> Result<Vec<(String, i64)>> {
    let tables = client
        .query(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped \
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname LIKE 'om\\_%' ORDER BY 1",
            &[],
        )
        .await?;
    let mut counts = Vec::new();
    for table in tables {
        let table: String = table.get(0);
        let statement = format!("SELECT count(*) FROM {table} WHERE tenant_id = $1::text::uuid");
        counts.push((table, client.query_one(&statement, &[&tenant.uuid().to_string()]).await?.get(0)));
    }
    Ok(counts)
}

/// The key that identity signs with; reading it is the test's privilege.
async fn signing_key(system: &System) -> Result<SigningKey> {
    let client = connect(&system.db.target().url(cluster::ADMIN)).await?;
    let newest = "SELECT kid, generation, pkcs8 FROM om_identity.signing_keys ORDER BY generation DESC LIMIT 1";
    let row = client.query_one(newest, &[]).await?;
    let (place, none) =
        (format!("signing_keys.pkcs8:{}", row.get::<_, i32>(1)), TenantId::from_uuid(uuid::Uuid::nil()));
    let vault = system.platform.vault(&system.db.pg("identity"))?;
    let pkcs8 = vault.open(none, &place, row.get::<_, Vec<u8>>(2).as_slice()).await?;
    Ok(SigningKey::from_pkcs8(row.get::<_, String>(0), &pkcs8)?)
}

/// A shop with people, goods that no other shop has, and an order that went all the way.
async fn shop(system: &System, slug: &str) -> Result<Known> {
    let shop = system.empty_shop(slug).await?;
    let admin = system.person(&shop, "admin").await?;
    let (sku, warehouse) = (format!("{slug}-only"), format!("{}-1", slug.to_uppercase()));
    let address = order(&[])["shippingAddress"].clone();
    let place = json!({"code": warehouse, "displayName": "The only one", "address": address, "priority": 1});
    admin.post("/api/v1/warehouses", &place, None).await?;
    for sku in [&sku, "SHARED"] {
        let prices = ["USD", "EUR", "JPY"].map(|code| json!({"currencyCode": code, "amountMinor": "1299"}));
        let product = json!({"sku": sku, "displayName": "A thing", "prices": prices, "weightGrams": 350});
        admin.post("/api/v1/products", &product, None).await?;
        let stock = json!({"warehouse": warehouse, "onHandDelta": 100_000, "reason": "first delivery"});
        admin.post(&format!("/api/v1/inventory/{sku}:adjust"), &stock, Some(&format!("stock-{sku}"))).await?;
    }
    let customer = system.person(&shop, "customer").await?;
    let placed = customer.post("/api/v1/orders", &order(&[(&sku, 2)]), Some("first")).await?;
    let placed = delivered(&customer, text(&placed, "id")?).await?;
    let order_id = text(&placed, "id")?;
    let fulfillments = admin.get(&format!("/api/v1/fulfillments?orderId={order_id}")).await?;
    let payment = text(&placed["payment"], "paymentId")?;
    let refund = json!({"amount": {"currencyCode": "USD", "amountMinor": "1"}, "reason": "a scratch"});
    let refund = admin.post(&format!("/api/v1/payments/{payment}/refunds"), &refund, Some("scratch")).await?;
    let day = json!({"provider": PROVIDER, "day": DAY});
    admin.post("/api/v1/reconciliations:run", &day, None).await?;
    let found = json!({"warehouse": warehouse, "kind": "ISSUE_KIND_DAMAGED", "quantity": 1, "note": "a scratch"});
    let issue = admin.post(&format!("/api/v1/inventory/{sku}:reportIssue"), &found, Some("found")).await?;
    let message = told(&admin, order_id).await?;
    let (changed, change) = declined_change(system, &admin, &customer, &sku).await?;
    // It begins so late that no order is made of it.
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(300 * 24);
    let mut agreed = order(&[(&sku, 1)]);
    agreed["mandateReference"] = "mandate-1".into();
    agreed["interval"] = json!({"unit": "INTERVAL_UNIT_MONTH", "count": 1});
    agreed["startTime"] = later.to_string().into();
    let subscription = customer.post("/api/v1/subscriptions", &agreed, Some("agreed")).await?;
    Ok(Known {
        tenant: shop.id.clone(),
        slug: slug.to_owned(),
        email: format!("customer@{slug}.example"),
        customer: text(&placed, "customerId")?.to_owned(),
        order: order_id.to_owned(),
        changed,
        change,
        payment: payment.to_owned(),
        refund: text(&refund, "id")?.to_owned(),
        fulfillment: text(&fulfillments["fulfillments"][0], "id")?.to_owned(),
        shipment: text(&placed["shipments"][0], "shipmentId")?.to_owned(),
        message,
        issue: text(&issue, "id")?.to_owned(),
        subscription: text(&subscription, "id")?.to_owned(),
        sku,
        warehouse,
    })
}

/// The newest message about an order that went all the way and was refunded in part, when all four of them are sent.
async fn told(admin: &Rest, order: &str) -> Result<String> {
    let sent = eventually(Duration::from_secs(180), || async {
        let page = admin.get(&format!("/api/v1/messages?orderId={order}")).await?;
        let messages = page["messages"].as_array().cloned().unwrap_or_default();
        let sent = messages.iter().filter(|message| message["state"] == "MESSAGE_STATE_SENT").count();
        anyhow::ensure!((sent, messages.len()) == (4, 4), "{sent} of {} messages are sent", messages.len());
        Ok(Some(text(&messages[0], "id")?.to_owned()))
    });
    sent.await.context("what the customer is told")
}

/// An order that is paid and held, and a change of it that nobody wants any more.
async fn declined_change(system: &System, admin: &Rest, customer: &Rest, sku: &str) -> Result<(String, String)> {
    let mut body = order(&[(sku, 1)]);
    body["paymentMethod"] = json!("pm_sim_3ds_required");
    let placed = customer.post("/api/v1/orders", &body, Some("changed")).await?;
    let id = text(&placed, "id")?.to_owned();
    let path = format!("/api/v1/orders/{id}");
    let until = async |state: &str| {
        let reached = eventually(Duration::from_secs(180), || async {
            let order = customer.get(&path).await?;
            let now = text(&order, "state")?.to_owned();
            if now == state { Ok(Some(order)) } else { bail!("{now}") }
        });
        reached.await
    };
    let waiting = until("ORDER_STATE_PAYMENT_ACTION_REQUIRED").await?;
    admin.post(&format!("{path}:hold"), &json!({"reason": "it waits"}), None).await?;
    let payment = text(&waiting["payment"], "paymentId")?;
    let payment = admin.get(&format!("/api/v1/payments/{payment}")).await?;
    let intent = text(&payment, "providerReference")?;
    let finish = format!("/_sim/payment_intents/{intent}/complete_action");
    system.payments().post(&finish, &json!({"outcome": "succeed"}), None).await?;
    until("ORDER_STATE_PAYMENT_COMPLETED").await?;
    let edits = json!({"edits": [{"line": 1, "quantity": 2}]});
    let change = customer.post(&format!("{path}/changes"), &edits, Some("change")).await?;
    let change = text(&change, "id")?.to_owned();
    customer.post(&format!("{path}/changes/{change}:decline"), &json!({}), None).await?;
    Ok((id, change))
}

async fn delivered(customer: &Rest, id: &str) -> Result<Value> {
    let path = format!("/api/v1/orders/{id}");
    let arrived = eventually(Duration::from_secs(180), || async {
        let order = customer.get(&path).await?;
        match text(&order, "state")? {
            "ORDER_STATE_DELIVERED" => Ok(Some(order)),
            "ORDER_STATE_FAILED" | "ORDER_STATE_PAYMENT_FAILED" => Ok(Some(Value::Null)),
            state => bail!("{state}"),
        }
    });
    let order = arrived.await?;
    anyhow::ensure!(order.is_object(), "the first order of a shop failed");
    Ok(order)
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("no {name} in {value}"))
}
