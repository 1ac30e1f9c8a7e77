//! The order of values, and the equality and hash that grouping uses.
//!
//! One total order serves ORDER BY, indexes, DISTINCT and GROUP BY, and the key encoding reproduces it byte for byte:
//!
//! - NULL is greater than everything else, and equal to itself.
//! - Numbers of all kinds compare by value, exactly (no rounding to a common type). NaN equals NaN and is greater than infinity;
//!   -0.0 equals 0.0; 1.0 equals 1.00.
//! - Text compares by its UTF-8 bytes: the `C` collation, whatever the locale.
//! - A date compares with a timestamp as midnight; a timestamp without zone counts as UTC.
//! - Intervals compare by length (a month is 30 days, a day 24 hours).
//! - json and jsonb compare as PostgreSQL's jsonb: object > array > boolean > number > string > null; more elements or pairs are
//!   greater; then element by element, or pair by pair in the order of key length and key bytes. A scalar document is greater than
//!   an empty array (PostgreSQL's historical exception). Numbers compare by their decimal text.
//! - Arrays compare element by element, then by length.
//! - Values of kinds that no SQL comparison mixes have some fixed order among each other.
//!
//! `Eq` is equality under this order, and `Hash` agrees with it.

use super::Value;
use super::digits::Digits;
use chrono::{DateTime, NaiveDateTime, NaiveTime};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

impl Value {
    /// The total order of sorting and indexes; NULL is greatest.
    pub fn total_cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Int(left), Self::Int(right)) => left.cmp(right),
            (Self::Float(left), Self::Float(right)) => compare_floats(*left, *right),
            (Self::Numeric(left), Self::Numeric(right)) => left.cmp(right),
            (Self::Int(left), Self::Numeric(right)) => Decimal::from(*left).cmp(right),
            (Self::Numeric(left), Self::Int(right)) => left.cmp(&Decimal::from(*right)),
            (Self::Float(left), Self::Int(right)) => compare_float_decimal(*left, &Decimal::from(*right)),
            (Self::Int(left), Self::Float(right)) => compare_float_decimal(*right, &Decimal::from(*left)).reverse(),
            (Self::Float(left), Self::Numeric(right)) => compare_float_decimal(*left, right),
            (Self::Numeric(left), Self::Float(right)) => compare_float_decimal(*right, left).reverse(),
            (Self::Text(left), Self::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
            (Self::Bytes(left), Self::Bytes(right)) => left.cmp(right),
            (Self::Uuid(left), Self::Uuid(right)) => left.cmp(right),
            (Self::Time(left), Self::Time(right)) => left.cmp(right),
            (Self::Interval(left), Self::Interval(right)) => left.total_micros().cmp(&right.total_micros()),
            (Self::Json(left), Self::Json(right)) => compare_documents(left, right),
            (Self::Array(left), Self::Array(right)) => {
                let difference = left
                    .iter()
                    .zip(right.iter())
                    .map(|(left, right)| left.total_cmp(right))
                    .find(|order| order.is_ne());
                difference.unwrap_or_else(|| left.len().cmp(&right.len()))
            }
            _ => match (self.instant(), other.instant()) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => self.kind().cmp(&other.kind()),
            },
        }
    }

    /// SQL's comparison: `None`, that is unknown, if either side is NULL.
    pub fn sql_cmp(&self, other: &Value) -> Option<Ordering> {
        (!self.is_null() && !other.is_null()).then(|| self.total_cmp(other))
    }

    /// SQL's `=`: `None`, that is unknown, if either side is NULL.
    pub fn sql_eq(&self, other: &Value) -> Option<bool> {
        self.sql_cmp(other).map(Ordering::is_eq)
    }

    /// The point in time of a date or timestamp, as UTC.
    fn instant(&self) -> Option<NaiveDateTime> {
        match self {
            Self::Date(date) => Some(date.and_time(NaiveTime::MIN)),
            Self::Timestamp(timestamp) => Some(*timestamp),
            Self::TimestampTz(timestamp) => Some(DateTime::naive_utc(timestamp)),
            _ => None,
        }
    }

    /// The place of a value's kind among kinds that can't be compared; kinds that can share one.
    fn kind(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Float(_) | Self::Numeric(_) => 1,
            Self::Text(_) => 2,
            Self::Bytes(_) => 3,
            Self::Uuid(_) => 4,
            Self::Date(_) | Self::Timestamp(_) | Self::TimestampTz(_) => 5,
            Self::Time(_) => 6,
            Self::Interval(_) => 7,
            Self::Json(_) => 8,
            Self::Array(_) => 9,
            Self::Null => 10,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.total_cmp(other).is_eq()
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// [`Value::total_cmp`], so that values sort and serve as keys of ordered maps.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::Null => {}
            Self::Bool(value) => value.hash(state),
            Self::Int(value) => value.hash(state),
            Self::Float(value) => hash_float(*value, state),
            Self::Numeric(value) => hash_decimal(value, state),
            Self::Text(value) => value.hash(state),
            Self::Bytes(value) => value.hash(state),
            Self::Uuid(value) => value.hash(state),
            Self::Date(_) | Self::Timestamp(_) | Self::TimestampTz(_) => self.instant().hash(state),
            Self::Time(value) => value.hash(state),
            Self::Interval(value) => value.total_micros().hash(state),
            Self::Json(value) => hash_json(value, state),
            Self::Array(values) => values.iter().for_each(|value| value.hash(state)),
        }
    }
}

