//! The embedded store: one file, one process, nothing to install.
//!
//! ```no_run
//! # fn main() -> Result<(), rome_core::store::StoreError> {
//! let store = rome_embedded::EmbeddedStore::open("cloud.rome".as_ref())?;
//! # Ok(()) }
//! ```
//!
//! The file is a redb database; the `layout` module says what lies in it. Reads run on the newest committed snapshot, at once and in the
//! caller's task where they are short. Commits go through one writer thread that batches them, so that those which wait at the same time
//! share one fsync. What was acknowledged survives a crash of the process or of the machine, unless the store was opened with
//! [`EmbeddedStore::open_async`].
//!
//! A second process, or a second open in the same process, is refused with [`StoreError::Unsuitable`].

mod batch;
mod error;
#[cfg(test)]
mod faults;
mod lanes;
mod layout;
mod shared;
mod view;
mod watch;
mod writer;

use async_trait::async_trait;
use bytes::Bytes;
use lanes::Lanes;
use layout::{ENTRIES, EPOCH_KEY, EVENTS, FORMAT, FORMAT_KEY, META, STATE, STREAMS};
use redb::{Database, ReadableTable, TableHandle};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Durability, Epoch, HomeId, ReadOutcome, ReadRequest, Store, StoreError,
    Version, WatchStream, rules,
};
use shared::{Shared, Snapshot, guarded};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use view::Stop;
use writer::{Job, Opener, Writer};

pub use batch::EVENTS_KEPT;
pub use writer::FLUSH_INTERVAL;

/// Memory for cached pages, in bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Files up to this size are verified page by page when they are opened; the engine verifies larger ones only after a crash.
const VERIFIED_BYTES: u64 = 256 << 20;
/// How long a read waits for a file that has failed to be opened anew.
const REOPENING: Duration = Duration::from_secs(1);
/// How often it looks.
const REOPENING_PAUSE: Duration = Duration::from_millis(5);
/// A read that looks at more entries than this moves to a thread that may take its time.
const INLINE_ENTRIES: usize = 256;

/// A store in one file of this process.
pub struct EmbeddedStore {
    path: PathBuf,
    capabilities: Capabilities,
    shared: Arc<Shared>,
    /// None only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens or creates the file; an acknowledged commit is on disk.
    ///
    /// # Errors
    /// `Unsuitable` where the file is open elsewhere or is no file of this store, `Corrupt` where it is damaged, `Denied`, `Full` and
    /// `Unavailable` as the file system says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Durability::Fsync)
    }

    /// Opens or creates the file; an acknowledged commit is on disk within [`FLUSH_INTERVAL`], and a crash or a failing disk loses at most the
    /// commits of that time. It never loses a commit that another, kept one followed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_async(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Durability::Async)
    }

    /// Begins another epoch in a file that nobody has open, and returns it. Do this to a file that was restored from a backup before opening it:
    /// it lacks commits that others have seen, and will issue their versions again. Whatever was read and kept in the lost
    /// time is then refused ([`StoreError::EpochChanged`]).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn begin_epoch(path: &Path) -> Result<Epoch, StoreError> {
        begin_epoch_of(&open_file(path)?)
    }

    fn open_with(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let file = path.to_owned();
        Self::start(path, Box::new(move || open_file(&file)), durability)
    }

    fn start(path: &Path, opener: Opener, durability: Durability) -> Result<Self, StoreError> {
        let database = opener()?;
        let shared = Arc::new(Shared::new(Snapshot::of(&database)?));
        let (sender, jobs) = mpsc::channel();
        let writer = Writer {
            database: Some(database),
            opener,
            shared: shared.clone(),
            durability,
            jobs,
            lanes: Lanes::default(),
            committing: false,
        };
        let thread = std::thread::Builder::new().name("rome-embedded".into());
        let writer = thread.spawn(move || writer.run()).map_err(|error| error::unavailable(error.to_string()))?;
        let capabilities = Capabilities {
            engine: "embedded",
            follow: true,
            snapshots: false,
            max_guards: 1 << 17,
            cheap_unchanged: true,
            max_writes: 1 << 17,
            max_reads: 1 << 17,
            max_commit_bytes: 64 << 20,
            durability,
        };
        Ok(Self { path: path.to_owned(), capabilities, shared, jobs: Some(sender), writer: Some(writer) })
    }

    async fn read_once(&self, home: &HomeId, request: &ReadRequest) -> Result<ReadOutcome, StoreError> {
        let snapshot = self.shared.snapshot()?;
        match guarded(|| snapshot.read(home, request, INLINE_ENTRIES)) {
            Ok(outcome) => return Ok(outcome),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Exhausted) => {}
        }
        let (home, request) = (home.clone(), request.clone());
        let reading = tokio::task::spawn_blocking(move || guarded(|| snapshot.read(&home, &request, usize::MAX)));
        match reading.await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(Stop::Failed(error))) => Err(error),
            Ok(Err(Stop::Exhausted)) => Err(error::unavailable("a read looked at too much".into())),
            Err(join) => Err(error::unavailable(join.to_string())),
        }
    }

    fn lost(&self) -> StoreError {
        StoreError::Undetermined { address: self.path.display().to_string(), reason: "the writer has stopped".into() }
    }
}

