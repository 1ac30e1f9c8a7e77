//! How current an answer is to be, and how current it was.

use std::time::Duration;

/// How current the answers of a transaction that only reads must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadMode {
    /// Complete and current: from the homes of the rows, validated.
    #[default]
    Strong,
    /// Global tables from the copy at this site where that missed nothing `max` ago, else from their home. Everything else as strong.
    Stale {
        /// The greatest staleness.
        max: Duration,
    },
    /// Whatever can be had now: global tables from the copy at this site, other rows from the sites that can be reached, and where a transaction is
    /// undecided because of a site that can't be, what was there before it. [`ReadReport`] says what an answer lacks.
    Available,
}

/// What an answer lacks; nothing where it was read strongly.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadReport {
    /// So long ago the copies that it was read from missed nothing. `None` where no copy was read.
    pub staleness: Option<Duration>,
    /// A copy was read of which this client does not know how stale it is.
    pub staleness_unknown: bool,
    /// The sites whose rows are missing, in the order of their names.
    pub missing_sites: Vec<String>,
    /// So many keys were answered as they were before a transaction that is undecided.
    pub undecided_keys: u64,
}

impl ReadReport {
    /// Whether the answer is complete and current.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }

    /// What it lacks, a sentence each: what a PostgreSQL client is told as a NOTICE.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = vec![];
        if !self.missing_sites.is_empty() {
            notices.push(format!("rows at these sites are missing: {}", self.missing_sites.join(", ")));
        }
        if self.undecided_keys > 0 {
            let keys = self.undecided_keys;
            notices.push(format!("{keys} keys are given as they were before a transaction that is undecided"));
        }
        if self.staleness_unknown {
            notices.push("global tables were read from a copy that is stale by an unknown time".to_owned());
        } else if let Some(staleness) = self.staleness {
            notices.push(format!("global tables were read from a copy at most {} ms stale", staleness.as_millis()));
        }
        notices
    }
}
