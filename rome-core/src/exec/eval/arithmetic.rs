//! Arithmetic: every result is checked against the range of its type.

use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{BinaryOp, UnaryOp};
use crate::exec::functions::{
    add_interval, division_by_zero, integer_result, numeric_overflow, power_of_floats, power_of_numerics,
    timestamp_difference,
};
use crate::value::{DataType, Interval, Value};
use chrono::{NaiveTime, TimeDelta, Timelike};
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

pub(super) fn unary(op: UnaryOp, operand: Value, result: &DataType) -> Result<Value> {
    match (op, operand) {
        (_, Value::Null) => Ok(Value::Null),
        (UnaryOp::Negate, Value::Int(value)) => integer_result(value.checked_neg(), result),
        (UnaryOp::Negate, Value::Float(value)) => Ok(Value::Float(-value)),
        (UnaryOp::Negate, Value::Numeric(value)) => Ok(Value::Numeric(-value)),
        (UnaryOp::Negate, Value::Interval(value)) => negate(value).map(Value::Interval),
        (UnaryOp::BitNot, Value::Int(value)) => Ok(Value::Int(!value)),
        (_, other) => Err(Error::internal(format_args!("{op:?} of {}", other.natural_type()))),
    }
}

fn interval_overflow() -> Error {
    Error::new(SqlState::DATETIME_OVERFLOW, "interval out of range")
}

fn negate(interval: Interval) -> Result<Interval> {
    let Interval { months, days, micros } = interval;
    match (months.checked_neg(), days.checked_neg(), micros.checked_neg()) {
        (Some(months), Some(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(interval_overflow()),
    }
}

/// An arithmetic or bit operator on values that are not NULL; `None` where it has no meaning for such values.
pub(super) fn binary(op: BinaryOp, left: &Value, right: &Value, result: &DataType) -> Option<Result<Value>> {
    Some(match (left, right) {
        (Value::Int(left), Value::Int(right)) => integers(op, *left, *right, result)?,
        (Value::Float(left), Value::Float(right)) => floats(op, *left, *right, result)?,
        (Value::Numeric(_) | Value::Int(_), Value::Numeric(_) | Value::Int(_)) => {
            numerics(op, decimal(left)?, decimal(right)?)?
        }
        _ => return times(op, left, right),
    })
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Numeric(value) => Some(*value),
        Value::Int(value) => Some(Decimal::from(*value)),
        _ => None,
    }
}

fn integers(op: BinaryOp, left: i64, right: i64, result: &DataType) -> Option<Result<Value>> {
    let value = match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Subtract => left.checked_sub(right),
        BinaryOp::Multiply => left.checked_mul(right),
        BinaryOp::Divide | BinaryOp::Modulo if right == 0 => return Some(Err(division_by_zero())),
        BinaryOp::Divide => left.checked_div(right),
        BinaryOp::Modulo => Some(left.wrapping_rem(right)),
        BinaryOp::BitAnd => Some(left & right),
        BinaryOp::BitOr => Some(left | right),
        BinaryOp::BitXor => Some(left ^ right),
        // The count is taken modulo the width, as the processors do that PostgreSQL runs on.
        BinaryOp::ShiftLeft => Some(match result {
            DataType::Int2 => i64::from((left as i32).wrapping_shl(right as u32) as i16),
            DataType::Int4 => i64::from((left as i32).wrapping_shl(right as u32)),
            _ => left.wrapping_shl(right as u32),
        }),
        BinaryOp::ShiftRight => Some(match result {
            DataType::Int2 | DataType::Int4 => i64::from((left as i32).wrapping_shr(right as u32)),
            _ => left.wrapping_shr(right as u32),
        }),
        _ => return None,
    };
    Some(integer_result(value, result))
}

fn floats(op: BinaryOp, left: f64, right: f64, result: &DataType) -> Option<Result<Value>> {
    let value = match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide | BinaryOp::Modulo if right == 0.0 && !left.is_nan() => return Some(Err(division_by_zero())),
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => return Some(power_of_floats(left, right).map(Value::Float)),
        _ => return None,
    };
    Some(float_result(value, left.is_finite() && right.is_finite(), result))
}

