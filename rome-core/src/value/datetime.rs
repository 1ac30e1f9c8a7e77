//! Text forms of dates, times, timestamps and intervals.
//!
//! Output is PostgreSQL's with `DateStyle = ISO` and `IntervalStyle = postgres`; the zone is UTC. Input takes
//!
//! ```text
//! date       YYYY-MM-DD | YYYY/MM/DD | YYYYMMDD, with " BC" or " AD" at the very end
//! time       HH:MM[:SS[.fraction]] [AM|PM]            (24:00:00 in a timestamp is the next midnight)
//! zone       Z | UTC | GMT | ±HH | ±HHMM | ±HH:MM[:SS]
//! timestamp  date [(T| ) time [zone]] | epoch
//! interval   [quantity unit]… [[-]HH:MM[:SS[.fraction]]] [ago] | years-months | ISO 8601 P…
//! ```
//!
//! The fraction is rounded to microseconds. `now` and its kin are not here: the clock belongs to the statement, not to a value.
//! Infinite timestamps, `24:00:00` as a time and names of zones other than UTC are not supported.

use super::Interval;
use crate::error::{Error, Result, SqlState};
use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use std::fmt;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn write_year_month_day(out: &mut impl fmt::Write, date: NaiveDate) -> fmt::Result {
    let year = if date.year() > 0 { date.year() } else { 1 - date.year() };
    write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day())
}

fn era(date: NaiveDate) -> &'static str {
    if date.year() > 0 { "" } else { " BC" }
}

/// `2024-01-02`
pub(super) fn write_date(out: &mut impl fmt::Write, date: NaiveDate) -> fmt::Result {
    write_year_month_day(out, date)?;
    out.write_str(era(date))
}

/// `03:04:05.123456`
pub(super) fn write_time(out: &mut impl fmt::Write, time: NaiveTime) -> fmt::Result {
    write!(out, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())?;
    write_fraction(out, u64::from(time.nanosecond() / 1_000))
}

/// `2024-01-02 03:04:05+00`, with what stands for the zone.
pub(super) fn write_timestamp(out: &mut impl fmt::Write, timestamp: NaiveDateTime, zone: &str) -> fmt::Result {
    write_year_month_day(out, timestamp.date())?;
    out.write_char(' ')?;
    write_time(out, timestamp.time())?;
    out.write_str(zone)?;
    out.write_str(era(timestamp.date()))
}

fn write_fraction(out: &mut impl fmt::Write, micros: u64) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    write!(out, ".{}", format!("{micros:06}").trim_end_matches('0'))
}

/// `1 year 2 mons -3 days +04:05:06`: a sign appears where the part before had another.
pub(super) fn write_interval(out: &mut impl fmt::Write, interval: &Interval) -> fmt::Result {
    let mut first = true;
    let mut after_negative = false;
    for (quantity, unit) in [(interval.months / 12, "year"), (interval.months % 12, "mon"), (interval.days, "day")] {
        if quantity != 0 {
            let space = if first { "" } else { " " };
            let plus = if after_negative && quantity > 0 { "+" } else { "" };
            let plural = if quantity == 1 { "" } else { "s" };
            write!(out, "{space}{plus}{quantity} {unit}{plural}")?;
            first = false;
            after_negative = quantity < 0;
        }
    }
    if !first && interval.micros == 0 {
        return Ok(());
    }
    let space = if first { "" } else { " " };
    let sign = match (interval.micros < 0, after_negative) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) => "",
    };
    let micros = interval.micros.unsigned_abs();
    let [second, minute, hour] = [SECOND, MINUTE, HOUR].map(i64::unsigned_abs);
    write!(out, "{space}{sign}{:02}:{:02}:{:02}", micros / hour, micros % hour / minute, micros % minute / second)?;
    write_fraction(out, micros % second)
}

/// Why a text is no date or time: not the grammar, or a field beyond its range.
#[derive(Clone, Copy)]
enum Fault {
    Syntax,
    Range,
}

