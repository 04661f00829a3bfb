//! One emitter per artifact; each sees the IR and adds its files to a tree.
pub mod debug;
pub mod events;
pub mod image;
pub mod ir_json;
mod json;
pub mod manifest;
pub mod messages;
pub mod openapi;
pub mod policies;
pub mod rust;
