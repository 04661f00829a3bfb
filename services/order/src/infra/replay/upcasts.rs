//! How events of an order in a form that is not written any more are read.

use contract::Event as _;
use contract::order::v1::{OrderCreated, OrderKind};
use eventlog::Upcast;
use prost::Message as _;

/// All of them.
pub(super) const UPCASTS: [Upcast; 1] =
    [Upcast { from: OrderCreated::TYPE, to: OrderCreated::TYPE, change: with_a_kind }];

/// The first ones had no kind, for all were purchases, and held the payment's token (PAY-12).
fn with_a_kind(payload: &[u8]) -> Option<Vec<u8>> {
    let created = OrderCreated::decode(payload).ok()?;
    if created.kind() != OrderKind::Unspecified {
        return Some(payload.to_vec());
    }
    let created = OrderCreated { kind: OrderKind::Purchase.into(), payment_method: String::new(), ..created };
    Some(created.encode_to_vec())
}
