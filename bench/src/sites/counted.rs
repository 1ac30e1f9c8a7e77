//! Stores that count what passes, and delay it where they are at another site.

use super::ROUND_TRIP;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Entry, Guard, HomeId, KeyRange, Read, ReadOutcome, ReadRequest, Store,
    StoreError, Version, WatchStream, Write,
};
use std::collections::BTreeSet;
use std::ops::Sub;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// What has passed between a client and the stores of one or several sites.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Bytes of keys and values, both ways. What a protocol puts around them is not counted.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { requests: self.requests - earlier.requests, bytes: self.bytes - earlier.bytes }
    }
}

/// What one client has sent and received.
#[derive(Debug, Default)]
pub struct Meter {
    state: Mutex<State>,
}

/// Of a [`Meter`].
#[derive(Clone, Debug, Default)]
pub struct State {
    /// At its own site.
    pub near: Traffic,
    /// At all others.
    pub far: Traffic,
    /// The other sites that were asked, by their numbers.
    pub asked: BTreeSet<usize>,
    /// Events that others told unasked.
    pub told: Traffic,
}

impl Meter {
    /// What has passed since this was asked last.
    pub fn take(&self) -> State {
        std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn told(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.told.requests += 1;
        state.told.add(bytes);
    }

    fn note(&self, site: usize, is_near: bool, requests: u64, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_near {
            state.asked.insert(site);
        }
        let traffic = if is_near { &mut state.near } else { &mut state.far };
        traffic.requests += requests;
        traffic.add(bytes);
    }
}

/// A site's store as one client reaches it.
#[derive(Debug)]
pub struct Counted {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The site's number.
    pub site: usize,
    /// Whether it is the client's own.
    pub is_near: bool,
    /// Where it is counted.
    pub meter: Arc<Meter>,
}

impl Counted {
    async fn travel(&self) {
        if !self.is_near {
            tokio::time::sleep(ROUND_TRIP / 2).await;
        }
    }
}

#[async_trait]
impl Store for Counted {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        let asked = request.reads.iter().map(read_bytes).sum::<usize>();
        self.meter.note(self.site, self.is_near, 1, asked + request.guards.iter().map(guard_bytes).sum::<usize>());
        self.travel().await;
        let outcome = self.store.read(home, request).await;
        self.travel().await;
        if let Ok(ReadOutcome::Answer(answer)) = &outcome {
            let entries = answer.results.iter().flat_map(|result| &result.entries);
            self.meter.note(self.site, self.is_near, 0, entries.map(entry_bytes).sum());
        }
        outcome
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let bytes =
            commit.guards.iter().map(guard_bytes).sum::<usize>() + commit.writes.iter().map(write_bytes).sum::<usize>();
        self.meter.note(self.site, self.is_near, 1, bytes);
        self.travel().await;
        let outcome = self.store.commit(home, commit).await;
        self.travel().await;
        outcome
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.meter.note(self.site, self.is_near, 1, stream.len());
        self.travel().await;
        let events = self.store.watch(home, stream, after).await?;
        let (is_near, meter) = (self.is_near, Arc::clone(&self.meter));
        let arriving = events.then(move |event| {
            let meter = Arc::clone(&meter);
            async move {
                if !is_near {
                    tokio::time::sleep(ROUND_TRIP / 2).await;
                    meter.told(event.as_ref().map_or(0, |event| event.payload.len() + size_of::<Version>()));
                }
                event
            }
        });
        Ok(arriving.boxed())
    }
}

fn range_bytes(range: &KeyRange) -> usize {
    range.from.len() + range.to.len()
}

fn read_bytes(read: &Read) -> usize {
    match read {
        Read::Point(key) => key.len(),
        Read::Range { range, .. } | Read::Follow { range, .. } => range_bytes(range),
    }
}

fn guard_bytes(guard: &Guard) -> usize {
    match guard {
        Guard::Version { key, .. } | Guard::Absent(key) | Guard::Present(key) => key.len() + size_of::<Version>(),
        Guard::Range { range, .. } | Guard::Unchanged { range, .. } => range_bytes(range) + size_of::<Version>(),
    }
}

fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Put(key, value) => key.len() + value.len(),
        write => write.key().len(),
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len() + size_of::<Version>() + entry.target.as_deref().map_or(0, entry_bytes)
}