impl Fault {
    fn error(self, type_name: &str, text: &str) -> Error {
        match self {
            Self::Syntax => Error::new(
                SqlState::INVALID_DATETIME_FORMAT,
                format!("invalid input syntax for type {type_name}: \"{text}\""),
            ),
            Self::Range if type_name == "interval" => {
                Error::new(SqlState::INTERVAL_OVERFLOW, format!("interval field value out of range: \"{text}\""))
            }
            Self::Range => {
                Error::new(SqlState::DATETIME_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
            }
        }
    }
}

pub(super) fn parse_date(text: &str) -> Result<NaiveDate> {
    let parts = Parts::parse(text).map_err(|fault| fault.error("date", text))?;
    parts.date.ok_or_else(|| Fault::Syntax.error("date", text))
}

pub(super) fn parse_time(text: &str) -> Result<NaiveTime> {
    let fail = |fault: Fault| fault.error("time", text);
    let micros = Parts::parse(text).map_err(fail)?.time_micros.ok_or_else(|| fail(Fault::Syntax))?;
    time_of_micros(micros).ok_or_else(|| fail(Fault::Range))
}

pub(super) fn parse_timestamp(text: &str) -> Result<NaiveDateTime> {
    let fail = |fault: Fault| fault.error("timestamp", text);
    Parts::parse(text).and_then(|parts| parts.timestamp()).map_err(fail)
}

pub(super) fn parse_timestamptz(text: &str) -> Result<DateTime<Utc>> {
    let fail = |fault: Fault| fault.error("timestamp with time zone", text);
    let parts = Parts::parse(text).map_err(fail)?;
    let local = parts.timestamp().map_err(fail)?;
    let utc = local.checked_sub_signed(Duration::seconds(parts.offset_seconds)).ok_or_else(|| fail(Fault::Range))?;
    Ok(utc.and_utc())
}

/// The time of day at this many microseconds after midnight.
pub(crate) fn time_of_micros(micros: i64) -> Option<NaiveTime> {
    let seconds = u32::try_from(micros.div_euclid(SECOND)).ok()?;
    NaiveTime::from_num_seconds_from_midnight_opt(seconds, u32::try_from(micros.rem_euclid(SECOND)).ok()? * 1_000)
}

/// Microseconds since midnight.
pub(crate) fn micros_of_time(time: NaiveTime) -> i64 {
    i64::from(time.num_seconds_from_midnight()) * SECOND + i64::from(time.nanosecond() / 1_000)
}

/// What a text for a date, a time or both holds.
struct Parts {
    date: Option<NaiveDate>,
    time_micros: Option<i64>,
    offset_seconds: i64,
}

impl Parts {
    fn parse(text: &str) -> Result<Self, Fault> {
        let mut text = text.trim();
        if text.eq_ignore_ascii_case("epoch") {
            return Ok(Self { date: Some(NaiveDate::default()), time_micros: None, offset_seconds: 0 });
        }
        let mut before_christ = false;
        if let Some((rest, suffix)) = text.rsplit_once(' ') {
            before_christ = suffix.eq_ignore_ascii_case("bc");
            if before_christ || suffix.eq_ignore_ascii_case("ad") {
                text = rest.trim_end();
            }
        }
        let mut scanner = Scanner { rest: text.as_bytes() };
        let date = scanner.date(before_christ)?;
        if scanner.rest.is_empty() && date.is_some() {
            return Ok(Self { date, time_micros: None, offset_seconds: 0 });
        }
        if date.is_some() && !scanner.eat(b'T') && !scanner.eat(b't') && !scanner.spaces() {
            return Err(Fault::Syntax);
        }
        let time_micros = Some(scanner.time()?);
        scanner.spaces();
        let offset_seconds = scanner.zone()?;
        if scanner.rest.is_empty() { Ok(Self { date, time_micros, offset_seconds }) } else { Err(Fault::Syntax) }
    }

