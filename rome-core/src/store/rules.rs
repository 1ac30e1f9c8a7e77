//! The parts of the [`Store`](super::Store) contract that do not depend on an engine: what a well-formed request is, which limits it must keep,
//! what a lane does with a sequence number, how a counter adds, and where a limit cuts a range.
//!
//! Engines that evaluate these on the client call the functions here; an engine that evaluates them in its server (a script, a
//! transaction of compares) must come to the same results, which the conformance suite checks.

use super::{
    Capabilities, Commit, CommitOutcome, Entry, Epoch, Guard, Key, KeyRange, Read, ReadLimits, ReadRequest, SPACE_LEN,
    StoreError, Write,
};
use bytes::Bytes;
use std::collections::HashSet;

/// The space of a key, or `Invalid` where the key is too short to have one or lies in the reserved last space.
pub fn space_of(key: &[u8]) -> Result<[u8; SPACE_LEN], StoreError> {
    match key.first_chunk::<SPACE_LEN>() {
        Some(space) if *space != [u8::MAX; SPACE_LEN] => Ok(*space),
        Some(_) => Err(StoreError::Invalid("the last space is reserved, since no key follows it".into())),
        None => Err(StoreError::Invalid(format!("a key of {} bytes names no space", key.len()))),
    }
}

/// The space of a range, or `Invalid` where the range leaves its space.
pub fn space_of_range(range: &KeyRange) -> Result<[u8; SPACE_LEN], StoreError> {
    let space = space_of(&range.from)?;
    let next = u32::from_be_bytes(space).saturating_add(1).to_be_bytes();
    if range.to.starts_with(&space) || range.to[..] == next {
        Ok(space)
    } else {
        Err(StoreError::Invalid("a range leaves its space".into()))
    }
}

/// Checks that a read request is well-formed and keeps the engine's limits.
pub fn check_read(request: &ReadRequest, capabilities: &Capabilities) -> Result<(), StoreError> {
    if request.at.is_some() && !capabilities.snapshots {
        return Err(StoreError::Invalid(format!("{} keeps no snapshots to read at", capabilities.engine)));
    }
    limit("the number of guards", request.guards.len(), capabilities.max_guards)?;
    for guard in &request.guards {
        check_guard(guard)?;
    }
    for read in &request.reads {
        match read {
            Read::Point(key) => space_of(key)?,
            Read::Range { range, .. } => space_of_range(range)?,
            Read::Follow { range, .. } if capabilities.follow => space_of_range(range)?,
            Read::Follow { .. } => {
                return Err(StoreError::Invalid(format!("{} does not follow index entries", capabilities.engine)));
            }
        };
    }
    Ok(())
}

/// Checks that a commit is well-formed and keeps the engine's limits.
pub fn check_commit(commit: &Commit, capabilities: &Capabilities) -> Result<(), StoreError> {
    limit("the number of guards", commit.guards.len(), capabilities.max_guards)?;
    limit("the number of writes", commit.writes.len() + commit.changes.len(), capabilities.max_writes)?;
    limit("the size of the commit in bytes", size_bytes(commit), capabilities.max_commit_bytes)?;
    for guard in &commit.guards {
        check_guard(guard)?;
    }
    let mut keys = HashSet::with_capacity(commit.writes.len());
    for write in &commit.writes {
        space_of(write.key())?;
        if !keys.insert(write.key()) {
            return Err(StoreError::Invalid("a key is written twice in one commit".into()));
        }
    }
    for (i, change) in commit.changes.iter().enumerate() {
        if commit.changes.iter().take(i).any(|earlier| earlier.stream == change.stream) {
            return Err(StoreError::Invalid("a stream has two changes in one commit".into()));
        }
    }
    if commit.ticket.is_some_and(|ticket| ticket.sequence == 0) {
        return Err(StoreError::Invalid("sequence numbers of a lane begin at 1".into()));
    }
    Ok(())
}

/// Refuses what relies on another epoch than the home's.
pub fn check_epoch(relied: Option<Epoch>, current: Epoch) -> Result<(), StoreError> {
    if relied.is_none_or(|relied| relied == current) { Ok(()) } else { Err(StoreError::EpochChanged) }
}

/// The size of a commit as [`Capabilities::max_commit_bytes`] counts it.
pub fn size_bytes(commit: &Commit) -> usize {
    let guard = |guard: &Guard| match guard {
        Guard::Version { key, .. } | Guard::Absent(key) | Guard::Present(key) => key.len(),
        Guard::Range { range, .. } | Guard::Unchanged { range, .. } => range.from.len() + range.to.len(),
    };
    let write = |write: &Write| match write {
        Write::Put(key, value) => key.len() + value.len(),
        Write::Delete(key) | Write::Add { key, .. } => key.len(),
    };
    commit.guards.iter().map(guard).sum::<usize>()
        + commit.writes.iter().map(write).sum::<usize>()
        + commit.changes.iter().map(|change| change.stream.len() + change.payload.len()).sum::<usize>()
}

fn check_guard(guard: &Guard) -> Result<(), StoreError> {
    match guard {
        Guard::Version { key, .. } | Guard::Absent(key) | Guard::Present(key) => space_of(key)?,
        Guard::Range { range, .. } | Guard::Unchanged { range, .. } => space_of_range(range)?,
    };
    Ok(())
}

fn limit(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// What a lane does with a commit that arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It runs, and its sequence and outcome are stored.
    Run,
    /// It is a resend: this was its outcome.
    Repeat(CommitOutcome),
    /// It is late: [`StoreError::LaneClosed`].
    Closed,
}

/// Decides by the table in the [`store`](super) module's text; `stored` is the lane's last sequence and its outcome.
pub fn admit(stored: Option<(u64, CommitOutcome)>, arriving: u64) -> Admission {
    match stored {
        None if arriving == 1 => Admission::Run,
        None => Admission::Closed,
        Some((sequence, outcome)) if sequence == arriving => Admission::Repeat(outcome),
        Some((sequence, _)) if sequence < arriving => Admission::Run,
        Some(_) => Admission::Closed,
    }
}

/// The new value of a counter, `None` where it would leave its bounds, `Corrupt` where the key holds something else than a counter.
pub fn add(key: &Key, current: Option<&[u8]>, delta: i64, min: i64, max: i64) -> Result<Option<Bytes>, StoreError> {
    let current = match current {
        None => 0,
        Some(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or_else(|| StoreError::Corrupt(format!("the key {key:?} holds no counter")))?,
    };
    let sum = current.checked_add(delta).filter(|sum| (min..=max).contains(sum));
    Ok(sum.map(|sum| Bytes::from(sum.to_string())))
}

/// How much of a range may still be answered.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    entries: usize,
    bytes: usize,
}

impl Budget {
    /// The tighter of the request's limits and the read's own. A request's limits never stop the first entry, so that every
    /// continuation makes progress.
    pub fn new(limits: &ReadLimits, own: Option<usize>) -> Self {
        let entries = limits.entries.max(1);
        Self { entries: own.map_or(entries, |own| own.min(entries)), bytes: limits.bytes.max(1) }
    }

    /// Whether the next entry must be left to a continuation.
    pub fn is_spent(&self) -> bool {
        self.entries == 0 || self.bytes == 0
    }

    /// Takes an entry into account.
    pub fn take(&mut self, entry: &Entry) {
        let own = entry.key.len() + entry.value.len();
        let target = entry.target.as_ref().map_or(0, |target| target.key.len() + target.value.len());
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(own + target);
    }
}
