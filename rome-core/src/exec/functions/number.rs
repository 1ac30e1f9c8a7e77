//! Numeric functions.

use super::Pattern::{Float8, Int4, Int8, Number, Numeric};
use super::{Call, ScalarFunction, integer_result};
use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use rust_decimal::{Decimal, MathematicalOps, RoundingStrategy};
use std::cmp::Ordering;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("abs", &[Number], Number, abs, "The absolute value."),
    ScalarFunction::new("ceil", &[Numeric], Numeric, |call| exact(call, |x| x.ceil()), "Rounded up."),
    ScalarFunction::new("ceil", &[Float8], Float8, |call| float(call, f64::ceil), "Rounded up."),
    ScalarFunction::new("ceiling", &[Numeric], Numeric, |call| exact(call, |x| x.ceil()), "Rounded up."),
    ScalarFunction::new("ceiling", &[Float8], Float8, |call| float(call, f64::ceil), "Rounded up."),
    ScalarFunction::new("floor", &[Numeric], Numeric, |call| exact(call, |x| x.floor()), "Rounded down."),
    ScalarFunction::new("floor", &[Float8], Float8, |call| float(call, f64::floor), "Rounded down."),
    ScalarFunction::new("round", &[Numeric], Numeric, round, "To the nearest whole number; halves away from zero."),
    ScalarFunction::new(
        "round",
        &[Float8],
        Float8,
        |call| float(call, f64::round_ties_even),
        "To the nearest; halves to even.",
    ),
    ScalarFunction::new("round", &[Numeric, Int4], Numeric, round, "To so many decimals."),
    ScalarFunction::new("trunc", &[Numeric], Numeric, trunc, "Towards zero."),
    ScalarFunction::new("trunc", &[Float8], Float8, |call| float(call, f64::trunc), "Towards zero."),
    ScalarFunction::new("trunc", &[Numeric, Int4], Numeric, trunc, "Cut to so many decimals."),
    ScalarFunction::new("sqrt", &[Float8], Float8, sqrt, "The square root."),
    ScalarFunction::new("sqrt", &[Numeric], Numeric, sqrt_numeric, "The square root."),
    ScalarFunction::new("cbrt", &[Float8], Float8, |call| float(call, f64::cbrt), "The cube root."),
    ScalarFunction::new("power", &[Float8, Float8], Float8, power, "The first to the power of the second."),
    ScalarFunction::new("power", &[Numeric, Numeric], Numeric, power_numeric, "The first to the power of the second."),
    ScalarFunction::new("pow", &[Float8, Float8], Float8, power, "The first to the power of the second."),
    ScalarFunction::new("pow", &[Numeric, Numeric], Numeric, power_numeric, "The first to the power of the second."),
    ScalarFunction::new(
        "exp",
        &[Float8],
        Float8,
        |call| finite(call.float(0)?.exp(), call.float(0)?.is_finite()),
        "e to the power.",
    ),
    ScalarFunction::new("exp", &[Numeric], Numeric, exp_numeric, "e to the power."),
    ScalarFunction::new(
        "ln",
        &[Numeric],
        Numeric,
        |call| logarithm_numeric(call, Decimal::checked_ln),
        "The natural logarithm.",
    ),
    ScalarFunction::new(
        "log",
        &[Numeric],
        Numeric,
        |call| logarithm_numeric(call, Decimal::checked_log10),
        "The logarithm to base 10.",
    ),
    ScalarFunction::new("ln", &[Float8], Float8, |call| logarithm(call, f64::ln), "The natural logarithm."),
    ScalarFunction::new("log", &[Float8], Float8, |call| logarithm(call, f64::log10), "The logarithm to base 10."),
    ScalarFunction::new("log10", &[Float8], Float8, |call| logarithm(call, f64::log10), "The logarithm to base 10."),
    ScalarFunction::new("mod", &[Int4, Int4], Int4, modulo, "The remainder."),
    ScalarFunction::new("mod", &[Int8, Int8], Int8, modulo, "The remainder."),
    ScalarFunction::new("mod", &[Numeric, Numeric], Numeric, modulo, "The remainder."),
    ScalarFunction::new("div", &[Numeric, Numeric], Numeric, div, "The whole quotient."),
    ScalarFunction::new(
        "sign",
        &[Numeric],
        Numeric,
        |call| exact(call, |x| Decimal::from(x.cmp(&Decimal::ZERO) as i8)),
        "-1, 0 or 1.",
    ),
    ScalarFunction::new(
        "sign",
        &[Float8],
        Float8,
        |call| float(call, |x| if x == 0.0 { 0.0 } else { x.signum() }),
        "-1, 0 or 1.",
    ),
    ScalarFunction::new("gcd", &[Int4, Int4], Int4, gcd, "The greatest common divisor."),
    ScalarFunction::new("gcd", &[Int8, Int8], Int8, gcd, "The greatest common divisor."),
    ScalarFunction::new("lcm", &[Int4, Int4], Int4, lcm, "The least common multiple."),
    ScalarFunction::new("lcm", &[Int8, Int8], Int8, lcm, "The least common multiple."),
    ScalarFunction::new("random", &[], Float8, random, "A random number from 0, below 1.").volatile(),
    ScalarFunction::new("pi", &[], Float8, |_| Ok(Value::Float(std::f64::consts::PI)), "Pi."),
    ScalarFunction::new("degrees", &[Float8], Float8, |call| float(call, f64::to_degrees), "From radians."),
    ScalarFunction::new("radians", &[Float8], Float8, |call| float(call, f64::to_radians), "From degrees."),
    ScalarFunction::new("sin", &[Float8], Float8, |call| float(call, f64::sin), "The sine."),
    ScalarFunction::new("cos", &[Float8], Float8, |call| float(call, f64::cos), "The cosine."),
    ScalarFunction::new("tan", &[Float8], Float8, |call| float(call, f64::tan), "The tangent."),
    ScalarFunction::new("asin", &[Float8], Float8, |call| bounded(call, f64::asin), "The arc sine."),
    ScalarFunction::new("acos", &[Float8], Float8, |call| bounded(call, f64::acos), "The arc cosine."),
    ScalarFunction::new("atan", &[Float8], Float8, |call| float(call, f64::atan), "The arc tangent."),
    ScalarFunction::new(
        "atan2",
        &[Float8, Float8],
        Float8,
        |call| Ok(Value::Float(call.float(0)?.atan2(call.float(1)?))),
        "The arc tangent of a quotient.",
    ),
];

