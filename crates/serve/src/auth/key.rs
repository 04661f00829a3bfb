use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault::Fault;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use crate::auth::Claims;

/// Bytes are not an Ed25519 key in PKCS #8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key in PKCS #8 (RFC 8410)")]
pub struct BadKey;

/// An Ed25519 key that signs tokens (RFC 8037); never shown.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    public: Vec<u8>,
    private: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes the PKCS #8 bytes of a new key; store them sealed.
    pub fn generate() -> Vec<u8> {
        let pair = Ed25519KeyPair::generate().expect("the system has a source of randomness");
        pair.to_pkcs8v1().expect("a fresh key can be encoded").as_ref().to_vec()
    }

    /// Reads a key; `kid` goes into the header of its tokens.
    ///
    /// # Errors
    /// When the bytes are not an Ed25519 key.
    pub fn from_pkcs8(kid: impl Into<String>, pkcs8: &[u8]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| BadKey)?;
        let public = pair.public_key().as_ref().to_vec();
        Ok(Self { kid: kid.into(), public, private: EncodingKey::from_ed_der(pkcs8) })
    }

    /// Id of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Public half as the `x` of a JWK, base64url.
    pub fn public_x(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.public)
    }

    /// Signs a token.
    ///
    /// # Errors
    /// Internal when the signature cannot be made.
    pub fn sign(&self, claims: &Claims) -> Result<String, Fault> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.private).map_err(Fault::internal)
    }

    pub(crate) fn verifying(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.public)
    }
}