/// Opens a file, and makes sure that it is one of ours.
fn open_file(path: &Path) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(std::fs::metadata(path).is_ok_and(|file| file.len() <= VERIFIED_BYTES));
    guarded(|| {
        let database = builder.create(path).map_err(|error| error::opening(path, error))?;
        prepare(&database, path)?;
        Ok(database)
    })
}

/// Begins another epoch, durably.
fn begin_epoch_of(database: &Database) -> Result<Epoch, StoreError> {
    // Seeded at random by the standard library; zero is the first epoch of every file.
    let epoch = RandomState::new().build_hasher().finish().max(1);
    guarded(|| {
        let transaction = database.begin_write().map_err(error::transaction)?;
        let mut state = transaction.open_table(STATE).map_err(error::table)?;
        state.insert(EPOCH_KEY, epoch.to_be_bytes().as_slice()).map_err(error::storage)?;
        drop(state);
        transaction.commit().map_err(error::commit)?;
        Ok(epoch)
    })
}

/// Creates the tables in a new file; refuses a file of another program or format.
fn prepare(database: &Database, path: &Path) -> Result<(), StoreError> {
    let unsuitable = |reason: &str| StoreError::Unsuitable(format!("{}: {reason}", path.display()));
    let transaction = database.begin_write().map_err(error::transaction)?;
    let tables: Vec<_> = transaction.list_tables().map_err(error::storage)?.map(|t| t.name().to_owned()).collect();
    if !tables.is_empty() && !tables.iter().any(|name| name == META.name()) {
        return Err(unsuitable("a database of another program"));
    }
    {
        let mut meta = transaction.open_table(META).map_err(error::table)?;
        let format = meta.get(FORMAT_KEY).map_err(error::storage)?.map(|format| format.value().to_vec());
        match format.as_deref() {
            None => {
                meta.insert(FORMAT_KEY, FORMAT).map_err(error::storage)?;
            }
            Some(FORMAT) => return Ok(()),
            Some(other) => {
                let format = String::from_utf8_lossy(other).into_owned();
                return Err(unsuitable(&format!("written in format {format}, which this version does not read")));
            }
        }
    }
    for table in [STATE, ENTRIES, STREAMS, EVENTS] {
        transaction.open_table(table).map_err(error::table)?;
    }
    transaction.commit().map_err(error::commit)
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the writer, so that the file may be opened again afterwards.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the embedded store's writer did not end well");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        rules::check_read(&request, &self.capabilities)?;
        let mut deadline = None;
        loop {
            match self.read_once(home, &request).await {
                // Somebody's commit met a full disk, and the file is being opened anew.
                Err(StoreError::Full(_) | StoreError::Unavailable { .. })
                    if Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + REOPENING) =>
                {
                    sleep(REOPENING_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        rules::check_commit(&commit, &self.capabilities)?;
        let (reply, outcome) = oneshot::channel();
        let job = Job { home: home.clone(), commit, reply };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(error::unavailable("the writer has stopped".into()));
        }
        outcome.await.map_err(|_| self.lost())?
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        let snapshot = self.shared.snapshot()?;
        let cursor = match after {
            Some(cursor) => cursor,
            None => guarded(|| Ok::<_, StoreError>(snapshot.home(home)?.map_or(0, |row| row.version)))?,
        };
        Ok(watch::watch(&self.shared, home, stream, snapshot.epoch, cursor))
    }
}
