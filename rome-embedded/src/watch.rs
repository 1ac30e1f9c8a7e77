//! Watching a change stream: the events in the newest snapshot, then, when woken, those in the next one.

use crate::error;
use crate::layout::{self, StreamRow};
use crate::shared::{Shared, guarded};
use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::{Epoch, HomeId, StoreError, Version, WatchEvent, WatchStream};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// How many events are taken from the file at once.
const EVENTS_FETCHED: usize = 256;

/// One watch. It does not keep the store open.
struct Watcher {
    shared: Weak<Shared>,
    wakes: Arc<Notify>,
    home: HomeId,
    stream: Bytes,
    epoch: Epoch,
    cursor: Version,
    fetched: VecDeque<WatchEvent>,
    ended: bool,
}

pub(crate) fn watch(shared: &Arc<Shared>, home: &HomeId, stream: Bytes, epoch: Epoch, cursor: Version) -> WatchStream {
    let watcher = Watcher {
        shared: Arc::downgrade(shared),
        wakes: shared.wakes(home, &stream),
        home: home.clone(),
        stream,
        epoch,
        cursor,
        fetched: VecDeque::new(),
        ended: false,
    };
    futures::stream::unfold(watcher, Watcher::next).boxed()
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
            let wakes = self.wakes.clone();
            // Registered before looking, so that a commit between looking and waiting still wakes.
            let mut woken = std::pin::pin!(wakes.notified());
            woken.as_mut().enable();
            if let Err(error) = guarded(|| self.fetch()) {
                self.ended = true;
                return Some((Err(error), self));
            }
            if self.fetched.is_empty() {
                woken.await;
            }
        }
    }

    /// Takes the next kept events above the cursor.
    fn fetch(&mut self) -> Result<(), StoreError> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(error::unavailable("the store was closed".into()));
        };
        let snapshot = shared.snapshot()?;
        if snapshot.epoch != self.epoch {
            return Err(StoreError::Compacted);
        }
        let Some(home) = snapshot.home(&self.home)? else {
            return Ok(());
        };
        let row = snapshot.streams.get(layout::in_home(home.number, &self.stream).as_slice());
        let Some(row) = row.map_err(error::storage)? else {
            return Ok(());
        };
        if self.cursor < StreamRow::decode(row.value())?.trimmed {
            return Err(StoreError::Compacted);
        }
        let Some(first) = self.cursor.checked_add(1) else {
            return Ok(());
        };
        let first = layout::event_key(home.number, &self.stream, first);
        let last = layout::event_key(home.number, &self.stream, Version::MAX);
        let events = snapshot.events.range::<&[u8]>(first.as_slice()..=last.as_slice()).map_err(error::storage)?;
        for event in events.take(EVENTS_FETCHED) {
            let (key, payload) = event.map_err(error::storage)?;
            self.cursor = layout::event_version(key.value())?;
            let payload = Bytes::copy_from_slice(payload.value());
            self.fetched.push_back(WatchEvent { version: self.cursor, payload });
        }
        Ok(())
    }
}
