#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::encoding::strategies::{any_type, any_value};
use crate::error::SqlState;
use proptest::prelude::*;
use std::cmp::Ordering;

fn encode(value: &Value, column: &KeyColumn) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key_value(&mut out, value, column).expect("values of the tests fit their columns");
    out
}

fn any_column() -> impl Strategy<Value = KeyColumn> {
    (any_type(), any::<bool>(), any::<bool>()).prop_map(|(data_type, descending, nulls_first)| KeyColumn {
        data_type,
        descending,
        nulls_first,
    })
}

fn nullable(column: &KeyColumn) -> BoxedStrategy<Value> {
    prop_oneof![8 => any_value(&column.data_type), 1 => Just(Value::Null)].boxed()
}

/// The order that the column's declaration asks for.
fn order(left: &Value, right: &Value, column: &KeyColumn) -> Ordering {
    match (left.is_null(), right.is_null()) {
        (false, false) if column.descending => right.total_cmp(left),
        (false, false) => left.total_cmp(right),
        (left, right) if column.nulls_first => right.cmp(&left),
        (left, right) => left.cmp(&right),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn bytes_compare_as_values_do(
        (column, left, right) in any_column().prop_flat_map(|column| (Just(column.clone()), nullable(&column), nullable(&column)))
    ) {
        let (left_bytes, right_bytes) = (encode(&left, &column), encode(&right, &column));
        prop_assert_eq!(left_bytes.cmp(&right_bytes), order(&left, &right, &column), "{:?} and {:?}", left, right);
        if left_bytes != right_bytes {
            prop_assert!(!left_bytes.starts_with(&right_bytes) && !right_bytes.starts_with(&left_bytes), "a prefix");
        }
    }

    #[test]
    fn composite_keys_compare_column_by_column(
        (columns, left, right) in proptest::collection::vec(any_column(), 1..4).prop_flat_map(|columns| {
            let row = || columns.iter().map(nullable).collect::<Vec<_>>();
            (Just(columns.clone()), row(), row())
        }),
        same in 0_usize..3,
    ) {
        // The first columns are often the same.
        let right: Vec<_> = left.iter().take(same).chain(right.iter().skip(same)).cloned().collect();
        let encode_row = |row: &[Value]| -> Vec<u8> {
            row.iter().zip(&columns).flat_map(|(value, column)| encode(value, column)).collect()
        };
        let expected = left.iter().zip(&right).zip(&columns).map(|((left, right), column)| order(left, right, column));
        let expected = expected.fold(Ordering::Equal, Ordering::then);
        prop_assert_eq!(encode_row(&left).cmp(&encode_row(&right)), expected);
    }

    #[test]
    fn decodes_and_skips_to_the_next_column(
        (column, value) in any_column().prop_flat_map(|column| (Just(column.clone()), nullable(&column))),
        rest in any::<[u8; 2]>(),
    ) {
        let mut bytes = encode(&value, &column);
        bytes.extend(rest);
        let mut input = bytes.as_slice();
        prop_assert_eq!(decode_key_value(&mut input, &column).unwrap(), value);
        prop_assert_eq!(input, rest);
        let mut input = bytes.as_slice();
        skip_key_value(&mut input, &column).unwrap();
        prop_assert_eq!(input, rest);
    }

    #[test]
    fn random_bytes_never_panic(column in any_column(), bytes in proptest::collection::vec(any::<u8>(), 0..40), marked in any::<bool>()) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() && marked {
            *first = NOT_NULL;
        }
        let mut input = bytes.as_slice();
        match decode_key_value(&mut input, &column) {
            Ok(value) => prop_assert!(skip_key_value(&mut bytes.as_slice(), &column).is_ok(), "{:?}", value),
            Err(error) => prop_assert_eq!(error.state(), SqlState::DATA_CORRUPTED),
        }
        let _ = skip_key_value(&mut bytes.as_slice(), &column);
    }

    #[test]
    fn damaged_keys_never_panic(
        (column, value) in any_column().prop_flat_map(|column| (Just(column.clone()), nullable(&column))),
        position in any::<proptest::sample::Index>(),
        flip in 1_u8..,
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = encode(&value, &column);
        let truncated = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(decode_key_value(&mut &*truncated, &column).unwrap_err().state(), SqlState::DATA_CORRUPTED);
        prop_assert!(skip_key_value(&mut &*truncated, &column).is_err());
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        let _ = decode_key_value(&mut bytes.as_slice(), &column);
    }

    /// Two other encodings put the types that they share with ours in the same order.
    #[test]
    fn agrees_with_storekey_and_memcomparable(
        ints in any::<[i64; 2]>(),
        floats in any::<[f64; 2]>(),
        texts in ["[\u{0}\u{1}a\u{fe}\u{ff}]{0,12}", "[\u{0}\u{1}a\u{fe}\u{ff}]{0,12}"],
        bools in any::<[bool; 2]>(),
    ) {
        fn ours<T: Into<Value> + Clone>(pair: &[T; 2], data_type: DataType) -> Ordering {
            let column = KeyColumn::ascending(data_type);
            let [left, right] = pair.clone().map(|value| encode(&value.into(), &column));
            left.cmp(&right)
        }
        macro_rules! assert_agree {
            ($pair:expr, $data_type:expr) => {
                let [left, right] = &$pair;
                let ours = ours(&$pair, $data_type);
                prop_assert_eq!(ours, storekey::encode_vec(left).unwrap().cmp(&storekey::encode_vec(right).unwrap()));
                prop_assert_eq!(ours, memcomparable::to_vec(left).unwrap().cmp(&memcomparable::to_vec(right).unwrap()));
            };
        }
        assert_agree!(ints, DataType::Int8);
        assert_agree!(bools, DataType::Bool);
        assert_agree!(texts, DataType::Text);
        if floats.iter().all(|float| !float.is_nan() && *float != 0.0) {
            assert_agree!(floats, DataType::Float8);
        }
    }
}

