//! An order's history as people may see it: personal fields masked by the contract's options (ORD-09, SEC-03).

use std::sync::LazyLock;

use contract::common::v1::Actor;
use contract::order::v1 as wire;
use ctx::Ctx;
use eventlog::Recorded;
use fault::Fault;
use ids::OrderId;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, SerializeOptions, Value};

use crate::app::App;
use crate::infra::store::wire_time;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(contract::IMAGE).expect("the contract's image is a descriptor set"));

impl App {
    /// Reads the history of an order that the caller may see.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn history(&self, ctx: &Ctx, id: OrderId) -> Result<wire::ListOrderEventsResponse, Fault> {
        self.get(ctx, id).await?;
        let events = self.store.history(ctx.tenant, id).await?;
        Ok(wire::ListOrderEventsResponse { events: events.iter().map(entry).collect() })
    }
}

fn entry(event: &Recorded) -> wire::OrderEvent {
    let short = event.type_name.rsplit('.').next().unwrap_or(&event.type_name);
    wire::OrderEvent {
        sequence: event.version,
        r#type: short.to_owned(),
        occur_time: Some(wire_time(event.occurred_at)),
        actor: Some(Actor { kind: event.meta.actor_kind.clone(), id: event.meta.actor_id.clone() }),
        correlation_id: event.meta.correlation_id.clone(),
        payload_json: masked_json(&event.type_name, &event.payload).unwrap_or_default(),
    }
}

/// An event as JSON without its sensitive fields; None for a type that this version does not know.
fn masked_json(type_name: &str, payload: &[u8]) -> Option<String> {
    let descriptor = POOL.get_message_by_name(type_name)?;
    let mut message = DynamicMessage::decode(descriptor, payload).ok()?;
    mask(&mut message);
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    message.serialize_with_options(&mut serializer, &SerializeOptions::new()).ok()?;
    String::from_utf8(json).ok()
}

fn mask(message: &mut DynamicMessage) {
    let descriptor: MessageDescriptor = message.descriptor();
    for field in descriptor.fields() {
        if !message.has_field(&field) {
            continue;
        }
        if is_sensitive(&field) {
            match message.get_field_mut(&field) {
                Value::String(text) => *text = "[masked]".to_owned(),
                _ => message.clear_field(&field),
            }
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(inner) => mask(inner),
            Value::List(items) => items.iter_mut().filter_map(Value::as_message_mut).for_each(mask),
            _ => {}
        }
    }
}

fn is_sensitive(field: &prost_reflect::FieldDescriptor) -> bool {
    static OPTION: LazyLock<Option<prost_reflect::ExtensionDescriptor>> =
        LazyLock::new(|| POOL.get_extension_by_name("ordermesh.options.v1.field"));
    OPTION.as_ref().is_some_and(|option| field.options().has_extension(option))
}

#[cfg(test)]
mod tests {
    use contract::Event as _;
    use contract::common::v1::Address;
    use prost::Message as _;

    use super::*;

    #[test]
    fn personal_fields_never_leave_the_history() {
        let created = wire::OrderCreated {
            order_id: "ord_1".into(),
            payment_method: "pm_secret".into(),
            note: "ring at Jane's".into(),
            shipping_address: Some(Address {
                recipient: "Jane Doe".into(),
                line1: "Secret Street 1".into(),
                city: "Springfield".into(),
                sealed: Some(b"sealed bytes".to_vec().into()),
                ..Address::default()
            }),
            ..wire::OrderCreated::default()
        };
        let json = masked_json(wire::OrderCreated::TYPE, &created.encode_to_vec()).expect("a known event");
        for secret in ["pm_secret", "Jane", "Secret Street", "sealed", "c2VhbGVk"] {
            assert!(!json.contains(secret), "{secret} in {json}");
        }
        assert!(json.contains("ord_1") && json.contains("Springfield"), "{json}");
    }
}
