//! What tests stand on: a real private PostgreSQL, the whole platform in one process, and waiting without sleeping.
//!
//! Only for tests. One cluster serves all tests of a process, each test in a database of its own. The cluster goes away
//! with the process, but stays, and its path is printed, when a test panicked, something did not happen [`eventually`],
//! an error passed through [`kept`], or `KEEP` is set.

mod db;
mod eventually;
pub mod search;
#[cfg(feature = "system")]
mod system;

pub use db::{Db, kept};
pub use eventually::eventually;
#[cfg(feature = "system")]
pub use ordermesh::rest::{CallError, Login, Rest, refusal};
#[cfg(feature = "system")]
pub use system::{Shop, System, order};