    fn timestamp(&self) -> Result<NaiveDateTime, Fault> {
        let date = self.date.ok_or(Fault::Syntax)?;
        let micros = Duration::microseconds(self.time_micros.unwrap_or_default());
        date.and_time(NaiveTime::MIN).checked_add_signed(micros).ok_or(Fault::Range)
    }
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn spaces(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_ascii_start();
        self.rest.len() < before
    }

    fn word(&mut self, word: &str) -> bool {
        match self.rest.split_at_checked(word.len()) {
            Some((first, rest)) if first.eq_ignore_ascii_case(word.as_bytes()) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A run of at most nine digits: its value and length.
    fn number(&mut self) -> Result<(u32, usize), Fault> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(length).ok_or(Fault::Syntax)?;
        if length == 0 {
            return Err(Fault::Syntax);
        }
        if length > 9 {
            return Err(Fault::Range);
        }
        self.rest = rest;
        Ok((digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')), length))
    }

    /// The date, or `None` and nothing consumed where the text begins with a time.
    fn date(&mut self, before_christ: bool) -> Result<Option<NaiveDate>, Fault> {
        let start = self.rest;
        let (number, length) = self.number()?;
        let (year, month, day) = match self.rest.first() {
            Some(b':') => {
                self.rest = start;
                return Ok(None);
            }
            Some(separator @ (b'-' | b'/')) if length >= 3 => {
                let separator = *separator;
                self.eat(separator);
                let month = self.number()?.0;
                self.eat(separator).then_some(()).ok_or(Fault::Syntax)?;
                (number, month, self.number()?.0)
            }
            None | Some(b' ' | b'T' | b't') if length == 8 => (number / 10_000, number / 100 % 100, number % 100),
            _ => return Err(Fault::Syntax),
        };
        let year = i32::try_from(year).map_err(|_| Fault::Range)?;
        if year == 0 {
            return Err(Fault::Range);
        }
        let year = if before_christ { 1 - year } else { year };
        NaiveDate::from_ymd_opt(year, month, day).map(Some).ok_or(Fault::Range)
    }

    /// The time of day in microseconds.
    fn time(&mut self) -> Result<i64, Fault> {
        let (mut hour, length) = self.number()?;
        if length > 2 || !self.eat(b':') {
            return Err(Fault::Syntax);
        }
        let minute = self.number()?.0;
        let mut second = 0;
        let mut micros = 0;
        if self.eat(b':') {
            second = self.number()?.0;
            if self.eat(b'.') {
                micros = self.fraction();
            }
        }
        let before_half = self.rest;
        self.spaces();
        let half = if self.word("am") {
            Some(0)
        } else if self.word("pm") {
            Some(12)
        } else {
            None
        };
        match half {
            Some(_) if !(1..=12).contains(&hour) => return Err(Fault::Range),
            Some(half) => hour = hour % 12 + half,
            None => self.rest = before_half,
        }
        let total = i64::from(hour) * HOUR + i64::from(minute) * MINUTE + i64::from(second) * SECOND + micros;
        if minute > 59 || second > 60 || total > DAY { Err(Fault::Range) } else { Ok(total) }
    }

    /// Digits after a decimal point, rounded to microseconds.
    fn fraction(&mut self) -> i64 {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        let digit = |position: usize| digits.get(position).map_or(0, |digit| i64::from(digit - b'0'));
        let micros = (0..6).fold(0, |value, position| value * 10 + digit(position));
        micros + i64::from(digit(6) >= 5)
    }

    /// The offset from UTC in seconds; none means 0.
    fn zone(&mut self) -> Result<i64, Fault> {
        if self.rest.is_empty() || self.word("utc") || self.word("gmt") || self.word("z") {
            return Ok(0);
        }
        let negative = self.eat(b'-');
        if !negative && !self.eat(b'+') {
            return Err(Fault::Syntax);
        }
        let (mut hours, length) = self.number()?;
        let (mut minutes, mut seconds) = (0, 0);
        if length > 2 {
            (hours, minutes) = (hours / 100, hours % 100);
        } else if self.eat(b':') {
            minutes = self.number()?.0;
            if self.eat(b':') {
                seconds = self.number()?.0;
            }
        }
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Fault::Range);
        }
        let offset = i64::from(hours * 3_600 + minutes * 60 + seconds);
        Ok(if negative { -offset } else { offset })
    }
}

/// An interval in any of PostgreSQL's input forms.
pub(super) fn parse_interval(text: &str) -> Result<Interval> {
    let trimmed = text.trim();
    let parsed = match trimmed.strip_prefix(['P', 'p']) {
        Some(iso) => parse_iso_interval(iso),
        None => parse_verbose_interval(trimmed),
    };
    parsed.and_then(IntervalParts::finish).map_err(|fault| fault.error("interval", text))
}

/// Sums of an interval's fields, wide enough that adding quantities of 64 bits can't overflow.
#[derive(Default)]
struct IntervalParts {
    months: i128,
    days: i128,
    micros: i128,
}

impl IntervalParts {
    /// Adds a quantity (`-1.5`) of a unit. The fraction of a month or a longer unit becomes days, that of a day, time.
    fn add(&mut self, quantity: &str, unit: &str) -> Result<(), Fault> {
        let (months, days, micros) = match unit {
            "millennium" | "millennia" | "mil" | "mils" => (12_000, 0, 0),
            "century" | "centuries" | "cent" | "c" => (1_200, 0, 0),
            "decade" | "decades" | "dec" | "decs" => (120, 0, 0),
            "year" | "years" | "yr" | "yrs" | "y" => (12, 0, 0),
            "month" | "months" | "mon" | "mons" => (1, 0, 0),
            "week" | "weeks" | "w" => (0, 7, 0),
            "day" | "days" | "d" => (0, 1, 0),
            "hour" | "hours" | "hr" | "hrs" | "h" => (0, 0, HOUR),
            "minute" | "minutes" | "min" | "mins" | "m" => (0, 0, MINUTE),
            "second" | "seconds" | "sec" | "secs" | "s" | "" => (0, 0, SECOND),
            "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => (0, 0, 1_000),
            "microsecond" | "microseconds" | "usec" | "usecs" | "us" => (0, 0, 1),
            _ => return Err(Fault::Syntax),
        };
        let (negative, digits) = match quantity.as_bytes() {
            [b'-', ..] => (true, quantity.get(1..).unwrap_or_default()),
            [b'+', ..] => (false, quantity.get(1..).unwrap_or_default()),
            _ => (false, quantity),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(Fault::Syntax);
        }
        let whole: i128 =
            if whole.is_empty() { 0 } else { i128::from(whole.parse::<u64>().map_err(|_| Fault::Range)?) };
        let fraction: f64 = format!("0.{fraction}0").parse().map_err(|_| Fault::Syntax)?;
        let sign = if negative { -1 } else { 1 };
        let (mut sum_months, mut sum_days, mut sum_micros) =
            (whole * months, whole * i128::from(days), whole * i128::from(micros));
        match (months, days) {
            (1, _) => add_fractional_days(&mut sum_days, &mut sum_micros, fraction * 30.0),
            (0, 0) => sum_micros += (fraction * micros as f64).round() as i128,
            (0, days) => add_fractional_days(&mut sum_days, &mut sum_micros, fraction * f64::from(days)),
            (months, _) => sum_months += (fraction * months as f64).round() as i128,
        }
        self.months += sign * sum_months;
        self.days += sign * sum_days;
        self.micros += sign * sum_micros;
        Ok(())
    }

