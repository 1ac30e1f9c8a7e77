//! Lanes: the identity that makes each commit happen at most once (see [`crate::store`]).
//!
//! A client holds as many lanes as it has commits in flight at once. A lane's first commit is empty: it creates the lane, so that no late first
//! message can recreate a lane that was removed meanwhile.

use crate::store::{Commit, HomeId, LaneTicket, Store, StoreError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The lanes of one client at one home.
#[derive(Debug)]
pub(super) struct Lanes {
    client: u128,
    next: AtomicU32,
    idle: Mutex<Vec<(u32, u64)>>,
}

impl Lanes {
    pub(super) fn new(client: u128) -> Arc<Self> {
        Arc::new(Self { client, next: AtomicU32::new(1), idle: Mutex::new(Vec::new()) })
    }

    /// An idle lane, or a new one, which costs a round trip. Whether a new lane was opened may remain unknown; of the commit that was to travel in
    /// it nothing was sent.
    pub(super) async fn acquire(self: &Arc<Self>, store: &dyn Store, home: &HomeId) -> Result<Lane, StoreError> {
        // Not in the `if let` below: its temporary guard would live across the await.
        let idle = self.idle.lock().pop();
        if let Some((number, sequence)) = idle {
            return Ok(Lane { lanes: Arc::clone(self), number, sequence, open: true });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ticket = LaneTicket { client: self.client, lane: number, sequence: 1 };
        let opened = store.commit(home, Commit { ticket: Some(ticket), ..Commit::default() }).await;
        opened.map_err(|error| match error {
            StoreError::Undetermined { address, reason } => StoreError::Unavailable { address, reason },
            error => error,
        })?;
        Ok(Lane { lanes: Arc::clone(self), number, sequence: 2, open: true })
    }
}

/// One lane, for one commit. Goes back to its pool when dropped, its sequence number used up whether or not the commit was sent; and the number after it,
/// which undoes the commit where that is the part of a transaction over several homes.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    number: u32,
    sequence: u64,
    open: bool,
}

impl Lane {
    pub(super) fn ticket(&self) -> LaneTicket {
        LaneTicket { client: self.lanes.client, lane: self.number, sequence: self.sequence }
    }

    /// The store does not know the lane any more: never use it again.
    pub(super) fn close(&mut self) {
        self.open = false;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.open {
            self.lanes.idle.lock().push((self.number, self.sequence + 2));
        }
    }
}
