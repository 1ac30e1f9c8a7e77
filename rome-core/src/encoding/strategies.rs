//! Random columns and values for the property tests of the encodings.

use crate::value::{DataType, Interval, Value};
use chrono::{DateTime, NaiveDate};
use proptest::prelude::*;
use rust_decimal::Decimal;
use std::sync::Arc;
use uuid::Uuid;

/// Every type that a column can have, one of each representation and bound.
pub(super) fn any_type() -> impl Strategy<Value = DataType> {
    use DataType::*;
    let array = |element: DataType| Array(Arc::new(element));
    proptest::sample::select(vec![
        Bool,
        Int2,
        Int4,
        Int8,
        Float4,
        Float8,
        Numeric(None),
        Text,
        Varchar(Some(9)),
        Char(3),
        Bytea,
        Uuid,
        Date,
        Time,
        Timestamp,
        TimestampTz,
        Interval,
        Json,
        Jsonb,
        array(Int4),
        array(Text),
        array(Numeric(None)),
        array(Jsonb),
    ])
}

/// A value of the type, never NULL itself. Small and special values are frequent, so that equal and nearly equal pairs occur.
pub(super) fn any_value(data_type: &DataType) -> BoxedStrategy<Value> {
    match data_type {
        DataType::Unknown => Just(Value::Null).boxed(),
        DataType::Bool => any::<bool>().prop_map(Value::from).boxed(),
        DataType::Int2 => any::<i16>().prop_map(Value::from).boxed(),
        DataType::Int4 => any::<i32>().prop_map(Value::from).boxed(),
        DataType::Int8 => prop_oneof![any::<i64>(), -3..3_i64, Just(i64::MIN)].prop_map(Value::from).boxed(),
        DataType::Float4 => any::<f32>().prop_map(Value::from).boxed(),
        DataType::Float8 => any_float().prop_map(Value::from).boxed(),
        DataType::Numeric(_) => any_decimal().prop_map(Value::from).boxed(),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => any_text().prop_map(Value::from).boxed(),
        DataType::Bytea => {
            let byte = prop_oneof![Just(0_u8), Just(1), Just(0xfe), Just(0xff), any::<u8>()];
            proptest::collection::vec(byte, 0..6).prop_map(Value::from).boxed()
        }
        DataType::Uuid => any::<u128>().prop_map(|bits| Value::from(Uuid::from_u128(bits))).boxed(),
        DataType::Date => {
            let days = prop_oneof![-90_000_000..95_000_000_i32, -2..2_i32];
            let date = days
                .prop_filter_map("a date", |days| NaiveDate::from_num_days_from_ce_opt(days.saturating_add(719_163)));
            date.prop_map(Value::from).boxed()
        }
        DataType::Time => {
            let micros = prop_oneof![0..86_400_000_000_i64, Just(0), Just(86_399_999_999)];
            micros.prop_filter_map("a time", crate::value::datetime::time_of_micros).prop_map(Value::from).boxed()
        }
        DataType::Timestamp => any_instant().prop_map(|instant| Value::from(instant.naive_utc())).boxed(),
        DataType::TimestampTz => any_instant().prop_map(Value::from).boxed(),
        DataType::Interval => {
            let (any_parts, close) =
                ((any::<i32>(), any::<i32>(), any::<i64>()), (-1..2_i32, -31..32_i32, Just(0_i64)));
            let extremes = (Just(i32::MIN), Just(i32::MIN), Just(i64::MIN));
            let parts = prop_oneof![any_parts, close, extremes, (Just(i32::MAX), Just(i32::MAX), Just(i64::MAX))];
            parts.prop_map(|(months, days, micros)| Value::Interval(Interval { months, days, micros })).boxed()
        }
        DataType::Json | DataType::Jsonb => any_json().prop_map(Value::from).boxed(),
        DataType::Array(element) => {
            let item = prop_oneof![4 => any_value(element), 1 => Just(Value::Null)];
            proptest::collection::vec(item, 0..4).prop_map(|items| Value::Array(items.into())).boxed()
        }
    }
}

fn any_float() -> impl Strategy<Value = f64> {
    let special = [0.0, -0.0, 1.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE];
    prop_oneof![any::<u64>().prop_map(f64::from_bits), proptest::sample::select(special.to_vec())]
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        (any::<i128>(), 0..=28_u32).prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa >> 33, scale)),
        (-30..30_i64, 0..=3_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        (any::<i16>(), 0..=28_u32).prop_map(|(mantissa, scale)| Decimal::new(i64::from(mantissa) * 1_000, scale)),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,6}", "[\u{0}\u{1}ab]{0,4}"]
}

fn any_instant() -> impl Strategy<Value = DateTime<chrono::Utc>> {
    let micros = prop_oneof![any::<i64>(), -2..2_i64, any::<i32>().prop_map(i64::from)];
    micros.prop_filter_map("an instant", DateTime::from_timestamp_micros)
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(serde_json::Number::from),
        any::<u64>().prop_map(serde_json::Number::from),
        (-3..3_i64).prop_map(serde_json::Number::from),
        any::<f64>().prop_filter_map("a finite number", serde_json::Number::from_f64),
        (-12..12_i32)
            .prop_filter_map("a finite number", |fourths| serde_json::Number::from_f64(f64::from(fourths) / 4.0)),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        number.prop_map(serde_json::Value::Number),
        "[\u{0}ab]{0,3}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[ab]{0,2}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}