/// The error of a numeric result that does not fit.
pub(crate) fn numeric_overflow() -> Error {
    Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format")
}

fn float_overflow() -> Error {
    Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "value out of range: overflow")
}

fn out_of_range() -> Error {
    Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "input is out of range")
}

fn exact(call: &Call<'_>, compute: fn(Decimal) -> Decimal) -> Result<Value> {
    Ok(Value::Numeric(compute(call.numeric(0)?)))
}

fn float(call: &Call<'_>, compute: fn(f64) -> f64) -> Result<Value> {
    Ok(Value::Float(compute(call.float(0)?)))
}

/// A function of [-1, 1].
fn bounded(call: &Call<'_>, compute: fn(f64) -> f64) -> Result<Value> {
    if call.float(0)?.abs() > 1.0 { Err(out_of_range()) } else { float(call, compute) }
}

/// The result, which may be infinite only where the input was.
fn finite(value: f64, inputs_finite: bool) -> Result<Value> {
    if value.is_infinite() && inputs_finite { Err(float_overflow()) } else { Ok(Value::Float(value)) }
}

fn abs(call: &Call<'_>) -> Result<Value> {
    match call.value(0) {
        Value::Int(value) => integer_result(value.checked_abs(), call.result),
        Value::Float(value) => Ok(Value::Float(value.abs())),
        _ => Ok(Value::Numeric(call.numeric(0)?.abs())),
    }
}

