//! The provider's books: intents, their indexes, and answers kept per idempotency key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::adyen;
use super::expand::shown;
use super::intent::{Intent, Status};
use super::refunds::Refund;
use super::refusal::Refusal;
use super::reply::Reply;
use super::request::{Request, search_clauses};
use crate::control::Control;
use crate::webhook::Channel;

/// Metadata keys that can be searched without a scan.
const INDEXED: [&str; 2] = ["payment", "order"];
/// How long `pm_sim_timeout_then_success` holds its first answer back.
const SLOW_ANSWER: Duration = Duration::from_secs(30);
/// How often `pm_sim_flaky` fails per idempotency key.
const FLAKY_FAILURES: u32 = 2;

#[derive(Default)]
pub(super) struct Books {
    intents: HashMap<String, Intent>,
    by_metadata: HashMap<(&'static str, String), Vec<String>>,
    answers: HashMap<(String, String), Answer>,
    flaky: HashMap<String, u32>,
    /// In the order they were made.
    pub(super) refunds: Vec<Refund>,
    /// What ids of intents begin with; empty means Stripe's.
    prefix: &'static str,
}

/// What was answered to an idempotency key, and to which request.
struct Answer {
    fingerprint: u64,
    reply: Reply,
}

/// A change under way: the books, the desk, and the request's key.
pub(super) struct Change<'a> {
    pub(super) books: &'a mut Books,
    pub(super) control: &'a Arc<Control>,
    pub(super) request: &'a Request,
    /// Simulated time to hold the answer back.
    pub(super) hold: &'a mut Duration,
}

impl Books {
    /// Books of a provider whose ids begin with `prefix`.
    pub(super) fn with_prefix(prefix: &'static str) -> Self {
        Self { prefix, ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::with_prefix(self.prefix);
    }

    /// Intents made in a period, in order of their ids, behind one of them.
    pub(super) fn list(&self, period: std::ops::Range<i64>, behind: &str, limit: usize) -> Value {
        let mut found: Vec<&Intent> = self.intents.values().filter(|one| period.contains(&one.created)).collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let mut behind = found.into_iter().filter(|one| one.id.as_str() > behind);
        let data: Vec<Value> = behind.by_ref().take(limit).map(Intent::json).collect();
        json!({"object": "list", "data": data, "has_more": behind.next().is_some()})
    }

    /// The customer's bank wants money back, or decides: `needs_response`, `won` or `lost`.
    pub(super) fn dispute(
        &mut self,
        control: &Arc<Control>,
        id: &str,
        amount: i64,
        status: &str,
        dispute: Option<String>,
    ) -> Result<Value, Refusal> {
        let intent = self.intent_mut(id)?;
        if intent.received == 0 || !["needs_response", "won", "lost"].contains(&status) {
            return Err(Refusal::Invalid("status"));
        }
        let kind = if status == "needs_response" { "charge.dispute.created" } else { "charge.dispute.closed" };
        let object = json!({
            "id": dispute.unwrap_or_else(|| new_id("dp")),
            "object": "dispute",
            "amount": amount,
            "currency": intent.currency,
            "payment_intent": intent.id,
            "status": status,
        });
        tell(control, kind, intent, object.clone());
        Ok(object)
    }

    pub(super) fn intent(&self, id: &str) -> Result<&Intent, Refusal> {
        self.intents.get(id).ok_or_else(|| Refusal::NoSuchIntent(id.to_owned()))
    }

    /// Intents whose metadata match every clause; one clause must name `payment` or `order`.
    pub(super) fn search(&self, query: &str) -> Result<Value, Refusal> {
        let clauses = search_clauses(query)?;
        let (key, value) = clauses
            .iter()
            .find_map(|(key, value)| Some((INDEXED.iter().find(|k| *k == key)?, *value)))
            .ok_or(Refusal::Invalid("query"))?;
        let found = self.by_metadata.get(&(*key, value.to_owned()));
        let data: Vec<Value> = found
            .into_iter()
            .flatten()
            .filter_map(|id| self.intents.get(id))
            .filter(|intent| {
                let has = |(k, v): &(&str, &str)| intent.metadata.get(*k).is_some_and(|x| x == v);
                clauses.iter().all(has)
            })
            .map(Intent::json)
            .collect();
        Ok(json!({"object": "search_result", "data": data, "has_more": false}))
    }
}

impl Change<'_> {
    /// Runs `action` once per idempotency key; later calls get the first answer.
    pub(super) fn once(&mut self, op: &str, id: &str, action: fn(&mut Self, &str) -> Result<Value, Refusal>) -> Reply {
        let request = self.request;
        let fingerprint = request.fingerprint(op, id);
        let slot = request.idempotency_key.clone().map(|key| (request.api_key.clone(), key));
        if let Some(answer) = slot.as_ref().and_then(|slot| self.books.answers.get(slot)) {
            if answer.fingerprint == fingerprint {
                return answer.reply.again();
            }
            return Refusal::KeyReused.reply();
        }
        let (reply, keep) = match action(self, id) {
            Ok(value) => (Reply::new(StatusCode::OK, &value), true),
            Err(refusal) => (refusal.reply(), refusal.is_outcome()),
        };
        if let Some(slot) = slot.filter(|_| keep) {
            let reply = reply.clone();
            let answer = Answer { fingerprint, reply };
            self.books.answers.insert(slot, answer);
        }
        reply
    }

