//! What staff, subscriptions and operators do.

use anyhow::{Context as _, Result, ensure};
use contract::Event;
use contract::common::v1::Money;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::reconciliation_service_client::ReconciliationServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, Discrepancy, GetReconciliationReportRequest, InquirePaymentRequest,
    ListDiscrepanciesRequest, Payment, ReconciliationReport, Refund, RefundPaymentRequest, ResolveDiscrepancyRequest,
    RunReconciliationRequest, VoidPaymentRequest,
};
use ctx::Role;
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Text};
use diesel_async::RunQueryDsl;
use fault::Fault;
use hmac::{Hmac, KeyInit, Mac};
use ids::OrderId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use serve::auth::SigningKey;
use serve::{Mesh, Settings};
use sha2::Sha256;

use super::{ASKED, World, usd};

impl World {
    /// Another process of the service on the same database, with other master keys.
    pub async fn another(&self, master_keys: SecretString) -> Result<Self> {
        let mesh = Mesh::new(SigningKey::from_pkcs8("test", &SigningKey::generate())?);
        let settings = Settings { master_keys, ..self.settings.clone() };
        Self::within(self.tenant, self.db.clone(), mesh, settings, self.running.simulators.clone()).await
    }

    /// Asks for the money of a round of paying an order.
    pub async fn authorize_round(&self, order: OrderId, round: i32, method: &str, now: bool) -> Result<Payment, Fault> {
        let (peers, mut client): (_, PaymentServiceClient<_>) = self.client("order");
        let message = AuthorizePaymentRequest {
            order_id: order.to_string(),
            amount: Some(usd(ASKED)),
            payment_method: method.to_owned(),
            capture_now: now,
            round,
            ..Default::default()
        };
        Ok(client.authorize_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    pub async fn inquire_round(&self, order: OrderId, round: i32) -> Result<Payment, Fault> {
        let (peers, mut client): (_, PaymentServiceClient<_>) = self.client("order");
        let message = InquirePaymentRequest { order_id: order.to_string(), round };
        Ok(client.inquire_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    pub async fn void_round(&self, order: OrderId, round: i32) -> Result<Payment, Fault> {
        let (peers, mut client): (_, PaymentServiceClient<_>) = self.client("order");
        let message = VoidPaymentRequest { order_id: order.to_string(), round };
        Ok(client.void_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    /// A charge while the customer is away.
    pub async fn authorize_away(&self, order: OrderId, method: &str, mandate: &str) -> Result<Payment, Fault> {
        let (peers, mut client): (_, PaymentServiceClient<_>) = self.client("order");
        let message = AuthorizePaymentRequest {
            order_id: order.to_string(),
            amount: Some(usd(ASKED)),
            payment_method: method.to_owned(),
            mandate: mandate.to_owned(),
            challenge: true,
            ..Default::default()
        };
        Ok(client.authorize_payment(peers.request(&self.ctx(), message)).await?.into_inner())
    }

    /// The mandates under which the provider held money for an order.
    pub async fn mandates(&self, order: OrderId) -> Result<Vec<String>> {
        let text = self.http.get(format!("{}/_sim/ledger", self.provider)).send().await?.text().await?;
        let lines: Vec<Value> = serde_json::from_str(&text)?;
        let ours = |line: &&Value| line["op"] == "authorize" && line["metadata"]["order"] == order.to_string();
        let mandate = |line: &Value| line["metadata"]["mandate"].as_str().unwrap_or_default().to_owned();
        Ok(lines.iter().filter(ours).map(mandate).collect())
    }

    /// What the second provider notifies of a payment as it stands there now.
    pub async fn notification(&self, id: &str, code: &str, reference: &str) -> Result<Vec<u8>> {
        let url = format!("{}/adyen/v71/payments/{reference}", self.provider);
        let text = self.http.get(url).header("X-API-Key", "AQE_test").send().await?.text().await?;
        let payment: Value = serde_json::from_str(&text)?;
        let item = json!({"pspReference": id, "eventCode": code, "eventDate": Timestamp::now(), "payment": payment});
        Ok(json!({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}).to_string().into_bytes())
    }

    /// The second provider's signature of a notification.
    pub fn sign_second(&self, body: &[u8], at: i64) -> String {
        let secret = self.settings.webhook_secret("payments.second", self.tenant);
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any key will do");
        let mac = mac.chain_update(format!("{at}:")).chain_update(body);
        format!("{at}:{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Somebody else lets a hold at the second provider go.
    pub async fn cancelled_at_second(&self, reference: &str) -> Result<()> {
        let url = format!("{}/adyen/v71/payments/{reference}/cancels", self.provider);
        let body = json!({"paymentPspReference": reference}).to_string();
        let asked = self.http.post(url).header("X-API-Key", "AQE_other").body(body).send().await?;
        ensure!(asked.status().is_success(), "the provider refused: {}", asked.status());
        Ok(())
    }

    /// A refund in some currency.
    pub async fn refund_in(&self, currency: &str, payment: &str, minor: i64) -> Result<Refund, Fault> {
        let (peers, mut client): (_, PaymentServiceClient<_>) = self.client("order");
        let amount = Some(Money { currency_code: currency.to_owned(), amount_minor: minor });
        let (payment_id, reason) = (payment.to_owned(), "damaged".to_owned());
        let message = RefundPaymentRequest { payment_id, amount, reason };
        Ok(client.refund_payment(peers.request_keyed(&self.ctx(), currency, message)).await?.into_inner())
    }

    /// Somebody else asks the provider, who tells nobody.
    pub async fn behind_our_back(&self, path: &str) -> Result<()> {
        let asked = self.http.post(format!("{}/v1/{path}", self.provider)).bearer_auth("sk_other").send().await?;
        ensure!(asked.status().is_success(), "the provider refused: {}", asked.status());
        Ok(())
    }

    /// The newest refund of a payment, as the provider shows it.
    pub async fn their_refund(&self, reference: &str) -> Result<Value> {
        let url = format!("{}/v1/refunds?payment_intent={reference}", self.provider);
        let text = self.http.get(url).bearer_auth("sk_test_1").send().await?.text().await?;
        let found: Value = serde_json::from_str(&text)?;
        Ok(found["data"].get(0).context("the provider has no such refund")?.clone())
    }

    /// The bank ends the newest refund of a payment, well or badly; the refund then.
    pub async fn end_refund(&self, reference: &str, outcome: &str) -> Result<Value> {
        let refund = self.their_refund(reference).await?;
        let url = format!("{}/_sim/refunds/{}", self.provider, refund["id"].as_str().unwrap_or_default());
        let body = json!({"outcome": outcome}).to_string();
        let answer = self.http.post(url).header("content-type", "application/json").body(body).send().await?;
        ensure!(answer.status().is_success(), "the refund does not end: {}", answer.status());
        self.their_refund(reference).await
    }

    /// The bank ends the newest refund of a payment at the second provider, whose id of it is answered.
    pub async fn end_refund_at_second(&self, reference: &str, outcome: &str) -> Result<String> {
        let url = format!("{}/adyen/v71/payments/{reference}/refunds", self.provider);
        let text = self.http.get(url).header("X-API-Key", "AQE_test").send().await?.text().await?;
        let found: Value = serde_json::from_str(&text)?;
        let refund = found["refunds"][0]["pspReference"].as_str().context("the provider has no such refund")?;
        self.end_at_second(refund, outcome).await?;
        Ok(refund.to_owned())
    }

    /// The bank ends a refund at the second provider, well or badly.
    pub async fn end_at_second(&self, refund: &str, outcome: &str) -> Result<()> {
        let url = format!("{}/_sim/adyen/refunds/{refund}", self.provider);
        let body = json!({"outcome": outcome}).to_string();
        let answer = self.http.post(url).header("content-type", "application/json").body(body).send().await?;
        ensure!(answer.status().is_success(), "the refund does not end: {}", answer.status());
        Ok(())
    }

    /// The published events of a type, in order.
    pub async fn told<E: Event>(&self) -> Result<Vec<E>> {
        #[derive(QueryableByName)]
        struct Payload {
            #[diesel(sql_type = Binary)]
            payload: Vec<u8>,
        }
        let query = diesel::sql_query("SELECT payload FROM events WHERE type = $1 ORDER BY xid, gpos");
        let found: Vec<Payload> = query.bind::<Text, _>(E::TYPE).load(&mut self.admin().await?).await?;
        found.into_iter().map(|event| Ok(E::decode(&*event.payload)?)).collect()
    }

    /// The body of an event about a refund or charge.
    pub fn refund_event(id: &str, kind: &str, object: &Value) -> Vec<u8> {
        json!({"id": id, "type": kind, "data": {"object": object}}).to_string().into_bytes()
    }

    /// Today in UTC.
    pub fn today() -> String {
        Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()
    }

    fn books(&self) -> ReconciliationServiceClient<tonic::service::Routes> {
        ReconciliationServiceClient::new(self.routes.clone())
    }

    pub async fn reconcile(&self, day: &str) -> Result<ReconciliationReport, Fault> {
        self.reconcile_with("stripe", day).await
    }

    pub async fn reconcile_with(&self, provider: &str, day: &str) -> Result<ReconciliationReport, Fault> {
        let message = RunReconciliationRequest { provider: provider.to_owned(), day: day.to_owned() };
        Ok(self.books().run_reconciliation(self.personal(Role::TenantAdmin, message)).await?.into_inner())
    }

    pub async fn report(&self, day: &str) -> Result<ReconciliationReport, Fault> {
        let message = GetReconciliationReportRequest { provider: "stripe".to_owned(), day: day.to_owned() };
        Ok(self.books().get_reconciliation_report(self.personal(Role::Csr, message)).await?.into_inner())
    }

    /// What differs and was not ended, page by page.
    pub async fn discrepancies(&self) -> Result<Vec<Discrepancy>, Fault> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let message = ListDiscrepanciesRequest { page_size: 2, page_token, ..Default::default() };
            let page = self.books().list_discrepancies(self.personal(Role::Csr, message)).await?.into_inner();
            all.extend(page.discrepancies);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    pub async fn settle(&self, discrepancy: &str, accept: bool) -> Result<Discrepancy, Fault> {
        let message = ResolveDiscrepancyRequest {
            discrepancy_id: discrepancy.to_owned(),
            reason: "looked at it".to_owned(),
            accept,
        };
        Ok(self.books().resolve_discrepancy(self.personal(Role::TenantAdmin, message)).await?.into_inner())
    }
}
