//! `gen/rust/src/generated/events.rs`: topic and key of every event.
use std::fmt::Write;

use super::rust::{HEADER, field, message_path, strings};
use crate::ir::ContractIr;
use crate::tree::Tree;

/// Adds the event registry.
pub fn emit(ir: &ContractIr, tree: &mut Tree) {
    let events = || ir.messages.iter().filter_map(|(name, message)| Some((name, message, message.event.as_ref()?)));
    let mut out = String::from(HEADER);
    out.push_str("use crate::event::{Event, EventPolicy};\n\n");
    out.push_str("/// All events, sorted by type name.\npub static EVENTS: &[EventPolicy] = &[\n");
    for (name, _, event) in events() {
        let _ = writeln!(
            out,
            "    EventPolicy {{ type_name: {name:?}, topic: {:?}, key_field: {:?}, consumers: {} }},",
            event.topic,
            event.key_field,
            strings(&event.consumers)
        );
    }
    out.push_str("];\n");
    for (name, message, event) in events() {
        let _ = write!(
            out,
            "\nimpl Event for {} {{\n    const TYPE: &'static str = {name:?};\n    const NAME: &'static str = {:?};\n    \
             const TOPIC: &'static str = {:?};\n\n    fn key(&self) -> &str {{\n        &self.{}\n    }}\n}}\n",
            message_path(message),
            message.name,
            event.topic,
            field(&event.key_field)
        );
    }
    tree.add("gen/rust/src/generated/events.rs", out);
}