    pub(super) fn create(&mut self, _: &str) -> Result<Value, Refusal> {
        let mut intent = self.new_intent()?;
        match intent.payment_method.as_str() {
            "pm_sim_visa" | "pm_sim_avs_fail" | "pm_sim_cvc_fail" | "pm_sim_refund_pending" => {}
            "pm_sim_timeout_then_success" => *self.hold = SLOW_ANSWER,
            "pm_sim_flaky" => self.fail_at_first()?,
            "pm_sim_3ds_required" => intent.status = Status::RequiresAction,
            "pm_sim_declined" => intent.decline("generic_decline"),
            "pm_sim_insufficient_funds" => intent.decline("insufficient_funds"),
            "pm_sim_stolen_card" => intent.decline("stolen_card"),
            unknown => return Err(Refusal::NoSuchPaymentMethod(unknown.to_owned())),
        }
        let wished = self.request.text("payment_method_options[card][request_three_d_secure]");
        if matches!(wished, Ok("any" | "challenge")) && intent.decline_code.is_none() {
            intent.status = Status::RequiresAction;
        }
        // Nobody is there whom the bank could ask.
        if self.request.flag("off_session", false)? && intent.status == Status::RequiresAction {
            intent.decline("authentication_required");
        }
        let undecided = intent.status == Status::RequiresPaymentMethod;
        if undecided && intent.decline_code.is_none() {
            authorize(&mut intent, self.control, self.key());
        }
        let shown = intent.json();
        let declined = intent.decline_code;
        if let Some(decline_code) = declined {
            notify(self.control, "payment_intent.payment_failed", &intent);
            self.books.insert(intent);
            let intent = shown;
            return Err(Refusal::Declined { decline_code, intent });
        }
        self.books.insert(intent);
        Ok(shown)
    }

    pub(super) fn capture(&mut self, id: &str) -> Result<Value, Refusal> {
        let amount = self.request.number("amount_to_capture")?;
        let last = self.request.flag("final_capture", true)?;
        let intent = self.books.intent_mut(id)?;
        let captured = intent.capture(amount, last)?;
        let key = self.request.idempotency_key.as_deref();
        record(self.control, "capture", intent, captured, key);
        let event = if intent.status == Status::Succeeded {
            "payment_intent.succeeded"
        } else {
            "payment_intent.amount_capturable_updated"
        };
        notify(self.control, event, intent);
        Ok(intent.json())
    }

    pub(super) fn increment(&mut self, id: &str) -> Result<Value, Refusal> {
        let target = self.request.number("amount")?.ok_or(Refusal::Missing("amount"))?;
        let intent = self.books.intent_mut(id)?;
        let more = intent.increment(target)?;
        let key = self.request.idempotency_key.as_deref();
        record(self.control, "increment", intent, more, key);
        notify(self.control, "payment_intent.amount_capturable_updated", intent);
        Ok(intent.json())
    }

    pub(super) fn cancel(&mut self, id: &str) -> Result<Value, Refusal> {
        let intent = self.books.intent_mut(id)?;
        let released = intent.cancel()?;
        let key = self.request.idempotency_key.as_deref();
        record(self.control, "void", intent, released, key);
        notify(self.control, "payment_intent.canceled", intent);
        Ok(intent.json())
    }

    fn key(&self) -> Option<&str> {
        self.request.idempotency_key.as_deref()
    }

