//! Which placements of a batch are fresh? Decided in the order they came, by what was stored before and by what the batch
//! has placed itself.

use std::collections::{BTreeMap, HashMap};

use contract::order::v1 as wire;
use fault::Fault;
use prost::Message;
use serde::Deserialize;
use uuid::Uuid;

use super::Placement;

/// What is known before a batch begins, as `order_place_begin` says it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Begun {
    /// The next order number.
    pub next: i64,
    /// Index in the batch, fingerprint and answer of keys that were used before, in hex.
    pub known: Vec<(usize, String, Option<String>)>,
    /// Customer, intent, and how many seconds ago he placed the same.
    pub last: Vec<(Uuid, Uuid, f64)>,
}

/// What becomes of a placement.
#[derive(Debug)]
pub(super) enum Seen {
    /// It was placed before; the answer is that one's.
    Repeat(Box<wire::Order>),
    /// It is to be placed.
    Fresh {
        /// The customer placed the same a moment ago, under another key.
        twin: bool,
    },
}

/// The batch as far as it has been looked at.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// The next order number.
    pub next: i64,
    known: HashMap<usize, (String, Option<String>)>,
    last: HashMap<(Uuid, Uuid), f64>,
    placed: HashMap<(String, String), (Vec<u8>, wire::Order)>,
    intents: BTreeMap<Uuid, BTreeMap<Uuid, Uuid>>,
}

impl Desk {
    pub(super) fn new(begun: Begun) -> Self {
        let known = begun.known.into_iter().map(|(index, print, answer)| (index, (print, answer)));
        let last = begun.last.into_iter().map(|(customer, intent, age)| ((customer, intent), age));
        Self { next: begun.next, known: known.collect(), last: last.collect(), ..Self::default() }
    }

    /// Whether a placement is fresh.
    ///
    /// # Errors
    /// Invalid `IDEMPOTENCY_KEY_REUSED`; Aborted `IN_FLIGHT`, and `POSSIBLE_DUPLICATE` when the shop refuses twins.
    pub(super) fn look(&self, index: usize, placement: &Placement) -> Result<Seen, Fault> {
        if let Some(key) = &placement.idempotency {
            if let Some((print, answer)) = self.known.get(&index) {
                return if *print == hex::encode(key.fingerprint) { stored(answer.as_deref()) } else { Err(reused()) };
            }
            if let Some((print, order)) = self.placed.get(&(key.scope.clone(), key.key.clone())) {
                return if *print == key.fingerprint {
                    Ok(Seen::Repeat(Box::new(order.clone())))
                } else {
                    Err(reused())
                };
            }
        }
        let age = self.last.get(&(placement.customer.uuid(), placement.intent())).copied();
        Ok(Seen::Fresh { twin: placement.guard.is_twin(age)? })
    }

    /// A fresh placement became an order.
    pub(super) fn placed(&mut self, placement: &Placement, order: &wire::Order) {
        self.next += 1;
        if let Some(key) = &placement.idempotency {
            let (key, print) = ((key.scope.clone(), key.key.clone()), key.fingerprint.to_vec());
            self.placed.insert(key, (print, order.clone()));
        }
        if placement.guard.within_s > 0 {
            let (customer, intent) = (placement.customer.uuid(), placement.intent());
            self.last.insert((customer, intent), 0.0);
            self.intents.entry(customer).or_default().insert(intent, placement.order_id.uuid());
        }
    }

    /// What each customer of the batch placed: orders by intent.
    pub(super) fn intents(self) -> BTreeMap<Uuid, BTreeMap<Uuid, Uuid>> {
        self.intents
    }
}

fn stored(answer: Option<&str>) -> Result<Seen, Fault> {
    let answer = answer.ok_or_else(|| Fault::aborted("IN_FLIGHT", "the first call is still under way"))?;
    let bytes = hex::decode(answer).map_err(Fault::internal)?;
    Ok(Seen::Repeat(Box::new(wire::Order::decode(bytes.as_slice()).map_err(Fault::internal)?)))
}

fn reused() -> Fault {
    Fault::invalid("idempotency_key", "IDEMPOTENCY_KEY_REUSED", "the key was used for another request before")
}

#[cfg(test)]
mod tests {
    use ctx::{Cause, IdempotencyKey};
    use ids::{OrderId, UserId};

    use super::*;
    use crate::infra::placements::Guard;

