//! The events of an order: the published messages themselves, so that what is stored is what is said.

use contract::Event as _;
use contract::order::v1 as wire;
use prost::Message as _;

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderEvent {
    /// It was placed.
    Created(wire::OrderCreated),
    /// It was begun and not placed.
    Drafted(wire::OrderDrafted),
    /// A draft has one line more.
    ItemAdded(wire::OrderItemAdded),
    /// A draft has another number of units.
    ItemChanged(wire::OrderItemChanged),
    /// A draft has one line less.
    ItemRemoved(wire::OrderItemRemoved),
    /// Somebody noted something.
    NoteAdded(wire::OrderNoteAdded),
    /// Fulfillment must wait.
    Held(wire::OrderHeld),
    /// Fulfillment need not wait any more.
    Released(wire::OrderReleased),
    /// The customer said how it was.
    Rated(wire::OrderRated),
    /// Money went back.
    Refunded(wire::OrderRefunded),
    /// Money that had gone back is the shop's again.
    RefundReturned(wire::OrderRefundReturned),
    /// Somebody wants a paid order changed.
    ChangeRequested(wire::OrderChangeRequested),
    /// Somebody agreed to it.
    ChangeConfirmed(wire::OrderChangeConfirmed),
    /// It was carried out.
    ChangeApplied(wire::OrderChangeApplied),
    /// It was not.
    ChangeDeclined(wire::OrderChangeDeclined),
    /// Address or remark changed.
    Updated(wire::OrderUpdated),
    /// The state changed.
    StatusChanged(wire::OrderStatusChanged),
    /// The payment is secured.
    PaymentCompleted(wire::OrderPaymentCompleted),
    /// The customer must act.
    PaymentActionRequired(wire::OrderPaymentActionRequired),
    /// The payment was declined.
    PaymentFailed(wire::OrderPaymentFailed),
    /// It may not be tried again any more.
    PaymentLapsed(wire::OrderPaymentLapsed),
    /// It is paid again.
    PaymentRetried(wire::OrderPaymentRetried),
    /// Money was taken.
    PaymentCaptured(wire::OrderPaymentCaptured),
    /// The warehouse has accepted.
    Confirmed(wire::OrderConfirmed),
    /// A parcel left.
    Shipped(wire::OrderShipped),
    /// A parcel arrived.
    Delivered(wire::OrderDelivered),
    /// It was cancelled.
    Cancelled(wire::OrderCancelled),
    /// It cannot be fulfilled.
    Failed(wire::OrderFailed),
}

macro_rules! each {
    ($($variant:ident => $message:ident),* $(,)?) => {
        impl OrderEvent {
            /// Full name, topic and encoding.
            pub fn encode(&self) -> (&'static str, &'static str, Vec<u8>) {
                match self {
                    $(Self::$variant(message) => {
                        (wire::$message::TYPE, wire::$message::TOPIC, message.encode_to_vec())
                    })*
                }
            }

            /// Reads a stored event; None for a type or payload this version does not know.
            pub fn decode(type_name: &str, payload: &[u8]) -> Option<Self> {
                $(if type_name == wire::$message::TYPE {
                    return wire::$message::decode(payload).ok().map(Self::$variant);
                })*
                None
            }
        }
    };
}

each! {
    Created => OrderCreated,
    Drafted => OrderDrafted,
    ItemAdded => OrderItemAdded,
    ItemChanged => OrderItemChanged,
    ItemRemoved => OrderItemRemoved,
    NoteAdded => OrderNoteAdded,
    Held => OrderHeld,
    Released => OrderReleased,
    Rated => OrderRated,
    Refunded => OrderRefunded,
    RefundReturned => OrderRefundReturned,
    ChangeRequested => OrderChangeRequested,
    ChangeConfirmed => OrderChangeConfirmed,
    ChangeApplied => OrderChangeApplied,
    ChangeDeclined => OrderChangeDeclined,
    Updated => OrderUpdated,
    StatusChanged => OrderStatusChanged,
    PaymentCompleted => OrderPaymentCompleted,
    PaymentActionRequired => OrderPaymentActionRequired,
    PaymentFailed => OrderPaymentFailed,
    PaymentLapsed => OrderPaymentLapsed,
    PaymentRetried => OrderPaymentRetried,
    PaymentCaptured => OrderPaymentCaptured,
    Confirmed => OrderConfirmed,
    Shipped => OrderShipped,
    Delivered => OrderDelivered,
    Cancelled => OrderCancelled,
    Failed => OrderFailed,
}
