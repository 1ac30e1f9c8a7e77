//! Decimal numbers of any length, in the canonical form that ordering and key encoding share.
//!
//! A number is `±0.d₁d₂d₃… × 10^exponent` with `d₁` and the last digit not 0; zero has no digits and is never negative. In this form
//! two numbers of one sign compare by exponent, then by digits as if they were strings, and every number has one form only (`1.0`
//! and `1.00` are the same). JSON numbers go through it too, by their shortest decimal text, as PostgreSQL's jsonb does.

use rust_decimal::Decimal;
use std::cmp::Ordering;

/// A decimal number in canonical form.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Digits {
    pub(crate) negative: bool,
    pub(crate) exponent: i32,
    /// 0 to 9 each, most significant first.
    pub(crate) digits: Vec<u8>,
}

impl Digits {
    /// From an optionally signed decimal text with an optional fraction and exponent. `None` if it isn't one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let mut digits = Vec::with_capacity(unsigned.len());
        let mut point = None;
        let mut shift = 0;
        for (position, &byte) in unsigned.iter().enumerate() {
            match byte {
                b'0'..=b'9' => digits.push(byte - b'0'),
                b'.' if point.is_none() => point = Some(digits.len()),
                b'e' | b'E' => {
                    let exponent = std::str::from_utf8(unsigned.get(position + 1..)?).ok()?;
                    shift = exponent.parse::<i32>().ok()?;
                    break;
                }
                _ => return None,
            }
        }
        if digits.is_empty() {
            return None;
        }
        let exponent = i32::try_from(point.unwrap_or(digits.len())).ok()?.checked_add(shift)?;
        Self::new(negative, exponent, digits)
    }

    /// Strips the zeros at both ends. `None` if the exponent overflows.
    pub(crate) fn new(negative: bool, exponent: i32, mut digits: Vec<u8>) -> Option<Self> {
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        if leading == digits.len() {
            return Some(Self::default());
        }
        digits.drain(..leading);
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let exponent = exponent.checked_sub(i32::try_from(leading).ok()?)?;
        Some(Self { negative, exponent, digits })
    }

    /// As a decimal, where 96 bits suffice.
    pub(crate) fn to_decimal(&self) -> Option<Decimal> {
        let mut mantissa: i128 = 0;
        for &digit in &self.digits {
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        let mut scale = i32::try_from(self.digits.len()).ok()?.checked_sub(self.exponent)?;
        while scale < 0 && mantissa != 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        if self.negative {
            mantissa = -mantissa;
        }
        Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale.max(0)).ok()?).ok()
    }

    /// As a JSON number: an integer where it is one that fits 64 bits, otherwise the nearest double.
    pub(crate) fn to_json_number(&self) -> Option<serde_json::Number> {
        let sign = if self.negative { "-" } else { "" };
        let count = i32::try_from(self.digits.len()).ok()?;
        let mut text: String = self.digits.iter().map(|digit| char::from(b'0' + (digit % 10))).collect();
        if text.is_empty() {
            return Some(0.into());
        }
        if (count..=20).contains(&self.exponent) {
            text.extend(std::iter::repeat_n('0', usize::try_from(self.exponent - count).ok()?));
            let text = format!("{sign}{text}");
            if let Ok(integer) = text.parse::<i64>() {
                return Some(integer.into());
            }
            if let Ok(integer) = text.parse::<u64>() {
                return Some(integer.into());
            }
        }
        let float = format!("{sign}0.{text}e{}", self.exponent).parse().ok()?;
        serde_json::Number::from_f64(float)
    }
}

impl From<&Decimal> for Digits {
    fn from(decimal: &Decimal) -> Self {
        let mut mantissa = decimal.mantissa().unsigned_abs();
        if mantissa == 0 {
            return Self::default();
        }
        // 29 digits at most, and a scale of at most 28: neither count can overflow.
        let mut digits = Vec::with_capacity(29);
        while mantissa != 0 {
            digits.push(u8::try_from(mantissa % 10).unwrap_or_default());
            mantissa /= 10;
        }
        digits.reverse();
        let exponent =
            i32::try_from(digits.len()).unwrap_or_default() - i32::try_from(decimal.scale()).unwrap_or_default();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self { negative: decimal.is_sign_negative(), exponent, digits }
    }
}

impl From<&serde_json::Number> for Digits {
    fn from(number: &serde_json::Number) -> Self {
        Self::parse(&number.to_string()).unwrap_or_default()
    }
}

impl Ord for Digits {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            let absolute = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
            if self.negative { absolute.reverse() } else { absolute }
        })
    }
}

impl PartialOrd for Digits {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_number_has_one_form() {
        for (left, right) in [("1.0", "1.00"), ("-0.0", "0"), ("120", "1.2e2"), ("0.0012", "12e-4"), ("+7", "7")] {
            assert_eq!(Digits::parse(left), Digits::parse(right), "{left} and {right}");
        }
        assert!(["", "abc", "1e", "1.2.3", "-"].iter().all(|text| Digits::parse(text).is_none()));
    }

    #[test]
    fn orders_by_value() {
        let texts = ["-1e300", "-10", "-9.99", "-0.001", "0", "1e-400", "0.5", "0.51", "9", "10", "10.01", "1e300"];
        let numbers: Vec<_> = texts.iter().map(|text| Digits::parse(text).unwrap()).collect();
        assert!(numbers.is_sorted_by(|left, right| left < right));
    }

    #[test]
    fn decimals_and_json_numbers_come_back() {
        for text in ["0", "-1.5", "79228162514264337593543950335", "0.0000000000000000000000000001", "1200"] {
            let decimal: Decimal = text.parse().unwrap();
            assert_eq!(Digits::from(&decimal).to_decimal(), Some(decimal));
            assert_eq!(Digits::parse(text), Some(Digits::from(&decimal)));
        }
        for text in ["0", "-5", "18446744073709551615", "-9223372036854775808", "1e300", "0.1", "-2.5e-7"] {
            let number: serde_json::Number = serde_json::from_str(text).unwrap();
            assert_eq!(Digits::from(&number).to_json_number(), Some(number));
        }
        assert_eq!(Digits::parse("1e40").unwrap().to_decimal(), None);
    }
}
