//! What a tenant decided about its shop: the seeds' figures until it decides otherwise (ORD-23, ORD-24).

use std::sync::Arc;

use contract::common::v1::Money;
use contract::identity::v1::{
    CaptureMode, HoldExpiry, InventoryOutage, RiskFailMode, RiskPolicy, RiskScorer, ShippingRate, TaxRounding, TaxRule,
    TenantPolicy,
};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::Identity;
use crate::store;

/// A policy as it shall be.
#[derive(Debug, Clone)]
pub struct UpdatePolicy {
    /// The whole policy.
    pub policy: TenantPolicy,
    /// Version that the change is based on; none = whatever it is.
    pub based_on: Option<i32>,
}

impl Identity {
    /// The tenant's policy with its version as etag.
    ///
    /// # Errors
    /// Of the database.
    pub async fn get_policy(&self, ctx: &Ctx) -> Result<TenantPolicy, Fault> {
        let tenant = ctx.tenant;
        let found =
            self.pg.read("identity.get_policy", tenant, move |conn| store::policy(conn, tenant).boxed()).await?;
        let (policy, version) = found.unwrap_or_else(|| (defaults(), 0));
        Ok(TenantPolicy { etag: version.to_string(), ..policy })
    }

    /// Replaces the tenant's policy.
    ///
    /// # Errors
    /// Aborted ETAG_MISMATCH.
    pub async fn update_policy(&self, ctx: &Ctx, update: UpdatePolicy) -> Result<TenantPolicy, Fault> {
        let (context, update) = (ctx.clone(), Arc::new(update));
        let body = Arc::clone(&update);
        let version = self.pg.tx("identity.update_policy", ctx.tenant, move |conn| {
            let (ctx, update) = (context.clone(), Arc::clone(&body));
            async move { store::change_policy(conn, &ctx, &update.policy, update.based_on).await }.boxed()
        });
        let version = match version.await {
            Err(error) if pg::is_unique(&error, "policies_pkey") => return Err(stale()),
            version => version?,
        };
        Ok(TenantPolicy { etag: version.to_string(), ..update.policy.clone() })
    }
}

/// What a writer is told who did not see the newest version.
pub(crate) fn stale() -> Fault {
    Fault::aborted("ETAG_MISMATCH", "the policy was changed meanwhile")
}

/// The policy of a tenant that never changed it.
pub fn defaults() -> TenantPolicy {
    let tax = |country: &str, region: &str, class: &str, rate_ppm| TaxRule {
        country_code: country.to_owned(),
        region: region.to_owned(),
        tax_class: class.to_owned(),
        rate_ppm,
    };
    let flat = |currency: &str, minor: [i64; 3]| {
        let services = ["STANDARD", "EXPRESS", "OVERNIGHT"].into_iter().zip(minor);
        let currency_code = currency.to_owned();
        services.map(move |(service, amount_minor)| ShippingRate {
            service: service.to_owned(),
            price: Some(Money { currency_code: currency_code.clone(), amount_minor }),
        })
    };
    let western = [499, 1_499, 2_999];
    TenantPolicy {
        min_order_value_minor: 500,
        max_order_value_minor: 1_000_000,
        min_total_exclusive_minor: 500,
        max_units: 50,
        max_lines: 50,
        tax_rounding: TaxRounding::Line.into(),
        prices_include_tax: false,
        tax_rules: vec![
            tax("US", "CA", "standard", 82_500),
            tax("DE", "", "standard", 190_000),
            tax("DE", "", "reduced", 70_000),
            tax("JP", "", "", 100_000),
        ],
        shipping_rates: flat("USD", western)
            .chain(flat("EUR", western))
            .chain(flat("JPY", [500, 1_200, 2_500]))
            .collect(),
        tax_shipping: false,
        reservation_hold_s: 900,
        split_lines: true,
        currencies: ["USD", "EUR", "JPY"].map(str::to_owned).to_vec(),
        duplicate_window_s: 120,
        refuse_duplicates: false,
        require_verified_email: true,
        unknown_customers_may_buy: false,
        risk: Some(RiskPolicy {
            fail_mode: RiskFailMode::Review.into(),
            velocity_limit: 5,
            velocity_window_s: 600,
            challenge_score: 300,
            review_score: 500,
            decline_score: 800,
            decline_cvv_mismatch: false,
            scorer: RiskScorer::Rules.into(),
        }),
        hold_expiry: HoldExpiry::Reauthorize.into(),
        inventory_outage: InventoryOutage::Accept.into(),
        dunning_days: vec![1, 3, 5],
        capture_mode: CaptureMode::OnShipment.into(),
        promotions: Vec::new(),
        etag: String::new(),
    }
}
