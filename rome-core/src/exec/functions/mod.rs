//! The table of scalar functions: one static entry for each overload, from which name resolution, evaluation and the reference
//! listing ([`listing`]) are all derived.
//!
//! Each file of this folder holds one family and its part of the table. An entry names the argument types as [`Pattern`]s; the
//! binder resolves a call by [`resolve`], casts the arguments to what it says, and keeps the entry in the expression. Evaluation
//! hands the values over in a [`Call`], whose accessors check each value's kind, so that no function can panic on a wrong one.

mod array;
mod conditional;
mod datetime;
mod format;
mod json;
mod number;
mod pattern;
mod resolve;
mod system;
mod text;
mod timezone;

pub(crate) use resolve::signature;
pub use resolve::{Resolved, common_type, implicitly_castable, resolve};

pub(crate) use datetime::{add_interval, timestamp_difference};
pub(crate) use json::{as_text, contains, element, step, to_json};
pub(crate) use number::{division_by_zero, numeric_overflow, power_of_floats, power_of_numerics};
pub(crate) use pattern::compile as compile_regex;
pub(crate) use system::time_ordered;

use super::expr::Expr;
use crate::error::{Error, Result, SqlState};
use crate::topology::{HomeNo, Topology};
use crate::txn::Epochs;
use crate::value::{DataType, Interval, Value};
use chrono::{DateTime, NaiveDateTime, Utc};
use rust_decimal::Decimal;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// When a function's result may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Volatility {
    /// Never, for the same arguments: may be folded into a constant.
    Immutable,
    /// Not within a statement (`now()`).
    Stable,
    /// With each call (`random()`, `gen_random_uuid()`).
    Volatile,
}

/// Where time and randomness come from, so that a run can be replayed from its seed.
pub trait Surroundings: Send + Sync + fmt::Debug {
    /// The time at this moment.
    fn clock(&self) -> DateTime<Utc>;

    /// 64 random bits.
    fn random(&self) -> u64;
}

/// The machine's own clock and random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSurroundings;

impl Surroundings for SystemSurroundings {
    fn clock(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

/// What a function may use besides its arguments.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The transaction's time: what `now()` gives.
    pub now: DateTime<Utc>,
    /// Time and randomness.
    pub surroundings: Arc<dyn Surroundings>,
    /// The local home: where identifiers are born.
    pub home: HomeNo,
    /// The sites, as this statement knows them.
    pub topology: Option<Arc<Topology>>,
    /// In which epochs the transaction has read.
    pub epochs: Option<Arc<Epochs>>,
    /// What `current_database()` gives.
    pub database: Arc<str>,
    /// What `current_user` gives.
    pub user: Arc<str>,
}

impl CallContext {
    /// A context of a transaction that began at `now`, with the machine's clock and random numbers.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self {
            now,
            surroundings: Arc::new(SystemSurroundings),
            home: HomeNo::FIRST,
            topology: None,
            epochs: None,
            database: "rome".into(),
            user: "rome".into(),
        }
    }
}

/// A type, or a family of types, that an argument or result may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the plain types are named as PostgreSQL names them")]
pub enum Pattern {
    Bool,
    Int2,
    Int4,
    Int8,
    Float8,
    Numeric,
    Text,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Json,
    Jsonb,
    /// `text[]`
    Texts,
    /// Any number; as a result: the type of the first argument.
    Number,
    /// Any type, each argument its own.
    Any,
    /// Any type, one for all that say so; as a result: that type.
    Element,
    /// An array of what [`Pattern::Element`] stands for.
    Elements,
}

