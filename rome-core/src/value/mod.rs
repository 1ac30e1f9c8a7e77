//! Values and types: what a column holds, with PostgreSQL's names, ranges, order and text forms.
//!
//! The bottom of the crate: every stage from the store's encodings to the rows that an application sees speaks of these.
//! Integer types share one representation ([`Value::Int`]), floating-point types another ([`Value::Float`]); the [`DataType`] of a
//! column or expression says which range applies, and whoever produces a value checks it.

mod cast;
mod convert;
pub(crate) mod datetime;
pub(crate) mod digits;
mod interval;
pub(crate) mod order;
mod parse;
mod text;
mod types;

pub use cast::{JSON_DEPTH_MAX, cast, cast_from, coerce_for_column};
pub use interval::Interval;
pub use types::DataType;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use rust_decimal::Decimal;
use std::sync::Arc;
use uuid::Uuid;

/// One value, NULL included.
///
/// Equality, hash and order are those of grouping and sorting (NULL equals NULL, NaN equals NaN, 1 equals 1.0): see
/// [`Value::total_cmp`]. For SQL's three-valued comparison see [`Value::sql_cmp`].
#[derive(Clone, Debug)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// boolean
    Bool(bool),
    /// smallint, integer, bigint
    Int(i64),
    /// real, double precision
    Float(f64),
    /// numeric
    Numeric(Decimal),
    /// text, varchar, char, and the labels of enum types
    Text(Arc<str>),
    /// bytea
    Bytes(Bytes),
    /// uuid
    Uuid(Uuid),
    /// date
    Date(NaiveDate),
    /// time without time zone, microseconds
    Time(NaiveTime),
    /// timestamp without time zone, microseconds
    Timestamp(NaiveDateTime),
    /// timestamp with time zone, kept as UTC, microseconds
    TimestampTz(DateTime<Utc>),
    /// interval
    Interval(Interval),
    /// json (text kept as it came) and jsonb
    Json(Arc<serde_json::Value>),
    /// A one-dimensional array.
    Array(Arc<[Value]>),
}

impl Value {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// A text value.
    pub fn text(text: &str) -> Self {
        Self::Text(Arc::from(text))
    }
}
