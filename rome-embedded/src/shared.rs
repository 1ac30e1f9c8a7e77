//! What readers, watchers and the writer share: the newest snapshot, and who waits for which stream.
//!
//! A snapshot is one read transaction of redb with its tables open. The writer replaces it after each batch, before anyone
//! hears of the batch's outcome, so that reads never lag behind an acknowledged commit. Opening it costs a few
//! microseconds once for each batch instead of once for each read.

use crate::error;
use crate::layout::{self, ENTRIES, EVENTS, HomeRow, STATE, STREAMS, home_key};
use crate::view::{Stop, View};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadOnlyTable, ReadableDatabase};
use rome_core::store::{Epoch, HomeId, ReadOutcome, ReadRequest, StoreError};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The state after some batch.
pub(crate) struct Snapshot {
    pub epoch: Epoch,
    state: Rows,
    entries: Rows,
    pub streams: Rows,
    pub events: Rows,
}

impl Snapshot {
    pub fn of(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read().map_err(error::transaction)?;
        let open = |table| transaction.open_table(table).map_err(error::table);
        let state = open(STATE)?;
        let epoch = layout::epoch(&state)?;
        Ok(Self { epoch, state, entries: open(ENTRIES)?, streams: open(STREAMS)?, events: open(EVENTS)? })
    }

    /// A home's row; `None` before its first commit.
    pub fn home(&self, home: &HomeId) -> Result<Option<HomeRow>, StoreError> {
        match self.state.get(home_key(home.as_str().as_bytes()).as_slice()).map_err(error::storage)? {
            Some(row) => HomeRow::decode(row.value()).map(Some),
            None => Ok(None),
        }
    }

    pub fn read(&self, home: &HomeId, request: &ReadRequest, allowance: usize) -> Result<ReadOutcome, Stop> {
        // No home has this number, so that nothing is found in it.
        let unborn = HomeRow { number: u32::MAX, version: 0 };
        let home = self.home(home)?.unwrap_or(unborn);
        View::new(&self.entries, &self.state, home, self.epoch, allowance).read(request)
    }
}

/// Runs what touches the file. The engine asserts on damaged pages; that ends in an error like other damage.
pub(crate) fn guarded<T, E: From<StoreError>>(run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(StoreError::Corrupt("the storage engine met a page that it did not write".into()).into())
    })
}

/// The newest snapshot and the waiting watchers.
pub(crate) struct Shared {
    /// An error where the file has failed, until the writer has opened it again.
    snapshot: RwLock<Result<Arc<Snapshot>, StoreError>>,
    waiting: Mutex<HashMap<(HomeId, Bytes), Weak<Notify>>>,
}

impl Shared {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot: RwLock::new(Ok(Arc::new(snapshot))), waiting: Mutex::default() }
    }

    pub fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.snapshot.read().clone()
    }

    pub fn publish(&self, snapshot: Result<Snapshot, StoreError>) {
        let snapshot = snapshot.map(Arc::new);
        // The old one is dropped after the lock is free again.
        let _old = std::mem::replace(&mut *self.snapshot.write(), snapshot);
    }

    /// What wakes the watchers of a stream.
    pub fn wakes(&self, home: &HomeId, stream: &Bytes) -> Arc<Notify> {
        let mut waiting = self.waiting.lock();
        let key = (home.clone(), stream.clone());
        if let Some(notify) = waiting.get(&key).and_then(Weak::upgrade) {
            return notify;
        }
        waiting.retain(|_, notify| notify.strong_count() > 0);
        let notify = Arc::new(Notify::new());
        waiting.insert(key, Arc::downgrade(&notify));
        notify
    }

    /// Wakes the watchers of a stream.
    pub fn wake(&self, home: &HomeId, stream: &Bytes) {
        let waiting = self.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        if let Some(notify) = waiting.get(&(home.clone(), stream.clone())).and_then(Weak::upgrade) {
            notify.notify_waiters();
        }
    }

    /// Wakes everyone, to see that the store has closed or failed.
    pub fn wake_all(&self) {
        for notify in self.waiting.lock().values().filter_map(Weak::upgrade) {
            notify.notify_waiters();
        }
    }
}