impl Pattern {
    /// The type that this names, where it names just one.
    pub fn exact(self) -> Option<DataType> {
        Some(match self {
            Self::Bool => DataType::Bool,
            Self::Int2 => DataType::Int2,
            Self::Int4 => DataType::Int4,
            Self::Int8 => DataType::Int8,
            Self::Float8 => DataType::Float8,
            Self::Numeric => DataType::Numeric(None),
            Self::Text => DataType::Text,
            Self::Bytea => DataType::Bytea,
            Self::Uuid => DataType::Uuid,
            Self::Date => DataType::Date,
            Self::Time => DataType::Time,
            Self::Timestamp => DataType::Timestamp,
            Self::TimestampTz => DataType::TimestampTz,
            Self::Interval => DataType::Interval,
            Self::Json => DataType::Json,
            Self::Jsonb => DataType::Jsonb,
            Self::Texts => DataType::Array(Arc::new(DataType::Text)),
            Self::Number | Self::Any | Self::Element | Self::Elements => return None,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.exact()) {
            (_, Some(data_type)) => data_type.fmt(f),
            (Self::Number, _) => f.write_str("number"),
            (Self::Element, _) => f.write_str("anyelement"),
            (Self::Elements, _) => f.write_str("anyarray"),
            _ => f.write_str("any"),
        }
    }
}

/// A scalar function as the table lists it.
pub struct ScalarFunction {
    /// Its name in lower case.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static [Pattern],
    /// Whether the last argument may come any number of times, also not at all.
    pub variadic: bool,
    /// Its result.
    pub result: Pattern,
    /// Its volatility.
    pub volatility: Volatility,
    /// NULL where any argument is NULL, without a call.
    pub strict: bool,
    /// Computes the result.
    pub call: fn(&Call<'_>) -> Result<Value>,
    /// One line for the reference.
    pub doc: &'static str,
}

impl ScalarFunction {
    /// An immutable, strict function; the methods below change that.
    const fn new(
        name: &'static str,
        args: &'static [Pattern],
        result: Pattern,
        call: fn(&Call<'_>) -> Result<Value>,
        doc: &'static str,
    ) -> Self {
        Self { name, args, variadic: false, result, volatility: Volatility::Immutable, strict: true, call, doc }
    }

    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    const fn stable(mut self) -> Self {
        self.volatility = Volatility::Stable;
        self
    }

    const fn volatile(mut self) -> Self {
        self.volatility = Volatility::Volatile;
        self
    }

    /// Called with NULLs too.
    const fn nullable(mut self) -> Self {
        self.strict = false;
        self
    }
}

impl fmt::Debug for ScalarFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All parts of the table.
static TABLE: &[&[ScalarFunction]] = &[
    text::FUNCTIONS,
    format::FUNCTIONS,
    pattern::FUNCTIONS,
    number::FUNCTIONS,
    datetime::FUNCTIONS,
    timezone::FUNCTIONS,
    conditional::FUNCTIONS,
    json::FUNCTIONS,
    array::FUNCTIONS,
    system::FUNCTIONS,
];

/// The table by name.
static BY_NAME: LazyLock<HashMap<&'static str, Vec<&'static ScalarFunction>>> = LazyLock::new(|| {
    let mut names: HashMap<_, Vec<_>> = HashMap::new();
    for function in all() {
        names.entry(function.name).or_default().push(function);
    }
    names
});

/// Every function of the table.
pub fn all() -> impl Iterator<Item = &'static ScalarFunction> {
    TABLE.iter().copied().flatten()
}

/// The overloads of a name in lower case; empty where there is no such function.
pub fn overloads(name: &str) -> &'static [&'static ScalarFunction] {
    BY_NAME.get(name).map_or(&[], Vec::as_slice)
}

/// The reference page: one Markdown table row for each function.
pub fn listing() -> String {
    let mut out = String::from("| function | result | |\n|---|---|---|\n");
    for function in all() {
        let args: Vec<String> = function.args.iter().map(Pattern::to_string).collect();
        let dots = if function.variadic { ", ..." } else { "" };
        out.push_str(&format!(
            "| `{}({}{dots})` | {} | {} |\n",
            function.name,
            args.join(", "),
            function.result,
            function.doc
        ));
    }
    out
}

/// One call of a function: its arguments, checked by the accessors.
pub struct Call<'a> {
    /// The values.
    pub args: &'a [Value],
    /// The argument expressions, for their types.
    pub exprs: &'a [Expr],
    /// The type that the result is to have.
    pub result: &'a DataType,
    /// Time, randomness, names.
    pub context: &'a CallContext,
}

impl<'a> Call<'a> {
    fn value(&self, position: usize) -> &'a Value {
        self.args.get(position).unwrap_or(&Value::Null)
    }

    fn arg_type(&self, position: usize) -> &DataType {
        self.exprs.get(position).map_or(&DataType::Unknown, |expr| &expr.data_type)
    }

    fn mismatch(&self, position: usize, wanted: &str) -> Error {
        Error::internal(format_args!("argument {} of a function is no {wanted}", position + 1))
    }

    fn text(&self, position: usize) -> Result<&'a str> {
        match self.value(position) {
            Value::Text(text) => Ok(text),
            _ => Err(self.mismatch(position, "text")),
        }
    }

    fn bytes(&self, position: usize) -> Result<&'a [u8]> {
        match self.value(position) {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch(position, "bytea")),
        }
    }

    fn int(&self, position: usize) -> Result<i64> {
        match self.value(position) {
            Value::Int(int) => Ok(*int),
            _ => Err(self.mismatch(position, "integer")),
        }
    }

    fn float(&self, position: usize) -> Result<f64> {
        match self.value(position) {
            Value::Float(float) => Ok(*float),
            _ => Err(self.mismatch(position, "double precision")),
        }
    }

    fn numeric(&self, position: usize) -> Result<Decimal> {
        match self.value(position) {
            Value::Numeric(numeric) => Ok(*numeric),
            Value::Int(int) => Ok(Decimal::from(*int)),
            Value::Float(float) => Decimal::try_from(*float).map_err(|_| number::numeric_overflow()),
            _ => Err(self.mismatch(position, "numeric")),
        }
    }

    fn array(&self, position: usize) -> Result<&'a [Value]> {
        match self.value(position) {
            Value::Array(items) => Ok(items),
            _ => Err(self.mismatch(position, "array")),
        }
    }

    fn json(&self, position: usize) -> Result<&'a serde_json::Value> {
        match self.value(position) {
            Value::Json(json) => Ok(json),
            _ => Err(self.mismatch(position, "json")),
        }
    }

    fn interval(&self, position: usize) -> Result<Interval> {
        match self.value(position) {
            Value::Interval(interval) => Ok(*interval),
            _ => Err(self.mismatch(position, "interval")),
        }
    }

    /// A date or timestamp of either kind, the latter as UTC.
    fn timestamp(&self, position: usize) -> Result<NaiveDateTime> {
        match self.value(position) {
            Value::Timestamp(timestamp) => Ok(*timestamp),
            Value::TimestampTz(timestamp) => Ok(timestamp.naive_utc()),
            Value::Date(date) => Ok(date.and_time(chrono::NaiveTime::MIN)),
            _ => Err(self.mismatch(position, "timestamp")),
        }
    }
}

/// An integer result, checked against the type's range.
pub(crate) fn integer_result(value: Option<i64>, data_type: &DataType) -> Result<Value> {
    let (low, high) = data_type.integer_range().unwrap_or((i64::MIN, i64::MAX));
    match value {
        Some(value) if (low..=high).contains(&value) => Ok(Value::Int(value)),
        _ => Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, format!("{data_type} out of range"))),
    }
}

/// The longest text that a function makes, in bytes: repeat(), lpad() and the like refuse more.
pub(crate) const MAX_TEXT_BYTES: usize = 256 << 20;

fn too_long() -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}
