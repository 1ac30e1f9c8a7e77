//! The `Store` contract: everything that Rome asks of a key/value engine.
//!
//! A store serves *homes*. A home is one atomicity domain: an ordered map from byte keys to versioned byte values, with a
//! version counter of its own. The store knows bytes and versions and nothing of SQL.
//!
//! # Keys and spaces
//!
//! The first [`SPACE_LEN`] bytes of every key name its *space*: one table's rows, one index's entries, a system area. Ranges never
//! leave their space, so an engine may keep a space in a structure of its own and keep a version for each. The last space
//! (all bytes 0xFF) is reserved, since nothing follows it that could end a range.
//!
//! # Versions
//!
//! Every commit that writes raises its home's version; each key carries the version of the commit that wrote it last. Versions
//! of one home only rise and are never compared with another home's.
//!
//! # Epochs
//!
//! A failover to a replica that lacked the last commits, or a restore from a backup, takes a home back: it will issue versions again
//! that it has issued before, for other contents. So versions are compared within one *epoch* ([`Epoch`]) only. Each read names the epoch that it
//! was answered in; a request that relies on what was read there says so, and is refused in any other ([`StoreError::EpochChanged`]), nothing
//! read and nothing written. An engine may begin an epoch where nothing was lost, never go on with one where something may have been.
//!
//! The lane is asked first: a resend finds its outcome in any epoch, as the commit is part of the home's history. A refused
//! commit leaves its lane alone, and no copy of it takes effect later. A change stream ends with [`StoreError::Compacted`] where its home begins
//! an epoch; a cursor belongs to the epoch in which it was read, so whoever keeps one keeps the epoch with it.
//!
//! # Exactly once
//!
//! A commit travels in a *lane* ([`LaneTicket`]). The store keeps, for each lane, the last sequence number and its outcome. A resend
//! (same lane, same sequence) finds the first outcome; a late original after a newer sequence changes nothing. The rules:
//!
//! | stored sequence | arriving sequence | what happens |
//! |---|---|---|
//! | none | 1 | runs, the lane is created |
//! | none | n > 1 | [`StoreError::LaneClosed`], nothing written |
//! | n | n | the stored outcome is returned, nothing written |
//! | n | m > n | runs, `(m, outcome)` is stored, also when a guard failed |
//! | n | m < n | [`StoreError::LaneClosed`], nothing written |
//!
//! Nothing is written except by [`Store::commit`].

pub mod conformance;
mod counting;
mod memory;
pub mod rules;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::fmt;
use std::sync::Arc;

pub use counting::{CountingStore, Counts};
pub use memory::MemoryStore;

/// The length in bytes of the prefix of each key that names its space.
pub const SPACE_LEN: usize = 4;

/// A byte key. Its first [`SPACE_LEN`] bytes name its space.
pub type Key = Bytes;

/// A version of a home: the number of the commit that wrote. Zero is before the first commit.
pub type Version = u64;

/// An epoch of a home: a stretch of its history in which versions only rise. Zero where an engine's homes are never taken back. Of two
/// epochs nothing is known but whether they are the same.
pub type Epoch = u64;

/// The name of a home: one atomicity domain of a store.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HomeId(Arc<str>);

impl HomeId {
    /// A home by its name. Engines use the name inside their own keys; letters, digits, `-`, `_`, `.` and `/` are safe everywhere.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The home's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A half-open interval of keys within one space: `from <= key < to`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyRange {
    /// The first key inside.
    pub from: Key,
    /// The first key beyond. Either in the same space, or exactly the first key of the next space.
    pub to: Key,
}

impl KeyRange {
    /// All keys that begin with `prefix` (at least [`SPACE_LEN`] bytes, not in the reserved last space).
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while let Some(last) = to.last_mut() {
            if *last < u8::MAX {
                *last += 1;
                break;
            }
            to.pop();
        }
        // Carried into the space: the bound is the first key of the next space, written in full.
        to.resize(to.len().max(SPACE_LEN), 0);
        Self { from: Bytes::copy_from_slice(prefix), to: Bytes::from(to) }
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        &self.from[..] <= key && key < &self.to[..]
    }

    /// Whether no key can lie inside.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// The first key after a key: where to go on behind the last one of an answer.
pub fn successor(key: &[u8]) -> Key {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// One thing to read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    /// The value of one key.
    Point(Key),
    /// The entries of a range, ascending, or descending where `reverse`.
    Range {
        /// Where to look.
        range: KeyRange,
        /// At most so many entries; `None` is "as the request's limits allow".
        limit: Option<usize>,
        /// Descending order.
        reverse: bool,
    },
    /// The entries of a range whose values are keys of the same home, each with the entry that it points to.
    /// Where [`Capabilities::follow`] is false the caller must not send this (`txn` reads in two steps instead).
    Follow {
        /// Where to look for index entries.
        range: KeyRange,
        /// At most so many index entries.
        limit: Option<usize>,
        /// Descending order.
        reverse: bool,
    },
}