/// Rounds to `digits` decimals, before the point where negative.
fn rounded(number: Decimal, digits: i64, strategy: RoundingStrategy) -> Result<Decimal> {
    match u32::try_from(digits) {
        Ok(digits) => {
            let mut rounded = number.round_dp_with_strategy(digits, strategy);
            // round(1, 2) shows 1.00: scales beyond what the mantissa holds stay as they are.
            rounded.rescale(digits.min(28));
            Ok(rounded)
        }
        Err(_) => {
            let Some(unit) = u32::try_from(-digits).ok().and_then(|power| Decimal::TEN.checked_powu(u64::from(power)))
            else {
                return Ok(Decimal::ZERO);
            };
            let units = (number / unit).round_dp_with_strategy(0, strategy);
            units.checked_mul(unit).ok_or_else(numeric_overflow)
        }
    }
}

fn round(call: &Call<'_>) -> Result<Value> {
    let digits = if call.args.len() > 1 { call.int(1)? } else { 0 };
    rounded(call.numeric(0)?, digits, RoundingStrategy::MidpointAwayFromZero).map(Value::Numeric)
}

fn trunc(call: &Call<'_>) -> Result<Value> {
    let digits = if call.args.len() > 1 { call.int(1)? } else { 0 };
    rounded(call.numeric(0)?, digits, RoundingStrategy::ToZero).map(Value::Numeric)
}

fn negative_root() -> Error {
    Error::new(SqlState::INVALID_POWER_ARGUMENT, "cannot take square root of a negative number")
}

fn sqrt(call: &Call<'_>) -> Result<Value> {
    let value = call.float(0)?;
    if value < 0.0 { Err(negative_root()) } else { Ok(Value::Float(value.sqrt())) }
}

fn sqrt_numeric(call: &Call<'_>) -> Result<Value> {
    let root = call.numeric(0)?.sqrt().ok_or_else(negative_root)?;
    significant(root, call.numeric(0)?.scale()).map(Value::Numeric)
}

fn power(call: &Call<'_>) -> Result<Value> {
    power_of_floats(call.float(0)?, call.float(1)?).map(Value::Float)
}

/// `base ^ exponent` with PostgreSQL's errors.
pub(crate) fn power_of_floats(base: f64, exponent: f64) -> Result<f64> {
    if base == 0.0 && exponent < 0.0 {
        let message = "zero raised to a negative power is undefined";
        return Err(Error::new(SqlState::INVALID_POWER_ARGUMENT, message));
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        let message = "a negative number raised to a non-integer power yields a complex result";
        return Err(Error::new(SqlState::INVALID_POWER_ARGUMENT, message));
    }
    let result = base.powf(exponent);
    if result.is_infinite() && base.is_finite() && exponent.is_finite() { Err(float_overflow()) } else { Ok(result) }
}

fn power_numeric(call: &Call<'_>) -> Result<Value> {
    power_of_numerics(call.numeric(0)?, call.numeric(1)?).map(Value::Numeric)
}