/// PostgreSQL's order of floating-point numbers: NaN greatest, both zeros equal.
fn compare_floats(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

/// Exactly, without rounding either side.
fn compare_float_decimal(float: f64, decimal: &Decimal) -> Ordering {
    const BEYOND_DECIMAL: f64 = 79_228_162_514_264_337_593_543_950_336.0; // 2^96
    if float.is_nan() || float >= BEYOND_DECIMAL {
        return Ordering::Greater;
    }
    if float <= -BEYOND_DECIMAL {
        return Ordering::Less;
    }
    // Both integer parts fit; the casts are exact.
    let whole = decimal.trunc();
    let by_whole =
        (float.trunc() as i128).cmp(&whole.mantissa().checked_div(10_i128.pow(whole.scale())).unwrap_or_default());
    by_whole.then_with(|| compare_fractions(float.fract(), &decimal.fract()))
}

/// Compares two numbers between -1 and 1.
fn compare_fractions(float: f64, decimal: &Decimal) -> Ordering {
    let sign = |negative: bool, zero: bool| match (zero, negative) {
        (true, _) => 0,
        (false, true) => -1,
        (false, false) => 1,
    };
    let left = sign(float < 0.0, float == 0.0);
    let by_sign = left.cmp(&sign(decimal.is_sign_negative(), decimal.is_zero()));
    if by_sign.is_ne() || left == 0 {
        return by_sign;
    }
    // |float| = k / 2^t and |decimal| = r / 10^s; compare k·5^s with r·2^(t-s). k < 2^53 and s <= 28, so the left side fits 128 bits.
    let bits = float.abs().to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let (k, t) = match exponent {
        0 => (fraction, 1074),
        _ => (fraction | (1 << 52), 1075_u32.saturating_sub(u32::try_from(exponent).unwrap_or(u32::MAX))),
    };
    let (r, s) = (decimal.mantissa().unsigned_abs(), decimal.scale());
    let scaled = u128::from(k) * 5_u128.pow(s);
    let absolute = match t.checked_sub(s) {
        // r is not 0: shifted beyond 128 bits it exceeds any left side.
        Some(shift) if shift > r.leading_zeros() => Ordering::Less,
        Some(shift) => scaled.cmp(&(r << shift)),
        // k < 2^t, hence k·5^s·2^(s-t) < 10^s.
        None => (scaled << (s - t)).cmp(&r),
    };
    if left < 0 { absolute.reverse() } else { absolute }
}

/// Equal numbers of different kinds hash alike: as a 64-bit integer where they are one, otherwise as the nearest double.
fn hash_float<H: Hasher>(float: f64, state: &mut H) {
    const INTEGERS: std::ops::Range<f64> = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    if float.fract() == 0.0 && INTEGERS.contains(&float) {
        (float as i64).hash(state);
    } else if float.is_nan() {
        f64::NAN.to_bits().hash(state);
    } else {
        float.to_bits().hash(state);
    }
}

fn hash_decimal<H: Hasher>(decimal: &Decimal, state: &mut H) {
    let normal = decimal.normalize();
    match i64::try_from(normal.mantissa()) {
        Ok(integer) if normal.scale() == 0 => integer.hash(state),
        _ => hash_float(nearest_float(decimal), state),
    }
}

/// The double nearest to a decimal.
pub(super) fn nearest_float(decimal: &Decimal) -> f64 {
    // A quotient of two exact doubles is rounded correctly; everything else goes through text, which is too.
    const EXACT: u128 = 1 << 53;
    let mantissa = decimal.mantissa();
    if mantissa.unsigned_abs() <= EXACT && decimal.scale() <= 22 {
        return mantissa as f64 / 10_f64.powi(decimal.scale().cast_signed());
    }
    decimal.to_string().parse().unwrap_or(f64::NAN)
}

/// The order of whole documents: as [`compare_json`], but an empty array is least.
fn compare_documents(left: &Json, right: &Json) -> Ordering {
    let empty = |json: &Json| json.as_array().is_some_and(Vec::is_empty);
    match (empty(left), empty(right)) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => compare_json(left, right),
    }
}