/// Limits on the answer to one read request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadLimits {
    /// At most so many entries from each range; the rest by [`ReadResult::more`].
    pub entries: usize,
    /// A target for the bytes of keys and values from each range. An engine may exceed it by one entry, or by what it reads at once.
    pub bytes: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { entries: 4096, bytes: 1 << 20 }
    }
}

/// Reads that are answered from one state of the home, in one round trip.
#[derive(Clone, Debug, Default)]
pub struct ReadRequest {
    /// What to read, each with its own result.
    pub reads: Vec<Read>,
    /// Read at this version instead of the newest. Only where [`Capabilities::snapshots`]; otherwise [`StoreError::Invalid`].
    pub at: Option<Version>,
    /// Answer only if all of these hold in the state that is read; otherwise [`ReadOutcome::Conflict`]. This is how several
    /// requests to a store without snapshots add up to one consistent view. May be combined with `at`, which makes it superfluous.
    pub guards: Vec<Guard>,
    /// Answer only in this epoch; otherwise [`StoreError::EpochChanged`].
    pub epoch: Option<Epoch>,
    /// Limits on each range.
    pub limits: ReadLimits,
}

/// What a read request came to.
#[derive(Clone, PartialEq, Debug)]
pub enum ReadOutcome {
    /// The answers.
    Answer(ReadResponse),
    /// The guard of this index (the first of those that failed) did not hold; nothing was read.
    Conflict {
        /// Index into [`ReadRequest::guards`].
        guard: usize,
    },
}

/// The answers to a read request, all from the state `snapshot`.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadResponse {
    /// The home's version at which everything was read. May be newer than any version in the results.
    pub snapshot: Version,
    /// The epoch in which everything was read, to which all versions belong.
    pub epoch: Epoch,
    /// One result for each read, in order.
    pub results: Vec<ReadResult>,
}

/// The answer to one [`Read`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReadResult {
    /// What was found, in the order asked for. A point read has none or one.
    pub entries: Vec<Entry>,
    /// Set where a limit (the read's own or the request's) cut the answer and more entries may follow: the
    /// key of the last entry examined. Continue with the range after it (ascending) or before it (descending).
    pub more: Option<Key>,
}

/// A key with its version and value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The version of the commit that wrote it last.
    pub version: Version,
    /// The value.
    pub value: Bytes,
    /// For [`Read::Follow`]: the entry that `value` names; `None` where it does not exist. For other reads `None`.
    pub target: Option<Box<Entry>>,
}

/// A condition that must hold for a commit (or a guarded read) to take place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guard {
    /// The key exists and its version is exactly this.
    Version {
        /// The key.
        key: Key,
        /// The version it was read at.
        version: Version,
    },
    /// The key does not exist.
    Absent(Key),
    /// The key exists, whatever its version.
    Present(Key),
    /// Nothing in the range was inserted, updated or deleted since `since`: the range holds exactly `count` keys and none of
    /// them has a version above `since`. (Exact, since versions only rise.) `count: 0` therefore means "is empty" at any `since`.
    ///
    /// An engine may refuse a range that did not change (a false conflict), never accept one that did.
    Range {
        /// The interval.
        range: KeyRange,
        /// The snapshot at which it was read.
        since: Version,
        /// How many keys it held then.
        count: u64,
    },
    /// Nothing in the range was inserted, updated or deleted since `since`, however many keys it holds. Coarser than
    /// [`Guard::Range`]: an engine may as well refuse where anything in the range's space has changed. One such guard stands in for many
    /// others where a commit would have more than [`Capabilities::max_guards`].
    Unchanged {
        /// The interval.
        range: KeyRange,
        /// A snapshot at which everything that was read in it was current.
        since: Version,
    },
}

/// One write of a commit. A key is written at most once in a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Set the value.
    Put(Key, Bytes),
    /// Remove the key; no error where it does not exist.
    Delete(Key),
    /// Add to a counter: a key whose value is a decimal ASCII integer; absent counts as zero. Where the result would leave
    /// `min..=max` nothing of the commit is written and the outcome is [`CommitOutcome::OutOfBounds`].
    Add {
        /// The counter's key. Counters are read like other keys.
        key: Key,
        /// What to add.
        delta: i64,
        /// Smallest allowed result.
        min: i64,
        /// Largest allowed result.
        max: i64,
    },
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::Add { key, .. } => key,
        }
    }
}

/// The identity of one commit attempt: a resend carries the same ticket, a retry a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneTicket {
    /// One incarnation of a client (a random number drawn when it starts).
    pub client: u128,
    /// The lane of that client; one commit at a time.
    pub lane: u32,
    /// Rises with each commit of the lane, beginning at 1.
    pub sequence: u64,
}

/// An entry for a change stream, written with the commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The stream's name (for instance one for each table). Short; counts against the commit's size.
    pub stream: Bytes,
    /// What changed, in the writer's own encoding.
    pub payload: Bytes,
}

/// Guards and writes: all or nothing, in one round trip.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Commit {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// What to write.
    pub writes: Vec<Write>,
    /// What to append to change streams; at most one for each stream.
    pub changes: Vec<Change>,
    /// The epoch that the guards' versions belong to; in another one nothing is written ([`StoreError::EpochChanged`]).
    pub epoch: Option<Epoch>,
    /// Exactly-once identity. Without one, a lost reply can't be resolved.
    pub ticket: Option<LaneTicket>,
}