/// A result that has no exact decimal form, with sixteen significant digits and at least so many decimals, about as PostgreSQL gives it.
fn significant(number: Decimal, least_scale: u32) -> Result<Decimal> {
    let magnitude = number.abs().to_f64().filter(|magnitude| *magnitude > 0.0).map_or(0, |m| m.log10() as i32);
    let scale = u32::try_from(16 - magnitude).unwrap_or(0).max(least_scale).min(Decimal::MAX_SCALE);
    let mut rounded = number.round_dp_with_strategy(scale, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(scale);
    Ok(rounded)
}

/// `base ^ exponent`, exact where the exponent is whole.
pub(crate) fn power_of_numerics(base: Decimal, exponent: Decimal) -> Result<Decimal> {
    // The floats' rules on what is undefined hold here too.
    let (base_float, exponent_float) = (base.to_f64().unwrap_or(f64::NAN), exponent.to_f64().unwrap_or(f64::NAN));
    let estimate = power_of_floats(base_float, exponent_float)?;
    let whole = if exponent.fract().is_zero() { exponent.to_i64() } else { None };
    let result = match whole {
        Some(whole) => base.checked_powi(whole),
        None => base.checked_powd(exponent),
    };
    let result = result.or_else(|| Decimal::from_f64(estimate)).ok_or_else(numeric_overflow)?;
    significant(result, base.scale().max(exponent.scale()))
}

fn check_logarithm(order: Option<Ordering>) -> Result<()> {
    let message = match order {
        Some(Ordering::Equal) => "cannot take logarithm of zero",
        Some(Ordering::Less) => "cannot take logarithm of a negative number",
        _ => return Ok(()),
    };
    Err(Error::new(SqlState::INVALID_LOGARITHM_ARGUMENT, message))
}

fn logarithm(call: &Call<'_>, compute: fn(f64) -> f64) -> Result<Value> {
    let value = call.float(0)?;
    check_logarithm(value.partial_cmp(&0.0))?;
    Ok(Value::Float(compute(value)))
}

fn logarithm_numeric(call: &Call<'_>, compute: fn(&Decimal) -> Option<Decimal>) -> Result<Value> {
    let value = call.numeric(0)?;
    check_logarithm(value.partial_cmp(&Decimal::ZERO))?;
    significant(compute(&value).ok_or_else(numeric_overflow)?, value.scale()).map(Value::Numeric)
}

fn exp_numeric(call: &Call<'_>) -> Result<Value> {
    let value = call.numeric(0)?;
    significant(value.checked_exp().ok_or_else(numeric_overflow)?, value.scale()).map(Value::Numeric)
}

/// Division by zero, in PostgreSQL's words.
pub(crate) fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn modulo(call: &Call<'_>) -> Result<Value> {
    match (call.value(0), call.value(1)) {
        (Value::Int(_), Value::Int(0)) => Err(division_by_zero()),
        (Value::Int(left), Value::Int(right)) => Ok(Value::Int(left.wrapping_rem(*right))),
        _ => {
            let remainder = call.numeric(0)?.checked_rem(call.numeric(1)?);
            remainder.map(Value::Numeric).ok_or_else(division_by_zero)
        }
    }
}

fn div(call: &Call<'_>) -> Result<Value> {
    let (left, right) = (call.numeric(0)?, call.numeric(1)?);
    if right.is_zero() {
        return Err(division_by_zero());
    }
    left.checked_div(right).map(|quotient| Value::Numeric(quotient.trunc())).ok_or_else(numeric_overflow)
}

/// Euclid's algorithm on magnitudes.
fn divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

fn gcd(call: &Call<'_>) -> Result<Value> {
    let result = divisor(call.int(0)?.unsigned_abs(), call.int(1)?.unsigned_abs());
    integer_result(i64::try_from(result).ok(), call.result)
}

fn lcm(call: &Call<'_>) -> Result<Value> {
    let (left, right) = (call.int(0)?.unsigned_abs(), call.int(1)?.unsigned_abs());
    let multiple = match divisor(left, right) {
        0 => Some(0),
        divisor => (left / divisor).checked_mul(right),
    };
    integer_result(multiple.and_then(|value| i64::try_from(value).ok()), call.result)
}

fn random(call: &Call<'_>) -> Result<Value> {
    // The top 53 bits, as many as a double precision number holds exactly.
    let bits = call.context.surroundings.random() >> 11;
    Ok(Value::Float(bits as f64 / (1_u64 << 53) as f64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_away_from_zero() {
        let round = |text: &str, digits| {
            rounded(text.parse().unwrap(), digits, RoundingStrategy::MidpointAwayFromZero).unwrap().to_string()
        };
        assert_eq!(round("2.5", 0), "3");
        assert_eq!(round("-2.345", 2), "-2.35");
        assert_eq!(round("1", 2), "1.00");
        assert_eq!(round("1250", -2), "1300");
    }

    #[test]
    fn undefined_powers_are_errors() {
        assert_eq!(power_of_floats(0.0, -1.0).unwrap_err().state(), SqlState::INVALID_POWER_ARGUMENT);
        assert_eq!(power_of_floats(-8.0, 0.5).unwrap_err().state(), SqlState::INVALID_POWER_ARGUMENT);
        assert_eq!(power_of_numerics(Decimal::TEN, Decimal::from(3)).unwrap(), Decimal::from(1000));
        assert_eq!(power_of_floats(1e300, 2.0).unwrap_err().state(), SqlState::NUMERIC_OUT_OF_RANGE);
    }
}
