//! Columns that are of no use to whoever reads the database: providers' tokens and personal data (PAY-12).
//!
//! Envelope encryption: each tenant has data keys of its own, by version; they are kept in the service's schema, wrapped
//! with the master key, which is never in a database. Everything is AES-256-GCM (RustCrypto). A sealed value says which
//! version sealed it and opens only for its tenant and place, so that rows cannot be exchanged.
//!
//! Both keys turn without downtime. A data key that is too old gets a successor: new values are sealed with that, old
//! ones still open, and the service seals them anew in the background. A master key is added behind the present one
//! everywhere, then put in front: what the old one wrapped is wrapped anew, and when nothing is left it can go.

mod cipher;
mod master;
mod vault;

pub use cipher::prefix;
pub use master::{BadMaster, Master};
pub use vault::{Older, Vault};
