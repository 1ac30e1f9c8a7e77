//! What runs come to: how transactions ended, what went wrong meanwhile, and what a scenario counts of its own.

use rome_core::{Result, SqlState};
use std::collections::BTreeMap;
use std::fmt;

/// How a transaction ended for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    Done,
    Refused(SqlState),
    Unknown,
}

impl Ended {
    /// What every client must reckon with: others were faster, or a site does not answer.
    const ALWAYS_USUAL: [SqlState; 2] = [SqlState::SERIALIZATION_FAILURE, SqlState::CONNECTION_FAILURE];

    /// How it ended. Panics where it was refused for a reason that is not among those `usual`.
    pub fn of<T>(result: &Result<T>, usual: &[SqlState]) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) if error.is_undetermined() => Self::Unknown,
            Err(error) => {
                let state = error.state();
                assert!(Self::ALWAYS_USUAL.contains(&state) || usual.contains(&state), "{error}");
                Self::Refused(state)
            }
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(state) => write!(f, "{state}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub done: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Clients that died in a transaction, which nobody was told the end of.
    pub crashes: usize,
    pub partitions: usize,
    /// By their names, what a scenario counts beside.
    own: BTreeMap<&'static str, usize>,
}

impl Counts {
    pub fn end(&mut self, ended: Ended) {
        match ended {
            Ended::Done => self.done += 1,
            Ended::Refused(_) => self.refused += 1,
            Ended::Unknown => self.unknown += 1,
        }
    }

    pub fn count(&mut self, what: &'static str, times: usize) {
        if times > 0 {
            *self.own.entry(what).or_default() += times;
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        other.own.iter().for_each(|(what, times)| self.count(what, *times));
    }

    /// What should have happened and has not: most transactions succeed, everything that can go wrong does, and so does all that is named.
    pub fn missing(&self, named: &[&'static str]) -> Vec<&'static str> {
        let general = [
            ("more done than refused", self.done > self.refused),
            ("unknown outcomes", self.unknown > 0),
            ("crashes", self.crashes > 0),
            ("partitions", self.partitions > 0),
        ];
        let own = named.iter().map(|what| (*what, self.own.contains_key(what)));
        general.into_iter().chain(own).filter(|(_, happened)| !happened).map(|(what, _)| what).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, refused, unknown, crashes, partitions, own } = self;
        let transactions = done + refused + unknown + crashes;
        write!(f, "{transactions} transactions, {crashes} crashes, {partitions} partitions; ")?;
        write!(f, "answers: {done} done, {refused} refused, {unknown} unknown")?;
        own.iter().try_for_each(|(what, times)| write!(f, "; {times} {what}"))
    }
}
