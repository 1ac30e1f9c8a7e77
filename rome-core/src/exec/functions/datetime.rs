//! Dates and times. Timestamps with time zone are kept as UTC and computed with in UTC.

use super::Pattern::{Date, Float8, Int4, Interval as Span, Numeric, Text, Time, Timestamp, TimestampTz};
use super::{Call, ScalarFunction};
use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Interval, Value};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("now", &[], TimestampTz, now, "The transaction's time.").stable(),
    ScalarFunction::new("current_timestamp", &[], TimestampTz, now, "The transaction's time.").stable(),
    ScalarFunction::new("transaction_timestamp", &[], TimestampTz, now, "The transaction's time.").stable(),
    ScalarFunction::new("statement_timestamp", &[], TimestampTz, now, "The transaction's time.").stable(),
    ScalarFunction::new("clock_timestamp", &[], TimestampTz, clock, "The time at this moment.").volatile(),
    ScalarFunction::new("current_date", &[], Date, current_date, "The transaction's date in UTC.").stable(),
    ScalarFunction::new("current_time", &[], Time, current_time, "The transaction's time of day in UTC.").stable(),
    ScalarFunction::new("localtime", &[], Time, current_time, "The transaction's time of day in UTC.").stable(),
    ScalarFunction::new("localtimestamp", &[], Timestamp, local_timestamp, "The transaction's time in UTC.").stable(),
    ScalarFunction::new("date_trunc", &[Text, Timestamp], Timestamp, date_trunc, "Cut to a unit such as 'day'."),
    ScalarFunction::new("date_trunc", &[Text, TimestampTz], TimestampTz, date_trunc, "Cut to a unit, in UTC."),
    ScalarFunction::new("date_trunc", &[Text, Span], Span, date_trunc_interval, "Cut to a unit."),
    ScalarFunction::new("date_part", &[Text, Date], Float8, date_part, "A field such as 'year'."),
    ScalarFunction::new("date_part", &[Text, Time], Float8, date_part, "A field such as 'hour'."),
    ScalarFunction::new("date_part", &[Text, Timestamp], Float8, date_part, "A field such as 'year'."),
    ScalarFunction::new("date_part", &[Text, TimestampTz], Float8, date_part, "A field such as 'epoch'."),
    ScalarFunction::new("date_part", &[Text, Span], Float8, date_part, "A field such as 'days'."),
    ScalarFunction::new("extract", &[Text, Date], Numeric, extract, "A field such as 'year'."),
    ScalarFunction::new("extract", &[Text, Time], Numeric, extract, "A field such as 'hour'."),
    ScalarFunction::new("extract", &[Text, Timestamp], Numeric, extract, "A field such as 'year'."),
    ScalarFunction::new("extract", &[Text, TimestampTz], Numeric, extract, "A field such as 'epoch'."),
    ScalarFunction::new("extract", &[Text, Span], Numeric, extract, "A field such as 'day'."),
    ScalarFunction::new("age", &[Timestamp, Timestamp], Span, age, "The difference in years, months, days and time."),
    ScalarFunction::new(
        "age",
        &[TimestampTz, TimestampTz],
        Span,
        age,
        "The difference in years, months, days and time.",
    ),
    ScalarFunction::new("make_date", &[Int4, Int4, Int4], Date, make_date, "A date of year, month and day."),
    ScalarFunction::new("to_timestamp", &[Float8], TimestampTz, to_timestamp, "Of seconds since 1970."),
];

/// A result beyond what a type holds.
pub(crate) fn out_of_range(what: &str) -> Error {
    Error::new(SqlState::DATETIME_OVERFLOW, format!("{what} out of range"))
}

fn now(call: &Call<'_>) -> Result<Value> {
    Ok(Value::TimestampTz(whole_micros(call.context.now)))
}

fn clock(call: &Call<'_>) -> Result<Value> {
    Ok(Value::TimestampTz(whole_micros(call.context.surroundings.clock())))
}

/// Values hold microseconds.
fn whole_micros(time: DateTime<chrono::Utc>) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}

fn current_date(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Date(call.context.now.date_naive()))
}

fn current_time(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Time(whole_micros(call.context.now).time()))
}

fn local_timestamp(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Timestamp(whole_micros(call.context.now).naive_utc()))
}

fn unknown_unit(unit: &str, data_type: &DataType) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unit \"{unit}\" not recognized for type {data_type}"))
}

fn date_trunc(call: &Call<'_>) -> Result<Value> {
    let time = call.timestamp(1)?;
    let unit = call.text(0)?.to_ascii_lowercase();
    let cut = truncated(&unit, time).ok_or_else(|| unknown_unit(&unit, call.result))?;
    Ok(match call.result {
        DataType::TimestampTz => Value::TimestampTz(cut.and_utc()),
        _ => Value::Timestamp(cut),
    })
}