#[test]
fn integers_of_different_width_share_an_encoding() {
    let value = Value::Int(-7);
    let [small, large] =
        [DataType::Int2, DataType::Int8].map(|data_type| encode(&value, &KeyColumn::ascending(data_type)));
    assert_eq!(small, large);
}

#[test]
fn a_value_of_another_type_is_refused() {
    let error =
        encode_key_value(&mut Vec::new(), &Value::text("1"), &KeyColumn::ascending(DataType::Int4)).unwrap_err();
    assert_eq!(error.state(), SqlState::INTERNAL_ERROR);
}

/// What is on disk must not change by accident: see the module's specification.
#[test]
fn golden_bytes() {
    let cases = [
        ("t", DataType::Bool, "0101"),
        ("258", DataType::Int4, "018000000000000102"),
        ("-1", DataType::Int8, "017fffffffffffffff"),
        ("1.5", DataType::Float8, "01bff8000000000000"),
        ("-1.5", DataType::Float4, "014007ffffffffffff"),
        ("NaN", DataType::Float8, "01ffffffffffffffff"),
        ("0.00", DataType::Numeric(None), "0102"),
        ("123.450", DataType::Numeric(None), "010380030d233300"),
        ("-123.45", DataType::Numeric(None), "01017ffcf2dcccff"),
        ("aé", DataType::Text, "0161c3a90000"),
        ("\\x6100ff", DataType::Bytea, "016100ffff0000"),
        ("00112233-4455-6677-8899-aabbccddeeff", DataType::Uuid, "0100112233445566778899aabbccddeeff"),
        ("1970-01-02", DataType::Date, "0180000001"),
        ("00:00:01", DataType::Time, "0180000000000f4240"),
        ("1969-12-31 23:59:59.999999", DataType::Timestamp, "017fffffffffffffff"),
        ("1970-01-01 00:00:01+00", DataType::TimestampTz, "0180000000000f4240"),
        ("1 day", DataType::Interval, "0180000000000000141dd76000"),
        (
            r#"{"b": [1, true], "aa": null}"#,
            DataType::Jsonb,
            "0107000000026200000600000002 0403 8001 0b00 0501 6161 0000 02",
        ),
        ("[]", DataType::Jsonb, "0101"),
        ("{1,NULL}", DataType::Array(DataType::Int4.into()), "010180000000000000010200"),
    ];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (text, data_type, expected) in cases {
        let value = Value::from_text(text, &data_type).unwrap();
        let expected = expected.replace(' ', "");
        let ascending = encode(&value, &KeyColumn::ascending(data_type.clone()));
        assert_eq!(hex(&ascending), expected, "{text} as {data_type}");
        let descending = encode(&value, &KeyColumn::descending(data_type));
        assert_eq!(descending[0], ascending[0]);
        assert!(descending.iter().zip(&ascending).skip(1).all(|(inverted, byte)| *inverted == !byte));
    }
    let null = |nulls_first, descending| {
        encode(&Value::Null, &KeyColumn { data_type: DataType::Int4, descending, nulls_first })
    };
    assert_eq!([null(true, false), null(false, false), null(true, true), null(false, true)], [[0], [2], [0], [2]]);
}
