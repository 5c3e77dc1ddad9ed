//! Exact decimal numbers: prices, quantities and rates as the venue wrote them.

use std::fmt;

use ethnum::I256;
use rust_decimal::Decimal;

mod parse;

use parse::exact;
pub use parse::parse_decimal;

/// The most digits after the point that a venue's number may have. Sums are kept at this scale.
pub const MAX_SCALE: u32 = 18;

/// Why a text is not a number that Bond can carry exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a decimal number.
    #[error("not a decimal number")]
    Malformed,
    /// More than 28 significant digits or more than 18 after the point.
    #[error("more digits than can be kept exactly (28 in all, 18 after the point)")]
    TooPrecise,
    /// Below zero where that has no meaning.
    #[error("negative where only zero or more has a meaning")]
    Negative,
}

/// Appends the shortest decimal text of `value`: every significant digit, no trailing zeros, no exponent.
pub fn write_decimal(value: Decimal, out: &mut Vec<u8>) {
    write_normalized(value.normalize(), out);
}

fn write_normalized(value: Decimal, out: &mut Vec<u8>) {
    if value.is_sign_negative() && !value.is_zero() {
        out.push(b'-');
    }
    let scale = value.scale() as usize;
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.mantissa().unsigned_abs()).as_bytes();
    match digits.len().checked_sub(scale) {
        Some(whole) if whole > 0 => {
            out.extend_from_slice(&digits[..whole]);
            if scale > 0 {
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + scale - digits.len(), b'0');
            out.extend_from_slice(digits);
        }
    }
}

