//! Intervals as PostgreSQL keeps them, and their text forms.
//!
//! Output is that of `IntervalStyle = postgres`. Input takes
//!
//! ```text
//! [quantity unit]… [[-]HH:MM[:SS[.fraction]]] [ago] | years-months | ISO 8601 P…
//! ```

use super::datetime::{self, Fault, HOUR, MINUTE, SECOND, Scanner};
use crate::error::Result;
use std::fmt;

/// An interval: months, days and microseconds are kept apart, since a month has no fixed number of days, nor a day of hours.
/// For ordering and equality a month counts as 30 days and a day as 24 hours, as in PostgreSQL.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    /// Months, years included.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

const DAY: i128 = 86_400_000_000;

fn clamp(value: i128) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

impl Interval {
    /// The length in microseconds under the rule for comparisons.
    pub fn total_micros(&self) -> i128 {
        i128::from(self.months) * 30 * DAY + i128::from(self.days) * DAY + i128::from(self.micros)
    }

    /// An interval of this total length: days and microseconds, and months only where the days alone don't suffice. `None` beyond
    /// what an interval can be.
    pub(crate) fn of_total_micros(total: i128) -> Option<Self> {
        let fits_days = i32::try_from(total / DAY).is_ok();
        let months = if fits_days { 0 } else { clamp(total / (30 * DAY)) };
        let rest = total - i128::from(months) * 30 * DAY;
        let days = clamp(rest / DAY);
        let micros = i64::try_from(rest - i128::from(days) * DAY).ok()?;
        Some(Self { months, days, micros })
    }
}

impl PartialEq for Interval {
    fn eq(&self, other: &Self) -> bool {
        self.total_micros() == other.total_micros()
    }
}

impl Eq for Interval {}

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
    datetime::write_fraction(out, micros % second)
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
    *micros += (fractional.fract() * datetime::DAY as f64).round() as i128;
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

    #[test]
    fn intervals() {
        let interval = |text| match Value::from_text(text, &DataType::Interval) {
            Ok(value) => value.to_string(),
            Err(error) => format!("{} {}", error.state(), error.message()),
        };
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
