//! Which aggregate a call means, and its types.

use super::AggregateFunction;
use crate::error::{Error, Result, SqlState};
use crate::exec::functions::signature;
use crate::value::DataType;
use std::sync::Arc;

/// The aggregate of this name (in lower case) for arguments of these types, with the types to which the arguments are to be cast, and the result's type.
/// `None` where no aggregate has this name. `count(*)` has no arguments.
///
/// # Errors
/// 42883 where the name is an aggregate's but the arguments do not fit.
pub fn resolve(name: &str, args: &[DataType]) -> Result<Option<(AggregateFunction, Vec<DataType>, DataType)>> {
    use AggregateFunction::{ArrayAgg, Avg, BitAnd, BitOr, BoolAnd, BoolOr, Count, JsonAgg, Max, Min, StringAgg, Sum};
    let Some(function) = named(name) else { return Ok(None) };
    let types = match (function, args) {
        (Count, []) => Some((vec![], DataType::Int8)),
        (Count, [arg]) => Some((vec![known(arg)], DataType::Int8)),
        (Sum, [arg]) => sum_type(arg),
        (Avg, [arg]) => avg_type(arg),
        (Min | Max, [arg]) => extreme_type(arg).map(|data_type| (vec![data_type.clone()], data_type)),
        (BoolAnd | BoolOr, [DataType::Bool | DataType::Unknown]) => Some((vec![DataType::Bool], DataType::Bool)),
        (BitAnd | BitOr, [arg]) if arg.is_integer() => Some((vec![arg.clone()], arg.clone())),
        (JsonAgg, [arg]) if name == "json_agg" => Some((vec![known(arg)], DataType::Json)),
        (JsonAgg, [arg]) => Some((vec![known(arg)], DataType::Jsonb)),
        (StringAgg, [text, separator]) => string_type(text, separator),
        (ArrayAgg, [arg]) if !matches!(arg, DataType::Array(_)) => {
            Some((vec![known(arg)], DataType::Array(Arc::new(known(arg)))))
        }
        _ => None,
    };
    match types {
        Some((args, result)) => Ok(Some((function, args, result))),
        None => {
            Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {} does not exist", signature(name, args)))
                .with_hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                ))
        }
    }
}

/// Whether a name (in lower case) is an aggregate's, whatever the arguments.
pub fn is_aggregate(name: &str) -> bool {
    named(name).is_some()
}

fn named(name: &str) -> Option<AggregateFunction> {
    Some(match name {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "avg" => AggregateFunction::Avg,
        "bool_and" | "every" => AggregateFunction::BoolAnd,
        "bool_or" => AggregateFunction::BoolOr,
        "string_agg" => AggregateFunction::StringAgg,
        "array_agg" => AggregateFunction::ArrayAgg,
        "json_agg" | "jsonb_agg" => AggregateFunction::JsonAgg,
        "bit_and" => AggregateFunction::BitAnd,
        "bit_or" => AggregateFunction::BitOr,
        _ => return None,
    })
}

/// A literal of unknown type is text.
fn known(data_type: &DataType) -> DataType {
    if *data_type == DataType::Unknown { DataType::Text } else { data_type.clone() }
}

fn sum_type(arg: &DataType) -> Option<(Vec<DataType>, DataType)> {
    let (arg, result) = match arg {
        DataType::Int2 | DataType::Int4 => (arg.clone(), DataType::Int8),
        DataType::Int8 => (DataType::Int8, DataType::Numeric(None)),
        DataType::Numeric(_) => (DataType::Numeric(None), DataType::Numeric(None)),
        DataType::Float4 | DataType::Float8 | DataType::Interval => (arg.clone(), arg.clone()),
        DataType::Unknown => (DataType::Float8, DataType::Float8),
        _ => return None,
    };
    Some((vec![arg], result))
}

fn avg_type(arg: &DataType) -> Option<(Vec<DataType>, DataType)> {
    let (arg, result) = match arg {
        arg if arg.is_integer() => (arg.clone(), DataType::Numeric(None)),
        DataType::Numeric(_) => (DataType::Numeric(None), DataType::Numeric(None)),
        DataType::Float4 | DataType::Float8 => (arg.clone(), DataType::Float8),
        DataType::Interval => (arg.clone(), DataType::Interval),
        DataType::Unknown => (DataType::Float8, DataType::Float8),
        _ => return None,
    };
    Some((vec![arg], result))
}

/// What `min` and `max` compare; PostgreSQL has them for neither boolean nor json nor uuid, but ordering uuids is harmless.
fn extreme_type(arg: &DataType) -> Option<DataType> {
    match arg {
        DataType::Bool | DataType::Json | DataType::Jsonb => None,
        DataType::Varchar(_) | DataType::Unknown => Some(DataType::Text),
        DataType::Numeric(_) => Some(DataType::Numeric(None)),
        other => Some(other.clone()),
    }
}

fn string_type(text: &DataType, separator: &DataType) -> Option<(Vec<DataType>, DataType)> {
    let textual = |data_type: &DataType| data_type.is_text() || *data_type == DataType::Unknown;
    match (text, separator) {
        (DataType::Bytea, DataType::Bytea | DataType::Unknown) => {
            Some((vec![DataType::Bytea, DataType::Bytea], DataType::Bytea))
        }
        (text, separator) if textual(text) && textual(separator) => {
            Some((vec![DataType::Text, DataType::Text], DataType::Text))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn results_have_postgresqls_types() {
        let result = |name: &str, arg: DataType| resolve(name, &[arg]).unwrap().unwrap().2;
        assert_eq!(result("sum", DataType::Int4), DataType::Int8);
        assert_eq!(result("sum", DataType::Int8), DataType::Numeric(None));
        assert_eq!(result("avg", DataType::Int2), DataType::Numeric(None));
        assert_eq!(result("max", DataType::Varchar(Some(3))), DataType::Text);
        assert_eq!(resolve("count", &[]).unwrap().unwrap().2, DataType::Int8);
        assert!(resolve("upper", &[DataType::Text]).unwrap().is_none());
        let error = resolve("sum", &[DataType::Text]).unwrap_err();
        assert_eq!(error.message(), "function sum(text) does not exist");
    }
}
