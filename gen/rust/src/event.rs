//! Where events go and what keys their order; read from the message options.
pub use crate::generated::events::EVENTS;

/// A message that is published.
pub trait Event: prost::Message + Default {
    /// Full name: "ordermesh.order.v1.OrderCreated".
    const TYPE: &'static str;
    /// Short name: "OrderCreated".
    const NAME: &'static str;
    /// Topic: "order.v1".
    const TOPIC: &'static str;

    /// Value that keys the order of events, such as the order's id.
    fn key(&self) -> &str;
}

/// What the registry knows about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPolicy {
    /// Full name of the message.
    pub type_name: &'static str,
    /// Topic.
    pub topic: &'static str,
    /// Field that keys the order of events.
    pub key_field: &'static str,
    /// Contexts that consume it.
    pub consumers: &'static [&'static str],
}
