//! What must hold whatever breaks: providers, the database, the process.

mod apart;
mod crowd;
mod kill;
mod log;
pub mod process;
mod refusals;
mod repeat;
mod torture;
mod transit;