    fn finish(self) -> Result<Interval, Fault> {
        let months = i32::try_from(self.months).map_err(|_| Fault::Range)?;
        let days = i32::try_from(self.days).map_err(|_| Fault::Range)?;
        Ok(Interval { months, days, micros: i64::try_from(self.micros).map_err(|_| Fault::Range)? })
    }
}

fn add_fractional_days(days: &mut i128, micros: &mut i128, fractional: f64) {
    *days += fractional.trunc() as i128;
    *micros += (fractional.fract() * DAY as f64).round() as i128;
}

/// `1 year 2 mons 3 days 04:05:06 ago`
fn parse_verbose_interval(text: &str) -> Result<IntervalParts, Fault> {
    let text = text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase();
    let mut parts = IntervalParts::default();
    let mut words = text.split_ascii_whitespace().peekable();
    if words.peek().is_none() {
        return Err(Fault::Syntax);
    }
    let mut ago = false;
    while let Some(word) = words.next() {
        if ago {
            return Err(Fault::Syntax);
        }
        if word == "ago" {
            ago = true;
        } else if word.contains(':') {
            parts.micros += interval_time(word)?;
        } else if let Some((years, months)) =
            word.get(1..).and_then(|_| word.trim_start_matches(['-', '+']).split_once('-'))
        {
            let sign = if word.starts_with('-') { "-" } else { "" };
            parts.add(&format!("{sign}{years}"), "year")?;
            parts.add(&format!("{sign}{months}"), "month")?;
        } else if let Some(split) = word.find(|c: char| c.is_ascii_alphabetic()) {
            let (quantity, unit) = word.split_at_checked(split).ok_or(Fault::Syntax)?;
            parts.add(quantity, unit)?;
        } else {
            let unit = words.next_if(|next| next.starts_with(|c: char| c.is_ascii_alphabetic()) && *next != "ago");
            parts.add(word, unit.unwrap_or_default())?;
        }
    }
    if ago {
        parts = IntervalParts { months: -parts.months, days: -parts.days, micros: -parts.micros };
    }
    Ok(parts)
}

/// `[-]HH:MM[:SS[.fraction]]`; the hours are not limited to a day.
fn interval_time(word: &str) -> Result<i128, Fault> {
    let negative = word.starts_with('-');
    let mut scanner = Scanner { rest: word.trim_start_matches(['-', '+']).as_bytes() };
    let hours = scanner.number()?.0;
    scanner.eat(b':').then_some(()).ok_or(Fault::Syntax)?;
    let minutes = scanner.number()?.0;
    let (mut seconds, mut micros) = (0, 0);
    if scanner.eat(b':') {
        seconds = scanner.number()?.0;
        if scanner.eat(b'.') {
            micros = scanner.fraction();
        }
    }
    if !scanner.rest.is_empty() {
        return Err(Fault::Syntax);
    }
    if minutes > 59 || seconds > 60 {
        return Err(Fault::Range);
    }
    let total = i64::from(hours) * HOUR + i64::from(minutes) * MINUTE + i64::from(seconds) * SECOND + micros;
    Ok(i128::from(if negative { -total } else { total }))
}

/// ISO 8601 after the `P`: `1Y2M3DT4H5M6S`.
fn parse_iso_interval(text: &str) -> Result<IntervalParts, Fault> {
    let mut parts = IntervalParts::default();
    let mut in_time = false;
    let mut quantity = String::new();
    let mut any = false;
    for c in text.chars() {
        let unit = match (c.to_ascii_uppercase(), in_time) {
            ('T', false) if quantity.is_empty() => {
                in_time = true;
                continue;
            }
            ('0'..='9' | '-' | '+' | '.', _) => {
                quantity.push(c);
                continue;
            }
            ('Y', false) => "year",
            ('M', false) => "month",
            ('W', false) => "week",
            ('D', false) => "day",
            ('H', true) => "hour",
            ('M', true) => "minute",
            ('S', true) => "second",
            _ => return Err(Fault::Syntax),
        };
        parts.add(&quantity, unit)?;
        quantity.clear();
        any = true;
    }
    if any && quantity.is_empty() { Ok(parts) } else { Err(Fault::Syntax) }
}

#[cfg(test)]
mod tests {
    use crate::value::{DataType, Value};

