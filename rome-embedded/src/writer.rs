//! The writer: a thread that owns the file and commits in batches.
//!
//! It takes what has arrived while the last batch was being written, applies it in one redb transaction, makes that durable with one
//! fsync, publishes the new snapshot, and only then answers. So the cost of an fsync is shared by all who wait for it, and
//! a lone commit waits for nobody. Where the store was opened as `Async`, batches are acknowledged before they are durable,
//! and an fsync follows within [`FLUSH_INTERVAL`].
//!
//! A batch during which the file fails is given up as a whole, and the file is opened anew: the engine answers nothing from a file that has failed once, and
//! a full disk can still be read. Where it can't be opened it is tried again every [`REOPEN_INTERVAL`].

use crate::batch::{Batch, Failure};
use crate::error;
use crate::lanes::Lanes;
use crate::shared::{Shared, Snapshot, guarded};
use redb::Database;
use rome_core::store::rules;
use rome_core::store::{Commit, CommitOutcome, Durability, HomeId, StoreError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// At most so many commits go into one batch.
const BATCH_COMMITS: usize = 512;
/// No further commit is taken into a batch that has reached this many bytes.
const BATCH_BYTES: usize = 8 << 20;
/// How long an acknowledged commit of an `Async` store may stay in memory.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// How long a file that has failed and can't be opened stays closed, unless a commit comes before.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);

type Outcome = Result<CommitOutcome, StoreError>;

/// A commit on its way.
pub(crate) struct Job {
    pub home: HomeId,
    pub commit: Commit,
    pub reply: oneshot::Sender<Outcome>,
}

/// How the file is opened, the first time and after it failed.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send>;

pub(crate) struct Writer {
    /// None after a failure, until it is open again.
    pub database: Option<Database>,
    pub opener: Opener,
    pub shared: Arc<Shared>,
    pub durability: Durability,
    pub jobs: Receiver<Job>,
    pub lanes: Lanes,
    /// The batch at hand may be in the file already.
    pub committing: bool,
}

impl Writer {
    /// Runs until the store is dropped.
    pub fn run(mut self) {
        let mut flush_at: Option<Instant> = None;
        loop {
            let next = match flush_at {
                None if self.database.is_none() => self.jobs.recv_timeout(REOPEN_INTERVAL),
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(job) => {
                    let jobs = self.gather(job);
                    let wrote = self.batch(jobs);
                    if wrote && self.durability != Durability::Fsync {
                        flush_at.get_or_insert_with(|| Instant::now() + FLUSH_INTERVAL);
                    }
                    if flush_at.is_some_and(|at| at <= Instant::now()) {
                        self.flush();
                        flush_at = None;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    match self.database {
                        Some(_) => self.flush(),
                        None => self.reopen(),
                    }
                    flush_at = None;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if flush_at.is_some() {
                        self.flush();
                    }
                    break;
                }
            }
        }
        // Closes the file before watchers learn of it.
        self.database = None;
        self.shared.publish(Err(error::unavailable("the store was closed".into())));
        self.shared.wake_all();
    }

    /// The commits that wait already.
    fn gather(&self, first: Job) -> Vec<Job> {
        let mut size = rules::size_bytes(&first.commit);
        let mut jobs = vec![first];
        while jobs.len() < BATCH_COMMITS
            && size < BATCH_BYTES
            && let Ok(job) = self.jobs.try_recv()
        {
            size += rules::size_bytes(&job.commit);
            jobs.push(job);
        }
        jobs
    }

    /// Whether the batch wrote anything.
    fn batch(&mut self, jobs: Vec<Job>) -> bool {
        let applied = guarded(|| self.apply(&jobs));
        let began = std::mem::take(&mut self.committing);
        match &applied {
            Ok(_) => self.lanes.keep(),
            // A full disk is refused before anything counts; any other failure may have come too late.
            Err(failure) if began && !matches!(failure, StoreError::Full(_)) => self.lanes.lose(),
            Err(_) => self.lanes.forget(),
        }
        let wrote = matches!(applied, Ok((_, true)));
        match applied {
            Ok((outcomes, _)) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    if matches!(outcome, Ok(CommitOutcome::Committed { .. })) {
                        job.commit.changes.iter().for_each(|change| self.shared.wake(&job.home, &change.stream));
                    }
                    // Whoever does not wait any more does not want to know.
                    let _ = job.reply.send(outcome);
                }
            }
            Err(failure) => {
                tracing::error!(error = %failure, commits = jobs.len(), "the embedded store's file failed");
                self.database = None;
                self.shared.publish(Err(failure.clone()));
                // Before anybody hears of it, so that whoever is refused can read.
                self.reopen();
                self.shared.wake_all();
                for job in jobs {
                    let _ = job.reply.send(Err(failure.clone()));
                }
            }
        }
        wrote
    }

    /// The outcome of each commit, made durable and published; and whether there was anything to make durable.
    fn apply(&mut self, jobs: &[Job]) -> Result<(Vec<Outcome>, bool), StoreError> {
        self.open()?;
        let Some(database) = &self.database else { return Err(error::unavailable("the file is closed".into())) };
        let mut transaction = database.begin_write().map_err(error::transaction)?;
        let durability = match self.durability {
            Durability::Fsync => redb::Durability::Immediate,
            _ => redb::Durability::None,
        };
        transaction.set_durability(durability).map_err(|error| error::unavailable(error.to_string()))?;
        let mut batch = Batch::new(&transaction, &mut self.lanes)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(match batch.apply(&job.home, &job.commit) {
                Ok(outcome) => Ok(outcome),
                Err(Failure::Refused(error)) => Err(error),
                Err(Failure::Broken(error)) => return Err(error),
            });
        }
        let wrote = batch.wrote();
        drop(batch);
        if wrote {
            self.committing = true;
            transaction.commit().map_err(error::commit)?;
            self.shared.publish(Snapshot::of(database));
        } else {
            transaction.abort().map_err(error::storage)?;
        }
        Ok((outcomes, wrote))
    }

    /// Opens the file, where it has failed.
    fn open(&mut self) -> Result<(), StoreError> {
        if self.database.is_some() {
            return Ok(());
        }
        let database = (self.opener)()?;
        if self.durability != Durability::Fsync {
            // The file may lack what was acknowledged and not yet flushed, and its versions will be issued again.
            crate::begin_epoch_of(&database)?;
        }
        self.shared.publish(Snapshot::of(&database));
        self.database = Some(database);
        Ok(())
    }

    /// Opens a file that has failed, if that is possible now.
    fn reopen(&mut self) {
        if let Err(error) = guarded(|| self.open()) {
            tracing::debug!(%error, "the embedded store's file can't be opened yet");
        }
    }

    /// Makes durable what was acknowledged before. Where that fails, the next batch finds the file failed and says so.
    fn flush(&mut self) {
        let Some(database) = &self.database else {
            return;
        };
        let flushed = guarded(|| database.begin_write().map_err(error::transaction)?.commit().map_err(error::commit));
        if let Err(error) = flushed {
            tracing::error!(%error, "the embedded store could not flush acknowledged commits");
        }
    }
}
