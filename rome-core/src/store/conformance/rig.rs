//! What the cases are written with: a store, a home of their own, and short forms for requests.

use crate::store::{
    Capabilities, Change, Commit, CommitOutcome, Entry, Guard, HomeId, Key, KeyRange, LaneTicket, Read, ReadLimits,
    ReadOutcome, ReadRequest, ReadResponse, ReadResult, Store, StoreError, Version, Write, successor,
};
use bytes::Bytes;
use std::sync::Arc;

/// A store with a fresh home of it.
#[derive(Clone, Debug)]
pub struct Rig {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// The home that belongs to this case.
    pub home: HomeId,
}

impl Rig {
    /// A case's rig.
    pub fn new(store: Arc<dyn Store>, home: HomeId) -> Self {
        Self { store, home }
    }

    /// A second home of the same store.
    pub fn another_home(&self) -> Self {
        Self { store: self.store.clone(), home: HomeId::new(&format!("{}-second", self.home)) }
    }

    /// What the store says that it can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    /// Commits and returns what the store says.
    pub async fn try_commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.store.commit(&self.home, commit).await
    }

    /// Commits; an error breaks the case.
    pub async fn commit(&self, commit: Commit) -> CommitOutcome {
        self.try_commit(commit).await.expect("a well-formed commit has an outcome")
    }

    /// Writes without guards and returns the version.
    pub async fn write(&self, writes: Vec<Write>) -> Version {
        version(self.commit(Commit { writes, ..Commit::default() }).await)
    }

    /// Puts one key and returns the version.
    pub async fn put(&self, key: &Key, value: &str) -> Version {
        self.write(vec![put(key, value)]).await
    }

    /// Deletes one key and returns the version.
    pub async fn delete(&self, key: &Key) -> Version {
        self.write(vec![Write::Delete(key.clone())]).await
    }

    /// Commits nothing, under one guard: whether it holds.
    pub async fn holds(&self, guard: Guard) -> bool {
        self.guarded(vec![guard], Vec::new()).await.is_some()
    }

    /// Commits under guards; `None` where one of them did not hold.
    pub async fn guarded(&self, guards: Vec<Guard>, writes: Vec<Write>) -> Option<Version> {
        match self.commit(Commit { guards, writes, ..Commit::default() }).await {
            CommitOutcome::Committed { version } => Some(version),
            CommitOutcome::Conflict { .. } => None,
            other => panic!("a commit without counters came to {other:?}"),
        }
    }

    /// Sends a read request; a conflict or an error breaks the case.
    pub async fn request(&self, request: ReadRequest) -> ReadResponse {
        let expected = request.reads.len();
        match self.store.read(&self.home, request).await.expect("a well-formed read is answered") {
            ReadOutcome::Answer(response) => {
                assert_eq!(response.results.len(), expected, "each read has a result of its own");
                response
            }
            ReadOutcome::Conflict { guard } => {
                panic!("guard {guard} of a read failed that should hold")
            }
        }
    }

    /// Reads with default limits.
    pub async fn read(&self, reads: Vec<Read>) -> ReadResponse {
        self.request(ReadRequest { reads, ..ReadRequest::default() }).await
    }

    /// The one result of one read.
    pub async fn read_one(&self, read: Read) -> ReadResult {
        self.read(vec![read]).await.results.pop().expect("one result")
    }

    /// One key's entry.
    pub async fn get(&self, key: &Key) -> Option<Entry> {
        let mut result = self.read_one(Read::Point(key.clone())).await;
        assert!(result.entries.len() <= 1, "a point read has at most one entry");
        assert_eq!(result.more, None, "a point read is never cut");
        result.entries.pop()
    }

    /// One key's value as text.
    pub async fn value(&self, key: &Key) -> Option<String> {
        self.get(key).await.map(|entry| String::from_utf8(entry.value.to_vec()).expect("text"))
    }

    /// The home's version as a read sees it.
    pub async fn snapshot(&self) -> Version {
        self.read(vec![Read::Point(key("snapshot"))]).await.snapshot
    }

    /// A whole range, page by page, and the snapshot of its first page.
    pub async fn pages(&self, read: Read, limits: ReadLimits) -> Vec<ReadResult> {
        let mut pages: Vec<ReadResult> = Vec::new();
        let mut next = read;
        loop {
            let request = ReadRequest { reads: vec![next.clone()], limits, ..ReadRequest::default() };
            let page = self.request(request).await.results.pop().expect("one result");
            let more = page.more.clone();
            assert!(more.is_none() || !page.entries.is_empty(), "a page that is cut has at least one entry");
            pages.push(page);
            match more {
                Some(last) => next = after(&next, &last),
                None => return pages,
            }
        }
    }

    /// All keys of a range, as read now, and the guard that it has not changed.
    pub async fn guard_of(&self, range: KeyRange) -> Guard {
        let read = Read::Range { range: range.clone(), limit: None, reverse: false };
        let response = self.read(vec![read]).await;
        assert_eq!(response.results[0].more, None, "a short range is read in one page");
        Guard::Range { range, since: response.snapshot, count: response.results[0].entries.len() as u64 }
    }
}

