//! Intervals as PostgreSQL keeps them.

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
