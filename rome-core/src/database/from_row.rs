//! Rows into Rust types, by serde: [`FromRow`] for everything that deserializes.
//!
//! A struct or map takes columns by name and ignores those that it has no field for; a tuple takes them by position; anything else
//! is read from a row of exactly one column. Fields take values as [`super::FromValue`] does. Types that deserialize from text (UUIDs, dates
//! and times, decimals) get the text that they print, json columns deserialize into nested structs, text into enums by variant
//! name, arrays and bytea into vectors. A struct that meets a one-column row whose column it does not name is read from that
//! column's JSON document.

use super::from_value::integer_of_numeric;
use super::row::in_column;
use super::{FromRow, Row};
use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use chrono::SecondsFormat;
use serde::de::value::SeqDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;

impl<T: DeserializeOwned> FromRow for T {
    fn from_row(row: &Row) -> Result<Self> {
        T::deserialize(RowDeserializer { row }).map_err(|Fault(error)| error)
    }
}

/// serde's errors as ours.
#[derive(Debug)]
struct Fault(Error);

impl Fault {
    fn mismatch(message: impl Into<String>) -> Self {
        Self(Error::new(SqlState::DATATYPE_MISMATCH, message))
    }

    /// Names the column unless an inner value has.
    fn in_column(self, name: &str) -> Self {
        let named = self.0.column().is_some() || self.0.state() == SqlState::UNDEFINED_COLUMN;
        if named { self } else { Self(in_column(&self.0, name)) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::mismatch(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match unexpected {
            Unexpected::Unit => Self(
                Error::new(SqlState::DATATYPE_MISMATCH, format!("NULL where {expected} was expected"))
                    .with_hint("Read a column that may be NULL into an Option."),
            ),
            other => Self::mismatch(format!("{other} where {expected} was expected")),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        let message = format!("the result has no column \"{field}\"");
        Self(Error::new(SqlState::UNDEFINED_COLUMN, message).with_column(field))
    }
}

/// A whole row.
struct RowDeserializer<'a> {
    row: &'a Row,
}

impl<'a> RowDeserializer<'a> {
    /// The value of a row of one column.
    fn scalar(&self) -> Result<NamedValue<'a>, Fault> {
        match (self.row.columns(), self.row.values()) {
            ([column], [value]) => Ok(NamedValue { name: &column.name, value }),
            (columns, _) => {
                Err(Fault::mismatch(format!("the row has {} columns where one was expected", columns.len())))
            }
        }
    }

    fn named_values(&self) -> impl Iterator<Item = NamedValue<'a>> + use<'a> {
        let columns = self.row.columns().iter();
        columns.zip(self.row.values()).map(|(column, value)| NamedValue { name: &column.name, value })
    }
}

/// Everything that only a row of one column can become.
macro_rules! from_the_only_column {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.scalar()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for RowDeserializer<'de> {
    type Error = Fault;

    from_the_only_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.row.values() {
            [_] => self.scalar()?.deserialize_any(visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.row.values() {
            [Value::Null] => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.scalar()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.row.values() {
            [Value::Array(_) | Value::Json(_) | Value::Bytes(_)] => self.scalar()?.deserialize_seq(visitor),
            _ => visitor.visit_seq(Positions { values: self.named_values() }),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.row.values() {
            [Value::Array(_) | Value::Json(_)] if length != 1 => self.scalar()?.deserialize_seq(visitor),
            values if values.len() == length => visitor.visit_seq(Positions { values: self.named_values() }),
            values => {
                Err(Fault::mismatch(format!("the row has {} columns where {length} were expected", values.len())))
            }
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Names { row: self.row, position: 0 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match (self.row.columns(), self.row.values()) {
            ([column], [Value::Json(_)]) if !fields.contains(&&*column.name) => {
                self.scalar()?.deserialize_struct(name, fields, visitor)
            }
            _ => self.deserialize_map(visitor),
        }
    }
}

/// A row as a sequence of its values.
struct Positions<I> {
    values: I,
}

impl<'de, I: Iterator<Item = NamedValue<'de>>> SeqAccess<'de> for Positions<I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(value) = self.values.next() else { return Ok(None) };
        let name = value.name;
        seed.deserialize(value).map(Some).map_err(|fault| fault.in_column(name))
    }
}

/// A row as a map from column names; of columns of one name, the first.
struct Names<'a> {
    row: &'a Row,
    position: usize,
}

impl<'a> Names<'a> {
    fn current(&self) -> Option<NamedValue<'a>> {
        let column = self.row.columns().get(self.position)?;
        Some(NamedValue { name: &column.name, value: self.row.values().get(self.position)? })
    }

    fn is_repeated(&self, name: &str) -> bool {
        self.row.columns().iter().take(self.position).any(|column| &*column.name == name)
    }
}

impl<'de> MapAccess<'de> for Names<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        while let Some(current) = self.current() {
            if !self.is_repeated(current.name) {
                return seed.deserialize(current.name.into_deserializer()).map(Some);
            }
            self.position += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let current =
            self.current().ok_or_else(|| Fault(Error::internal("a value was asked for after the last column")))?;
        self.position += 1;
        let name = current.name;
        seed.deserialize(current).map_err(|fault| fault.in_column(name))
    }
}

/// A value and the name of its column, for errors.
#[derive(Clone, Copy)]
struct NamedValue<'a> {
    name: &'a str,
    value: &'a Value,
}

