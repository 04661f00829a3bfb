use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ctx::Ctx;
use fault::Fault;
use futures::future::BoxFuture;
use pg::Conn;
use uuid::Uuid;

type Handled<'c> = BoxFuture<'c, Result<(), pg::Error>>;

type One = dyn for<'c> Fn(&'c mut Conn, Arc<Delivery>) -> Handled<'c> + Send + Sync;
type All = dyn for<'c> Fn(&'c mut Conn, Vec<Arc<Delivery>>) -> Handled<'c> + Send + Sync;

/// What is done with events of a type.
#[derive(Clone)]
pub(crate) enum Handler {
    /// With each by itself.
    One(Arc<One>),
    /// With those of one tenant that came together.
    All(Arc<All>),
}

impl Handler {
    pub(crate) async fn run(&self, conn: &mut Conn, deliveries: Vec<Arc<Delivery>>) -> Result<(), pg::Error> {
        match self {
            Self::All(handle) => handle(conn, deliveries).await,
            Self::One(handle) => {
                for delivery in deliveries {
                    handle(conn, delivery).await?;
                }
                Ok(())
            }
        }
    }
}

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
    /// An empty subscription of a consumer group; its name keeps its place in the logs. A new one begins with the first
    /// event there is.
    pub fn new(consumer: &'static str) -> Self {
        Self { consumer, handlers: HashMap::new() }
    }

    /// Adds a handler of an event type. It runs in the transaction that also remembers the event, so it must only
    /// write rows and start sagas, never call another service.
    #[must_use]
    pub fn on<F>(mut self, type_name: &'static str, handler: F) -> Self
    where
        F: for<'c> Fn(&'c mut Conn, Arc<Delivery>) -> Handled<'c> + Send + Sync + 'static,
    {
        self.handlers.insert(type_name, Handler::One(Arc::new(handler)));
        self
    }

    /// Adds a handler that takes those events of a type that came together, all of one tenant, none twice, of one stream
    /// at most one; an event that came alone is a set of one. When it fails, the events are handed to it one by one. What
    /// it locks it must lock in an order, for others lock many rows as well.
    #[must_use]
    pub fn on_all<F>(mut self, type_name: &'static str, handler: F) -> Self
    where
        F: for<'c> Fn(&'c mut Conn, Vec<Arc<Delivery>>) -> Handled<'c> + Send + Sync + 'static,
    {
        self.handlers.insert(type_name, Handler::All(Arc::new(handler)));
        self
    }

    /// Whether events of a type are handled together.
    pub(crate) fn gathers(&self, type_name: &str) -> bool {
        matches!(self.handlers.get(type_name), Some(Handler::All(_)))
    }

    /// The services whose logs are read: an event is in the log of the service that its package names.
    pub(crate) fn services(&self) -> BTreeSet<&'static str> {
        self.handlers.keys().filter_map(|name| name.split('.').nth(1)).collect()
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
