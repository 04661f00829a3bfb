//! Reading requests: API key, idempotency key and form fields.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::{HeaderMap, header};

use super::refusal::Refusal;

/// Stripe refuses longer idempotency keys.
const LONGEST_KEY: usize = 255;

/// An authenticated request with its form fields.
pub(super) struct Request {
    pub(super) api_key: String,
    pub(super) idempotency_key: Option<String>,
    fields: BTreeMap<String, String>,
}

impl Request {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let api_key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .filter(|key| key.starts_with("sk_"))
            .ok_or(Refusal::Unauthorized)?
            .to_owned();
        let idempotency_key = match headers.get("Idempotency-Key") {
            None => None,
            Some(value) => {
                let key = value.to_str().ok().filter(|key| key.len() <= LONGEST_KEY);
                Some(key.ok_or(Refusal::Invalid("Idempotency-Key"))?.to_owned())
            }
        };
        Ok(Self { api_key, idempotency_key, fields: form_urlencoded::parse(body).into_owned().collect() })
    }

    /// A request that came in another shape.
    pub(super) fn of(api_key: String, idempotency_key: Option<String>, fields: BTreeMap<String, String>) -> Self {
        Self { api_key, idempotency_key, fields }
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&str, Refusal> {
        self.fields.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or(Refusal::Missing(name))
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        self.fields.get(name).map(|value| value.parse().map_err(|_| Refusal::Invalid(name))).transpose()
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Refusal> {
        match self.fields.get(name).map(String::as_str) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(Refusal::Invalid(name)),
        }
    }

    /// The `metadata[...]` fields.
    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        let name = |key: &str| Some(key.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned());
        self.fields.iter().filter_map(|(key, value)| Some((name(key)?, value.clone()))).collect()
    }

    /// Equal for requests that ask the same of the same object.
    pub(super) fn fingerprint(&self, op: &str, id: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (op, id, &self.fields).hash(&mut hasher);
        hasher.finish()
    }

    /// What a fault script can match: the key, the object and the metadata.
    pub(super) fn subject(&self, id: &str) -> String {
        let mut subject = self.idempotency_key.clone().unwrap_or_default();
        let named = ["payment_intent"].iter().filter_map(|n| self.fields.get(*n));
        let metadata = self.fields.iter().filter(|(k, _)| k.starts_with("metadata"));
        for part in
            std::iter::once(id).chain(named.map(String::as_str)).chain(metadata.map(|(_, value)| value.as_str()))
        {
            subject.push(' ');
            subject.push_str(part);
        }
        subject
    }
}

/// The clauses of a search query such as `metadata['payment']:'pay_1' AND metadata['tenant']:'t'`.
pub(super) fn search_clauses(query: &str) -> Result<Vec<(&str, &str)>, Refusal> {
    query
        .split(" AND ")
        .map(|clause| {
            let (key, value) = clause.trim().split_once(':')?;
            let key = key.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((unquoted(key)?, unquoted(value)?))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or(Refusal::Invalid("query"))
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_names_metadata_keys_and_values_in_either_quotes() {
        let query = "metadata['payment']:'pay_1' AND metadata[\"tenant\"]:\"tnt_1\"";
        let clauses = search_clauses(query).unwrap();
        assert_eq!(clauses, [("payment", "pay_1"), ("tenant", "tnt_1")]);
        assert!(search_clauses("status:'succeeded'").is_err());
    }
}
