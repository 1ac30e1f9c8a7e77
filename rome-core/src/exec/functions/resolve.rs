//! Which overload a call means, by PostgreSQL's preferences.
//!
//! An overload fits if every argument has its type or casts to it implicitly; a literal of unknown type fits everything. Among those that fit
//! the one with the most exact matches wins, then the one with the most conversions to a preferred type of its category (double precision among
//! numbers, text, timestamptz, interval), then the one that reads unknown literals as text. What is still undecided is an error.

use super::{Pattern, ScalarFunction, overloads};
use crate::error::{Error, Result, SqlState};
use crate::value::DataType;
use std::sync::Arc;

/// A call with its overload chosen.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The overload.
    pub function: &'static ScalarFunction,
    /// The types to which the arguments are to be cast.
    pub args: Vec<DataType>,
    /// The type of the result.
    pub result: DataType,
}

/// Chooses the overload of `name` (in lower case) for arguments of these types.
///
/// # Errors
/// 42883 where none fits, 42725 where several fit equally well.
pub fn resolve(name: &str, args: &[DataType]) -> Result<Resolved> {
    let mut best: Vec<(Score, Resolved)> = vec![];
    for function in overloads(name) {
        let Some((score, resolved)) = fit(function, args) else { continue };
        match best.first().map(|(other, _)| score.cmp(other)) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Equal) => best.push((score, resolved)),
            Some(std::cmp::Ordering::Greater) | None => best = vec![(score, resolved)],
        }
    }
    match best.len() {
        0 => {
            Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {} does not exist", signature(name, args)))
                .with_hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                ))
        }
        1 => Ok(best.remove(0).1),
        _ => Err(Error::new(SqlState::AMBIGUOUS_FUNCTION, format!("function {} is not unique", signature(name, args)))
            .with_hint("Could not choose a best candidate function. You might need to add explicit type casts.")),
    }
}

/// A call as messages show it.
pub(crate) fn signature(name: &str, args: &[DataType]) -> String {
    let types: Vec<String> = args.iter().map(DataType::to_string).collect();
    format!("{name}({})", types.join(", "))
}

/// How well an overload fits; compared in the order of the fields.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Score {
    exact: usize,
    preferred: usize,
    unknown_as_text: usize,
}

fn fit(function: &'static ScalarFunction, args: &[DataType]) -> Option<(Score, Resolved)> {
    let fixed = if function.variadic { function.args.len().saturating_sub(1) } else { function.args.len() };
    if args.len() < fixed || (!function.variadic && args.len() > fixed) {
        return None;
    }
    let pattern_at = |position: usize| function.args.get(position).or(function.args.last()).copied();
    let element = element_type(args, pattern_at)?;
    let mut score = Score::default();
    let mut targets = Vec::with_capacity(args.len());
    for (position, arg) in args.iter().enumerate() {
        let target = match pattern_at(position)? {
            Pattern::Any => if_unknown(arg, DataType::Text),
            Pattern::Element => element.clone(),
            Pattern::Elements => match arg {
                DataType::Array(_) | DataType::Unknown => DataType::Array(Arc::new(element.clone())),
                _ => return None,
            },
            Pattern::Number => match arg {
                DataType::Unknown => DataType::Float8,
                DataType::Numeric(_) => DataType::Numeric(None),
                arg if arg.is_number() => arg.clone(),
                _ => return None,
            },
            concrete => concrete.exact()?,
        };
        if *arg == DataType::Unknown {
            score.unknown_as_text += usize::from(target == DataType::Text);
        } else if same_type(arg, &target) {
            score.exact += 1;
        } else if !implicitly_castable(arg, &target) {
            return None;
        } else {
            score.preferred += usize::from(is_preferred(&target));
        }
        targets.push(target);
    }
    let result = match function.result {
        Pattern::Element => element,
        Pattern::Elements => DataType::Array(Arc::new(element)),
        Pattern::Number | Pattern::Any => targets.first().cloned().unwrap_or(DataType::Text),
        concrete => concrete.exact()?,
    };
    Some((score, Resolved { function, args: targets, result }))
}