impl<'a> NamedValue<'a> {
    /// Runs a method of the JSON document's own deserializer.
    fn json<T>(self, result: Result<T, serde_json::Error>) -> Result<T, Fault> {
        result.map_err(|error| Fault::mismatch(error.to_string()).in_column(self.name))
    }

    fn elements(self, items: &'a [Value]) -> impl Iterator<Item = NamedValue<'a>> {
        items.iter().map(move |value| NamedValue { name: self.name, value })
    }

    /// The value by what it is, for a target that says what it expects only by what it accepts.
    fn visit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_borrowed_str(value),
            Value::Bytes(value) => visitor.visit_borrowed_bytes(value),
            Value::Numeric(_) | Value::Uuid(_) | Value::Interval(_) => visitor.visit_string(self.value.to_string()),
            // The ISO forms that chrono's types read.
            Value::Date(value) => visitor.visit_string(format!("{value:?}")),
            Value::Time(value) => visitor.visit_string(format!("{value:?}")),
            Value::Timestamp(value) => visitor.visit_string(format!("{value:?}")),
            Value::TimestampTz(value) => visitor.visit_string(value.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            Value::Json(json) => self.json(json.as_ref().deserialize_any(visitor)),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(self.elements(items))),
        }
    }
}

impl<'de> IntoDeserializer<'de, Fault> for NamedValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Integers also from a numeric without fraction, which is what `sum(bigint)` gives.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let Value::Numeric(number) = self.value else { return self.deserialize_any(visitor) };
            let integer = integer_of_numeric(number);
            match (integer, integer.and_then(|integer| i64::try_from(integer).ok()), integer.and_then(|integer| u64::try_from(integer).ok())) {
                (_, Some(integer), _) => visitor.visit_i64(integer),
                (_, _, Some(integer)) => visitor.visit_u64(integer),
                (Some(integer), _, _) => visitor.visit_i128(integer),
                _ => Err(Fault::mismatch(format!("numeric {number} where an integer was expected"))),
            }
            .map_err(|fault| fault.in_column(self.name))
        }
    )*};
}

