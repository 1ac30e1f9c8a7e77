//! Time as the tables keep it: microseconds since 1970, UTC.
//!
//! Clocks are used for display, for expiry of tokens and as a hint that a host is alive. No claim and no state change rests on one.

use chrono::{DateTime, NaiveDateTime, Utc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, UTC.
pub type Micros = i64;

/// The present.
pub fn now() -> Micros {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, to_micros)
}

/// A duration in microseconds, at most `i64::MAX`.
pub fn to_micros(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// `2026-01-31T12:00:00Z`, as Nova prints times.
pub fn to_seconds_text(at: Micros) -> String {
    format(at, "%Y-%m-%dT%H:%M:%SZ")
}

/// `2026-01-31T12:00:00.000000`, as Nova prints times that it reads from its tables.
pub fn to_micros_text(at: Micros) -> String {
    format(at, "%Y-%m-%dT%H:%M:%S%.6f")
}

/// `2026-01-31T12:00:00.000000Z`, as Keystone prints times.
pub fn to_token_text(at: Micros) -> String {
    format(at, "%Y-%m-%dT%H:%M:%S%.6fZ")
}

/// Reads an ISO 8601 time with or without fraction and zone; without a zone it is UTC.
pub fn parse(text: &str) -> Option<Micros> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(naive.and_utc().timestamp_micros())
}

fn format(at: Micros, pattern: &str) -> String {
    let at: DateTime<Utc> = DateTime::from_timestamp_micros(at).unwrap_or_default();
    at.format(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_reads() {
        let at = parse("2026-01-31T12:00:00.250000");
        assert_eq!(at, parse("2026-01-31T13:00:00.25+01:00"));
        let at = at.unwrap_or_default();
        assert_eq!(to_seconds_text(at), "2026-01-31T12:00:00Z");
        assert_eq!(to_micros_text(at), "2026-01-31T12:00:00.250000");
        assert_eq!(to_token_text(at), "2026-01-31T12:00:00.250000Z");
        assert_eq!(parse("yesterday"), None);
    }
}
