//! One transaction: everything that execution reads or writes passes through here.

use super::buffer::WriteBuffer;
use super::client::{Client, Mode};
use super::guards::{GuardList, Guards};
use super::overlay::{covered_range, overlay_range};
use crate::catalog::{TableId, schema_version_key};
use crate::error::{Error, Result, SqlState};
use crate::store::{
    Commit, CommitOutcome, Entry, Epoch, Guard, Key, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResult, Version,
};
use bytes::Bytes;
use std::sync::Arc;

/// Round trips that a transaction has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoundTrips {
    /// Read requests.
    pub reads: u64,
    /// Commits.
    pub commits: u64,
}

/// A point to which a transaction can be rolled back.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    writes: usize,
    expected: usize,
}

/// An open transaction. Dropping it forgets it: nothing has been written.
#[derive(Debug)]
pub struct Txn {
    client: Arc<Client>,
    mode: Mode,
    writes: WriteBuffer,
    guards: GuardList,
    /// The version of the first read; the version of all reads where the store has snapshots.
    snapshot: Option<Version>,
    /// The epoch of the first read, and so of all others and of the commit.
    epoch: Option<Epoch>,
    newest: Version,
    trips: RoundTrips,
    validate: bool,
}

impl Txn {
    pub(super) fn new(client: Arc<Client>, mode: Mode) -> Self {
        Self {
            client,
            mode,
            writes: WriteBuffer::default(),
            guards: GuardList::default(),
            snapshot: None,
            epoch: None,
            newest: 0,
            trips: RoundTrips::default(),
            validate: false,
        }
    }

    /// Where it runs.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// How it behaves.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The round trips so far.
    pub fn round_trips(&self) -> RoundTrips {
        self.trips
    }

    /// Notes that the statement relies on a table's description as of `version` (0: made by this transaction). The next read checks it in the
    /// same round trip, and the commit guards it: a stale description is a retryable error, never a wrong result.
    ///
    /// # Errors
    /// 40001 where this transaction already relies on another version.
    pub fn use_table(&mut self, table: TableId, version: Version) -> Result<()> {
        if version == 0 { Ok(()) } else { self.guards.use_table(table, schema_version_key(table), version) }
    }

    /// Reads, in one round trip where the store can, through the transaction's own writes. Everything read is validated (see the
    /// module's table). [`Read::Follow`] may always be sent. Entries that this transaction wrote have version 0. What it has read before is not
    /// asked for again.
    ///
    /// # Errors
    /// 40001 where what was read before has changed meanwhile, and the store's own errors.
    pub async fn read(&mut self, reads: Vec<Read>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
        let follow_here = !self.client.store().capabilities().follow;
        // Where each result comes from: what is known already, or a position in the request.
        let mut sources = Vec::with_capacity(reads.len());
        let mut request = Vec::with_capacity(reads.len() + 1);
        for read in &reads {
            match read {
                Read::Point(key) => match self.known(key) {
                    Some(entry) => sources.push(Err(ReadResult { entries: entry.into_iter().collect(), more: None })),
                    None => {
                        sources.push(Ok(request.len()));
                        request.push(read.clone());
                    }
                },
                Read::Range { range, limit, reverse } | Read::Follow { range, limit, reverse } => {
                    // Buffered removals may hide entries: ask for as many more.
                    let hidden = if self.writes.is_empty() { 0 } else { self.writes.range(range).count() };
                    let (range, limit, reverse) = (range.clone(), limit.map(|limit| limit + hidden), *reverse);
                    sources.push(Ok(request.len()));
                    request.push(match read {
                        Read::Follow { .. } if !follow_here => Read::Follow { range, limit, reverse },
                        _ => Read::Range { range, limit, reverse },
                    });
                }
            }
        }
        let mut answers = self.fetch(request, limits).await?;
        let mut results = Vec::with_capacity(reads.len());
        for (read, source) in reads.iter().zip(sources) {
            let position = match source {
                Err(known) => {
                    results.push(known);
                    continue;
                }
                Ok(position) => position,
            };
            let answer = answers.get_mut(position).map(std::mem::take).unwrap_or_default();
            results.push(match read {
                Read::Point(_) => answer,
                Read::Range { range, limit, reverse } | Read::Follow { range, limit, reverse } => {
                    overlay_range(&self.writes, range, *limit, *reverse, answer)
                }
            });
        }
        self.resolve_targets(&reads, &mut results, limits).await?;
        Ok(results)
    }

    /// What a key holds, where this transaction wrote it or has read it before.
    fn known(&self, key: &Key) -> Option<Option<Entry>> {
        match self.writes.get(key) {
            Some(own) => Some(own.as_ref().map(|value| own_entry(key, value))),
            None => self.guards.known(key),
        }
    }

