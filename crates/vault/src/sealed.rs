use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sealed value as a row's JSON has it: in hex, with or without PostgreSQL's `\x`.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// What was sealed, for a column of bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Sealed {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("\\x").unwrap_or(&text);
        hex::decode(digits).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_is_read_as_postgresql_and_we_write_it() {
        let value = Sealed::from(vec![1, 0xab]);
        assert_eq!(serde_json::from_str::<Sealed>(r#""\\x01ab""#).ok(), Some(value.clone()));
        assert_eq!(serde_json::to_string(&value).ok().as_deref(), Some(r#""01ab""#));
        assert_eq!(serde_json::from_str::<Sealed>(r#""01ab""#).ok(), Some(value.clone()));
        assert!(serde_json::from_str::<Sealed>(r#""ann@shop.example""#).is_err());
        assert_eq!(format!("{value:?}"), "Sealed");
    }
}
