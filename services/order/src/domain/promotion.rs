//! Price reductions of the tenant's policy: which one a basket gets, and what it takes off (rule M4).

use contract::identity::v1::{Promotion, TenantPolicy};
use contract::order::v1::OrderPromotion;
use fault::Violations;

use crate::domain::pricing::Discount;

/// Which reduction somebody wants.
#[derive(Debug, Clone, Default)]
pub enum Wanted {
    /// None.
    #[default]
    Nothing,
    /// The one of this code; it must be given now.
    Code(String),
    /// The one a draft began with, if it is still given.
    Kept(String),
    /// With the terms that were agreed to, whatever the policy says by now.
    Agreed(OrderPromotion),
}

impl Wanted {
    /// What a request asks for.
    pub fn of_code(code: String) -> Self {
        if code.is_empty() { Self::Nothing } else { Self::Code(code) }
    }

    /// What a draft goes on with.
    pub fn kept(promotion: Option<&OrderPromotion>) -> Self {
        promotion.map_or(Self::Nothing, |promotion| Self::Kept(promotion.code.clone()))
    }

    /// What a placed order goes on with.
    pub fn agreed(promotion: Option<&OrderPromotion>) -> Self {
        promotion.map_or(Self::Nothing, |promotion| Self::Agreed(promotion.clone()))
    }
}

/// The terms of what is wanted, at a second since 1970; a code that gives nothing is named in `wrong`.
pub fn terms(
    wanted: &Wanted,
    policy: &TenantPolicy,
    currency: &str,
    now: i64,
    wrong: &mut Violations,
) -> Option<OrderPromotion> {
    let (code, strict) = match wanted {
        Wanted::Nothing => return None,
        Wanted::Agreed(terms) => return Some(terms.clone()),
        Wanted::Code(code) => (code, true),
        Wanted::Kept(code) => (code, false),
    };
    let found = policy.promotions.iter().find(|promotion| promotion.code == *code);
    match found.ok_or(("PROMOTION_UNKNOWN", "this shop has no such code")).and_then(|it| given(it, currency, now)) {
        Ok(terms) => Some(terms),
        Err((reason, text)) => {
            if strict {
                wrong.add("promotion_code", reason, text);
            }
            None
        }
    }
}

/// What terms take off.
pub fn discount(terms: Option<&OrderPromotion>) -> Discount {
    match terms {
        None => Discount::None,
        Some(terms) => {
            terms.amount.as_ref().map_or(Discount::Share(terms.rate_ppm), |off| Discount::Amount(off.amount_minor))
        }
    }
}

fn given(promotion: &Promotion, currency: &str, now: i64) -> Result<OrderPromotion, (&'static str, &'static str)> {
    if promotion.start_time.is_some_and(|start| now < start.seconds) {
        return Err(("PROMOTION_NOT_STARTED", "it is not given yet"));
    }
    if promotion.end_time.is_some_and(|end| now >= end.seconds) {
        return Err(("PROMOTION_ENDED", "it is not given any more"));
    }
    if promotion.amount.as_ref().is_some_and(|off| off.currency_code != currency) {
        return Err(("PROMOTION_OTHER_CURRENCY", "it is given in another currency"));
    }
    let (code, amount) = (promotion.code.clone(), promotion.amount.clone());
    Ok(OrderPromotion { code, rate_ppm: promotion.rate_ppm, amount })
}

#[cfg(test)]
mod tests {
    use contract::common::v1::Money;
    use prost_types::Timestamp;

    use super::*;

    fn shop() -> TenantPolicy {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let euros = Some(Money { currency_code: "EUR".into(), amount_minor: 500 });
        let promotions = vec![
            Promotion { code: "TENTH".into(), rate_ppm: 100_000, start_time: at(10), end_time: at(20), amount: None },
            Promotion { code: "FIVER".into(), amount: euros, ..Promotion::default() },
        ];
        TenantPolicy { promotions, ..TenantPolicy::default() }
    }

    fn tried(wanted: &Wanted, currency: &str, now: i64) -> (Option<OrderPromotion>, Vec<String>) {
        let mut wrong = Violations::default();
        let terms = terms(wanted, &shop(), currency, now, &mut wrong);
        let reasons = wrong.finish().err().map(|fault| fault.violations().to_vec()).unwrap_or_default();
        (terms, reasons.into_iter().map(|violation| format!("{} {}", violation.field, violation.reason)).collect())
    }

    #[test]
    fn a_code_is_given_from_its_start_until_before_its_end_and_in_its_currency() {
        let code = |code: &str| Wanted::of_code(code.to_owned());
        for (code, currency, now, reason) in [
            (code("TENTH"), "USD", 9, "PROMOTION_NOT_STARTED"),
            (code("TENTH"), "USD", 20, "PROMOTION_ENDED"),
            (code("FIVER"), "USD", 10, "PROMOTION_OTHER_CURRENCY"),
            (code("tenth"), "USD", 10, "PROMOTION_UNKNOWN"),
        ] {
            assert_eq!(tried(&code, currency, now), (None, vec![format!("promotion_code {reason}")]));
        }
        for now in [10, 19] {
            let (terms, wrong) = tried(&code("TENTH"), "USD", now);
            assert_eq!((discount(terms.as_ref()), wrong.len()), (Discount::Share(100_000), 0));
        }
        assert_eq!(discount(tried(&code("FIVER"), "EUR", 0).0.as_ref()), Discount::Amount(500));
        assert_eq!(tried(&code(""), "EUR", 0), (None, Vec::new()));
    }

    #[test]
    fn a_draft_loses_what_has_ended_and_an_order_keeps_what_was_agreed() {
        let (terms, _) = tried(&Wanted::of_code("TENTH".into()), "USD", 10);
        assert_eq!(tried(&Wanted::kept(terms.as_ref()), "USD", 20), (None, Vec::new()));
        assert_eq!(tried(&Wanted::agreed(terms.as_ref()), "USD", 20), (terms, Vec::new()));
    }
}