    fn through(text: &str, data_type: &DataType) -> String {
        match Value::from_text(text, data_type) {
            Ok(value) => value.to_text(data_type),
            Err(error) => format!("{} {}", error.state(), error.message()),
        }
    }

    #[test]
    fn dates_and_timestamps() {
        let date = |text| through(text, &DataType::Date);
        assert_eq!(date("2024-02-29"), "2024-02-29");
        assert_eq!(date("20240229"), "2024-02-29");
        assert_eq!(date(" 2024/1/2 "), "2024-01-02");
        assert_eq!(date("0044-03-15 BC"), "0044-03-15 BC");
        assert_eq!(date("epoch"), "1970-01-01");
        assert_eq!(date("2023-02-29"), "22008 date/time field value out of range: \"2023-02-29\"");
        assert_eq!(date("abc"), "22007 invalid input syntax for type date: \"abc\"");
        let timestamp = |text| through(text, &DataType::Timestamp);
        assert_eq!(timestamp("2024-01-02 03:04:05.123456"), "2024-01-02 03:04:05.123456");
        assert_eq!(timestamp("2024-01-02T03:04"), "2024-01-02 03:04:00");
        assert_eq!(timestamp("2024-01-02 03:04:05.9999996"), "2024-01-02 03:04:06");
        assert_eq!(timestamp("2024-12-31 24:00:00"), "2025-01-01 00:00:00");
        assert_eq!(timestamp("2024-01-02 12:30 pm"), "2024-01-02 12:30:00");
        assert_eq!(timestamp("2024-01-02 25:00"), "22008 date/time field value out of range: \"2024-01-02 25:00\"");
        assert_eq!(timestamp("x"), "22007 invalid input syntax for type timestamp: \"x\"");
        let timestamptz = |text| through(text, &DataType::TimestampTz);
        assert_eq!(timestamptz("2024-01-02 03:04:05.5+02:30"), "2024-01-02 00:34:05.5+00");
        assert_eq!(timestamptz("2024-01-02T03:04:05Z"), "2024-01-02 03:04:05+00");
        assert_eq!(timestamptz("2024-01-02 03:04:05-0800"), "2024-01-02 11:04:05+00");
        assert_eq!(timestamptz("2024-01-02 03:04:05 UTC"), "2024-01-02 03:04:05+00");
        assert_eq!(timestamptz("2024-01-02"), "2024-01-02 00:00:00+00");
        assert_eq!(through("04:05:06.7", &DataType::Time), "04:05:06.7");
        assert_eq!(through("x", &DataType::Time), "22007 invalid input syntax for type time: \"x\"");
    }

