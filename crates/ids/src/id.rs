use std::fmt;

use uuid::Uuid;

/// A text is not an id of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}_ and 32 hex digits")]
pub struct IdError {
    /// Prefix that was expected.
    pub prefix: &'static str,
}

fn parse(prefix: &'static str, text: &str) -> Result<Uuid, IdError> {
    let hex = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or(IdError { prefix })?;
    // Uuid's own parser also takes hyphens, braces and upper case; one id must have one text form.
    let canonical = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !canonical {
        return Err(IdError { prefix });
    }
    Uuid::try_parse(hex).map_err(|_| IdError { prefix })
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Text in front of the hex digits.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new id that sorts after those made before it.
            #[expect(clippy::new_without_default, reason = "a default id would hide that a new one is made")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Gives a stored UUID its meaning back.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID, as it is stored.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse($prefix, text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

typed_ids! {
    /// A shop of the platform.
    TenantId = "tnt",
    /// A person with a login.
    UserId = "usr",
    /// An order.
    OrderId = "ord",
    /// Stock set aside for an order.
    ReservationId = "res",
    /// The money of an order.
    PaymentId = "pay",
    /// Money given back.
    RefundId = "rfd",
    /// What one warehouse does for one order.
    FulfillmentId = "ful",
    /// A parcel.
    ShipmentId = "shp",
    /// A subscription.
    SubscriptionId = "sub",
    /// A saga that is not named after what it is about.
    SagaId = "sag",
    /// A change of an order.
    ChangeId = "chg",
    /// Something that a customer is told.
    MessageId = "msg",
    /// Something that happened.
    EventId = "evt",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = OrderId::new();
        assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
        assert!(id.to_string().starts_with("ord_"));
    }

    #[test]
    fn an_id_of_another_kind_or_form_is_refused() {
        let text = OrderId::new().to_string();
        assert_eq!(text.parse::<PaymentId>(), Err(IdError { prefix: "pay" }));
        for bad in ["", "ord_", "ord_12", &text.to_uppercase(), &format!("{text}0"), &text.replace("ord_", "ord_{")] {
            assert!(bad.parse::<OrderId>().is_err(), "{bad} was taken for an order id");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let mut ids: Vec<_> = (0..100).map(|_| OrderId::new()).collect();
        let made = ids.clone();
        ids.sort();
        assert_eq!(ids, made);
    }
}