fn compare_json(left: &Json, right: &Json) -> Ordering {
    match (left, right) {
        (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
        (Json::Number(left), Json::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => Digits::from(left).cmp(&Digits::from(right)),
        },
        (Json::String(left), Json::String(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Json::Array(left), Json::Array(right)) => left.len().cmp(&right.len()).then_with(|| {
            let orders = left.iter().zip(right).map(|(left, right)| compare_json(left, right));
            orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Json::Object(left), Json::Object(right)) => left.len().cmp(&right.len()).then_with(|| {
            let pairs = jsonb_pairs(left).into_iter().zip(jsonb_pairs(right));
            let mut orders = pairs.map(|((left_key, left), (right_key, right))| {
                left_key.as_bytes().cmp(right_key.as_bytes()).then_with(|| compare_json(left, right))
            });
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }),
        _ => json_kind(left).cmp(&json_kind(right)),
    }
}

fn json_kind(json: &Json) -> u8 {
    match json {
        Json::Null => 0,
        Json::String(_) => 1,
        Json::Number(_) => 2,
        Json::Bool(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}

/// An object's pairs in jsonb's order: by key length, then by key bytes.
pub(crate) fn jsonb_pairs(object: &serde_json::Map<String, Json>) -> Vec<(&String, &Json)> {
    let mut pairs: Vec<_> = object.iter().collect();
    pairs.sort_unstable_by(|(left, _), (right, _)| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
    pairs
}

fn hash_json<H: Hasher>(json: &Json, state: &mut H) {
    json_kind(json).hash(state);
    match json {
        Json::Null => {}
        Json::Bool(value) => value.hash(state),
        Json::Number(value) => Digits::from(value).hash(state),
        Json::String(value) => value.hash(state),
        Json::Array(items) => items.iter().for_each(|item| hash_json(item, state)),
        Json::Object(object) => jsonb_pairs(object).into_iter().for_each(|(key, item)| {
            key.hash(state);
            hash_json(item, state);
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::value::Interval;
    use proptest::prelude::*;
    use std::hash::DefaultHasher;
    use std::sync::Arc;

    fn hash_of(value: &Value) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    fn numeric(text: &str) -> Value {
        Value::Numeric(text.parse().unwrap())
    }

    fn json(text: &str) -> Value {
        Value::Json(Arc::new(serde_json::from_str(text).unwrap()))
    }

    fn assert_ascending(values: &[Value]) {
        for (position, left) in values.iter().enumerate() {
            for right in values.iter().skip(position + 1) {
                assert_eq!(left.total_cmp(right), Ordering::Less, "{left:?} < {right:?}");
                assert_eq!(right.total_cmp(left), Ordering::Greater, "{right:?} > {left:?}");
            }
        }
    }

    #[test]
    fn numbers_of_different_kinds_compare_exactly() {
        assert_ascending(&[
            Value::Float(f64::NEG_INFINITY),
            Value::Float(-1e300),
            Value::Int(i64::MIN),
            Value::Float(-1.5),
            numeric("-1.4"),
            Value::Int(0),
            Value::Float(5e-324),
            numeric("0.0000000000000000000000000001"),
            numeric("0.1"),
            Value::Float(0.1), // 0.1000000000000000055…
            Value::Float(0.5),
            Value::Int(9_007_199_254_740_992),
            Value::Int(9_007_199_254_740_993),
            Value::Float(9_007_199_254_740_994.0),
            Value::Int(i64::MAX),
            Value::Float(9_223_372_036_854_775_808.0),
            numeric("79228162514264337593543950335"),
            Value::Float(1e29),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NAN),
            Value::Null,
        ]);
    }

    #[test]
    fn equal_values_hash_alike() {
        let pairs = [
            (Value::Int(1), numeric("1.00")),
            (Value::Float(1.0), numeric("1.0")),
            (Value::Float(-0.0), Value::Float(0.0)),
            (Value::Float(-0.0), Value::Int(0)),
            (Value::Float(0.375), numeric("0.37500")),
            (Value::Float(1e20), numeric("100000000000000000000")),
            (Value::Float(f64::NAN), Value::Float(-f64::NAN)),
            (json(r#"{"a": 1.0, "b": [1e1]}"#), json(r#"{"b": [10], "a": 1}"#)),
            (
                Value::Interval(Interval { months: 1, days: 0, micros: 0 }),
                Value::Interval(Interval { months: 0, days: 29, micros: 86_400_000_000 }),
            ),
            (Value::Null, Value::Null),
        ];
        for (left, right) in pairs {
            assert_eq!(left, right);
            assert_eq!(hash_of(&left), hash_of(&right), "{left:?} and {right:?}");
        }
    }

    #[test]
    fn json_compares_as_jsonb_does() {
        assert_ascending(&[
            json("[]"),
            json("null"),
            json(r#""""#),
            json(r#""a""#),
            json("-1"),
            json("0.1"),
            json("1e3"),
            json("false"),
            json("true"),
            json("[null]"),
            json("[[]]"),
            json("[1, 2]"),
            json("{}"),
            json(r#"{"b": 1}"#),
            json(r#"{"a": 1, "b": 2}"#),
            json(r#"{"b": 1, "c": 0}"#),
            Value::Null,
        ]);
    }

    #[test]
    fn sql_comparison_with_null_is_unknown() {
        assert_eq!(Value::Null.sql_cmp(&Value::Int(1)), None);
        assert_eq!(Value::Null.sql_eq(&Value::Null), None);
        assert_eq!(Value::Int(2).sql_eq(&Value::Float(2.0)), Some(true));
        let array = |items: &[Value]| Value::Array(Arc::from(items));
        assert_ascending(&[
            array(&[]),
            array(&[Value::Int(1)]),
            array(&[Value::Int(1), Value::Int(0)]),
            array(&[Value::Int(1), Value::Null]),
            array(&[Value::Int(2)]),
        ]);
    }

    fn any_number() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            (-100_i64..100).prop_map(Value::Int),
            any::<f64>().prop_map(Value::Float),
            (-100_i32..100).prop_map(|eighths| Value::Float(f64::from(eighths) / 8.0)),
            (any::<i128>(), 0_u32..=28)
                .prop_map(|(mantissa, scale)| Value::Numeric(Decimal::from_i128_with_scale(mantissa >> 33, scale))),
            (-100_000_i64..100_000, 0_u32..=5)
                .prop_map(|(mantissa, scale)| Value::Numeric(Decimal::new(mantissa, scale))),
        ]
    }

    proptest! {
        #[test]
        fn number_order_is_total_and_agrees_with_hash(a in any_number(), b in any_number(), c in any_number()) {
            prop_assert_eq!(a.total_cmp(&b), b.total_cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(hash_of(&a), hash_of(&b));
            }
            // The exact decimal expansion of a double is the oracle of the mixed comparison.
            if let (Value::Float(float), Value::Numeric(decimal)) = (&a, &b) && float.is_finite() {
                let exact = Digits::parse(&format!("{float:.1080}")).unwrap();
                prop_assert_eq!(a.total_cmp(&b), exact.cmp(&Digits::from(decimal)));
            }
        }
    }
}