/// `value` as an integer at scale [`MAX_SCALE`], for exact sums and products.
pub fn to_fixed(value: Decimal) -> I256 {
    let up = MAX_SCALE.saturating_sub(value.scale());
    I256::new(value.mantissa()) * I256::new(10).pow(up)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $signed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(Decimal);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(Decimal::ZERO);

            /// Parses the venue's text exactly.
            ///
            /// # Errors
            /// [`DecimalError`] where the text is no number, has more digits than can be kept, or a sign that has no meaning here.
            pub fn parse(text: &str) -> Result<Self, DecimalError> {
                Self::from_normalized(parse_decimal(text)?)
            }

            /// Wraps a decimal.
            ///
            /// # Errors
            /// [`DecimalError`] where the value has more digits than can be kept, or a sign that has no meaning here.
            pub fn new(value: Decimal) -> Result<Self, DecimalError> {
                let value = value.normalize();
                if value.scale() > MAX_SCALE {
                    return Err(DecimalError::TooPrecise);
                }
                Self::from_normalized(value)
            }

            fn from_normalized(value: Decimal) -> Result<Self, DecimalError> {
                if value.is_sign_negative() && !value.is_zero() && !$signed {
                    return Err(DecimalError::Negative);
                }
                Ok(Self(value))
            }

            /// The decimal itself, trailing zeros dropped.
            pub const fn get(self) -> Decimal {
                self.0
            }

            /// Whether this is zero.
            pub fn is_zero(self) -> bool {
                self.0.is_zero()
            }

            /// Appends the number as JSON: every significant digit, trailing zeros dropped.
            pub fn write_json(self, out: &mut Vec<u8>) {
                write_normalized(self.0, out);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = Vec::with_capacity(24);
                self.write_json(&mut text);
                f.write_str(&String::from_utf8_lossy(&text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

number! {
    /// A price: units of the quote currency for one unit of the base currency. Signed, since spreads and some contracts trade below zero.
    Price, true
}
number! {
    /// An amount of the base currency. Never negative.
    Quantity, false
}
number! {
    /// A dimensionless rate per funding interval, such as 0.0001 for one basis point.
    Rate, true
}

impl Quantity {
    /// This many contracts of `contract_size` base units each, as an amount of the base currency.
    ///
    /// # Errors
    /// [`DecimalError::TooPrecise`] where the product cannot be kept exactly.
    pub fn times(self, contract_size: Decimal) -> Result<Self, DecimalError> {
        let size = contract_size.normalize();
        let digits = self.0.mantissa().checked_mul(size.mantissa());
        let product = digits.and_then(|digits| exact(digits, i64::from(self.0.scale() + size.scale())));
        Self::new(product.ok_or(DecimalError::TooPrecise)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_every_significant_digit() {
        for (text, json) in [
            ("61837.63000000", "61837.63"),
            ("0.00000001", "0.00000001"),
            ("100", "100"),
            ("0", "0"),
            ("0.000", "0"),
            ("123456789012345678.123456789", "123456789012345678.123456789"),
            ("9999999999999999999", "9999999999999999999"),
            ("1e-8", "0.00000001"),
            (".5", "0.5"),
            ("0E-30", "0"),
            ("0e999999999999999999999", "0"),
            ("-0.000e-40", "0"),
            ("1e0", "1"),
            ("1E-7", "0.0000001"),
            ("0.10", "0.1"),
            ("10000000000000E-31", "0.000000000000000001"),
            ("0.000000000000000001e27", "1000000000"),
            ("1234567890123456789012345.6780000000000", "1234567890123456789012345.678"),
            ("0000000000000000000000000000000000000000000001.5", "1.5"),
            ("1e28", "10000000000000000000000000000"),
        ] {
            assert_eq!(Quantity::parse(text).map(|n| n.to_string()), Ok(json.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_keep() {
        assert_eq!(Price::parse("abc"), Err(DecimalError::Malformed));
        assert_eq!(Price::parse(""), Err(DecimalError::Malformed));
        assert_eq!(Price::parse("."), Err(DecimalError::Malformed));
        for text in ["1e", "e5", "1e5.0", "1e+-5", "--1", "+1", "1.2.3", "0x10", "1_0", "٣"] {
            assert_eq!(Price::parse(text), Err(DecimalError::Malformed), "{text}");
        }
        for text in ["1e29", "1e999999999999999999999", "1e-19", "1e-999999999999999999999"] {
            assert_eq!(Price::parse(text), Err(DecimalError::TooPrecise), "{text}");
        }
        assert_eq!(Quantity::parse("-1"), Err(DecimalError::Negative));
        assert_eq!(Price::parse("0.0000000000000000001"), Err(DecimalError::TooPrecise));
        assert_eq!(Price::parse("1234567890123456789012345678901"), Err(DecimalError::TooPrecise));
    }

    #[test]
    fn contracts_become_base_units() {
        let contracts = Quantity::parse("12.5").expect("number");
        assert_eq!(contracts.times(Decimal::new(1, 2)).map(|q| q.to_string()), Ok("0.125".to_owned()));
        let tiny = Quantity::parse("0.000030517578125").expect("number");
        let product = tiny.times(Decimal::new(32_768, 15)).map(|q| q.to_string());
        assert_eq!(product, Ok("0.000000000000001".to_owned()), "2^-15 of 2^15 e-15");
    }

    proptest! {
        #[test]
        fn a_value_is_the_same_in_every_spelling(
            digits in 0_i64..1_000_000_000_000_000_000, scale in 0_u32..=18, zeros in 0_usize..40, power in -40_i64..40,
        ) {
            let value = Decimal::new(digits, scale).normalize();
            let text = value.to_string();
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let exponent = power - fraction.len() as i64;
            let spelled = format!("{}{whole}{fraction}{}e{}", "0".repeat(zeros), "0".repeat(zeros), exponent - zeros as i64);
            let shifted = format!("{whole}.{fraction}{}e{power}", "0".repeat(zeros));
            prop_assert_eq!(parse_decimal(&spelled), parse_decimal(&shifted));
            if power == 0 {
                prop_assert_eq!(parse_decimal(&shifted), Ok(value));
            }
        }
    }
}
