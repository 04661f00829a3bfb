//! Page sizes and sealed page tokens (AIP-158).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault::Fault;
use hmac::{Hmac, KeyInit, Mac};
use ids::TenantId;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Bytes of the seal; 128 bits cannot be guessed.
const SEAL: usize = 16;
/// Longest token that is looked at, bytes.
const LONGEST: usize = 2048;
const DEFAULT_SIZE: i64 = 50;
const MAX_SIZE: i64 = 200;

/// Rows of a page: 0 means 50, more than 200 means 200 (AIP-158).
///
/// # Errors
/// Invalid `page_size` PAGE_SIZE_INVALID when negative.
pub fn size(requested: i32) -> Result<i64, Fault> {
    match i64::from(requested) {
        0 => Ok(DEFAULT_SIZE),
        size if size < 0 => Err(Fault::invalid("page_size", "PAGE_SIZE_INVALID", "must not be negative")),
        size => Ok(size.min(MAX_SIZE)),
    }
}

/// Seals cursors, so that a token works only where it was given out.
#[derive(Clone)]
pub struct Pages {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    /// Seals with this key.
    pub fn new(key: &SecretString) -> Self {
        let mac = Hmac::new_from_slice(key.expose_secret().as_bytes()).expect("HMAC takes keys of any length");
        Self { mac }
    }

    /// Makes the token of a cursor; it opens only for the same tenant and filter.
    ///
    /// `filter` is anything that names the query and its filters; a method above tenants passes `None`.
    pub fn seal(&self, tenant: impl Into<Option<TenantId>>, filter: &[u8], cursor: &[u8]) -> String {
        let seal = self.bound(tenant.into(), filter, cursor).finalize().into_bytes();
        let mut token = seal[..SEAL].to_vec();
        token.extend_from_slice(cursor);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Reads the cursor of a token; an empty token means the first page.
    ///
    /// # Errors
    /// Invalid `page_token` PAGE_TOKEN_INVALID when it was changed or belongs to another tenant or filter.
    pub fn open(
        &self,
        tenant: impl Into<Option<TenantId>>,
        filter: &[u8],
        token: &str,
    ) -> Result<Option<Vec<u8>>, Fault> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || Fault::invalid("page_token", "PAGE_TOKEN_INVALID", "not a token of this list and filter");
        if token.len() > LONGEST {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
        let (seal, cursor) = bytes.split_at_checked(SEAL).ok_or_else(refused)?;
        self.bound(tenant.into(), filter, cursor).verify_truncated_left(seal).map_err(|_| refused())?;
        Ok(Some(cursor.to_vec()))
    }

    fn bound(&self, tenant: Option<TenantId>, filter: &[u8], cursor: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        // Fixed width first and the length before the filter: no two triples give the same bytes.
        mac.update(tenant.map_or([0; 16], |tenant| *tenant.uuid().as_bytes()).as_slice());
        mac.update(&(filter.len() as u64).to_be_bytes());
        mac.update(filter);
        mac.update(cursor);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<Option<Vec<u8>>, Fault>) {
        let fault = result.expect_err("must be refused");
        assert_eq!(fault.violations()[0].field, "page_token");
        assert_eq!(fault.reason(), "PAGE_TOKEN_INVALID");
    }

    #[test]
    fn a_token_opens_only_for_its_tenant_and_filter() {
        let (pages, tenant) = (Pages::new(&"k".repeat(32).into()), TenantId::new());
        let token = pages.seal(tenant, b"status=PAID", b"ord_7");
        assert_eq!(pages.open(tenant, b"status=PAID", &token).expect("opens").as_deref(), Some(&b"ord_7"[..]));
        assert_eq!(pages.open(tenant, b"status=PAID", "").expect("first page"), None);
        refused(pages.open(TenantId::new(), b"status=PAID", &token));
        refused(pages.open(None, b"status=PAID", &token));
        refused(pages.open(tenant, b"status=PAI", &token));
        refused(Pages::new(&"j".repeat(32).into()).open(tenant, b"status=PAID", &token));
    }

    #[test]
    fn a_changed_token_is_refused() {
        let (pages, tenant) = (Pages::new(&"k".repeat(32).into()), TenantId::new());
        let token = pages.seal(tenant, b"", b"cursor");
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            refused(pages.open(tenant, b"", &String::from_utf8(changed).expect("ascii")));
        }
        for junk in ["x", "====", "AAAA", "\u{fe0f}", &"A".repeat(5000)] {
            refused(pages.open(tenant, b"", junk));
        }
    }

    #[test]
    fn page_sizes_follow_aip_158() {
        assert_eq!(size(0).expect("default"), 50);
        assert_eq!(size(7).expect("as asked"), 7);
        assert_eq!(size(i32::MAX).expect("capped"), 200);
        assert_eq!(size(-1).expect_err("negative").violations()[0].field, "page_size");
    }
}
