use ctx::{Cause, Ctx, Principal};
use serde::{Deserialize, Serialize};

/// What is stored beside an event: who, why, and the trace it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Ties everything that one request caused.
    pub correlation_id: String,
    /// What caused it directly.
    #[serde(default)]
    pub causation_id: String,
    /// "user", "service", "provider" or "anonymous".
    pub actor_kind: String,
    /// Who of that kind.
    pub actor_id: String,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Meta {
    /// What a context says about the events it causes.
    pub fn of(ctx: &Ctx) -> Self {
        let (kind, actor_id) = ctx.principal.actor();
        let Cause { correlation_id, causation_id, traceparent } = ctx.cause.clone();
        Self { correlation_id, causation_id, actor_kind: kind.to_owned(), actor_id, traceparent }
    }

    /// The cause of what an event leads to.
    pub fn cause(&self, event_id: uuid::Uuid) -> Cause {
        Cause {
            correlation_id: self.correlation_id.clone(),
            causation_id: event_id.to_string(),
            traceparent: self.traceparent.clone(),
        }
    }

    /// Who did it, as far as a principal can be made of it.
    pub fn actor(&self) -> Principal {
        match self.actor_kind.as_str() {
            "user" => match self.actor_id.parse() {
                Ok(id) => Principal::User { id, roles: Vec::new() },
                Err(_) => Principal::Anonymous,
            },
            "service" => Principal::Service { name: self.actor_id.clone() },
            "provider" => Principal::Provider { name: self.actor_id.clone() },
            _ => Principal::Anonymous,
        }
    }
}

/// [`Meta::of`] as SQL functions take it.
pub fn meta(ctx: &Ctx) -> serde_json::Value {
    serde_json::to_value(Meta::of(ctx)).expect("a struct of strings is JSON")
}
