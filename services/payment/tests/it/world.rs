mod desk;
mod door;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::common::v1::Money;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::payment_webhook_service_client::PaymentWebhookServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, CompletePaymentActionRequest, GetPaymentRequest, GetRefundRequest,
    IncrementAuthorizationRequest, IngestProviderWebhookRequest, InquirePaymentRequest, ListPaymentEventsRequest,
    ListPaymentsRequest, ListPaymentsResponse, ListRefundsRequest, MarkPaidRequest, Payment, PaymentEvent,
    ReauthorizePaymentRequest, Refund, RefundPaymentRequest, VoidPaymentRequest,
};
use ctx::{Cause, Ctx, Open, Principal, Role};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use fault::Fault;
use hmac::{Hmac, KeyInit, Mac};
use ids::{OrderId, PaymentId, ShipmentId, TenantId, UserId};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use serve::auth::SigningKey;
use serve::{Boot, Job, Limits, Mesh, PeerClient, Peers, Settings};
use sha2::Sha256;
use simulators::{Config, Simulators};
use testkit::Db;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub const ASKED: i64 = 10_000;

/// One tenant's view of a running payment service and its provider.
#[derive(Clone)]
pub struct World {
    pub tenant: TenantId,
    pub db: Db,
    pub settings: Settings,
    mesh: Mesh,
    routes: tonic::service::Routes,
    provider: String,
    http: reqwest::Client,
    running: std::sync::Arc<Running>,
}

struct Running {
    jobs: std::sync::Mutex<Vec<Job>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop: DropGuard,
    simulators: std::sync::Arc<Simulators>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    payment_id: uuid::Uuid,
}

impl World {
    pub async fn start() -> Result<Self> {
        Self::with_providers(false).await
    }

    /// A system with a second provider to fall back to.
    pub async fn with_fallback() -> Result<Self> {
        Self::with_providers(true).await
    }

    async fn with_providers(two: bool) -> Result<Self> {
        let simulators = Simulators::start(Config::default()).await?;
        let db = Db::fresh("payment", payment::MIGRATIONS).await?;
        let mesh = Mesh::new(SigningKey::from_pkcs8("test", &SigningKey::generate())?);
        let provider = format!("http://{}", simulators.payments);
        let settings = Settings {
            payments_url: provider.clone(),
            payments_fallback_url: if two { format!("{provider}/adyen") } else { String::new() },
            payments_key: "sk_test_1".to_owned().into(),
            payments_fallback_key: "AQE_test_1".to_owned().into(),
            ..Settings::isolated()
        };
        Self::within(TenantId::new(), db, mesh, settings, std::sync::Arc::new(simulators)).await
    }