/// A floating-point result, rounded to its type; infinite only where an operand was.
fn float_result(value: f64, finite_operands: bool, result: &DataType) -> Result<Value> {
    let value = if *result == DataType::Float4 { f64::from(value as f32) } else { value };
    if value.is_infinite() && finite_operands {
        return Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "value out of range: overflow"));
    }
    Ok(Value::Float(value))
}

fn numerics(op: BinaryOp, left: Decimal, right: Decimal) -> Option<Result<Value>> {
    let value = match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Subtract => left.checked_sub(right),
        BinaryOp::Multiply => left.checked_mul(right),
        BinaryOp::Divide => return Some(divide_numerics(left, right).map(Value::Numeric)),
        BinaryOp::Modulo if right.is_zero() => return Some(Err(division_by_zero())),
        BinaryOp::Modulo => left.checked_rem(right),
        BinaryOp::Power => return Some(power_of_numerics(left, right).map(Value::Numeric)),
        _ => return None,
    };
    Some(value.map(Value::Numeric).ok_or_else(numeric_overflow))
}

/// A quotient with as many decimals as PostgreSQL gives: about sixteen significant digits, and no fewer decimals than either operand.
///
/// # Errors
/// 22012, 22003
pub(crate) fn divide_numerics(left: Decimal, right: Decimal) -> Result<Decimal> {
    if right.is_zero() {
        return Err(division_by_zero());
    }
    let quotient = left.checked_div(right).ok_or_else(numeric_overflow)?;
    let ((left_weight, left_digit), (right_weight, right_digit)) = (leading_group(left), leading_group(right));
    let weight = left_weight - right_weight - i32::from(left_digit <= right_digit);
    let significant = 16 - weight * 4;
    let least = left.scale().max(right.scale());
    let scale = u32::try_from(significant).unwrap_or(0).max(least).min(Decimal::MAX_SCALE);
    let mut rounded = quotient.round_dp_with_strategy(scale, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(scale);
    Ok(rounded)
}

/// Position (in groups of four decimal digits, 0 before the point) and value of the most significant group.
fn leading_group(number: Decimal) -> (i32, u128) {
    let scale = number.scale();
    let padding = (4 - scale % 4) % 4;
    let mut digits = number.mantissa().unsigned_abs().saturating_mul(10_u128.pow(padding));
    let mut weight = -i32::try_from((scale + padding) / 4).unwrap_or(0);
    if digits == 0 {
        return (0, 0);
    }
    while digits >= 10_000 {
        digits /= 10_000;
        weight += 1;
    }
    (weight, digits)
}

/// `left + right` for the accumulators; of numbers of one kind, and intervals.
pub(crate) fn add_values(left: &Value, right: &Value, result: &DataType) -> Result<Value> {
    binary(BinaryOp::Add, left, right, result)
        .unwrap_or_else(|| Err(Error::internal(format_args!("a sum of {}", right.natural_type()))))
}

/// `left / right` for averages.
pub(crate) fn divide_values(left: &Value, right: &Value, result: &DataType) -> Result<Value> {
    binary(BinaryOp::Divide, left, right, result)
        .unwrap_or_else(|| Err(Error::internal(format_args!("an average of {}", left.natural_type()))))
}

const DAY_MICROS: i64 = 86_400_000_000;

/// Dates, times and intervals.
fn times(op: BinaryOp, left: &Value, right: &Value) -> Option<Result<Value>> {
    use BinaryOp::{Add, Divide, Multiply, Subtract};
    Some(match (op, left, right) {
        (Add, Value::Date(date), Value::Int(days)) | (Add, Value::Int(days), Value::Date(date)) => {
            add_days(*date, Some(*days))
        }
        (Subtract, Value::Date(date), Value::Int(days)) => add_days(*date, days.checked_neg()),
        (Subtract, Value::Date(left), Value::Date(right)) => Ok(Value::Int((*left - *right).num_days())),
        (Add, Value::Date(date), Value::Time(time)) | (Add, Value::Time(time), Value::Date(date)) => {
            Ok(Value::Timestamp(date.and_time(*time)))
        }
        (Add, Value::Interval(left), Value::Interval(right)) => sum(*left, *right).map(Value::Interval),
        (Subtract, Value::Interval(left), Value::Interval(right)) => {
            negate(*right).and_then(|right| sum(*left, right)).map(Value::Interval)
        }
        (Add, moment, Value::Interval(interval)) | (Add, Value::Interval(interval), moment) => {
            return shift(moment, *interval);
        }
        (Subtract, moment, Value::Interval(interval)) => match negate(*interval) {
            Ok(interval) => return shift(moment, interval),
            Err(error) => Err(error),
        },
        (Subtract, Value::Timestamp(left), Value::Timestamp(right)) => {
            timestamp_difference(*left, *right).map(Value::Interval)
        }
        (Subtract, Value::TimestampTz(left), Value::TimestampTz(right)) => {
            timestamp_difference(left.naive_utc(), right.naive_utc()).map(Value::Interval)
        }
        (Subtract, Value::Time(left), Value::Time(right)) => {
            let micros = (*left - *right).num_microseconds().unwrap_or(0);
            Ok(Value::Interval(Interval { months: 0, days: 0, micros }))
        }
        (Multiply, Value::Interval(interval), factor) | (Multiply, factor, Value::Interval(interval)) => {
            scaled(*interval, as_float(factor)?)
        }
        (Divide, Value::Interval(interval), divisor) => match as_float(divisor)? {
            0.0 => Err(division_by_zero()),
            divisor => scaled(*interval, 1.0 / divisor),
        },
        _ => return None,
    })
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Numeric(value) => value.to_f64(),
        _ => None,
    }
}

