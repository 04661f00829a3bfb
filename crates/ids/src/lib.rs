//! Typed ids: a UUIDv7 that knows what it names and is shown with a prefix, such as `ord_0193…`.
//!
//! A type per kind makes it impossible to pass a payment where an order is meant. The text form is the prefix and
//! 32 lower-case hex digits; anything else is refused, so an id of another kind is never taken for this one.

mod id;

pub use id::{
    ChangeId, EventId, FulfillmentId, IdError, MessageId, OrderId, PaymentId, RefundId, ReservationId, SagaId,
    ShipmentId, SubscriptionId, TenantId, UserId,
};
