//! May this customer buy this? (ORD-22, ORD-25, ORD-27)

use ctx::Ctx;
use fault::{Fault, Kind};
use ids::UserId;
use jiff::tz::TimeZone;

use crate::app::App;
use crate::domain::basket::Quote;
use crate::domain::customer::{check_age, check_standing};

impl App {
    /// Checks who buys and whether he is old enough for it; who cannot be looked up waits, unless the tenant says
    /// otherwise, and is then of no known age.
    ///
    /// # Errors
    /// Invalid `CUSTOMER_UNKNOWN`; Denied `CUSTOMER_NOT_ELIGIBLE`, `EMAIL_NOT_VERIFIED`; Precondition
    /// `PRODUCT_RESTRICTED`; Unavailable when nobody can say.
    pub(super) async fn check_customer(&self, ctx: &Ctx, customer: UserId, quote: &Quote) -> Result<(), Fault> {
        let policy = self.catalog.policy(ctx).await?;
        let today = ctx.now.to_zoned(TimeZone::UTC).date();
        let birth_date = match self.catalog.customer(ctx, customer).await {
            Ok(user) => {
                check_standing(&user, &policy)?;
                user.birth_date.clone()
            }
            Err(fault) if fault.kind() == Kind::NotFound => {
                return Err(Fault::invalid("customer_id", "CUSTOMER_UNKNOWN", "the tenant has no such user"));
            }
            Err(fault) if policy.unknown_customers_may_buy => {
                tracing::warn!(%fault, %customer, "a customer was not looked up");
                String::new()
            }
            Err(fault) => return Err(fault),
        };
        check_age(&quote.restricted, &birth_date, today)
    }
}