fn add_days(date: chrono::NaiveDate, days: Option<i64>) -> Result<Value> {
    let shifted = days.and_then(TimeDelta::try_days).and_then(|days| date.checked_add_signed(days));
    shifted.map(Value::Date).ok_or_else(|| Error::new(SqlState::DATETIME_OVERFLOW, "date out of range"))
}

fn sum(left: Interval, right: Interval) -> Result<Interval> {
    let months = left.months.checked_add(right.months);
    let days = left.days.checked_add(right.days);
    match (months, days, left.micros.checked_add(right.micros)) {
        (Some(months), Some(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(interval_overflow()),
    }
}

/// A date, time or timestamp moved by an interval.
fn shift(moment: &Value, interval: Interval) -> Option<Result<Value>> {
    Some(match moment {
        Value::Timestamp(time) => add_interval(*time, interval).map(Value::Timestamp),
        Value::TimestampTz(time) => {
            add_interval(time.naive_utc(), interval).map(|time| Value::TimestampTz(time.and_utc()))
        }
        Value::Date(date) => add_interval(date.and_time(NaiveTime::MIN), interval).map(Value::Timestamp),
        Value::Time(time) => {
            let of_day = i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1000);
            let micros = (of_day + interval.micros % DAY_MICROS).rem_euclid(DAY_MICROS);
            Ok(Value::Time(NaiveTime::MIN + TimeDelta::microseconds(micros)))
        }
        _ => return None,
    })
}

/// An interval times a number: fractions of months become days (30 a month), fractions of days become time.
fn scaled(interval: Interval, factor: f64) -> Result<Value> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor + months.fract() * 30.0;
    let micros = interval.micros as f64 * factor + (days.fract() * DAY_MICROS as f64).round();
    let fits = |value: f64, limit: f64| value.is_finite() && value.abs() < limit;
    if !fits(months, f64::from(i32::MAX)) || !fits(days, f64::from(i32::MAX)) || !fits(micros, i64::MAX as f64) {
        return Err(interval_overflow());
    }
    Ok(Value::Interval(Interval { months: months as i32, days: days as i32, micros: micros.round() as i64 }))
}