/// What a commit came to. Stored in the lane, so that a resend finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// Done. All written keys have this version. A commit that writes nothing returns the home's version as it stands.
    Committed {
        /// The version of the written keys.
        version: Version,
    },
    /// The guard of this index did not hold (where several fail: any of them, preferably the first). Nothing was written.
    Conflict {
        /// Index into [`Commit::guards`].
        guard: usize,
    },
    /// A counter would leave its bounds. Nothing was written.
    OutOfBounds {
        /// Index into [`Commit::writes`].
        write: usize,
    },
}

/// A change as a watcher sees it: one for each commit that wrote to the stream, in commit order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// The commit's version: the cursor from which to go on after this event.
    pub version: Version,
    /// The payload given in [`Change::payload`].
    pub payload: Bytes,
}

/// Events of a change stream. Ends after the first error.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, StoreError>>;

/// How far an acknowledged commit is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Gone with the process (memory).
    None,
    /// Lost by a crash or failover of the server within its flush or replication window.
    Async,
    /// On so many replicas.
    Replicated(u32),
    /// On disk before it is acknowledged.
    Fsync,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Async => f.write_str("async"),
            Self::Replicated(n) => write!(f, "replicated({n})"),
            Self::Fsync => f.write_str("fsync"),
        }
    }
}

/// What an engine can do and how much at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// The engine's name as in its URL, for messages and EXPLAIN.
    pub engine: &'static str,
    /// [`Read::Follow`] in one round trip.
    pub follow: bool,
    /// [`ReadRequest::at`] works for recent versions.
    pub snapshots: bool,
    /// Largest number of guards in one commit or guarded read.
    pub max_guards: usize,
    /// Whether [`Guard::Unchanged`] costs the same for a range of any size. Where it does not, transactions do without it.
    pub cheap_unchanged: bool,
    /// Largest number of writes and changes in one commit.
    pub max_writes: usize,
    /// Largest number of reads in one request that still is one round trip. Longer requests are split by the engine.
    pub max_reads: usize,
    /// Largest size of a commit in bytes (keys and values of guards, writes and changes).
    pub max_commit_bytes: usize,
    /// What an acknowledged commit survives.
    pub durability: Durability,
}

/// Why a call to a store failed. Conflicts are outcomes, not errors.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The server can't be reached or did not answer in time, and nothing was written by this call.
    #[error("the store at {address} is unavailable: {reason}")]
    Unavailable {
        /// The server's address without credentials.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A commit was sent and its reply was lost, and resending did not resolve it in time: it may have happened or not.
    /// Sending the same commit with the same ticket again resolves it.
    #[error("the store at {address} did not say what became of a commit: {reason}")]
    Undetermined {
        /// The server's address without credentials.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The lane has moved past this ticket, or does not exist any more. Nothing was written by this call.
    #[error("the commit's lane is closed for this sequence number")]
    LaneClosed,
    /// The home is in another epoch than the request relies on: a failover or a restore has come between. Nothing was read or written; begin
    /// again with fresh reads.
    #[error("the home was taken over or restored since it was read")]
    EpochChanged,
    /// The request exceeds one of [`Capabilities`]'s limits. Nothing was written.
    #[error("{what} is {size}, above this store's limit of {limit}")]
    TooLarge {
        /// What is too large, as in "the number of writes".
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The request is malformed (key without space, range across spaces, a key written twice). Nothing was written.
    #[error("invalid store request: {0}")]
    Invalid(String),
    /// The version asked for in [`ReadRequest::at`] is gone.
    #[error("snapshot {0} is no longer kept")]
    SnapshotTooOld(Version),
    /// The watch cursor is older than what is kept, or of another epoch: start from a fresh snapshot.
    #[error("the change stream was compacted beyond the cursor; read a fresh snapshot")]
    Compacted,
    /// What is stored is not what this program wrote.
    #[error("corrupt data in the store: {0}")]
    Corrupt(String),
    /// The server's version or configuration does not fit (no `noeviction`, too old). Nothing was written.
    #[error("unsuitable store: {0}")]
    Unsuitable(String),
    /// The server is full, out of disk or memory. Nothing was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// Credentials were refused.
    #[error("access to the store was refused: {0}")]
    Denied(String),
}

/// A key/value engine. See the module's text for the rules; [`conformance`] checks them.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// What this engine can do.
    fn capabilities(&self) -> &Capabilities;

    /// Answers all reads from one state of the home, in one round trip.
    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError>;

    /// Applies the commit, all or nothing, in one round trip. Engines resend by themselves, with the same ticket, while a lost
    /// reply can be resolved in time. Dropping the returned future leaves the commit either done or not done as a whole.
    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError>;

    /// Events of `stream` with versions above `after`, in commit order, without gaps; first those kept, then new ones as they
    /// come. `None` begins with the next commit after this call returns. Yields [`StoreError::Compacted`] where events after `after` may be gone.
    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError>;
}
