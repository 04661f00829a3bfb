//! What Stripe shows of an object within an object: its id, unless the caller asked to see it whole.

use serde_json::Value;

/// Whether a request's `expand[]` asks for the charge of an intent that is at `place` of the answer.
pub(super) fn asked(expand: Option<&str>, place: &str) -> bool {
    expand == Some(&*format!("{place}latest_charge"))
}

/// An answer as Stripe gives it: an intent, a list of them, or an error about one, which never shows a charge whole.
pub(super) fn shown(mut answer: Value, whole: bool) -> Value {
    if let Some(intent) = answer.pointer_mut("/error/payment_intent") {
        collapse(intent);
    }
    if !whole {
        collapse(&mut answer);
        answer.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten().for_each(collapse);
    }
    answer
}

fn collapse(intent: &mut Value) {
    if let Some(id) = intent.pointer("/latest_charge/id").cloned() {
        intent["latest_charge"] = id;
    }
}
