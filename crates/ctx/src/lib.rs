//! The first argument of every use case: for which tenant, for whom, why, until when, and what time it is.

mod call;
pub mod foreground;
mod principal;

pub use call::{Cause, Ctx, IdempotencyKey, Open};
pub use principal::{Principal, Role, UnknownRole};
