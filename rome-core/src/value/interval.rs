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

impl Interval {
    /// The length in microseconds under the rule for comparisons.
    pub fn total_micros(&self) -> i128 {
        const DAY: i128 = 86_400_000_000;
        i128::from(self.months) * 30 * DAY + i128::from(self.days) * DAY + i128::from(self.micros)
    }
}

impl PartialEq for Interval {
    fn eq(&self, other: &Self) -> bool {
        self.total_micros() == other.total_micros()
    }
}

impl Eq for Interval {}
