use std::fmt;

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits behind the point: 0 for JPY, 2 for USD, 3 for KWD.
    pub fn exponent(self) -> u16 {
        self.0.exponent().unwrap_or(0)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why an amount cannot be made or computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The code is not an ISO 4217 currency that is in use.
    #[error("not an ISO 4217 currency code")]
    UnknownCurrency,
    /// The result does not fit into 64 bits.
    #[error("the amount is too large")]
    Overflow,
    /// Two amounts of different currencies were put together.
    #[error("amounts of different currencies")]
    CurrencyMismatch,
}

impl std::str::FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code)
            // Metals, funds and test codes have no minor unit: nothing can be priced in them.
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or(MoneyError::UnknownCurrency)
    }
}

/// An exact amount of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// The currency.
    pub currency: Currency,
    /// Minor units of `currency`: cents for USD.
    pub minor: i64,
}

impl Money {
    /// An amount of `minor` units.
    pub const fn new(currency: Currency, minor: i64) -> Self {
        Self { currency, minor }
    }

    /// Nothing of a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(currency, 0)
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_add)
    }

    /// The difference; may be negative.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::Overflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_sub)
    }

    /// The amount of `quantity` units.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn checked_mul(self, quantity: i64) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(quantity).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(self.currency, minor))
    }

    fn with(self, other: Self, op: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let minor = op(self.minor, other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(self.currency, minor))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.currency.exponent());
        if digits == 0 {
            return write!(f, "{} {}", self.minor, self.currency);
        }
        let scale = 10_u64.pow(u32::from(self.currency.exponent()));
        let (whole, part) = (self.minor.unsigned_abs() / scale, self.minor.unsigned_abs() % scale);
        let sign = if self.minor < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}.{part:0digits$} {}", self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().expect("a currency")
    }

    #[test]
    fn exponents_follow_iso_4217() {
        assert_eq!([currency("JPY").exponent(), currency("USD").exponent(), currency("KWD").exponent()], [0, 2, 3]);
        assert_eq!(Money::new(currency("JPY"), 500).to_string(), "500 JPY");
        assert_eq!(Money::new(currency("USD"), -105).to_string(), "-1.05 USD");
        assert_eq!(Money::new(currency("KWD"), 1005).to_string(), "1.005 KWD");
    }

    #[test]
    fn unknown_and_unpriceable_codes_are_refused() {
        for code in ["", "usd", "XXX", "XAU", "ZZZ", "USDX"] {
            assert_eq!(code.parse::<Currency>(), Err(MoneyError::UnknownCurrency), "{code}");
        }
    }

    #[test]
    fn arithmetic_refuses_overflow_and_mixed_currencies() {
        let usd = Money::new(currency("USD"), i64::MAX);
        assert_eq!(usd.checked_add(Money::new(currency("USD"), 1)), Err(MoneyError::Overflow));
        assert_eq!(usd.checked_mul(2), Err(MoneyError::Overflow));
        assert_eq!(usd.checked_add(Money::zero(currency("EUR"))), Err(MoneyError::CurrencyMismatch));
    }
}
