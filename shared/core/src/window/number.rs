//! The numbers of an aggregate: exact sums, and ratios rounded once.

use std::cmp::Ordering;

use ethnum::I256;
use rust_decimal::Decimal;

use crate::decimal::{MAX_SCALE, Price, Rate};

/// How many significant digits a mean or a vwap is rounded to.
const DIGITS: u32 = 16;

/// An exact decimal, `mantissa` · 10^−`scale`, wider than [`Decimal`]: sums need more digits, and means of tiny prices a larger scale.
/// Trailing zeros are dropped, so that equal values are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Number {
    mantissa: I256,
    scale: u32,
}

impl Number {
    /// `mantissa` · 10^−`scale`.
    pub fn new(mantissa: I256, scale: u32) -> Self {
        let (mut mantissa, mut scale) = (mantissa, scale);
        if mantissa == I256::ZERO {
            return Self::default();
        }
        while scale > 0 && mantissa % I256::new(10) == I256::ZERO {
            mantissa /= I256::new(10);
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    /// A sum kept at scale [`MAX_SCALE`].
    pub fn from_fixed(sum: I256) -> Self {
        Self::new(sum, MAX_SCALE)
    }

    /// A count.
    pub fn from_count(count: u64) -> Self {
        Self { mantissa: I256::from(count), scale: 0 }
    }

    /// `numerator` · 10^−`scale` / `denominator`, rounded once, half to even, to 16 significant digits. `None` where the denominator is
    /// not positive, or the figures are beyond 256 bits.
    pub fn ratio(numerator: I256, denominator: I256, scale: u32) -> Option<Self> {
        if numerator == I256::ZERO || denominator <= I256::ZERO {
            return (denominator > I256::ZERO).then(Self::default);
        }
        let negative = numerator < I256::ZERO;
        let (dividend, divisor, scale) = align(numerator.checked_abs()?, denominator, i64::from(scale))?;
        let quotient = divide_half_even(dividend, divisor)?;
        let quotient = if negative { -quotient } else { quotient };
        match u32::try_from(scale) {
            Ok(scale) => Some(Self::new(quotient, scale)),
            Err(_) => {
                let up = power_of_ten(u32::try_from(-scale).ok()?)?;
                Some(Self::new(quotient.checked_mul(up)?, 0))
            }
        }
    }

    /// The mean of `count` numbers of which this is the sum, rounded as in [`Number::ratio`].
    pub fn mean_of(self, count: u64) -> Option<Self> {
        Self::ratio(self.mantissa, I256::from(count), self.scale)
    }

    /// The exact sum; `None` where it is beyond 256 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let sum = self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?;
        Some(Self::new(sum, scale))
    }

    /// The mantissa at a larger scale.
    fn at_scale(self, scale: u32) -> Option<I256> {
        self.mantissa.checked_mul(power_of_ten(scale - self.scale)?)
    }

    /// Appends the shortest decimal text: every significant digit, no exponent.
    pub fn write_json(self, out: &mut Vec<u8>) {
        if self.mantissa < I256::ZERO {
            out.push(b'-');
        }
        let text = self.mantissa.unsigned_abs().to_string();
        let (digits, scale) = (text.as_bytes(), self.scale as usize);
        let whole = digits.len().saturating_sub(scale);
        out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
        if scale > 0 {
            out.push(b'.');
            out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// Multiplies the dividend or the divisor by ten until their quotient has as many digits before the point as are kept.
fn align(dividend: I256, divisor: I256, scale: i64) -> Option<(I256, I256, i64)> {
    let ten = I256::new(10);
    let (mut dividend, mut divisor, mut scale) = (dividend, divisor, scale);
    let least = divisor.checked_mul(power_of_ten(DIGITS - 1)?)?;
    while dividend < least {
        dividend = dividend.checked_mul(ten)?;
        scale += 1;
    }
    let most = power_of_ten(DIGITS)?;
    while dividend / divisor >= most {
        divisor = divisor.checked_mul(ten)?;
        scale -= 1;
    }
    Some((dividend, divisor, scale))
}

/// The quotient of two positive numbers, rounded half to even.
fn divide_half_even(dividend: I256, divisor: I256) -> Option<I256> {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let up = match rest.cmp(&(divisor - rest)) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => quotient % I256::new(2) != I256::ZERO,
    };
    if up { quotient.checked_add(I256::ONE) } else { Some(quotient) }
}

fn power_of_ten(exponent: u32) -> Option<I256> {
    I256::new(10).checked_pow(exponent)
}

impl From<Decimal> for Number {
    fn from(value: Decimal) -> Self {
        Self::new(I256::new(value.mantissa()), value.scale())
    }
}

impl From<Price> for Number {
    fn from(price: Price) -> Self {
        price.get().into()
    }
}

impl From<Rate> for Number {
    fn from(rate: Rate) -> Self {
        rate.get().into()
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        match (self.at_scale(scale), other.at_scale(scale)) {
            (Some(a), Some(b)) => a.cmp(&b),
            // Only the one with the smaller scale is scaled up; too large for 256 bits, its magnitude is the greater one.
            (None, _) => self.mantissa.cmp(&I256::ZERO),
            (_, None) => I256::ZERO.cmp(&other.mantissa),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        crate::decimal::parse_decimal(text).expect("decimal").into()
    }

    fn text(number: Number) -> String {
        let mut out = Vec::new();
        number.write_json(&mut out);
        String::from_utf8(out).expect("digits")
    }

    fn ratio(numerator: i128, denominator: i128, scale: u32) -> String {
        text(Number::ratio(I256::new(numerator), I256::new(denominator), scale).expect("ratio"))
    }

    #[test]
    fn writes_every_digit_and_no_more() {
        for json in ["0", "1", "-1", "100", "0.5", "-0.05", "61837.63", "0.000000000000000001"] {
            assert_eq!(text(number(json)), json);
        }
        assert_eq!(text(Number::new(I256::new(1_500), 2)), "15");
        let wide = I256::new(10).pow(60) + I256::ONE;
        assert_eq!(text(Number::from_fixed(wide)), format!("1{}.{}1", "0".repeat(42), "0".repeat(17)));
    }

    #[test]
    fn rounds_once_to_sixteen_digits() {
        assert_eq!(ratio(1, 3, 0), "0.3333333333333333");
        assert_eq!(ratio(2, 3, 0), "0.6666666666666667");
        assert_eq!(ratio(-2, 3, 0), "-0.6666666666666667");
        assert_eq!(ratio(1, 3, 30), format!("0.{}3333333333333333", "0".repeat(30)));
        assert_eq!(ratio(10, 4, 0), "2.5");
        assert_eq!(ratio(0, 4, 0), "0");
        assert_eq!(ratio(20_000_000_000_000_000_000, 3, 0), "6666666666666667000");
        assert_eq!(Number::ratio(I256::ONE, I256::ZERO, 0), None);
    }

    #[test]
    fn a_tie_goes_to_the_even_digit() {
        assert_eq!(ratio(10_000_000_000_000_005, 10, 0), "1000000000000000");
        assert_eq!(ratio(10_000_000_000_000_015, 10, 0), "1000000000000002");
        assert_eq!(ratio(10_000_000_000_000_005, 1, 0), "10000000000000000");
        assert_eq!(ratio(10_000_000_000_000_015, 1, 0), "10000000000000020");
        assert_eq!(ratio(99_999_999_999_999_995, 10, 0), "10000000000000000", "carries into one more digit");
    }

    #[test]
    fn orders_and_adds_across_scales() {
        assert!(number("1.5") > number("1.49999"));
        assert!(number("-2") < number("0.000000000000000001"));
        let vast = Number::new(I256::MAX, 0);
        assert!(vast > number("0.5") && number("0.5") < vast);
        assert!(Number::new(I256::MIN, 0) < number("0.5"));
        assert_eq!(number("1.5").checked_add(number("0.25")), Some(number("1.75")));
        assert_eq!(vast.checked_add(number("0.5")), None);
    }

    #[test]
    fn what_is_beyond_its_width_is_none() {
        assert_eq!(Number::ratio(I256::MIN, I256::ONE, 0), None);
        assert_eq!(Number::ratio(I256::ONE, I256::MAX, 0), None);
        assert!(Number::ratio(I256::MAX / 2, I256::ONE, 0).is_some());
        assert_eq!(Number::ratio(I256::MAX, I256::ONE, 0), None, "rounding up passes the width");
    }
}
