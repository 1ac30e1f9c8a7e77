//! `AT TIME ZONE`, which the grammar makes `timezone(zone, time)`. Zones are UTC and its names, and fixed offsets: Rome carries no zone database.
//! An offset written as text has POSIX's sign, as in PostgreSQL: `'+02'` is *west* of Greenwich. An interval counts eastwards.

use super::Pattern::{Interval as Span, Text, Timestamp, TimestampTz};
use super::datetime::out_of_range;
use super::{Call, ScalarFunction};
use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use chrono::{NaiveDateTime, TimeDelta};

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new(
        "timezone",
        &[Text, Timestamp],
        TimestampTz,
        local_to_utc,
        "A local time of the zone as a moment.",
    ),
    ScalarFunction::new(
        "timezone",
        &[Text, TimestampTz],
        Timestamp,
        utc_to_local,
        "A moment as the zone's local time.",
    ),
    ScalarFunction::new("timezone", &[Span, Timestamp], TimestampTz, local_to_utc, "With the offset given."),
    ScalarFunction::new("timezone", &[Span, TimestampTz], Timestamp, utc_to_local, "With the offset given."),
];

/// How far local time is ahead of UTC.
fn offset(call: &Call<'_>) -> Result<TimeDelta> {
    if let Value::Interval(interval) = call.value(0) {
        return Ok(TimeDelta::microseconds(interval.micros));
    }
    let name = call.text(0)?;
    parse_offset(name).ok_or_else(|| {
        let message = format!("time zone \"{name}\" not recognized");
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint("Known are UTC and offsets such as '+02:00'.")
    })
}

fn parse_offset(name: &str) -> Option<TimeDelta> {
    let upper = name.to_ascii_uppercase();
    if matches!(upper.as_str(), "UTC" | "GMT" | "Z" | "ZULU" | "UCT" | "ETC/UTC" | "UNIVERSAL") {
        return Some(TimeDelta::zero());
    }
    let (sign, digits) = match (upper.strip_prefix('+'), upper.strip_prefix('-')) {
        (Some(digits), _) => (-1, digits),
        (_, Some(digits)) => (1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "0"),
    };
    let hours: i64 = hours.parse().ok().filter(|hours| (0..=15).contains(hours))?;
    let minutes: i64 = minutes.parse().ok().filter(|minutes| (0..60).contains(minutes))?;
    Some(TimeDelta::minutes(sign * (hours * 60 + minutes)))
}

fn shifted(time: NaiveDateTime, offset: Option<TimeDelta>) -> Result<NaiveDateTime> {
    offset.and_then(|offset| time.checked_add_signed(offset)).ok_or_else(|| out_of_range("timestamp"))
}

fn local_to_utc(call: &Call<'_>) -> Result<Value> {
    let back = TimeDelta::zero().checked_sub(&offset(call)?);
    Ok(Value::TimestampTz(shifted(call.timestamp(1)?, back)?.and_utc()))
}

fn utc_to_local(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Timestamp(shifted(call.timestamp(1)?, Some(offset(call)?))?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn offsets_parse() {
        assert_eq!(parse_offset("+02:30"), Some(TimeDelta::minutes(-150)));
        assert_eq!(parse_offset("-0530"), Some(TimeDelta::minutes(330)));
        assert_eq!(parse_offset("utc"), Some(TimeDelta::zero()));
        assert_eq!(parse_offset("Mars/Olympus"), None);
    }
}