fn truncated(unit: &str, time: NaiveDateTime) -> Option<NaiveDateTime> {
    let date = time.date();
    let year_start = |year: i32| NaiveDate::from_ymd_opt(year, 1, 1).map(|date| date.and_time(NaiveTime::MIN));
    let month_start = |month: u32| NaiveDate::from_ymd_opt(date.year(), month, 1).map(|d| d.and_time(NaiveTime::MIN));
    match unit {
        "microseconds" | "microsecond" => Some(time),
        "milliseconds" | "millisecond" => time.with_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000),
        "second" | "seconds" => time.with_nanosecond(0),
        "minute" | "minutes" => date.and_hms_opt(time.hour(), time.minute(), 0),
        "hour" | "hours" => date.and_hms_opt(time.hour(), 0, 0),
        "day" | "days" => Some(date.and_time(NaiveTime::MIN)),
        "week" | "weeks" => {
            let monday = date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday())))?;
            Some(monday.and_time(NaiveTime::MIN))
        }
        "month" | "months" => month_start(date.month()),
        "quarter" | "quarters" => month_start(date.month0() / 3 * 3 + 1),
        "year" | "years" => year_start(date.year()),
        "decade" | "decades" => year_start(date.year().div_euclid(10) * 10),
        "century" | "centuries" => year_start((date.year() - 1).div_euclid(100) * 100 + 1),
        "millennium" | "millennia" => year_start((date.year() - 1).div_euclid(1000) * 1000 + 1),
        _ => None,
    }
}

fn date_trunc_interval(call: &Call<'_>) -> Result<Value> {
    const MINUTE: i64 = 60_000_000;
    let Interval { months, days, micros } = call.interval(1)?;
    let unit = call.text(0)?.to_ascii_lowercase();
    let whole = |months, days, micros| Interval { months, days, micros };
    let cut = match unit.as_str() {
        "microseconds" | "microsecond" => whole(months, days, micros),
        "milliseconds" | "millisecond" => whole(months, days, micros / 1000 * 1000),
        "second" | "seconds" => whole(months, days, micros / 1_000_000 * 1_000_000),
        "minute" | "minutes" => whole(months, days, micros / MINUTE * MINUTE),
        "hour" | "hours" => whole(months, days, micros / (60 * MINUTE) * (60 * MINUTE)),
        "day" | "days" => whole(months, days, 0),
        "month" | "months" => whole(months, 0, 0),
        "quarter" | "quarters" => whole(months / 3 * 3, 0, 0),
        "year" | "years" => whole(months / 12 * 12, 0, 0),
        _ => return Err(unknown_unit(&unit, call.result)),
    };
    Ok(Value::Interval(cut))
}

fn date_part(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Float(field(call)?.to_f64().unwrap_or(f64::NAN)))
}

fn extract(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Numeric(field(call)?))
}

fn field(call: &Call<'_>) -> Result<Decimal> {
    let unit = call.text(0)?.to_ascii_lowercase();
    let found = match call.value(1) {
        Value::Interval(interval) => interval_field(&unit, *interval),
        Value::Time(time) => time_field(&unit, *time),
        _ => {
            let time = call.timestamp(1)?;
            date_field(&unit, time).or_else(|| time_field(&unit, time.time()))
        }
    };
    found.ok_or_else(|| unknown_unit(&unit, call.arg_type(1)))
}

fn micros_field(unit: &str, micros: i64) -> Option<Decimal> {
    let seconds = micros % 60_000_000;
    Some(match unit {
        "microseconds" | "microsecond" => Decimal::from(seconds),
        "milliseconds" | "millisecond" => Decimal::new(seconds, 3),
        "second" | "seconds" => Decimal::new(seconds, 6),
        "minute" | "minutes" => Decimal::from(micros / 60_000_000 % 60),
        _ => return None,
    })
}

fn time_field(unit: &str, time: NaiveTime) -> Option<Decimal> {
    let micros = i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1000);
    match unit {
        "hour" | "hours" => Some(Decimal::from(time.hour())),
        "epoch" => Some(Decimal::new(micros, 6)),
        _ => micros_field(unit, micros),
    }
}

fn date_field(unit: &str, time: NaiveDateTime) -> Option<Decimal> {
    let date = time.date();
    let year = date.year();
    Some(match unit {
        "year" | "years" => Decimal::from(year),
        "month" | "months" | "mon" => Decimal::from(date.month()),
        "day" | "days" => Decimal::from(date.day()),
        "quarter" => Decimal::from(date.month0() / 3 + 1),
        "week" => Decimal::from(date.iso_week().week()),
        "isoyear" => Decimal::from(date.iso_week().year()),
        "dow" => Decimal::from(date.weekday().num_days_from_sunday()),
        "isodow" => Decimal::from(date.weekday().number_from_monday()),
        "doy" => Decimal::from(date.ordinal()),
        "decade" => Decimal::from(year.div_euclid(10)),
        "century" => Decimal::from((year - 1).div_euclid(100) + 1),
        "millennium" => Decimal::from((year - 1).div_euclid(1000) + 1),
        "timezone" | "timezone_hour" | "timezone_minute" => Decimal::ZERO,
        "epoch" => Decimal::new(time.and_utc().timestamp_micros(), 6),
        _ => return None,
    })
}

