use std::collections::HashMap;
use std::sync::Arc;

use ctx::Ctx;
use fault::Fault;
use futures::future::BoxFuture;
use pg::Conn;
use uuid::Uuid;

pub(crate) type Handler =
    Arc<dyn for<'c> Fn(&'c mut Conn, Arc<Delivery>) -> BoxFuture<'c, Result<(), pg::Error>> + Send + Sync>;

/// An event on its way into a handler.
#[derive(Debug)]
pub struct Delivery {
    /// The consumer's own context in the event's tenant; its cause is the event.
    pub ctx: Ctx,
    /// Unique id of the event.
    pub event_id: Uuid,
    /// Full name of its message.
    pub type_name: String,
    /// The aggregate it happened to.
    pub stream: Uuid,
    /// Position in the aggregate's history.
    pub version: i32,
    /// Its message, encoded.
    pub payload: Vec<u8>,
}

impl Delivery {
    /// The event's message.
    ///
    /// # Errors
    /// Internal when the payload is not of that type: the event is parked, not lost.
    pub fn decode<E: prost::Message + Default>(&self) -> Result<E, Fault> {
        E::decode(self.payload.as_slice()).map_err(Fault::internal)
    }
}

/// Which events a consumer wants, and what it does with each.
#[derive(Clone)]
pub struct Subscription {
    pub(crate) consumer: &'static str,
    pub(crate) handlers: HashMap<&'static str, Handler>,
}

impl Subscription {
    /// An empty subscription of a consumer group; its name keeps its place on the bus.
    pub fn new(consumer: &'static str) -> Self {
        Self { consumer, handlers: HashMap::new() }
    }

    /// Adds a handler of an event type. It runs in the transaction that also remembers the event, so it must only
    /// write rows and start sagas, never call another service.
    #[must_use]
    pub fn on<F>(mut self, type_name: &'static str, handler: F) -> Self
    where
        F: for<'c> Fn(&'c mut Conn, Arc<Delivery>) -> BoxFuture<'c, Result<(), pg::Error>> + Send + Sync + 'static,
    {
        self.handlers.insert(type_name, Arc::new(handler));
        self
    }

    pub(crate) fn types(&self) -> Vec<String> {
        self.handlers.keys().map(|name| (*name).to_owned()).collect()
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("consumer", &self.consumer).field("types", &self.types()).finish()
    }
}