    /// Gives index entries the rows they point to: from the buffer where this transaction wrote them, else, where the store does not follow
    /// by itself, by one more read.
    async fn resolve_targets(&mut self, reads: &[Read], results: &mut [ReadResult], limits: ReadLimits) -> Result<()> {
        let mut missing = Vec::new();
        for (read, result) in reads.iter().zip(results.iter_mut()) {
            if !matches!(read, Read::Follow { .. }) {
                continue;
            }
            for entry in &mut result.entries {
                match self.writes.get(&entry.value) {
                    Some(own) => entry.target = own.as_ref().map(|row| Box::new(own_entry(&entry.value, row))),
                    None if entry.target.is_some() => {}
                    None => match self.guards.known(&entry.value) {
                        Some(known) => entry.target = known.map(Box::new),
                        None => missing.push(Read::Point(entry.value.clone())),
                    },
                }
            }
        }
        if !missing.is_empty() {
            missing.sort_unstable_by(|a, b| point_key(a).cmp(&point_key(b)));
            missing.dedup();
            let found = self.fetch(missing, limits).await?;
            let rows: std::collections::HashMap<Key, Entry> =
                found.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key.clone(), entry)).collect();
            for result in results.iter_mut() {
                for entry in result.entries.iter_mut().filter(|entry| entry.target.is_none()) {
                    entry.target = rows.get(&entry.value).cloned().map(Box::new);
                }
            }
        }
        for (read, result) in reads.iter().zip(results.iter_mut()) {
            if matches!(read, Read::Follow { .. }) {
                // An entry whose row this transaction removed.
                let writes = &self.writes;
                result.entries.retain(|entry| entry.target.is_some() || writes.get(&entry.value).is_none());
            }
        }
        Ok(())
    }

    /// One request to the store, its answer noted for validation.
    async fn fetch(&mut self, mut reads: Vec<Read>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
        let asked = reads.len();
        let tables = self.guards.unconfirmed_tables();
        // Where everything that was asked is known already, the tables' descriptions still have to be confirmed.
        if reads.is_empty() && tables.is_empty() {
            return Ok(Vec::new());
        }
        reads.extend(tables.iter().map(|(_, key, _)| Read::Point(key.clone())));
        let snapshots = self.client.store().capabilities().snapshots;
        let at = if snapshots { self.snapshot } else { None };
        // Every answer must fit the earlier ones: also a transaction that will lose must not see a state that never was.
        let consistent = !snapshots && self.trips.reads > 0;
        let most = self.most_guards();
        let mut relied = if consistent { self.guards.of_reads(self.newest, most) } else { Guards::default() };
        self.trips.reads += 1;
        let request = ReadRequest { reads, at, guards: relied.take(), epoch: self.epoch, limits };
        // The request is needed afterwards to note what was covered; the store takes it by value.
        let covered = request.reads.clone();
        let response = match self.client.store().read(self.client.home(), request).await? {
            ReadOutcome::Answer(response) => response,
            ReadOutcome::Conflict { guard } => return Err(relied.failure(guard)),
        };
        if consistent {
            self.guards.rebase(response.snapshot);
        }
        self.snapshot.get_or_insert(response.snapshot);
        self.epoch.get_or_insert(response.epoch);
        self.newest = self.newest.max(response.snapshot);
        let mut results = response.results;
        if results.len() != covered.len() {
            return Err(Error::internal("a store answered another number of reads than it was asked"));
        }
        for (result, (table, key, version)) in results.drain(asked..).zip(tables) {
            if result.entries.first().map(|entry| entry.version) != Some(version) {
                return Err(Error::schema_changed().with_contended(key));
            }
            self.guards.confirm_table(table);
        }
        if self.mode == Mode::ReadOnly && snapshots && !self.validate {
            // Everything is read at one version and nothing is validated: a long scan need not remember its rows.
            return Ok(results);
        }
        for (read, result) in covered.into_iter().zip(&results) {
            match read {
                Read::Point(key) => self.guards.saw_point(key, result.entries.first())?,
                Read::Range { range, reverse, .. } | Read::Follow { range, reverse, .. } => {
                    let covered = covered_range(&range, reverse, result.more.as_ref());
                    self.guards.saw_range(covered, response.snapshot, result.entries.len() as u64);
                    for target in result.entries.iter().filter_map(|entry| entry.target.as_ref()) {
                        self.guards.saw_point(target.key.clone(), Some(target))?;
                    }
                }
            }
        }
        Ok(results)
    }

    /// Beyond how many guards what was read is guarded by whole ranges.
    fn most_guards(&self) -> usize {
        let capabilities = self.client.store().capabilities();
        if capabilities.cheap_unchanged { capabilities.max_guards } else { usize::MAX }
    }

    /// Buffers a write.
    ///
    /// # Errors
    /// 25006 in a read-only transaction, 54000 beyond what the store commits at once.
    pub fn put(&mut self, key: Key, value: Bytes) -> Result<()> {
        self.writes.set(key, Some(value));
        self.check_size()
    }

    /// Buffers a removal.
    ///
    /// # Errors
    /// As [`Txn::put`].
    pub fn delete(&mut self, key: Key) -> Result<()> {
        // A key that this transaction made and that was read as absent needs no removal.
        if self.guards.point(&key) == Some(None) {
            self.writes.forget(key);
        } else {
            self.writes.set(key, None);
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<()> {
        if self.mode == Mode::ReadOnly {
            return Err(Error::new(SqlState::READ_ONLY_TRANSACTION, "cannot change data in a read-only transaction"));
        }
        let capabilities = self.client.store().capabilities();
        let limit = |what: &str, size: usize, limit: usize| {
            Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("the transaction writes {size} {what}, above this store's limit of {limit}"),
            )
            .with_hint("Split the transaction into smaller ones.")
        };
        if self.writes.len() > capabilities.max_writes {
            return Err(limit("keys", self.writes.len(), capabilities.max_writes));
        }
        if self.writes.bytes() > capabilities.max_commit_bytes {
            return Err(limit("bytes", self.writes.bytes(), capabilities.max_commit_bytes));
        }
        Ok(())
    }

    /// Adds a guard that was not read: `Absent`, `Present`, or an empty `Range` (`count: 0`). The transaction's own earlier reads and writes
    /// are taken into account at once: where they contradict it, `failure` is returned now. Where the guard fails at commit, the
    /// commit's error is `failure`.
    ///
    /// # Errors
    /// `failure`.
    pub fn expect(&mut self, guard: Guard, failure: Error) -> Result<()> {
        match &guard {
            Guard::Absent(key) => match (self.writes.get(key), self.guards.point(key)) {
                (Some(Some(_)), _) | (None, Some(Some(_))) => return Err(failure),
                // Removed by this transaction, or read as absent: guarded already.
                (Some(None), _) | (None, Some(None)) => return Ok(()),
                (None, None) => {}
            },
            Guard::Present(key) => match (self.writes.get(key), self.guards.point(key)) {
                (Some(None), _) | (None, Some(None)) => return Err(failure),
                (Some(Some(_)), _) | (None, Some(Some(_))) => return Ok(()),
                (None, None) => {}
            },
            Guard::Range { range, .. } => {
                let own: Vec<bool> = self.writes.range(range).map(|(_, value)| value.is_some()).collect();
                if own.contains(&true) {
                    return Err(failure);
                }
                if !own.is_empty() {
                    // What this transaction removes is still there when the guard is checked.
                    let guard = Guard::Range { range: range.clone(), since: self.newest, count: own.len() as u64 };
                    self.guards.expect(guard, failure);
                    return Ok(());
                }
            }
            Guard::Version { .. } | Guard::Unchanged { .. } => {}
        }
        self.guards.expect(guard, failure);
        Ok(())
    }

    /// Whether this transaction wrote (`Some(true)`) or removed (`Some(false)`) a key.
    pub fn own_write(&self, key: &Key) -> Option<bool> {
        self.writes.get(key).map(Option::is_some)
    }

    /// Whether anything is to be written.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// FOR UPDATE: what was read is validated at commit even if nothing is written.
    pub fn validate_at_commit(&mut self) {
        self.validate = true;
    }

    /// Whether uniqueness and foreign keys are checked by reading at the statement (in a transaction of several statements, so that the error comes
    /// with the statement that caused it) or by guards alone (one round trip less).
    pub fn checks_early(&self) -> bool {
        self.mode == Mode::Interactive
    }

    /// Marks the present state.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint { writes: self.writes.mark(), expected: self.guards.expected_len() }
    }

    /// Undoes every write since the mark. What was read stays guarded.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        self.writes.rewind(savepoint.writes);
        self.guards.truncate_expected(savepoint.expected);
    }

    /// Whether committing takes a round trip: there is something to write or to validate.
    pub fn commits_by_round_trip(&self) -> bool {
        !self.writes.is_empty() || self.guards.expected_len() > 0 || self.validate
    }

    /// Commits: guards and writes in one round trip, or none where there is nothing to write or validate. Returns the round trips made.
    ///
    /// # Errors
    /// 40001 where something that was read has changed, the error of an expectation that failed, 08007 where the outcome is unknown.
    pub async fn commit(mut self) -> Result<RoundTrips> {
        if !self.commits_by_round_trip() {
            return Ok(self.trips);
        }
        let limit = self.client.store().capabilities().max_guards;
        let mut relied = self.guards.of_commit(self.newest, self.most_guards());
        if relied.guards.len() > limit {
            return Err(Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("the transaction relies on {} keys, above this store's limit of {limit}", relied.guards.len()),
            )
            .with_hint("Split the transaction into smaller ones."));
        }
        self.trips.commits += 1;
        let (guards, writes) = (relied.take(), self.writes.into_writes());
        let commit = Commit { guards, writes, epoch: self.epoch, ..Commit::default() };
        match self.client.commit(commit).await? {
            CommitOutcome::Committed { .. } => Ok(self.trips),
            CommitOutcome::Conflict { guard } => Err(relied.failure(guard)),
            CommitOutcome::OutOfBounds { .. } => {
                Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "a counter would leave its bounds"))
            }
        }
    }
}

fn own_entry(key: &Key, value: &Bytes) -> Entry {
    Entry { key: key.clone(), version: 0, value: value.clone(), target: None }
}

fn point_key(read: &Read) -> Option<&Key> {
    match read {
        Read::Point(key) => Some(key),
        _ => None,
    }
}
