//! Text forms of dates, times and timestamps; those of intervals are in the module `interval`.
//!
//! Output is PostgreSQL's with `DateStyle = ISO`; the zone is UTC. Input takes
//!
//! ```text
//! date       YYYY-MM-DD | YYYY/MM/DD | YYYYMMDD, with " BC" or " AD" at the very end
//! time       HH:MM[:SS[.fraction]] [AM|PM]            (24:00:00 in a timestamp is the next midnight)
//! zone       Z | UTC | GMT | ±HH | ±HHMM | ±HH:MM[:SS]
//! timestamp  date [(T| ) time [zone]] | epoch
//! ```
//!
//! The fraction is rounded to microseconds. `now` and its kin are not here: the clock belongs to the statement, not to a value.
//! Infinite timestamps, `24:00:00` as a time and names of zones other than UTC are not supported.

use crate::error::{Error, Result, SqlState};
use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use std::fmt;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

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

pub(super) fn write_fraction(out: &mut impl fmt::Write, micros: u64) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    write!(out, ".{}", format!("{micros:06}").trim_end_matches('0'))
}

/// Why a text is no date or time: not the grammar, or a field beyond its range.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Syntax,
    Range,
}

impl Fault {
    pub(super) fn error(self, type_name: &str, text: &str) -> Error {
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

pub(super) struct Scanner<'a> {
    pub(super) rest: &'a [u8],
}

impl Scanner<'_> {
    pub(super) fn eat(&mut self, byte: u8) -> bool {
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
    pub(super) fn number(&mut self) -> Result<(u32, usize), Fault> {
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
    pub(super) fn fraction(&mut self) -> i64 {
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
}
