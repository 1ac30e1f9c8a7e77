#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::encoding::strategies::{any_type, any_value};
use crate::value::DataType;
use proptest::prelude::*;

fn encode(columns: &[(u32, Value)]) -> Bytes {
    encode_row(columns.iter().map(|(id, value)| (*id, value)))
}

fn any_row() -> impl Strategy<Value = Vec<(u32, Value)>> {
    let id = prop_oneof![8 => 0..12_u32, 1 => any::<u32>(), 1 => 250..260_u32];
    let value = any_type().prop_flat_map(|data_type| any_value(&data_type));
    let value = prop_oneof![8 => value, 1 => Just(Value::Null)];
    proptest::collection::btree_map(id, value, 0..12).prop_map(|row| row.into_iter().collect())
}

/// Reads everything; only what is no row may fail, and only so.
fn read_all(row: &Bytes) {
    let results = RowReader::new(row).map(|reader| {
        let mut all: Vec<_> = reader.columns().map(|column| column.map(drop)).collect();
        all.extend((0..12).map(|id| reader.get(id).map(drop)));
        all
    });
    for error in results.unwrap_or_else(|error| vec![Err(error)]).into_iter().filter_map(Result::err) {
        assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_column_comes_back(columns in any_row()) {
        let row = encode(&columns);
        let reader = RowReader::new(&row).unwrap();
        let all: Vec<_> = reader.columns().map(Result::unwrap).collect();
        prop_assert_eq!(&all, &columns);
        // Exactly, not only as equal values: the scale of a numeric, the parts of an interval.
        prop_assert_eq!(format!("{all:?}"), format!("{columns:?}"));
        for (id, value) in &columns {
            prop_assert_eq!(&reader.get(*id).unwrap(), &Some(value.clone()));
        }
        for id in 0..12 {
            let has = columns.iter().any(|(column, _)| *column == id);
            prop_assert_eq!(reader.get(id).unwrap().is_some(), has);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), format in 0x10..0x20_u8, any_format in any::<bool>()) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() && !any_format {
            *first = format;
        }
        read_all(&bytes.into());
    }

    #[test]
    fn flipped_bits_never_panic(columns in any_row(), position in any::<proptest::sample::Index>(), flip in 1_u8..) {
        let mut bytes = encode(&columns).to_vec();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        read_all(&bytes.into());
    }

    #[test]
    fn cut_or_extended_rows_are_refused(columns in any_row(), cut in any::<proptest::sample::Index>()) {
        let bytes = encode(&columns);
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert_eq!(RowReader::new(&cut).unwrap_err().state(), SqlState::DATA_CORRUPTED);
        let extended = Bytes::from([bytes.as_ref(), &[0]].concat());
        prop_assert_eq!(RowReader::new(&extended).unwrap_err().state(), SqlState::DATA_CORRUPTED);
    }
}

#[test]
fn order_and_repetition_of_the_input() {
    let sorted = encode(&[(1, Value::Int(1)), (2, Value::Int(20))]);
    assert_eq!(encode(&[(2, Value::Int(2)), (1, Value::Int(1)), (2, Value::Int(20))]), sorted);
}

#[test]
fn added_and_dropped_columns() {
    // Written while the table had columns 1, 2 and 5; read after 2 was dropped and 6 added.
    let row = encode(&[(1, Value::Int(1)), (2, Value::text("dropped")), (5, Value::Null)]);
    let reader = RowReader::new(&row).unwrap();
    assert_eq!((reader.len(), reader.is_empty()), (3, false));
    assert_eq!(reader.get(1).unwrap(), Some(Value::Int(1)));
    assert_eq!(reader.get(5).unwrap(), Some(Value::Null));
    assert_eq!(reader.get(6).unwrap(), None);
}

#[test]
fn bytes_share_the_buffer() {
    let row = encode(&[(1, Value::from(vec![7_u8; 300]))]);
    let Some(Value::Bytes(bytes)) = RowReader::new(&row).unwrap().get(1).unwrap() else { panic!("bytea") };
    assert!(row.as_ptr_range().contains(&bytes.as_ptr()));
}

#[test]
fn widths_grow_with_the_row() {
    for (columns, length) in [(255_u32, 1), (256, 1), (1_600, 1), (1, 255), (1, 70_000), (1, 20_000_000)] {
        let columns: Vec<_> = (0..columns).map(|id| (id * 50, Value::from("x".repeat(length)))).collect();
        let row = encode(&columns);
        let reader = RowReader::new(&row).unwrap();
        for (id, value) in columns.iter().rev().take(3) {
            assert_eq!(reader.get(*id).unwrap().as_ref(), Some(value));
        }
    }
}

#[test]
fn deeply_nested_bytes_are_refused() {
    let mut value = Value::Array([Value::Int(1)].into());
    for _ in 0..2_000 {
        value = Value::Array([value].into());
    }
    let row = encode(&[(1, value)]);
    assert_eq!(RowReader::new(&row).unwrap().get(1).unwrap_err().state(), SqlState::DATA_CORRUPTED);
}

/// What is on disk must not change by accident: see the module's specification.
#[test]
fn golden_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let row = encode(&[(1, Value::Int(258)), (2, Value::text("Rome")), (3, Value::Null), (7, Value::Bool(true))]);
    assert_eq!(hex(&row), "10 04 01020307 03080809 030201 06526f6d65 02".replace(' ', ""));
    let wide = encode(&[(300, Value::from("a".repeat(300)))]);
    assert_eq!(hex(&wide[..8]), "15 0100 2c01 2d01 06".replace(' ', ""));
    assert_eq!(hex(&encode(&[])), "1000");

    let cases = [
        ("f", DataType::Bool, "01"),
        ("0", DataType::Int4, "03"),
        ("-1", DataType::Int4, "03ff"),
        ("128", DataType::Int8, "038000"),
        ("-9223372036854775808", DataType::Int8, "030000000000000080"),
        ("1.5", DataType::Float8, "04000000000000f83f"),
        ("123.450", DataType::Numeric(None), "05033ae201"),
        ("-0.1", DataType::Numeric(None), "058101"),
        ("aé", DataType::Text, "0661c3a9"),
        ("\\x00ff", DataType::Bytea, "0700ff"),
        ("00112233-4455-6677-8899-aabbccddeeff", DataType::Uuid, "0800112233445566778899aabbccddeeff"),
        ("1970-01-02", DataType::Date, "0901"),
        ("00:00:01", DataType::Time, "0a40420f"),
        ("1969-12-31 23:59:59.999999", DataType::Timestamp, "0bff"),
        ("1970-01-01 00:00:01+00", DataType::TimestampTz, "0c40420f"),
        ("1 mon -1 day 00:00:01", DataType::Interval, "0d01000000ffffffff40420f"),
        (r#"{"a": [1, null]}"#, DataType::Jsonb, "0e7b2261223a5b312c6e756c6c5d7d"),
        ("{1,NULL,abc}", DataType::Array(DataType::Text.into()), "0f020631000406616263"),
    ];
    for (text, data_type, expected) in cases {
        let value = Value::from_text(text, &data_type).unwrap();
        let row = encode(&[(1, value.clone())]);
        assert_eq!(hex(&row[4..]), expected, "{text} as {data_type}");
        assert_eq!(RowReader::new(&row).unwrap().get(1).unwrap(), Some(value));
    }
}
