//! What staff, subscriptions and operators do.

use anyhow::Result;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::reconciliation_service_client::ReconciliationServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, Discrepancy, GetReconciliationReportRequest, InquirePaymentRequest,
    ListDiscrepanciesRequest, Payment, ReconciliationReport, ResolveDiscrepancyRequest, RunReconciliationRequest,
    VoidPaymentRequest,
};
use ctx::Role;
use fault::Fault;
use ids::OrderId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::Value;
use serve::auth::SigningKey;
use serve::{Mesh, Settings};

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

    /// Today in UTC.
    pub fn today() -> String {
        Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()
    }

    fn books(&self) -> ReconciliationServiceClient<tonic::service::Routes> {
        ReconciliationServiceClient::new(self.routes.clone())
    }

    pub async fn reconcile(&self, day: &str) -> Result<ReconciliationReport, Fault> {
        let message = RunReconciliationRequest { provider: "stripe".to_owned(), day: day.to_owned() };
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