macro_rules! floats {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match crate::value::cast(self.value.clone(), &crate::value::DataType::Float8) {
                Ok(Value::Float(number)) if matches!(self.value, Value::Numeric(_)) => visitor.visit_f64(number),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for NamedValue<'de> {
    type Error = Fault;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    floats! { deserialize_f32 deserialize_f64 }

    forward_to_deserialize_any! { char str string identifier unit unit_struct map struct }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor).map_err(|fault| fault.in_column(self.name))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Int(number @ (0 | 1)) => visitor.visit_bool(*number == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Uuid(uuid) => visitor.visit_borrowed_bytes(uuid.as_bytes()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match self.value {
            Value::Text(text) => visitor.visit_enum(text.as_ref().into_deserializer()),
            Value::Json(json) => return self.json(json.as_ref().deserialize_enum(name, variants, visitor)),
            other => Err(Fault::mismatch(format!(
                "a value of type {} where a variant of {name} was expected",
                other.natural_type()
            ))),
        };
        result.map_err(|fault| fault.in_column(self.name))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::database::ColumnMeta;
    use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
    use rust_decimal::Decimal;
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn row<const N: usize>(columns: [(&str, Value); N]) -> Row {
        let meta =
            columns.iter().map(|(name, value)| ColumnMeta { name: (*name).into(), data_type: value.natural_type() });
        let meta: Vec<_> = meta.collect();
        Row::new(meta.into(), columns.into_iter().map(|(_, value)| value).collect())
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "UPPERCASE")]
    enum Status {
        Active,
        Error,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    struct Metadata {
        owner: String,
        tags: Vec<String>,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    struct Server {
        id: Uuid,
        name: String,
        status: Status,
        ram_mb: u32,
        load: f64,
        price: Decimal,
        zone: Option<String>,
        created_at: DateTime<Utc>,
        updated_at: Option<NaiveDateTime>,
        expires_on: NaiveDate,
        backup_at: NaiveTime,
        metadata: Metadata,
        key: Vec<u8>,
        ports: Vec<Option<i32>>,
        locked: bool,
    }

    fn server() -> Row {
        let day = NaiveDate::from_ymd_opt(2024, 1, 2).unwrap();
        let instant = day.and_hms_micro_opt(3, 4, 5, 678_900).unwrap();
        row([
            ("id", Uuid::from_u128(5).into()),
            ("name", "web-1".into()),
            ("status", "ACTIVE".into()),
            ("ram_mb", 2048.into()),
            ("load", 0.25.into()),
            ("price", Decimal::new(1250, 2).into()),
            ("zone", Value::Null),
            ("created_at", instant.and_utc().into()),
            ("updated_at", instant.into()),
            ("expires_on", day.into()),
            ("backup_at", instant.time().into()),
            ("metadata", serde_json::json!({"owner": "ann", "tags": ["a", "b"]}).into()),
            ("key", vec![1_u8, 2, 3].into()),
            ("ports", Value::Array([Value::Int(80), Value::Null].into())),
            ("locked", true.into()),
            ("a_column_that_the_struct_does_not_have", 1.into()),
        ])
    }

    #[test]
    fn struct_by_column_name() {
        let server = Server::from_row(&server()).unwrap();
        assert_eq!(server.id, Uuid::from_u128(5));
        assert_eq!((server.status, server.ram_mb, server.zone), (Status::Active, 2048, None));
        assert_eq!(server.price.to_string(), "12.50");
        assert_eq!(server.created_at.to_rfc3339(), "2024-01-02T03:04:05.678900+00:00");
        assert_eq!(server.updated_at, Some(server.created_at.naive_utc()));
        assert_eq!((server.expires_on, server.backup_at), (server.created_at.date_naive(), server.created_at.time()));
        assert_eq!(server.metadata, Metadata { owner: "ann".into(), tags: vec!["a".into(), "b".into()] });
        assert_eq!((server.key, server.ports), (vec![1, 2, 3], vec![Some(80), None]));
    }

    #[test]
    fn tuples_scalars_and_maps() {
        let pair = row([("count", 3.into()), ("name", "x".into())]);
        assert_eq!(<(i64, String)>::from_row(&pair).unwrap(), (3, "x".into()));
        assert_eq!(<(i64,)>::from_row(&row([("count", 3.into())])).unwrap(), (3,));
        assert_eq!(i64::from_row(&row([("sum", Decimal::from(7).into())])).unwrap(), 7);
        assert_eq!(Option::<i64>::from_row(&row([("max", Value::Null)])).unwrap(), None);
        assert_eq!(String::from_row(&row([("name", "x".into())])).unwrap(), "x");
        assert_eq!(Vec::<i32>::from_row(&row([("a", Value::Array([Value::Int(1)].into()))])).unwrap(), [1]);
        let document = row([("metadata", serde_json::json!({"owner": "ann", "tags": []}).into())]);
        assert_eq!(Metadata::from_row(&document).unwrap().owner, "ann");
        let map = BTreeMap::<String, serde_json::Value>::from_row(&pair).unwrap();
        assert_eq!(map, BTreeMap::from([("count".into(), 3.into()), ("name".into(), "x".into())]));
        let twice = row([("name", "first".into()), ("name", "second".into())]);
        assert_eq!(BTreeMap::<String, String>::from_row(&twice).unwrap()["name"], "first");
        assert_eq!(<(String, String)>::from_row(&twice).unwrap().1, "second");
    }

    #[test]
    fn flattened_and_wrapped() {
        #[derive(Deserialize)]
        struct HostId(Uuid);
        #[derive(Deserialize)]
        struct Capacity {
            ram_mb: i64,
        }
        #[derive(Deserialize)]
        struct Host {
            id: HostId,
            #[serde(flatten)]
            capacity: Capacity,
            #[serde(default)]
            disabled: bool,
        }
        let host = Host::from_row(&row([("ram_mb", 4.into()), ("id", Uuid::from_u128(9).into())])).unwrap();
        assert_eq!((host.id.0, host.capacity.ram_mb, host.disabled), (Uuid::from_u128(9), 4, false));
    }

    #[test]
    fn errors_name_the_column() {
        #[derive(Deserialize, Debug)]
        #[allow(dead_code)]
        struct Small {
            ram_mb: u8,
        }
        let error = |value: Value| Small::from_row(&row([("ram_mb", value), ("other", Value::Null)])).unwrap_err();
        let too_large = error(300.into());
        assert_eq!((too_large.state(), too_large.column()), (SqlState::DATATYPE_MISMATCH, Some("ram_mb")));
        assert_eq!(error(Value::Null).message(), "column \"ram_mb\": NULL where u8 was expected");
        assert_eq!(error("x".into()).message(), "column \"ram_mb\": string \"x\" where u8 was expected");
        let missing = Small::from_row(&row([("ram", 1.into())])).unwrap_err();
        assert_eq!((missing.state(), missing.column()), (SqlState::UNDEFINED_COLUMN, Some("ram_mb")));
        let unknown = Status::from_row(&row([("status", "LOST".into())])).unwrap_err();
        assert!(unknown.message().starts_with("column \"status\": unknown variant `LOST`"), "{unknown}");
        let wide = i64::from_row(&row([("a", 1.into()), ("b", 2.into())])).unwrap_err();
        assert_eq!(wide.message(), "the row has 2 columns where one was expected");
        assert!(<(i64, i64, i64)>::from_row(&row([("a", 1.into()), ("b", 2.into())])).is_err());
    }
}