fn interval_field(unit: &str, interval: Interval) -> Option<Decimal> {
    let Interval { months, days, micros } = interval;
    Some(match unit {
        "year" | "years" => Decimal::from(months / 12),
        "month" | "months" | "mon" => Decimal::from(months % 12),
        "quarter" => Decimal::from(months % 12 / 3 + 1),
        "day" | "days" => Decimal::from(days),
        "hour" | "hours" => Decimal::from(micros / 3_600_000_000),
        "epoch" => {
            // A year counts as 365.25 days here, unlike in comparisons; as PostgreSQL has it.
            let years = Decimal::from(months / 12) * Decimal::new(31_557_600, 0);
            let rest =
                Decimal::from(months % 12) * Decimal::from(2_592_000) + Decimal::from(days) * Decimal::from(86_400);
            years + rest + Decimal::new(micros, 6)
        }
        _ => return micros_field(unit, micros),
    })
}

fn age(call: &Call<'_>) -> Result<Value> {
    let (end, start) = (call.timestamp(0)?, call.timestamp(1)?);
    Ok(Value::Interval(if end >= start {
        symbolic_difference(end, start)
    } else {
        negated(symbolic_difference(start, end))
    }))
}

fn negated(interval: Interval) -> Interval {
    Interval { months: -interval.months, days: -interval.days, micros: -interval.micros }
}

/// The difference field by field, for `end >= start`; a field below zero borrows from the next, a month having the days of the start's month.
fn symbolic_difference(end: NaiveDateTime, start: NaiveDateTime) -> Interval {
    const DAY: i64 = 86_400_000_000;
    let month_count = |date: NaiveDateTime| date.year() * 12 + date.month0() as i32;
    let mut months = month_count(end) - month_count(start);
    let mut days = end.day() as i32 - start.day() as i32;
    let mut micros = (end.time() - start.time()).num_microseconds().unwrap_or(0);
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    if days < 0 {
        days += i32::from(start.num_days_in_month());
        months -= 1;
    }
    Interval { months, days, micros }
}

fn make_date(call: &Call<'_>) -> Result<Value> {
    let (year, month, day) = (call.int(0)?, call.int(1)?, call.int(2)?);
    let date = match (i32::try_from(year), u32::try_from(month), u32::try_from(day)) {
        (Ok(y), Ok(m), Ok(d)) => NaiveDate::from_ymd_opt(y, m, d),
        _ => None,
    };
    date.map(Value::Date).ok_or_else(|| {
        Error::new(SqlState::DATETIME_OVERFLOW, format!("date field value out of range: {year}-{month:02}-{day:02}"))
    })
}

fn to_timestamp(call: &Call<'_>) -> Result<Value> {
    let micros = (call.float(0)? * 1e6).round();
    let time = micros.to_i64().filter(|_| micros.is_finite()).and_then(DateTime::from_timestamp_micros);
    time.map(Value::TimestampTz).ok_or_else(|| out_of_range("timestamp"))
}

/// `time + interval`: months first (the day clipped to the month's last), then days, then the rest.
pub(crate) fn add_interval(time: NaiveDateTime, interval: Interval) -> Result<NaiveDateTime> {
    let months = Months::new(interval.months.unsigned_abs());
    let days = TimeDelta::days(i64::from(interval.days));
    let shifted = if interval.months >= 0 { time.checked_add_months(months) } else { time.checked_sub_months(months) };
    shifted
        .and_then(|time| time.checked_add_signed(days))
        .and_then(|time| time.checked_add_signed(TimeDelta::microseconds(interval.micros)))
        .ok_or_else(|| out_of_range("timestamp"))
}

/// `left - right` of timestamps: days and time, no months.
pub(crate) fn timestamp_difference(left: NaiveDateTime, right: NaiveDateTime) -> Result<Interval> {
    const DAY: i64 = 86_400_000_000;
    let micros = (left - right).num_microseconds().ok_or_else(|| out_of_range("interval"))?;
    let days = i32::try_from(micros / DAY).map_err(|_| out_of_range("interval"))?;
    Ok(Interval { months: 0, days, micros: micros % DAY })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    #[test]
    fn months_clip_to_the_last_day() {
        let month = Interval { months: 1, days: 0, micros: 0 };
        assert_eq!(add_interval(at("2024-01-31 10:00:00"), month).unwrap(), at("2024-02-29 10:00:00"));
        assert!(add_interval(at("2024-01-31 10:00:00"), Interval { months: i32::MAX, days: 0, micros: 0 }).is_err());
    }

    #[test]
    fn ages_count_months_first() {
        let age = symbolic_difference(at("2024-03-30 12:00:00"), at("2023-01-31 13:00:00"));
        assert_eq!((age.months, age.days, age.micros), (13, 29, 23 * 3_600_000_000));
    }

    #[test]
    fn units_cut() {
        assert_eq!(truncated("week", at("2024-02-29 10:11:12")), Some(at("2024-02-26 00:00:00")));
        assert_eq!(truncated("quarter", at("2024-02-29 10:11:12")), Some(at("2024-01-01 00:00:00")));
        assert_eq!(truncated("century", at("2024-02-29 10:11:12")), Some(at("2001-01-01 00:00:00")));
        assert_eq!(truncated("fortnight", at("2024-02-29 10:11:12")), None);
    }
}
