//! The type of a column, an expression or a parameter.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A SQL type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum DataType {
    /// A literal or parameter whose type nothing has fixed yet (`NULL`, `'abc'`, `$1`); never a column's type.
    Unknown,
    /// boolean
    Bool,
    /// smallint
    Int2,
    /// integer
    Int4,
    /// bigint
    Int8,
    /// real
    Float4,
    /// double precision
    Float8,
    /// numeric(precision, scale); `None` is unconstrained
    Numeric(Option<(u8, u8)>),
    /// text
    Text,
    /// varchar(n), length in characters; `None` is unlimited
    Varchar(Option<u32>),
    /// char(n), padded with blanks
    Char(u32),
    /// bytea
    Bytea,
    /// uuid
    Uuid,
    /// date
    Date,
    /// time
    Time,
    /// timestamp
    Timestamp,
    /// timestamptz
    TimestampTz,
    /// interval
    Interval,
    /// json
    Json,
    /// jsonb
    Jsonb,
    /// A one-dimensional array of the element type.
    Array(Arc<DataType>),
}

impl DataType {
    /// smallint, integer or bigint.
    pub fn is_integer(&self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    /// An integer, floating-point or numeric type.
    pub fn is_number(&self) -> bool {
        self.is_integer() || matches!(self, Self::Float4 | Self::Float8 | Self::Numeric(_))
    }

    /// text, varchar or char.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Varchar(_) | Self::Char(_))
    }

    /// The range of an integer type.
    pub fn integer_range(&self) -> Option<(i64, i64)> {
        match self {
            Self::Int2 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
            Self::Int4 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            Self::Int8 => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }
}

/// The name as PostgreSQL prints it, for instance `character varying(20)`.
impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Bool => f.write_str("boolean"),
            Self::Int2 => f.write_str("smallint"),
            Self::Int4 => f.write_str("integer"),
            Self::Int8 => f.write_str("bigint"),
            Self::Float4 => f.write_str("real"),
            Self::Float8 => f.write_str("double precision"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Varchar(None) => f.write_str("character varying"),
            Self::Varchar(Some(length)) => write!(f, "character varying({length})"),
            Self::Char(length) => write!(f, "character({length})"),
            Self::Bytea => f.write_str("bytea"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time without time zone"),
            Self::Timestamp => f.write_str("timestamp without time zone"),
            Self::TimestampTz => f.write_str("timestamp with time zone"),
            Self::Interval => f.write_str("interval"),
            Self::Json => f.write_str("json"),
            Self::Jsonb => f.write_str("jsonb"),
            Self::Array(element) => write!(f, "{element}[]"),
        }
    }
}
