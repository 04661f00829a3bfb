//! Columns that are of no use to whoever reads the database: providers' tokens and personal data (PAY-12).
//!
//! Envelope encryption: each tenant has data keys of its own, by version; they are kept in the service's schema, wrapped
//! with the master key, which is never in a database. Everything is AES-256-GCM (RustCrypto). A sealed value says which
//! version sealed it and opens only for its tenant and place, so that rows cannot be exchanged.
//!
//! Both keys turn without downtime. A data key that is too old gets a successor: new values are sealed with that, old
//! ones still open, and the service seals them anew in the background. A master key is added behind the present one
//! everywhere, then put in front: what the old one wrapped is wrapped anew, and when nothing is left it can go.
//!
//! What is sealed cannot be looked for. A column that must be found by its value, or be unique, has a keyed digest beside
//! it ([`Vault::digest`]); that key is derived from the tenant's first data key and never turns.
//!
//! A schema with sealed columns has two functions, by which [`Vault::turn_keys`] seals anew without knowing the columns:
//! `sealed_below(tenant, below, most)` finds values that begin with less than `below`, as `[{"place", "sealed"}]` with the
//! value in hex, and `sealed_again(tenant, place, before, after)` replaces one that is still what it was.

mod cipher;
mod index;
mod master;
mod sealed;
mod vault;

pub use master::{BadMaster, Master};
pub use sealed::Sealed;
pub use vault::Vault;
