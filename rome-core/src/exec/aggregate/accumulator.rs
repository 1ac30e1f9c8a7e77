//! Accumulators: the running state of one aggregate over one group.

use super::AggregateFunction;
use crate::error::{Error, Result};
use crate::exec::context::row_bytes;
use crate::exec::eval::{add_values, divide_numerics, divide_values};
use crate::exec::expr::AggregateCall;
use crate::exec::functions::to_json;
use crate::value::{DataType, Value};
use rust_decimal::Decimal;
use std::cmp::Ordering;
use std::collections::HashSet;

/// The state of one aggregate.
pub(crate) struct Accumulator {
    state: State,
    result: DataType,
    /// The arguments seen, for DISTINCT.
    seen: Option<HashSet<Vec<Value>>>,
}

enum State {
    Count(i64),
    Sum(Option<Value>),
    /// The sum and the number of values.
    Average(Option<Value>, i64),
    /// The best value, and how a better one compares with it.
    Extreme(Option<Value>, Ordering),
    /// The truth so far, and the value that decides.
    Junction(Option<bool>, bool),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Array(Vec<Value>),
    /// The documents, and the argument's type.
    Json(Vec<serde_json::Value>, DataType),
    /// The bits so far, and whether they are joined by AND.
    Bits(Option<i64>, bool),
}

impl Accumulator {
    pub(crate) fn new(call: &AggregateCall) -> Self {
        let state = match call.function {
            AggregateFunction::Count => State::Count(0),
            AggregateFunction::Sum => State::Sum(None),
            AggregateFunction::Avg => State::Average(None, 0),
            AggregateFunction::Min => State::Extreme(None, Ordering::Less),
            AggregateFunction::Max => State::Extreme(None, Ordering::Greater),
            AggregateFunction::BoolAnd => State::Junction(None, false),
            AggregateFunction::BoolOr => State::Junction(None, true),
            AggregateFunction::StringAgg if call.data_type == DataType::Bytea => State::Bytes(None),
            AggregateFunction::StringAgg => State::Text(None),
            AggregateFunction::ArrayAgg => State::Array(vec![]),
            AggregateFunction::JsonAgg => {
                let arg_type = call.args.first().map_or(DataType::Unknown, |arg| arg.data_type.clone());
                State::Json(vec![], arg_type)
            }
            AggregateFunction::BitAnd => State::Bits(None, true),
            AggregateFunction::BitOr => State::Bits(None, false),
        };
        Self { state, result: call.data_type.clone(), seen: call.distinct.then(HashSet::new) }
    }

    /// Takes the arguments of one row; the memory that it takes to keep them.
    ///
    /// # Errors
    /// 22003 where a sum overflows.
    pub(crate) fn add(&mut self, args: Vec<Value>) -> Result<usize> {
        // Only what collects sees NULLs; count(*) has no argument.
        let collects = matches!(self.state, State::Array(_) | State::Json(..));
        if args.first().is_some_and(Value::is_null) && !collects {
            return Ok(0);
        }
        let mut kept_bytes = 0;
        if let Some(seen) = &mut self.seen {
            if seen.contains(&args) {
                return Ok(0);
            }
            kept_bytes += row_bytes(&args) + 16;
            seen.insert(args.clone());
        }
        let mut args = args.into_iter();
        let value = args.next();
        match (&mut self.state, value) {
            (State::Count(count), _) => *count += 1,
            (_, None) => return Err(Error::internal("an aggregate without an argument")),
            (State::Sum(sum), Some(value)) => add(sum, value, &self.result)?,
            (State::Average(sum, count), Some(value)) => {
                add(sum, value, &self.result)?;
                *count += 1;
            }
            (State::Extreme(best, better), Some(value)) => {
                if best.as_ref().is_none_or(|best| value.total_cmp(best) == *better) {
                    *best = Some(value);
                }
            }
            (State::Junction(truth, decisive), Some(Value::Bool(value))) => {
                *truth = Some(if value == *decisive { value } else { truth.unwrap_or(value) });
            }
            (State::Text(text), Some(Value::Text(value))) => {
                kept_bytes += value.len();
                match text {
                    None => *text = Some(value.to_string()),
                    Some(text) => {
                        if let Some(Value::Text(separator)) = args.next() {
                            kept_bytes += separator.len();
                            text.push_str(&separator);
                        }
                        text.push_str(&value);
                    }
                }
            }
            (State::Bytes(bytes), Some(Value::Bytes(value))) => {
                kept_bytes += value.len();
                match bytes {
                    None => *bytes = Some(value.to_vec()),
                    Some(bytes) => {
                        if let Some(Value::Bytes(separator)) = args.next() {
                            kept_bytes += separator.len();
                            bytes.extend_from_slice(&separator);
                        }
                        bytes.extend_from_slice(&value);
                    }
                }
            }
            (State::Array(items), Some(value)) => {
                kept_bytes += row_bytes(std::slice::from_ref(&value));
                items.push(value);
            }
            (State::Json(documents, arg_type), Some(value)) => {
                kept_bytes += row_bytes(std::slice::from_ref(&value));
                documents.push(to_json(&value, arg_type)?);
            }
            (State::Bits(bits, and), Some(Value::Int(value))) => {
                *bits = Some(match bits {
                    None => value,
                    Some(bits) if *and => *bits & value,
                    Some(bits) => *bits | value,
                });
            }
            (_, Some(other)) => {
                return Err(Error::internal(format_args!("an aggregate of {}", other.natural_type())));
            }
        }
        Ok(kept_bytes)
    }