    fn new_intent(&self) -> Result<Intent, Refusal> {
        let request = self.request;
        let amount = request.number("amount")?.ok_or(Refusal::Missing("amount"))?;
        if amount <= 0 {
            return Err(Refusal::Invalid("amount"));
        }
        let currency = request.text("currency")?;
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(Refusal::Invalid("currency"));
        }
        // An unconfirmed intent would need a confirm call, which this simulator does not offer.
        if !request.flag("confirm", false)? {
            return Err(Refusal::Invalid("confirm"));
        }
        let manual_capture = match request.text("capture_method") {
            Ok("manual") => true,
            Ok("automatic" | "automatic_async") | Err(_) => false,
            Ok(_) => return Err(Refusal::Invalid("capture_method")),
        };
        let wishes = |what| request.text(what).is_ok_and(|wish| wish == "if_available");
        Ok(Intent {
            id: new_id(if self.books.prefix.is_empty() { "pi" } else { self.books.prefix }),
            amount,
            capturable: 0,
            received: 0,
            refunded: 0,
            currency: currency.to_owned(),
            payment_method: request.text("payment_method")?.to_owned(),
            manual_capture,
            multicapture: wishes("payment_method_options[card][request_multicapture]"),
            incremental: wishes("payment_method_options[card][request_incremental_authorization]"),
            metadata: request.metadata(),
            status: Status::RequiresPaymentMethod,
            charge: None,
            decline_code: None,
            created: Timestamp::now().as_second(),
            second: !self.books.prefix.is_empty(),
        })
    }

    fn fail_at_first(&mut self) -> Result<(), Refusal> {
        let key = self.key().unwrap_or_default().to_owned();
        let failures = self.books.flaky.entry(key).or_default();
        if *failures < FLAKY_FAILURES {
            *failures += 1;
            return Err(Refusal::Flaky);
        }
        Ok(())
    }
}

impl Books {
    /// The customer finishes 3-D Secure, well or badly.
    pub(super) fn complete_action(
        &mut self,
        control: &Arc<Control>,
        id: &str,
        succeed: bool,
    ) -> Result<Value, Refusal> {
        let intent = self.intent_mut(id)?;
        if intent.status != Status::RequiresAction {
            return Err(intent.unexpected("completed"));
        }
        if succeed {
            authorize(intent, control, None);
        } else {
            intent.decline("authentication_required");
            notify(control, "payment_intent.payment_failed", intent);
        }
        Ok(intent.json())
    }

    pub(super) fn intent_mut(&mut self, id: &str) -> Result<&mut Intent, Refusal> {
        self.intents.get_mut(id).ok_or_else(|| Refusal::NoSuchIntent(id.to_owned()))
    }

    fn insert(&mut self, intent: Intent) {
        for key in INDEXED {
            if let Some(value) = intent.metadata.get(key) {
                self.by_metadata.entry((key, value.clone())).or_default().push(intent.id.clone());
            }
        }
        self.intents.insert(intent.id.clone(), intent);
    }
}

fn authorize(intent: &mut Intent, control: &Arc<Control>, key: Option<&str>) {
    intent.authorize(new_id("ch"));
    record(control, "authorize", intent, intent.amount, key);
    if intent.status == Status::Succeeded {
        record(control, "capture", intent, intent.received, key);
        notify(control, "payment_intent.succeeded", intent);
    } else {
        notify(control, "payment_intent.amount_capturable_updated", intent);
    }
}

pub(super) fn record(control: &Control, op: &str, intent: &Intent, amount: i64, key: Option<&str>) {
    control.record(json!({
        "op": op,
        "id": intent.id,
        "amount": amount,
        "currency": intent.currency,
        "key": key,
        "metadata": intent.metadata,
    }));
}

fn notify(control: &Arc<Control>, kind: &str, intent: &Intent) {
    tell(control, kind, intent, shown(intent.json(), false));
}

/// Sends an event about an object of an intent to the tenant that its metadata name.
pub(super) fn tell(control: &Arc<Control>, kind: &str, intent: &Intent, object: Value) {
    let Some(tenant) = intent.metadata.get("tenant") else {
        return;
    };
    if intent.second {
        let event = adyen::event(&new_id("ntf"), kind, intent, &object);
        return control.notify(Channel::Second, tenant, event.to_string());
    }
    let event = json!({
        "id": new_id("evt"),
        "object": "event",
        "type": kind,
        "created": Timestamp::now().as_second(),
        "data": {"object": object},
    });
    control.notify(Channel::Payments, tenant, event.to_string());
}

pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}
