//! The in-memory store: the reference model of the [`Store`] contract, and the `memory:` engine.
//!
//! A home is a set of spaces, each an ordered map, behind one lock. A commit holds the lock for writing from its first check to
//! its last write and never waits inside, so it is atomic and can't be cancelled halfway. A space remembers the version of its
//! last commit, deletes included, which answers most range guards without looking at the range.
//!
//! Watchers wait for a notification of their own stream and then read from the stream's events, of which the newest
//! [`EVENTS_KEPT`] are kept. The notification only says "look again", so that none can be missed.

use super::rules::{self, Admission, Budget};
use super::{
    Capabilities, Commit, CommitOutcome, Durability, Entry, Epoch, Guard, HomeId, Key, KeyRange, Read, ReadLimits,
    ReadOutcome, ReadRequest, ReadResponse, ReadResult, SPACE_LEN, Store, StoreError, Version, WatchEvent, WatchStream,
    Write,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Notify;

/// How many events a change stream keeps. A watcher that falls further behind is told so.
pub const EVENTS_KEPT: usize = 4096;

const CAPABILITIES: Capabilities = Capabilities {
    engine: "memory",
    follow: true,
    snapshots: false,
    max_guards: 1 << 17,
    cheap_unchanged: true,
    max_writes: 1 << 17,
    max_reads: 1 << 17,
    max_commit_bytes: 64 << 20,
    durability: Durability::None,
};

/// The in-memory store. Homes come into being with their first commit.
#[derive(Default)]
pub struct MemoryStore {
    homes: RwLock<HashMap<HomeId, Arc<RwLock<Home>>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn home(&self, id: &HomeId) -> Arc<RwLock<Home>> {
        if let Some(home) = self.homes.read().get(id) {
            return home.clone();
        }
        self.homes.write().entry(id.clone()).or_default().clone()
    }

    /// Begins an epoch of a home, as a restore would: what was read before is not relied on any more. For tests of what is above.
    pub fn begin_epoch(&self, home: &HomeId, epoch: Epoch) {
        let home = self.home(home);
        let mut home = home.write();
        home.epoch = epoch;
        for stream in home.streams.values() {
            stream.grown.notify_waiters();
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        rules::check_read(&request, &CAPABILITIES)?;
        match self.homes.read().get(home) {
            Some(home) => home.read().read(&request),
            None => Home::default().read(&request),
        }
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        rules::check_commit(&commit, &CAPABILITIES)?;
        self.home(home).write().commit(commit)
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        let home = self.home(home);
        let (cursor, epoch) = {
            let mut home = home.write();
            home.streams.entry(stream.clone()).or_default();
            (after.unwrap_or(home.version), home.epoch)
        };
        let watcher = Watcher { home, stream, epoch, cursor, fetched: VecDeque::new(), ended: false };
        Ok(futures::stream::unfold(watcher, Watcher::next).boxed())
    }
}

/// One home's state.
#[derive(Default)]
struct Home {
    epoch: Epoch,
    version: Version,
    spaces: HashMap<[u8; SPACE_LEN], Space>,
    lanes: HashMap<(u128, u32), (u64, CommitOutcome)>,
    streams: HashMap<Bytes, Stream>,
}

#[derive(Default)]
struct Space {
    /// The version of the last commit that wrote or deleted here.
    version: Version,
    keys: BTreeMap<Key, Stored>,
}

struct Stored {
    version: Version,
    value: Bytes,
}

#[derive(Default)]
struct Stream {
    events: VecDeque<WatchEvent>,
    /// The version of the newest event that was trimmed.
    trimmed: Version,
    grown: Arc<Notify>,
}

impl Home {
    fn read(&self, request: &ReadRequest) -> Result<ReadOutcome, StoreError> {
        rules::check_epoch(request.epoch, self.epoch)?;
        for (guard, condition) in request.guards.iter().enumerate() {
            if !self.holds(condition)? {
                return Ok(ReadOutcome::Conflict { guard });
            }
        }
        let results = request.reads.iter().map(|read| self.answer(read, &request.limits)).collect::<Result<_, _>>()?;
        Ok(ReadOutcome::Answer(ReadResponse { snapshot: self.version, epoch: self.epoch, results }))
    }

    fn answer(&self, read: &Read, limits: &ReadLimits) -> Result<ReadResult, StoreError> {
        match read {
            Read::Point(key) => Ok(ReadResult { entries: self.entry(key).into_iter().collect(), more: None }),
            Read::Range { range, limit, reverse } => self.page(range, Budget::new(limits, *limit), *reverse, entry),
            Read::Follow { range, limit, reverse } => {
                self.page(range, Budget::new(limits, *limit), *reverse, |key, stored| Entry {
                    target: self.entry(&stored.value).map(Box::new),
                    ..entry(key, stored)
                })
            }
        }
    }

    fn page(
        &self,
        range: &KeyRange,
        mut budget: Budget,
        reverse: bool,
        entry: impl Fn(&Key, &Stored) -> Entry,
    ) -> Result<ReadResult, StoreError> {
        let mut result = ReadResult::default();
        let mut found = self.range(range)?;
        while let Some((key, stored)) = if reverse { found.next_back() } else { found.next() } {
            if budget.is_spent() {
                result.more = result.entries.last().map(|last: &Entry| last.key.clone());
                break;
            }
            let entry = entry(key, stored);
            budget.take(&entry);
            result.entries.push(entry);
        }
        Ok(result)
    }

    fn stored(&self, key: &[u8]) -> Option<(&Key, &Stored)> {
        self.spaces.get(key.first_chunk::<SPACE_LEN>()?)?.keys.get_key_value(key)
    }

    fn entry(&self, key: &[u8]) -> Option<Entry> {
        self.stored(key).map(|(key, stored)| entry(key, stored))
    }

    fn range(&self, range: &KeyRange) -> Result<impl DoubleEndedIterator<Item = (&Key, &Stored)>, StoreError> {
        let space = self.spaces.get(&rules::space_of_range(range)?);
        // An ordered map panics where a range ends before it begins.
        let space = space.filter(|_| !range.is_empty());
        Ok(space.into_iter().flat_map(|space| space.keys.range(range.from.clone()..range.to.clone())))
    }

    fn holds(&self, guard: &Guard) -> Result<bool, StoreError> {
        Ok(match guard {
            Guard::Version { key, version } => self.stored(key).is_some_and(|(_, stored)| stored.version == *version),
            Guard::Absent(key) => self.stored(key).is_none(),
            Guard::Present(key) => self.stored(key).is_some(),
            Guard::Range { range, count: 0, .. } => self.range(range)?.next().is_none(),
            Guard::Range { range, since, count } => {
                let rested = self.spaces.get(&rules::space_of_range(range)?).is_some_and(|s| s.version <= *since);
                rested || self.holds_exactly(range, *since, *count)?
            }
            Guard::Unchanged { range, since } => {
                self.spaces.get(&rules::space_of_range(range)?).is_none_or(|space| space.version <= *since)
            }
        })
    }

    fn holds_exactly(&self, range: &KeyRange, since: Version, count: u64) -> Result<bool, StoreError> {
        let mut left = count;
        for (_, stored) in self.range(range)? {
            if left == 0 || stored.version > since {
                return Ok(false);
            }
            left -= 1;
        }
        Ok(left == 0)
    }

    fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let Some(ticket) = commit.ticket else {
            return self.attempt(commit);
        };
        let lane = (ticket.client, ticket.lane);
        match rules::admit(self.lanes.get(&lane).copied(), ticket.sequence) {
            Admission::Repeat(outcome) => Ok(outcome),
            Admission::Closed => Err(StoreError::LaneClosed),
            Admission::Run => {
                let outcome = self.attempt(commit)?;
                self.lanes.insert(lane, (ticket.sequence, outcome));
                Ok(outcome)
            }
        }
    }

    /// Everything that can fail comes before the first write.
    fn attempt(&mut self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        rules::check_epoch(commit.epoch, self.epoch)?;
        for (guard, condition) in commit.guards.iter().enumerate() {
            if !self.holds(condition)? {
                return Ok(CommitOutcome::Conflict { guard });
            }
        }
        if commit.writes.is_empty() && commit.changes.is_empty() {
            return Ok(CommitOutcome::Committed { version: self.version });
        }
        let mut effects = Vec::with_capacity(commit.writes.len());
        for (index, write) in commit.writes.into_iter().enumerate() {
            let space = rules::space_of(write.key())?;
            let (key, value) = match write {
                Write::Put(key, value) => (key, Some(value)),
                Write::Delete(key) => (key, None),
                Write::Add { key, delta, min, max } => {
                    let current = self.stored(&key).map(|(_, stored)| &stored.value[..]);
                    match rules::add(&key, current, delta, min, max)? {
                        Some(sum) => (key, Some(sum)),
                        None => return Ok(CommitOutcome::OutOfBounds { write: index }),
                    }
                }
            };
            effects.push((space, key, value));
        }

        self.version += 1;
        let version = self.version;
        for (space, key, value) in effects {
            let space = self.spaces.entry(space).or_default();
            space.version = version;
            match value {
                Some(value) => space.keys.insert(key, Stored { version, value }),
                None => space.keys.remove(&key),
            };
        }
        for change in commit.changes {
            self.streams.entry(change.stream).or_default().append(WatchEvent { version, payload: change.payload });
        }
        Ok(CommitOutcome::Committed { version })
    }
}

fn entry(key: &Key, stored: &Stored) -> Entry {
    Entry { key: key.clone(), version: stored.version, value: stored.value.clone(), target: None }
}

impl Stream {
    fn append(&mut self, event: WatchEvent) {
        self.events.push_back(event);
        while self.events.len() > EVENTS_KEPT
            && let Some(oldest) = self.events.pop_front()
        {
            self.trimmed = oldest.version;
        }
        self.grown.notify_waiters();
    }
}

/// One watch of one stream.
struct Watcher {
    home: Arc<RwLock<Home>>,
    stream: Bytes,
    epoch: Epoch,
    cursor: Version,
    fetched: VecDeque<WatchEvent>,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<WatchEvent, StoreError>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(event) = self.fetched.pop_front() {
                return Some((Ok(event), self));
            }
            let grown = self.home.read().streams.get(&self.stream)?.grown.clone();
            // Registered before looking, so that an event appended between looking and waiting still wakes.
            let mut grown = std::pin::pin!(grown.notified());
            grown.as_mut().enable();
            if let Err(error) = self.fetch() {
                self.ended = true;
                return Some((Err(error), self));
            }
            if self.fetched.is_empty() {
                grown.await;
            }
        }
    }

    /// Takes the kept events above the cursor.
    fn fetch(&mut self) -> Result<(), StoreError> {
        let home = self.home.read();
        let Some(stream) = home.streams.get(&self.stream) else {
            return Ok(());
        };
        if self.cursor < stream.trimmed || self.epoch != home.epoch {
            return Err(StoreError::Compacted);
        }
        let first = stream.events.partition_point(|event| event.version <= self.cursor);
        self.fetched.extend(stream.events.range(first..).cloned());
        if let Some(last) = self.fetched.back() {
            self.cursor = last.version;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::store::Change;

    fn change(payload: usize) -> Commit {
        let payload = Bytes::from(payload.to_string());
        Commit { changes: vec![Change { stream: Bytes::from_static(b"s"), payload }], ..Commit::default() }
    }

    #[tokio::test]
    async fn a_watcher_too_far_behind_is_told_so() {
        let store = MemoryStore::new();
        let home = HomeId::new("h");
        for payload in 0..=EVENTS_KEPT {
            store.commit(&home, change(payload)).await.unwrap();
        }
        let mut from_start = store.watch(&home, Bytes::from_static(b"s"), Some(0)).await.unwrap();
        assert!(matches!(from_start.next().await, Some(Err(StoreError::Compacted))));
        assert!(from_start.next().await.is_none());
        let from_first = store.watch(&home, Bytes::from_static(b"s"), Some(1)).await.unwrap();
        let kept: Vec<_> = from_first.take(EVENTS_KEPT).map(Result::unwrap).collect().await;
        assert!(kept.iter().zip(1..).all(|(event, payload)| event.payload == payload.to_string()));
    }

    #[tokio::test]
    async fn an_epoch_ends_what_was_read_in_another() {
        let store = MemoryStore::new();
        let home = HomeId::new("h");
        let mut watch = store.watch(&home, Bytes::from_static(b"s"), Some(0)).await.unwrap();
        let ticket = Some(crate::store::LaneTicket { client: 1, lane: 1, sequence: 1 });
        let commit = Commit { epoch: Some(0), ticket, ..change(1) };
        let outcome = store.commit(&home, commit.clone()).await.unwrap();
        watch.next().await.unwrap().unwrap();
        let (next, ()) = tokio::join!(watch.next(), async { store.begin_epoch(&home, 7) });
        assert!(matches!(next, Some(Err(StoreError::Compacted))));
        assert_eq!(store.commit(&home, commit.clone()).await.unwrap(), outcome, "a resend finds its outcome");
        let ticket = Some(crate::store::LaneTicket { client: 1, lane: 1, sequence: 2 });
        let stale = store.commit(&home, Commit { ticket, ..commit.clone() }).await;
        assert!(matches!(stale, Err(StoreError::EpochChanged)));
        let renewed = Commit { epoch: Some(7), ticket, ..commit };
        assert_eq!(store.commit(&home, renewed).await.unwrap(), CommitOutcome::Committed { version: 2 });
    }

    #[tokio::test]
    async fn reading_does_not_create_homes() {
        let store = MemoryStore::new();
        let read = ReadRequest { reads: vec![Read::Point(Bytes::from_static(b"\0\0\0\x01k"))], ..Default::default() };
        store.read(&HomeId::new("h"), read).await.unwrap();
        assert!(store.homes.read().is_empty());
    }
}

#[cfg(test)]
mod conformance {
    use crate::store::{MemoryStore, Store};
    use std::sync::Arc;

    async fn store() -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    crate::conformance_tests!(store);
}
