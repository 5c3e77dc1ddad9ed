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
    parse_short(text.as_bytes()).map_or_else(|| parse_any(text), Ok)
}

/// The common case: no sign, no exponent, and at most 18 digits without the trailing zeros. Those are dropped as text, which is
/// much cheaper than dividing them away.
fn parse_short(text: &[u8]) -> Option<Decimal> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], without_trailing_zeros(&text[point + 1..])),
        None => (text, &[][..]),
    };
    let length = whole.len() + fraction.len();
    if length == 0 || length > 18 {
        return None;
    }
    let mantissa = append_digits(append_digits(0, whole)?, fraction)?;
    Some(Decimal::new(mantissa, fraction.len() as u32))
}

fn without_trailing_zeros(digits: &[u8]) -> &[u8] {
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    &digits[..end]
}

/// `number` with `digits` written behind it; `None` where they are no digits. 18 in all fit.
fn append_digits(number: i64, digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(number, |number, digit| {
        let value = digit.wrapping_sub(b'0');
        (value < 10).then(|| number * 10 + i64::from(value))
    })
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
