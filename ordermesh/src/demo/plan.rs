use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::text;
use crate::rest::Rest;
use crate::seed;

const ORDERS: &str = include_str!("../../demo/orders.json");

/// One order of the file and how it must end.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Planned {
    pub tenant: String,
    /// State at the end, without its prefix.
    pub expect: String,
    /// Reason of that state, when the file names one.
    #[serde(default)]
    pub reason: Option<String>,
    /// "complete": the customer passes 3-D Secure when asked.
    #[serde(default)]
    pub customer: Option<String>,
    /// Body of `POST /api/v1/orders`.
    pub order: Value,
}

/// An order that was placed, as last seen.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub plan: Planned,
    pub order: Value,
}

impl Placed {
    pub(super) fn id(&self) -> &str {
        text(&self.order, "id")
    }

    pub(super) fn state(&self) -> &str {
        text(&self.order, "state").trim_start_matches("ORDER_STATE_")
    }

    /// "acme #7"
    pub(super) fn name(&self) -> String {
        let number = &self.order["orderNumber"];
        let number = number.as_str().map_or_else(|| number.to_string(), str::to_owned);
        format!("{} #{number}", self.plan.tenant)
    }

    pub(super) fn units(&self) -> i64 {
        let items = self.plan.order["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item["quantity"].as_i64()).sum()
    }

    /// Recipient and subject of the mail that says it is certain.
    pub(super) fn confirmation(&self) -> (String, String) {
        let number = self.name().rsplit('#').next().unwrap_or_default().to_owned();
        (seed::login(&self.plan.tenant, "customer").email, format!("Your order {number} is confirmed"))
    }

    pub(super) fn delivered(&self) -> bool {
        self.plan.expect == "DELIVERED"
    }
}

/// The people of one shop that the demonstration acts as.
#[derive(Debug)]
pub(super) struct Desk {
    pub tenant: &'static str,
    pub customer: Rest,
    pub staff: Rest,
}

/// The people of all shops.
#[derive(Debug)]
pub(super) struct Desks(pub Vec<Desk>);

impl Desks {
    pub(super) async fn open(anonymous: &Rest) -> Result<Self> {
        let mut desks = Vec::new();
        for tenant in seed::TENANTS {
            let customer = anonymous.login(&seed::login(tenant, "customer")).await?;
            let staff = anonymous.login(&seed::login(tenant, "csr")).await?;
            desks.push(Desk { tenant, customer, staff });
        }
        Ok(Self(desks))
    }

    pub(super) fn of(&self, tenant: &str) -> Result<&Desk> {
        self.0.iter().find(|desk| desk.tenant == tenant).with_context(|| format!("there is no shop {tenant}"))
    }

    pub(super) async fn place_all(&self) -> Result<Vec<Placed>> {
        let plans: Vec<Planned> = serde_json::from_str(ORDERS).context("demo/orders.json")?;
        let mut placed = Vec::new();
        for (position, plan) in plans.into_iter().enumerate() {
            let key = format!("demo-{position}");
            let customer = &self.of(&plan.tenant)?.customer;
            let order = customer
                .post("/api/v1/orders", &plan.order, Some(&key))
                .await
                .with_context(|| format!("place order {} of demo/orders.json", position + 1))?;
            placed.push(Placed { plan, order });
        }
        Ok(placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_twenty_orders_of_both_shops_and_every_kind_of_end() {
        let plans: Vec<Planned> = serde_json::from_str(ORDERS).unwrap();
        let count = |expect: &str| plans.iter().filter(|plan| plan.expect == expect).count();
        assert_eq!((plans.len(), count("DELIVERED"), count("PAYMENT_FAILED"), count("FAILED")), (20, 17, 2, 1));
        assert!(seed::TENANTS.iter().all(|tenant| plans.iter().filter(|plan| plan.tenant == *tenant).count() == 10));
        assert_eq!(plans.iter().filter(|plan| plan.customer.is_some()).count(), 1);
    }
}
