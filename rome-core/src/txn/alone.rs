//! The commit of a transaction that concerns one home alone: one round trip, past the marks of others.

use super::changes::Streams;
use super::client::{Client, Link};
use super::held::{KnownRanges, Met, guards_against_marks};
use super::marks::{TxnId, all_marks, write_mark};
use super::part::Part;
use crate::error::{Error, Result, SqlState};
use crate::store::{Commit, CommitOutcome, Entry, Guard, Key, KeyRange, Read, ReadLimits, Version, successor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often a commit is sent again because marks of other transactions were in its way.
const ATTEMPTS: usize = 100;

/// Commits; counts the round trips that marks cost besides the first in `repeated`.
///
/// # Errors
/// As [`super::Txn::commit`].
pub(super) async fn commit_alone(client: &Client, part: &Part, streams: &Streams, repeated: &mut u64) -> Result<()> {
    let link = &part.link;
    let limit = link.store().capabilities().max_guards;
    let mut relied = part.guards.of_commit(part.newest, part.most_guards());
    if relied.guards.len() > limit {
        return Err(too_many_guards(relied.guards.len(), limit));
    }
    let (guards, writes, changes) = (relied.take(), part.writes.to_writes(), part.events(streams)?);
    if !client.is_spread() {
        let commit = Commit { guards, writes, changes, epoch: part.epoch, ticket: None };
        return match link.commit(commit).await? {
            CommitOutcome::Committed { .. } => Ok(()),
            CommitOutcome::Conflict { guard } => Err(relied.failure(guard)),
            CommitOutcome::OutOfBounds { .. } => Err(out_of_bounds()),
        };
    }
    let present = part.guards.present();
    let mut careful = link.is_careful();
    let mut known = KnownRanges::new();
    // All marks of the home as they were looked at, none of them in the way.
    let mut all_known = (0, 0);
    for _ in 0..ATTEMPTS {
        let mut against = guards_against_marks(part.writes.all(), &present, careful, &known);
        let in_detail = guards.len() + against.len() <= limit;
        if careful && !in_detail {
            let (since, count) = all_known;
            against = vec![(Guard::Range { range: all_marks(), since, count }, Met::Any)];
        }
        let mut all = guards.clone();
        all.extend(against.iter().map(|(guard, _)| guard.clone()));
        let (writes, changes) = (writes.clone(), changes.clone());
        let commit = Commit { guards: all, writes, changes, epoch: part.epoch, ticket: None };
        let failed = match link.commit(commit).await? {
            CommitOutcome::Committed { .. } => return Ok(()),
            CommitOutcome::Conflict { guard } => guard,
            CommitOutcome::OutOfBounds { .. } => return Err(out_of_bounds()),
        };
        *repeated += 1;
        match failed.checked_sub(guards.len()).and_then(|at| against.get(at)) {
            None => {
                let expected = guards.get(failed).filter(|_| relied.expectation(failed).is_some());
                let Some(expected) = expected else { return Err(relied.failure(failed)) };
                if !passes_in_the_end(client, link, expected).await? {
                    return Err(relied.failure(failed));
                }
                if matches!(expected, Guard::Range { count, .. } if *count > 0) {
                    // As many as this transaction removes: perhaps the same, changed meanwhile.
                    return Err(Error::serialization_failure());
                }
            }
            Some((_, Met::Any)) if careful && !in_detail => {
                let marks = AllMarks::read(link).await?;
                match marks.in_the_way(part, &present)? {
                    Some(txn) => client.settle(link, txn).await?,
                    None => all_known = (marks.since, marks.found.len() as u64),
                }
            }
            Some((_, Met::Any)) => {
                link.met_marks();
                careful = true;
            }
            Some((_, met)) => {
                let (marks, snapshot) = entries(link, met.range()).await?;
                match met.in_the_way(&marks, part.writes.all().map(|(key, _)| key))? {
                    Some(txn) => client.settle(link, txn).await?,
                    None => {
                        if let (Met::Near(key), count) = (met, marks.len() as u64)
                            && let Some(space) = key.first_chunk()
                        {
                            known.insert(*space, (snapshot, count));
                        }
                    }
                }
            }
        }
    }
    Err(Error::serialization_failure())
}

/// Every mark of a home but those on written keys.
struct AllMarks {
    found: BTreeMap<Key, Entry>,
    /// Those that came later have a higher version.
    since: Version,
}

impl AllMarks {
    async fn read(link: &Link) -> Result<Self> {
        let mut marks = Self { found: BTreeMap::new(), since: Version::MAX };
        let mut range = all_marks();
        loop {
            let read = Read::Range { range: range.clone(), limit: None, reverse: false };
            let answer = link.look(vec![read], ReadLimits::default()).await?;
            marks.since = marks.since.min(answer.snapshot);
            let result = answer.results.into_iter().next().unwrap_or_default();
            marks.found.extend(result.entries.into_iter().map(|entry| (entry.key.clone(), entry)));
            match result.more {
                Some(last) => range.from = successor(&last),
                None => return Ok(marks),
            }
        }
    }

    /// The transaction of one that is in the way of what a part writes, and of keys that it relies upon to be present.
    fn in_the_way(&self, part: &Part, present: &[Key]) -> Result<Option<TxnId>> {
        for (_, met) in guards_against_marks(part.writes.all(), present, true, &KnownRanges::new()) {
            let KeyRange { from, to } = met.range();
            let near: Vec<Entry> = self.found.range(from..to).map(|(_, mark)| mark.clone()).collect();
            if let Some(txn) = met.in_the_way(&near, part.writes.all().map(|(key, _)| key))? {
                return Ok(Some(txn));
            }
        }
        Ok(None)
    }
}

/// Whether an expectation that failed holds after all, once the transactions have ended whose marks made it fail.
pub(super) async fn passes_in_the_end(client: &Client, link: &Arc<Link>, guard: &Guard) -> Result<bool> {
    let range = match guard {
        Guard::Absent(key) | Guard::Present(key) | Guard::Version { key, .. } => one_key(key),
        Guard::Range { range, .. } | Guard::Unchanged { range, .. } => range.clone(),
    };
    loop {
        let (found, _) = entries(link, range.clone()).await?;
        let mut marked = None;
        for entry in &found {
            marked = marked.or(write_mark(&entry.value)?);
        }
        match marked {
            Some(mark) => client.settle(link, mark.txn).await?,
            None => {
                return Ok(match guard {
                    Guard::Absent(_) => found.is_empty(),
                    Guard::Present(_) => !found.is_empty(),
                    Guard::Range { count, .. } => found.len() as u64 == *count,
                    Guard::Version { .. } | Guard::Unchanged { .. } => false,
                });
            }
        }
    }
}

fn one_key(key: &Key) -> KeyRange {
    KeyRange { from: key.clone(), to: successor(key) }
}

/// What lies in a range, as far as one answer goes, and as of when.
pub(super) async fn entries(link: &Link, range: KeyRange) -> Result<(Vec<Entry>, Version)> {
    let read = Read::Range { range, limit: None, reverse: false };
    let answer = link.look(vec![read], ReadLimits::default()).await?;
    Ok((answer.results.into_iter().next().unwrap_or_default().entries, answer.snapshot))
}

/// SQLSTATE 54000.
pub(super) fn too_many_guards(size: usize, limit: usize) -> Error {
    let message = format!("the transaction relies on {size} keys, above this store's limit of {limit}");
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).with_hint("Split the transaction into smaller ones.")
}

/// SQLSTATE 22003.
pub(super) fn out_of_bounds() -> Error {
    Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "a counter would leave its bounds")
}
