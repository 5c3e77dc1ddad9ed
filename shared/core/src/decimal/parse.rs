//! Parses decimal numbers exactly.

use rust_decimal::Decimal;

use super::{DecimalError, MAX_SCALE};

/// Parses `[-]digits[.digits][e[+-]digits]` exactly, and drops trailing zeros. Whether a number has too many digits depends on its value,
/// not on its spelling.
pub fn parse_decimal(text: &str) -> Result<Decimal, DecimalError> {
    parse_short(text.as_bytes()).map_or_else(|| parse_any(text), Ok)
}

/// Parses the common case: no sign, no exponent, and at most 18 digits without trailing zeros. Trailing zeros are dropped as text, which is
/// much cheaper than by division.
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

/// `number` with `digits` appended; `None` if they are not digits. Up to 18 digits in all fit.
fn append_digits(number: i64, digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(number, |number, digit| {
        let value = digit.wrapping_sub(b'0');
        (value < 10).then(|| number * 10 + i64::from(value))
    })
}

fn parse_any(text: &str) -> Result<Decimal, DecimalError> {
    let written = Written::of(text).ok_or(DecimalError::Malformed)?;
    written.value().ok_or(DecimalError::TooPrecise)
}

/// A number as it was spelled.
struct Written<'t> {
    is_negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

impl<'t> Written<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let positive = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = positive.split_once(['e', 'E']).unwrap_or((positive, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = are_digits(whole) && are_digits(fraction) && whole.len() + fraction.len() > 0;
        let exponent = power(exponent).filter(|_| is_number)?;
        Some(Self { is_negative: positive.len() < text.len(), whole, fraction, exponent })
    }

    /// The number's value; `None` if it has too many digits. Leading and trailing zeros do not count, and zero has no digits, whatever its
    /// exponent.
    fn value(&self) -> Option<Decimal> {
        let (mut digits, mut zeros) = (0_i128, 0_u32);
        for byte in self.whole.bytes().chain(self.fraction.bytes()) {
            match (byte, digits) {
                (b'0', 0) => {}
                (b'0', _) => zeros += 1,
                _ => {
                    let shifted = digits.checked_mul(10_i128.checked_pow(zeros + 1)?)?;
                    digits = shifted.checked_add(i128::from(byte - b'0'))?;
                    zeros = 0;
                }
            }
        }
        let fraction = i64::try_from(self.fraction.len()).ok()?;
        let scale = fraction.saturating_sub(self.exponent).saturating_sub(i64::from(zeros));
        exact(if self.is_negative { -digits } else { digits }, scale)
    }
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A power of ten, as far as it fits.
fn power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let size = (!digits.is_empty() && are_digits(digits)).then(|| digits.parse().unwrap_or(i64::MAX))?;
    Some(if text.starts_with('-') { -size } else { size })
}

/// `digits` · 10^−`scale`; `None` if it has too many digits. A negative scale appends zeros.
pub(super) fn exact(digits: i128, scale: i64) -> Option<Decimal> {
    if digits == 0 {
        return Some(Decimal::ZERO);
    }
    let (mut digits, mut scale) = (digits, scale);
    while scale > 0 && digits % 10 == 0 {
        (digits, scale) = (digits / 10, scale - 1);
    }
    if scale < 0 {
        let zeros = u32::try_from(scale.unsigned_abs()).ok()?;
        (digits, scale) = (digits.checked_mul(10_i128.checked_pow(zeros)?)?, 0);
    }
    let scale = u32::try_from(scale).ok().filter(|scale| *scale <= MAX_SCALE)?;
    Decimal::try_from_i128_with_scale(digits, scale).ok()
}
