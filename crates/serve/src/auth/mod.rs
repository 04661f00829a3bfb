//! Who calls: signed tokens of people and of services (RFC 7519, RFC 8037).
//!
//! People's tokens are signed by identity and verified with its published keys; services' tokens are signed with the
//! mesh key. The key that verified a token decides which issuer it may name, so neither kind can pass for the other.

mod claims;
mod jwks;
mod key;
mod verify;

pub use claims::Claims;
pub use key::{BadKey, SigningKey};

pub(crate) use claims::{AUDIENCE, SERVICE_ISSUER, USER_ISSUER};
pub(crate) use jwks::Keys;
pub(crate) use verify::{Refused, Verifier};
