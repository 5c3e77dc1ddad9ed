//! Exact decimal numbers: prices, quantities and rates as the venue wrote them.

use std::fmt;

use ethnum::I256;
use rust_decimal::Decimal;

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

/// Parses `[-]digits[.digits][e[+-]digits]` exactly, trailing zeros dropped.
pub fn parse_decimal(text: &str) -> Result<Decimal, DecimalError> {
    match parse_short(text.as_bytes()) {
        Some(value) => Ok(value.normalize()),
        None => parse_any(text),
    }
}

/// The common case: at most 18 digits, no sign and no exponent, in one pass over the bytes.
fn parse_short(text: &[u8]) -> Option<Decimal> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let (mut mantissa, mut scale, mut point) = (0_u64, 0_u32, false);
    for &byte in text {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                scale += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    let digits = text.len() - usize::from(point);
    let mantissa = i64::try_from(mantissa).ok().filter(|_| digits > 0 && digits <= 18)?;
    Some(Decimal::new(mantissa, scale))
}

fn parse_any(text: &str) -> Result<Decimal, DecimalError> {
    if !is_number(text) {
        return Err(DecimalError::Malformed);
    }
    let parsed = match text.contains(['e', 'E']) {
        true => Decimal::from_scientific(text),
        false => Decimal::from_str_exact(text),
    };
    let value = parsed.map_err(|_| DecimalError::TooPrecise)?.normalize();
    if value.scale() > MAX_SCALE { Err(DecimalError::TooPrecise) } else { Ok(value) }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && digits(exponent)
        && whole.len() + fraction.len() > 0
        && !exponent.is_empty()
}

/// Appends the shortest decimal text of `value`: every significant digit, no trailing zeros, no exponent.
pub fn write_decimal(value: Decimal, out: &mut Vec<u8>) {
    let value = value.normalize();
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
                Self::new(parse_decimal(text)?)
            }

            /// Wraps a decimal.
            ///
            /// # Errors
            /// [`DecimalError`] where the value has more digits than can be kept, or a sign that has no meaning here.
            pub fn new(value: Decimal) -> Result<Self, DecimalError> {
                if value.is_sign_negative() && !value.is_zero() && !$signed {
                    return Err(DecimalError::Negative);
                }
                let value = value.normalize();
                if value.scale() > MAX_SCALE {
                    return Err(DecimalError::TooPrecise);
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
                write_decimal(self.0, out);
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
        let mantissa = self.0.mantissa().checked_mul(size.mantissa());
        let product =
            mantissa.and_then(|m| Decimal::try_from_i128_with_scale(m, self.0.scale() + size.scale()).ok());
        Self::new(product.ok_or(DecimalError::TooPrecise)?)
    }
}

#[cfg(test)]
mod tests {
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
        ] {
            assert_eq!(Quantity::parse(text).map(|n| n.to_string()), Ok(json.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_keep() {
        assert_eq!(Price::parse("abc"), Err(DecimalError::Malformed));
        assert_eq!(Price::parse(""), Err(DecimalError::Malformed));
        assert_eq!(Price::parse("."), Err(DecimalError::Malformed));
        assert_eq!(Quantity::parse("-1"), Err(DecimalError::Negative));
        assert_eq!(Price::parse("0.0000000000000000001"), Err(DecimalError::TooPrecise));
        assert_eq!(Price::parse("1234567890123456789012345678901"), Err(DecimalError::TooPrecise));
    }

    #[test]
    fn contracts_become_base_units() {
        let contracts = Quantity::parse("12.5").expect("number");
        assert_eq!(contracts.times(Decimal::new(1, 2)).map(|q| q.to_string()), Ok("0.125".to_owned()));
    }
}
