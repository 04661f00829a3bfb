//! The life of one payment intent: pure transitions, amounts in minor units.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::refusal::Refusal;

/// Where an intent stands, in Stripe's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresAction,
    RequiresCapture,
    Succeeded,
    Canceled,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::RequiresPaymentMethod => "requires_payment_method",
            Status::RequiresAction => "requires_action",
            Status::RequiresCapture => "requires_capture",
            Status::Succeeded => "succeeded",
            Status::Canceled => "canceled",
        }
    }
}

/// A customer's payment; amounts in minor units of `currency`.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) amount: i64,
    /// Still held; never more than `amount - received`.
    pub(super) capturable: i64,
    pub(super) received: i64,
    /// Never more than `received`.
    pub(super) refunded: i64,
    pub(super) currency: String,
    pub(super) payment_method: String,
    pub(super) manual_capture: bool,
    /// Captures before the final one were asked for.
    pub(super) multicapture: bool,
    /// Raising the hold was asked for.
    pub(super) incremental: bool,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) status: Status,
    pub(super) charge: Option<String>,
    pub(super) decline_code: Option<&'static str>,
    pub(super) created: i64,
    /// It is in the second provider's books.
    pub(super) second: bool,
}

impl Intent {
    /// Holds the amount, and takes it at once when capture is automatic.
    pub(super) fn authorize(&mut self, charge: String) {
        self.charge = Some(charge);
        if self.manual_capture {
            self.status = Status::RequiresCapture;
            self.capturable = self.amount;
        } else {
            self.status = Status::Succeeded;
            self.received = self.amount;
        }
    }

    /// The bank says no; another payment method would be needed.
    pub(super) fn decline(&mut self, code: &'static str) {
        self.status = Status::RequiresPaymentMethod;
        self.decline_code = Some(code);
    }

    /// Holds `target` in total and returns how much more that is.
    pub(super) fn increment(&mut self, target: i64) -> Result<i64, Refusal> {
        if self.status != Status::RequiresCapture {
            return Err(self.unexpected("incremented"));
        }
        if !self.incremental {
            return Err(Refusal::NotAskedFor("request_incremental_authorization"));
        }
        let more = target - self.amount;
        if more <= 0 {
            return Err(Refusal::Invalid("amount"));
        }
        self.amount = target;
        self.capturable += more;
        Ok(more)
    }

    /// Takes `amount` (default: all that is held); a final capture releases the rest.
    pub(super) fn capture(&mut self, amount: Option<i64>, final_capture: bool) -> Result<i64, Refusal> {
        if self.status != Status::RequiresCapture {
            return Err(self.unexpected("captured"));
        }
        if !final_capture && !self.multicapture {
            return Err(Refusal::NotAskedFor("request_multicapture"));
        }
        let amount = amount.unwrap_or(self.capturable);
        // Zero with final_capture releases what is left without taking anything.
        if amount < 0 || (amount == 0 && !final_capture) {
            return Err(Refusal::Invalid("amount_to_capture"));
        }
        if amount > self.capturable {
            return Err(Refusal::AmountTooLarge);
        }
        self.received += amount;
        self.capturable -= amount;
        if final_capture || self.capturable == 0 {
            self.capturable = 0;
            self.status = Status::Succeeded;
        }
        Ok(amount)
    }

    /// Releases what is held and returns it; captured money stays refundable.
    pub(super) fn cancel(&mut self) -> Result<i64, Refusal> {
        if matches!(self.status, Status::Succeeded | Status::Canceled) {
            return Err(self.unexpected("canceled"));
        }
        self.status = Status::Canceled;
        Ok(std::mem::take(&mut self.capturable))
    }

    /// Gives back `amount` (default: all that is left).
    pub(super) fn refund(&mut self, amount: Option<i64>) -> Result<i64, Refusal> {
        if self.received == 0 {
            return Err(self.unexpected("refunded"));
        }
        let left = self.received - self.refunded;
        if left == 0 {
            return Err(Refusal::AlreadyRefunded);
        }
        let amount = amount.unwrap_or(left);
        if amount <= 0 {
            return Err(Refusal::Invalid("amount"));
        }
        if amount > left {
            return Err(Refusal::AmountTooLarge);
        }
        self.refunded += amount;
        Ok(amount)
    }

    /// The charge with what the bank said of address and security code.
    pub(super) fn charge_json(&self) -> Option<Value> {
        let said = |wrong: &str| if self.payment_method == wrong { "fail" } else { "pass" };
        let (avs, cvc) = (said("pm_sim_avs_fail"), said("pm_sim_cvc_fail"));
        let checks = json!({"address_line1_check": avs, "address_postal_code_check": avs, "cvc_check": cvc});
        self.charge.as_ref().map(|id| {
            json!({
                "id": id,
                "object": "charge",
                "amount": self.amount,
                "amount_captured": self.received,
                "amount_refunded": self.refunded,
                "currency": self.currency,
                "payment_intent": self.id,
                "payment_method_details": {"type": "card", "card": {"checks": checks}},
                "metadata": self.metadata,
            })
        })
    }

    /// The intent as Stripe shows it with its charge whole.
    pub(super) fn json(&self) -> Value {
        let next_action = (self.status == Status::RequiresAction).then(|| {
            let url = format!("https://hooks.sim.invalid/3d_secure/{}", self.id);
            json!({"type": "redirect_to_url", "redirect_to_url": {"url": url}})
        });
        let error =
            self.decline_code.map(|code| json!({"type": "card_error", "code": "card_declined", "decline_code": code}));
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": self.capturable,
            "amount_received": self.received,
            "currency": self.currency,
            "status": self.status.as_str(),
            "capture_method": if self.manual_capture { "manual" } else { "automatic" },
            "payment_method": self.payment_method,
            "metadata": self.metadata,
            "next_action": next_action,
            "latest_charge": self.charge_json(),
            "last_payment_error": error,
            "created": self.created,
        })
    }

    pub(super) fn unexpected(&self, verb: &'static str) -> Refusal {
        Refusal::UnexpectedState { verb, status: self.status.as_str(), intent: self.json() }
    }
}
