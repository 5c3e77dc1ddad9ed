//! The figures of a window, computed the plain way: over big integers, and rounded on the decimal text.

use num_bigint::BigInt;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A decimal text as an integer at this scale.
pub(crate) fn at_scale(text: &str, scale: usize) -> BigInt {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<scale$}").parse().expect("digits")
}

/// The shortest decimal text of `integer` · 10^−`scale`.
pub(crate) fn text(integer: &BigInt, scale: usize) -> String {
    let digits = format!("{integer:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// The text of `numerator` / `denominator` · 10^−`scale`, none of which is negative, rounded half to even to 16 significant digits.
pub(crate) fn ratio(numerator: &BigInt, denominator: &BigInt, scale: usize) -> String {
    const FURTHER: usize = 80;
    let scaled = numerator * BigInt::from(10).pow(80);
    let (quotient, rest) = (&scaled / denominator, &scaled % denominator);
    let digits = quotient.to_string();
    let Some(cut) = digits.len().checked_sub(16) else { return "0".to_owned() };
    let (kept, dropped) = digits.split_at(16);
    let odd = kept.ends_with(['1', '3', '5', '7', '9']);
    let tie =
        dropped.starts_with('5') && dropped[1..].bytes().all(|digit| digit == b'0') && rest == BigInt::ZERO;
    let up = if tie { odd } else { dropped >= "5" };
    let kept = kept.parse::<BigInt>().expect("digits") + u8::from(up);
    text(&(kept * BigInt::from(10).pow(u32::try_from(cut).expect("few digits"))), FURTHER + scale)
}

/// The top-level fields of an event's body, each as its JSON text.
pub(crate) fn fields(body: &[u8]) -> BTreeMap<String, String> {
    let object = [b"{", body, b"}"].concat();
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&object).expect("JSON");
    fields.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

#[test]
fn the_plain_way_rounds_as_one_does_by_hand() {
    let ratio = |numerator: u64, denominator: u64| ratio(&numerator.into(), &denominator.into(), 0);
    assert_eq!(ratio(1, 3), "0.3333333333333333");
    assert_eq!(ratio(2, 3), "0.6666666666666667");
    assert_eq!(ratio(10_000_000_000_000_005, 10), "1000000000000000");
    assert_eq!(ratio(10_000_000_000_000_015, 10), "1000000000000002");
    assert_eq!(ratio(0, 10), "0");
}