    /// The service on a database and a provider that may have been used before.
    async fn within(
        tenant: TenantId,
        db: Db,
        mesh: Mesh,
        settings: Settings,
        simulators: std::sync::Arc<Simulators>,
    ) -> Result<Self> {
        let provider = settings.payments_url.clone();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mount = payment::mount(&Boot {
            database: db.target().url("{role}"),
            pool_size: 8,
            peers: mesh.peers("payment"),
            settings: settings.clone(),
            tasks: tasks.clone(),
            shutdown: stop.clone(),
        })?;
        let routes = mount.routes.clone().prepare();
        mesh.attach("payment", mount.routes, Limits::default());
        let running = Running {
            jobs: std::sync::Mutex::new(mount.jobs),
            tasks,
            stop: stop.clone(),
            _stop: stop.drop_guard(),
            simulators,
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let running = std::sync::Arc::new(running);
        Ok(Self { tenant, db, settings, mesh, routes, provider, http, running })
    }

    /// The same system as another tenant sees it.
    pub fn as_tenant(&self, tenant: TenantId) -> Self {
        Self { tenant, ..self.clone() }
    }

    /// Starts the jobs of the service.
    pub fn start_jobs(&self) {
        for job in self.running.jobs.lock().expect("no panic while locked").drain(..) {
            job.spawn(&self.running.tasks, self.running.stop.clone());
        }
    }

    /// The way to the service in the name of another.
    pub fn peers(&self, caller: &str) -> Peers {
        self.mesh.peers(caller)
    }

    /// The methods behind the stack, for calls of people.
    pub fn routes(&self) -> tonic::service::Routes {
        self.routes.clone()
    }

    pub fn ctx(&self) -> Ctx {
        let cause = Cause { correlation_id: "test".to_owned(), ..Cause::default() };
        Ctx::service("test", self.tenant, cause, Timestamp::now()).within(Duration::from_secs(30))
    }

    fn client(&self, caller: &str) -> (Peers, PaymentServiceClient<PeerClient>) {
        let peers = self.mesh.peers(caller);
        let client = PaymentServiceClient::new(peers.to("payment"));
        (peers, client)
    }

    pub async fn authorize(&self, order: OrderId, method: &str) -> Result<Payment, Fault> {
        self.authorize_amount(order, method, usd(ASKED)).await
    }

    pub async fn authorize_amount(&self, order: OrderId, method: &str, amount: Money) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let message = AuthorizePaymentRequest {
            order_id: order.to_string(),
            amount: Some(amount),
            payment_method: method.to_owned(),
            ..Default::default()
        };
        Ok(client.authorize_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    /// Takes the money at once.
    pub async fn authorize_now(&self, order: OrderId) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let message = AuthorizePaymentRequest {
            order_id: order.to_string(),
            amount: Some(usd(ASKED)),
            payment_method: "pm_sim_visa".to_owned(),
            capture_now: true,
            ..Default::default()
        };
        Ok(client.authorize_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    pub async fn increment(&self, order: OrderId, minor: i64, key: &str) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let message = IncrementAuthorizationRequest { order_id: order.to_string(), amount: Some(usd(minor)) };
        Ok(client.increment_authorization(peers.request_keyed(&self.ctx(), key, message)).await?.into_inner())
    }

    pub async fn reauthorize(&self, payment: &str, attempt: i32, method: &str) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let (payment_id, payment_method) = (payment.to_owned(), method.to_owned());
        let message = ReauthorizePaymentRequest { payment_id, attempt, payment_method };
        Ok(client.reauthorize_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    /// A request of a person with a role.
    fn personal<M>(&self, role: Role, message: M) -> tonic::Request<M> {
        let principal = Principal::User { id: UserId::new(), roles: vec![role] };
        let key = ctx::IdempotencyKey { key: "k".to_owned(), scope: "s".to_owned(), fingerprint: [0; 32] };
        let open = Open {
            tenant: Some(self.tenant),
            principal,
            cause: Cause { correlation_id: "test".to_owned(), ..Cause::default() },
            deadline: None,
            now: Timestamp::now(),
            idempotency: Some(key),
        };
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(open);
        request
    }

    fn unguarded(&self) -> PaymentServiceClient<tonic::service::Routes> {
        PaymentServiceClient::new(self.routes.clone())
    }

    pub async fn mark_paid(&self, payment: &str, reason: &str) -> Result<Payment, Fault> {
        let message = MarkPaidRequest { payment_id: payment.to_owned(), reason: reason.to_owned() };
        let request = self.personal(Role::TenantAdmin, message);
        Ok(self.unguarded().mark_paid(request).await?.into_inner())
    }

    pub async fn complete_action(&self, payment: &str, role: Role) -> Result<Payment, Fault> {
        let message = CompletePaymentActionRequest { payment_id: payment.to_owned() };
        Ok(self.unguarded().complete_payment_action(self.personal(role, message)).await?.into_inner())
    }

    /// The audit of a payment, page by page.
    pub async fn history(&self, payment: &str) -> Result<Vec<PaymentEvent>, Fault> {
        let (mut events, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = ListPaymentEventsRequest { payment_id: payment.to_owned(), page_size: 2, page_token };
            let page = self.unguarded().list_payment_events(self.personal(Role::Csr, message)).await?.into_inner();
            events.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(events);
            }
        }
    }

    pub async fn get_refund(&self, refund: &str) -> Result<Refund, Fault> {
        let message = GetRefundRequest { refund_id: refund.to_owned() };
        Ok(self.unguarded().get_refund(self.personal(Role::Csr, message)).await?.into_inner())
    }

    pub async fn refunds(&self, payment: &str) -> Result<Vec<Refund>, Fault> {
        let message = ListRefundsRequest { payment_id: payment.to_owned() };
        Ok(self.unguarded().list_refunds(self.personal(Role::Csr, message)).await?.into_inner().refunds)
    }

    pub async fn inquire(&self, order: OrderId) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let message = InquirePaymentRequest { order_id: order.to_string(), round: 1 };
        Ok(client.inquire_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    pub async fn void(&self, order: OrderId) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let message = VoidPaymentRequest { order_id: order.to_string(), round: 1 };
        Ok(client.void_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    pub async fn capture(
        &self,
        order: OrderId,
        shipment: ShipmentId,
        minor: i64,
        last: bool,
    ) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("shipping");
        let message = CapturePaymentRequest {
            order_id: order.to_string(),
            shipment_id: shipment.to_string(),
            amount: Some(usd(minor)),
            r#final: last,
        };
        Ok(client.capture_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    /// The refund, and whether it was a stored answer.
    pub async fn refund(&self, payment: &str, minor: i64, key: &str) -> Result<(Refund, bool), Fault> {
        let (peers, mut client) = self.client("order");
        let message = RefundPaymentRequest {
            payment_id: payment.to_owned(),
            amount: Some(usd(minor)),
            reason: "damaged".to_owned(),
        };
        let response = client.refund_payment(peers.request_keyed(&self.ctx(), key, message)).await?;
        let replayed = response.metadata().get("idempotent-replayed").is_some();
        Ok((response.into_inner(), replayed))
    }

    pub async fn get(&self, payment: &str) -> Result<Payment, Fault> {
        let (peers, mut client) = self.client("order");
        let message = GetPaymentRequest { payment_id: payment.to_owned() };
        Ok(client.get_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    /// Lists as a person of the tenant does, behind the stack: people's tokens need the identity service.
    pub async fn list(&self, size: i32, token: &str) -> Result<ListPaymentsResponse, Fault> {
        let message =
            ListPaymentsRequest { page_size: size, page_token: token.to_owned(), ..ListPaymentsRequest::default() };
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(Open {
            tenant: Some(self.tenant),
            principal: Principal::User { id: UserId::new(), roles: vec![Role::Csr] },
            cause: Cause::default(),
            deadline: None,
            now: Timestamp::now(),
            idempotency: None,
        });
        let mut client = PaymentServiceClient::new(self.routes.clone());
        Ok(client.list_payments(request).await?.into_inner())
    }

    /// The payment of an order, without asking the service to do anything.
    pub async fn inquire_id(&self, order: OrderId) -> Result<String> {
        let query = diesel::sql_query("SELECT payment_id FROM payments WHERE order_id = $1 AND tenant_id = $2");
        let query = query.bind::<SqlUuid, _>(order.uuid()).bind::<SqlUuid, _>(self.tenant.uuid());
        let found: Id = query.get_result(&mut self.admin().await?).await?;
        Ok(PaymentId::from_uuid(found.payment_id).to_string())
    }

    /// The provider gets our request for a hold only now; its id of the intent.
    pub async fn late_authorization(&self, lost: &Payment) -> Result<String> {
        let asked = lost.amount.clone().context("an amount")?;
        let form = [
            ("amount", asked.amount_minor.to_string()),
            ("currency", asked.currency_code.to_lowercase()),
            ("payment_method", "pm_sim_visa".to_owned()),
            ("capture_method", "manual".to_owned()),
            ("confirm", "true".to_owned()),
            ("metadata[tenant]", self.tenant.to_string()),
            ("metadata[payment]", lost.id.clone()),
            ("metadata[order]", lost.order_id.clone()),
        ];
        let sent = self.http.post(format!("{}/v1/payment_intents", self.provider)).bearer_auth("sk_test_1").form(&form);
        let answer: Value = serde_json::from_str(&sent.send().await?.text().await?)?;
        Ok(answer["id"].as_str().context("an intent")?.to_owned())
    }

    /// Pushes an event as the provider would, with this signature header.
    pub async fn push(&self, body: &[u8], signature: &str) -> Result<(), Fault> {
        self.push_to("stripe", body, signature).await
    }

    pub async fn push_to(&self, provider: &str, body: &[u8], signature: &str) -> Result<(), Fault> {
        let peers = self.mesh.peers("bridge");
        let mut client = PaymentWebhookServiceClient::new(peers.to("payment"));
        let message = IngestProviderWebhookRequest {
            provider: provider.to_owned(),
            tenant_id: self.tenant.to_string(),
            payload: Some(contract::google::api::HttpBody {
                content_type: "application/json".to_owned(),
                data: body.to_vec().into(),
                ..Default::default()
            }),
        };
        let mut request = peers.request_above_tenants(&Cause::default(), message);
        let signature = signature.parse().map_err(Fault::internal)?;
        let header = if provider == "adyen" { "hmacsignature" } else { "stripe-signature" };
        request.metadata_mut().insert(header, signature);
        client.ingest_provider_webhook(request).await?;
        Ok(())
    }

    /// The same, signed as it should be.
    pub async fn push_signed(&self, body: &[u8]) -> Result<(), Fault> {
        self.push(body, &self.sign(body, Timestamp::now().as_second())).await
    }

    pub fn sign(&self, body: &[u8], at: i64) -> String {
        let secret = self.settings.webhook_secret("payments", self.tenant);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any key will do");
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Scripts what goes wrong at the provider.
    pub async fn faults(&self, rules: Value) -> Result<()> {
        let url = format!("{}/_sim/faults", self.provider);
        let answer =
            self.http.post(url).header("content-type", "application/json").body(rules.to_string()).send().await?;
        ensure!(answer.status().is_success(), "faults were refused: {}", answer.status());
        Ok(())
    }

    /// Effects of one kind on an order, from the provider's own ledger.
    pub async fn ledger(&self, op: &str, order: OrderId) -> Result<Vec<i64>> {
        let text = self.http.get(format!("{}/_sim/ledger", self.provider)).send().await?.text().await?;
        let lines: Vec<Value> = serde_json::from_str(&text)?;
        let ours = |line: &&Value| line["op"] == op && line["metadata"]["order"] == order.to_string();
        Ok(lines.iter().filter(ours).filter_map(|line| line["amount"].as_i64()).collect())
    }

    /// The customer passes or fails the challenge.
    pub async fn challenge(&self, reference: &str, outcome: &str) -> Result<()> {
        let url = format!("{}/_sim/payment_intents/{reference}/complete_action", self.provider);
        let body = json!({"outcome": outcome}).to_string();
        let answer = self.http.post(url).header("content-type", "application/json").body(body).send().await?;
        ensure!(answer.status().is_success(), "the challenge was refused: {}", answer.status());
        Ok(())
    }

    /// Every value of every table of the service as text.
    pub async fn dump(&self) -> Result<String> {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text)]
            line: String,
        }
        let mut admin = self.admin().await?;
        let tables = "SELECT relname::text AS line FROM pg_class WHERE relkind = 'r' AND relnamespace = 'om_payment'::regnamespace";
        let tables: Vec<Line> = diesel::sql_query(tables).load(&mut admin).await?;
        let mut all = String::new();
        for table in tables {
            let rows = format!("SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') AS line FROM {} t", table.line);
            let rows: Line = diesel::sql_query(rows.as_str()).get_result(&mut admin).await?;
            all.push_str(&rows.line);
        }
        Ok(all)
    }

    /// What the provider counted of an operation.
    pub async fn calls(&self, op: &str) -> Result<u64> {
        let text = self.http.get(format!("{}/_sim/calls", self.provider)).send().await?.text().await?;
        Ok(serde_json::from_str::<Value>(&text)?[op].as_u64().unwrap_or(0))
    }

    /// The body of an event about a dispute.
    pub fn dispute(event: &str, dispute: &str, reference: &str, amount: i64, status: &str) -> Vec<u8> {
        let object = json!({"object": "dispute", "id": dispute, "payment_intent": reference, "amount": amount,
            "currency": "usd", "status": status});
        json!({"id": event, "type": "charge.dispute.updated", "data": {"object": object}}).to_string().into_bytes()
    }

    /// The body of an event about an intent, as it stands at the provider now.
    pub async fn event(&self, id: &str, kind: &str, payment: &str) -> Result<Vec<u8>> {
        let url = format!("{}/v1/payment_intents/search?query=metadata['payment']:'{payment}'", self.provider);
        let text = self.http.get(url).bearer_auth("sk_test_1").send().await?.text().await?;
        let found: Value = serde_json::from_str(&text)?;
        let intent = found["data"].get(0).context("the provider has no such intent")?;
        Ok(json!({"id": id, "type": kind, "data": {"object": intent}}).to_string().into_bytes())
    }

    /// One number, asked behind the service's back: `SELECT count(*) AS n …`.
    pub async fn count(&self, sql: &str) -> Result<i64> {
        let count: Count = diesel::sql_query(sql).get_result(&mut self.admin().await?).await?;
        Ok(count.n)
    }

    /// Events of a type in the log.
    pub async fn events(&self, name: &str) -> Result<i64> {
        let query = diesel::sql_query("SELECT count(*) AS n FROM events WHERE type = $1");
        let query = query.bind::<Text, _>(format!("ordermesh.payment.v1.{name}"));
        let count: Count = query.get_result(&mut self.admin().await?).await?;
        Ok(count.n)
    }

    /// Changes rows behind the service's back, such as making time pass.
    pub async fn tamper(&self, sql: &str) -> Result<()> {
        Ok(self.admin().await?.batch_execute(sql).await?)
    }

    async fn admin(&self) -> Result<pg::Conn> {
        let mut admin = self.db.admin().await?;
        admin.batch_execute("SET search_path = om_payment").await?;
        Ok(admin)
    }
}

pub fn usd(minor: i64) -> Money {
    Money { currency_code: "USD".to_owned(), amount_minor: minor }
}

pub fn minor(money: &Option<Money>) -> i64 {
    money.as_ref().map_or(-1, |money| money.amount_minor)
}

/// (authorized, captured, voided, refunded)
pub fn amounts(payment: &Payment) -> (i64, i64, i64, i64) {
    (minor(&payment.authorized), minor(&payment.captured), minor(&payment.voided), minor(&payment.refunded))
}

/// Waits as long as jobs may take.
pub const SOON: Duration = Duration::from_secs(60);

pub fn reason<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.expect_err("must be refused").reason().to_owned()
}
