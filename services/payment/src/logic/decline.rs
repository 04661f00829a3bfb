//! Refusals after which a card is never tried again: the networks forbid it, and fine the shop that does it.

use ctx::Ctx;
use fault::Fault;
use ids::OrderId;

use super::App;

/// Codes that no later try changes, by docs.stripe.com/declines/codes; then the second provider's words for the same.
/// Any other, such as `do_not_honor` or `insufficient_funds`, may end better another day.
const FINAL: [&str; 17] = [
    "fraudulent",
    "incorrect_number",
    "invalid_account",
    "invalid_number",
    "lost_card",
    "merchant_blacklist",
    "pickup_card",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "security_violation",
    "stolen_card",
    "stop_payment_order",
    "Blocked Card",
    "FRAUD",
    "Invalid Card Number",
    "Restricted Card",
];

/// Whether a card that was refused so must not be tried again.
fn is_final(code: &str) -> bool {
    FINAL.contains(&code)
}

impl App {
    /// Refuses a card that was refused for good when the order was to be paid with it before, up to this round.
    ///
    /// # Errors
    /// Precondition `PAYMENT_METHOD_REFUSED` with the provider's `code`.
    pub(super) async fn check_method(&self, ctx: &Ctx, order: OrderId, round: i32, method: &str) -> Result<(), Fault> {
        let refused = self.store().refused_with(ctx.tenant, order, round, is_final).await?;
        match refused.into_iter().find(|(instrument, _)| instrument.method == method) {
            Some((_, code)) => {
                let text = "the bank refused this card for good; another one is needed";
                Err(Fault::precondition("PAYMENT_METHOD_REFUSED", text).with("code", code))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_final;

    #[test]
    fn pay_07_cards_that_are_lost_stolen_or_revoked_are_refused_for_good_and_empty_ones_are_not() {
        for code in ["stolen_card", "lost_card", "pickup_card", "restricted_card", "fraudulent", "FRAUD"] {
            assert!(is_final(code), "{code}");
        }
        for code in ["do_not_honor", "insufficient_funds", "generic_decline", "try_again_later", ""] {
            assert!(!is_final(code), "{code}");
        }
    }
}