    /// The aggregate's value.
    ///
    /// # Errors
    /// 22003 where an average overflows.
    pub(crate) fn finish(self) -> Result<Value> {
        Ok(match self.state {
            State::Count(count) => Value::Int(count),
            State::Sum(value) | State::Extreme(value, _) => value.unwrap_or(Value::Null),
            State::Average(None, _) => Value::Null,
            State::Average(Some(Value::Numeric(sum)), count) => {
                Value::Numeric(divide_numerics(sum, Decimal::from(count))?)
            }
            State::Average(Some(Value::Float(sum)), count) => Value::Float(sum / count as f64),
            State::Average(Some(sum), count) => divide_values(&sum, &Value::Int(count), &self.result)?,
            State::Junction(truth, _) => truth.map_or(Value::Null, Value::Bool),
            State::Text(text) => text.map_or(Value::Null, |text| Value::text(&text)),
            State::Bytes(bytes) => bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.into())),
            // DISTINCT and plain alike: no rows are NULL, not an empty array.
            State::Array(items) if items.is_empty() => Value::Null,
            State::Array(items) => Value::Array(items.into()),
            State::Json(documents, _) if documents.is_empty() => Value::Null,
            State::Json(documents, _) => Value::from(serde_json::Value::Array(documents)),
            State::Bits(bits, _) => bits.map_or(Value::Null, Value::Int),
        })
    }
}

/// Adds a value, in the result's type: integers to a numeric sum where that is numeric.
fn add(sum: &mut Option<Value>, value: Value, result: &DataType) -> Result<()> {
    let value = match (value, result) {
        (Value::Int(value), DataType::Numeric(_)) => Value::Numeric(Decimal::from(value)),
        (value, _) => value,
    };
    *sum = Some(match sum.take() {
        None => value,
        Some(sum) => add_values(&sum, &value, result)?,
    });
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::exec::aggregate::resolve;

    fn run(name: &str, distinct: bool, types: &[DataType], rows: &[&[Value]]) -> String {
        let (function, _, data_type) = resolve(name, types).unwrap().unwrap();
        let call = AggregateCall { function, args: vec![], distinct, filter: None, data_type: data_type.clone() };
        let mut accumulator = Accumulator::new(&call);
        for row in rows {
            if let Err(error) = accumulator.add(row.to_vec()) {
                return format!("{}: {}", error.state(), error.message());
            }
        }
        accumulator.finish().unwrap().to_text(&data_type)
    }

    #[test]
    fn sums_and_averages_have_postgresqls_types_and_overflow() {
        let (one, two, max) = ([Value::Int(1)], [Value::Int(2)], [Value::Int(i64::MAX)]);
        assert_eq!(run("sum", false, &[DataType::Int4], &[]), "NULL");
        assert_eq!(run("count", false, &[DataType::Int4], &[&[Value::Null], &one]), "1");
        assert_eq!(run("count", false, &[], &[&[], &[]]), "2");
        assert_eq!(run("sum", false, &[DataType::Int8], &[&max, &max]), "18446744073709551614");
        assert_eq!(run("sum", false, &[DataType::Int4], &[&max, &max]), "22003: bigint out of range");
        assert_eq!(run("avg", false, &[DataType::Int4], &[&one, &two, &[Value::Null]]), "1.5000000000000000");
        assert_eq!(run("avg", false, &[DataType::Float8], &[&[Value::Float(1.0)], &[Value::Float(2.0)]]), "1.5");
        assert_eq!(run("sum", true, &[DataType::Int4], &[&two, &two, &one]), "3");
    }

    #[test]
    fn extremes_texts_and_arrays() {
        let (a, b, comma) = (Value::text("a"), Value::text("b"), Value::text(","));
        let pairs: [&[Value]; 3] = [&[b.clone(), comma.clone()], &[Value::Null, comma.clone()], &[a.clone(), comma]];
        assert_eq!(run("string_agg", false, &[DataType::Text, DataType::Text], &pairs), "b,a");
        assert_eq!(run("min", false, &[DataType::Text], &[std::slice::from_ref(&b), std::slice::from_ref(&a)]), "a");
        assert_eq!(run("max", false, &[DataType::Text], &[&[Value::Null]]), "NULL");
        assert_eq!(run("array_agg", false, &[DataType::Text], &[&[a], &[Value::Null]]), "{a,NULL}");
        assert_eq!(run("array_agg", false, &[DataType::Text], &[]), "NULL");
        assert_eq!(run("jsonb_agg", false, &[DataType::Int4], &[&[Value::Int(1)], &[Value::Null]]), "[1, null]");
        assert_eq!(run("bit_and", false, &[DataType::Int4], &[&[Value::Int(6)], &[Value::Int(3)]]), "2");
        let (t, f) = ([Value::Bool(true)], [Value::Bool(false)]);
        assert_eq!(run("bool_and", false, &[DataType::Bool], &[&t, &[Value::Null], &f]), "f");
        assert_eq!(run("every", false, &[DataType::Bool], &[&t, &[Value::Null]]), "t");
        assert_eq!(run("bool_or", false, &[DataType::Bool], &[]), "NULL");
    }
}