/// What `Element` stands for in this call; text where only literals of unknown type say.
fn element_type(args: &[DataType], pattern_at: impl Fn(usize) -> Option<Pattern>) -> Option<DataType> {
    let mut types = vec![];
    for (position, arg) in args.iter().enumerate() {
        match (pattern_at(position), arg) {
            (Some(Pattern::Element), arg) => types.push(arg.clone()),
            (Some(Pattern::Elements), DataType::Array(item)) => types.push((**item).clone()),
            _ => {}
        }
    }
    common_type(&types)
}

fn if_unknown(arg: &DataType, fallback: DataType) -> DataType {
    if *arg == DataType::Unknown { fallback } else { arg.clone() }
}

/// The same type up to length, precision and scale.
fn same_type(left: &DataType, right: &DataType) -> bool {
    left == right || matches!((left, right), (DataType::Numeric(_), DataType::Numeric(_)))
}

fn is_preferred(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float8 | DataType::Text | DataType::TimestampTz | DataType::Interval | DataType::Bool)
}

/// Whether PostgreSQL casts `from` to `to` without being asked.
pub fn implicitly_castable(from: &DataType, to: &DataType) -> bool {
    let number_rank = |data_type: &DataType| match data_type {
        DataType::Int2 => Some(0),
        DataType::Int4 => Some(1),
        DataType::Int8 => Some(2),
        DataType::Numeric(_) => Some(3),
        DataType::Float4 => Some(4),
        DataType::Float8 => Some(5),
        _ => None,
    };
    match (from, to) {
        (DataType::Unknown, _) => true,
        (from, to) if same_type(from, to) || (from.is_text() && to.is_text()) => true,
        (DataType::Date, DataType::Timestamp | DataType::TimestampTz)
        | (DataType::Timestamp, DataType::TimestampTz)
        | (DataType::Time, DataType::Interval) => true,
        (DataType::Array(from), DataType::Array(to)) => implicitly_castable(from, to),
        (from, to) => matches!((number_rank(from), number_rank(to)), (Some(from), Some(to)) if from < to),
    }
}

/// The type that CASE, COALESCE, GREATEST, ARRAY and set operations give to values of these types, to which all cast implicitly; text where all are
/// unknown, `None` where they do not agree.
pub fn common_type(types: &[DataType]) -> Option<DataType> {
    let mut common = DataType::Unknown;
    for data_type in types {
        if common == *data_type || *data_type == DataType::Unknown {
            continue;
        }
        common = match (&common, data_type) {
            (DataType::Unknown, other) => other.clone(),
            (DataType::Numeric(_), DataType::Numeric(_)) => DataType::Numeric(None),
            (left, right) if left.is_text() && right.is_text() => DataType::Text,
            (left, right) if implicitly_castable(left, right) => right.clone(),
            (left, right) if implicitly_castable(right, left) => left.clone(),
            _ => return None,
        };
    }
    Some(if_unknown(&common, DataType::Text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn result(name: &str, args: &[DataType]) -> String {
        match resolve(name, args) {
            Ok(resolved) => format!("{} -> {}", signature(name, &resolved.args), resolved.result),
            Err(error) => format!("{}: {}", error.state(), error.message()),
        }
    }

    #[test]
    fn overloads_are_chosen_as_postgresql_does() {
        use DataType::{Float8, Int4, Int8, Numeric, Text, Unknown, Varchar};
        assert_eq!(result("round", &[Int4]), "round(double precision) -> double precision");
        assert_eq!(result("round", &[Numeric(Some((9, 2)))]), "round(numeric) -> numeric");
        assert_eq!(result("round", &[Int4, Int4]), "round(numeric, integer) -> numeric");
        assert_eq!(result("abs", &[Int8]), "abs(bigint) -> bigint");
        assert_eq!(result("mod", &[Int4, Int8]), "mod(bigint, bigint) -> bigint");
        assert_eq!(result("power", &[Int4, Float8]), "power(double precision, double precision) -> double precision");
        assert_eq!(result("length", &[Unknown]), "length(text) -> integer");
        assert_eq!(result("upper", &[Varchar(Some(3))]), "upper(text) -> text");
        assert_eq!(
            result("greatest", &[Int4, Numeric(None), Unknown]),
            "greatest(numeric, numeric, numeric) -> numeric"
        );
        assert_eq!(result("upper", &[Int4]), "42883: function upper(integer) does not exist");
        assert_eq!(result("nothing", &[Text, Unknown]), "42883: function nothing(text, unknown) does not exist");
    }
}