    #[test]
    fn intervals() {
        let interval = |text| through(text, &DataType::Interval);
        let full = "1 year 2 mons 3 days 04:05:06";
        assert_eq!(interval(full), full);
        assert_eq!(interval("P1Y2M3DT4H5M6S"), full);
        assert_eq!(interval("1-2 3 days 4 hours 5 min 6 sec"), full);
        assert_eq!(interval("1 day ago"), "-1 days");
        assert_eq!(interval("-1 month 1 day"), "-1 mons +1 day");
        assert_eq!(interval("-1 day 02:00"), "-1 days +02:00:00");
        assert_eq!(interval("1.5 months"), "1 mon 15 days");
        assert_eq!(interval("1.5 days"), "1 day 12:00:00");
        assert_eq!(interval("1.5 years"), "1 year 6 mons");
        assert_eq!(interval("90"), "00:01:30");
        assert_eq!(interval("100h"), "100:00:00");
        assert_eq!(interval("-0.25 s"), "-00:00:00.25");
        assert_eq!(interval("0"), "00:00:00");
        assert_eq!(interval("2 fortnights"), "22007 invalid input syntax for type interval: \"2 fortnights\"");
        assert_eq!(interval("999999999999 years"), "22015 interval field value out of range: \"999999999999 years\"");
        assert_eq!(interval(""), "22007 invalid input syntax for type interval: \"\"");
    }
}