    fn placement(customer: UserId, key: &str, print: u8, refuse: bool) -> Placement {
        let key = IdempotencyKey { key: key.to_owned(), scope: "Create".to_owned(), fingerprint: [print; 32] };
        Placement {
            order_id: OrderId::new(),
            customer,
            created: wire::OrderCreated::default(),
            saga_state: None,
            guard: Guard { within_s: 60, refuse },
            limits: BTreeMap::new(),
            cause: Cause::default(),
            meta: serde_json::Value::Null,
            idempotency: Some(key),
            now: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn other_lines() -> wire::OrderCreated {
        let lines = vec![wire::OrderLine { sku: "CAP".to_owned(), quantity: 1, ..Default::default() }];
        wire::OrderCreated { lines, ..wire::OrderCreated::default() }
    }

    fn reason(seen: Result<Seen, Fault>) -> Option<String> {
        seen.err().map(|fault| fault.reason().to_owned())
    }

    #[test]
    fn ord_34_a_key_that_comes_twice_in_one_batch_is_one_order() {
        let customer = UserId::new();
        let mut desk = Desk::new(Begun { next: 7, ..Begun::default() });
        let first = placement(customer, "k", 1, false);
        assert!(matches!(desk.look(0, &first), Ok(Seen::Fresh { twin: false })));
        let order = wire::Order { order_number: 7, ..Default::default() };
        desk.placed(&first, &order);
        assert_eq!(desk.next, 8);
        let again = placement(customer, "k", 1, true);
        assert!(matches!(desk.look(1, &again), Ok(Seen::Repeat(seen)) if *seen == order));
        assert_eq!(
            reason(desk.look(2, &placement(customer, "k", 2, false))).as_deref(),
            Some("IDEMPOTENCY_KEY_REUSED")
        );
    }

    #[test]
    fn what_a_customer_places_again_is_a_twin_while_the_window_is_open() {
        let (customer, other) = (UserId::new(), UserId::new());
        let one = placement(customer, "a", 1, false);
        let last = |age: f64| Begun { last: vec![(customer.uuid(), one.intent(), age)], ..Begun::default() };
        let desk = Desk::new(last(59.0));
        assert!(matches!(desk.look(0, &one), Ok(Seen::Fresh { twin: true })));
        assert_eq!(reason(desk.look(0, &placement(customer, "b", 2, true))).as_deref(), Some("POSSIBLE_DUPLICATE"));
        assert!(matches!(desk.look(0, &placement(other, "c", 3, true)), Ok(Seen::Fresh { twin: false })));
        assert!(matches!(Desk::new(last(60.0)).look(0, &one), Ok(Seen::Fresh { twin: false })));

        let mut desk = Desk::new(Begun::default());
        desk.placed(&one, &wire::Order::default());
        assert!(matches!(desk.look(1, &placement(customer, "b", 2, false)), Ok(Seen::Fresh { twin: true })));
        let other = Placement { created: other_lines(), ..placement(customer, "c", 3, false) };
        desk.placed(&other, &wire::Order::default());
        assert!(matches!(desk.look(2, &placement(customer, "d", 4, false)), Ok(Seen::Fresh { twin: true })));
        let both = BTreeMap::from([(one.intent(), one.order_id.uuid()), (other.intent(), other.order_id.uuid())]);
        assert_eq!(desk.intents(), BTreeMap::from([(customer.uuid(), both)]));
    }

    #[test]
    fn ord_34_a_key_that_was_used_before_gets_its_answer_and_no_other_request_does() {
        let order = wire::Order { order_number: 3, ..Default::default() };
        let known = |print: u8, answer: Option<String>| Begun {
            known: vec![(1, hex::encode([print; 32]), answer)],
            ..Begun::default()
        };
        let asked = placement(UserId::new(), "k", 1, false);
        let desk = Desk::new(known(1, Some(hex::encode(order.encode_to_vec()))));
        assert!(matches!(desk.look(1, &asked), Ok(Seen::Repeat(seen)) if *seen == order));
        assert!(matches!(desk.look(0, &asked), Ok(Seen::Fresh { twin: false })));
        assert_eq!(reason(Desk::new(known(2, None)).look(1, &asked)).as_deref(), Some("IDEMPOTENCY_KEY_REUSED"));
        assert_eq!(reason(Desk::new(known(1, None)).look(1, &asked)).as_deref(), Some("IN_FLIGHT"));
    }
}
