//! What callers may know; the warehouse system is never asked for it (FUL-03).

pub(crate) mod get;
pub(crate) mod list;