/// The same read, continued.
pub fn after(read: &Read, last: &Key) -> Read {
    let rest = |range: &KeyRange, reverse: bool| {
        if reverse {
            KeyRange { from: range.from.clone(), to: last.clone() }
        } else {
            KeyRange { from: successor(last), to: range.to.clone() }
        }
    };
    match read {
        Read::Point(key) => Read::Point(key.clone()),
        Read::Range { range, limit, reverse } => {
            Read::Range { range: rest(range, *reverse), limit: *limit, reverse: *reverse }
        }
        Read::Follow { range, limit, reverse } => {
            Read::Follow { range: rest(range, *reverse), limit: *limit, reverse: *reverse }
        }
    }
}

/// A key in the space that most cases use.
pub fn key(name: &str) -> Key {
    key_in(SPACE, name.as_bytes())
}

/// The space that most cases use.
pub const SPACE: u32 = 0x0700;

/// A key in any space.
pub fn key_in(space: u32, suffix: &[u8]) -> Key {
    let mut key = space.to_be_bytes().to_vec();
    key.extend_from_slice(suffix);
    Bytes::from(key)
}

/// All keys of [`SPACE`] that begin with `prefix`.
pub fn under(prefix: &str) -> KeyRange {
    KeyRange::prefix(&key(prefix))
}

/// From one name up to but without another.
pub fn between(from: &str, to: &str) -> KeyRange {
    KeyRange { from: key(from), to: key(to) }
}

/// An ascending, unlimited read.
pub fn range(range: KeyRange) -> Read {
    Read::Range { range, limit: None, reverse: false }
}

/// A put of text.
pub fn put(key: &Key, value: &str) -> Write {
    Write::Put(key.clone(), Bytes::copy_from_slice(value.as_bytes()))
}

/// An unbounded addition.
pub fn add(key: &Key, delta: i64) -> Write {
    Write::Add { key: key.clone(), delta, min: i64::MIN, max: i64::MAX }
}

/// A change with a text payload.
pub fn change(stream: &str, payload: &str) -> Change {
    Change { stream: Bytes::copy_from_slice(stream.as_bytes()), payload: Bytes::copy_from_slice(payload.as_bytes()) }
}

/// A ticket in lane 0 of a client.
pub fn ticket(client: u128, sequence: u64) -> Option<LaneTicket> {
    Some(LaneTicket { client, lane: 0, sequence })
}

/// The version of a commit that must have succeeded.
pub fn version(outcome: CommitOutcome) -> Version {
    match outcome {
        CommitOutcome::Committed { version } => version,
        other => panic!("a commit that nothing stands against came to {other:?}"),
    }
}

/// The keys of entries, as text without their space.
pub fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.key[crate::store::SPACE_LEN..]).into_owned()).collect()
}
