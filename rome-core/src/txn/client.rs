//! A client of one home: where transactions begin and commits are sent.

use super::lanes::Lanes;
use super::transaction::Txn;
use crate::error::{Error, Result};
use crate::store::{Commit, CommitOutcome, HomeId, Store, StoreError};
use std::sync::Arc;

/// How a transaction behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One statement that only reads, or a READ ONLY transaction: every answer is consistent with the earlier ones, writes are refused.
    ReadOnly,
    /// One statement that may write: constraints are checked by guards alone, at commit.
    SingleStatement,
    /// A transaction of several statements: constraints are checked at the statement, too.
    Interactive,
}

/// One incarnation of a client at one home.
#[derive(Debug)]
pub struct Client {
    store: Arc<dyn Store>,
    home: HomeId,
    lanes: Arc<Lanes>,
}

impl Client {
    /// A client; `incarnation` is a random number that no other client has.
    pub fn new(store: Arc<dyn Store>, home: HomeId, incarnation: u128) -> Arc<Self> {
        Arc::new(Self { store, home, lanes: Lanes::new(incarnation) })
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The home.
    pub fn home(&self) -> &HomeId {
        &self.home
    }

    /// Begins a transaction. Costs nothing: a transaction exists in the client only.
    pub fn begin(self: &Arc<Self>, mode: Mode) -> Txn {
        Txn::new(Arc::clone(self), mode)
    }

    /// Sends a commit in a lane.
    pub(super) async fn commit(&self, mut commit: Commit) -> Result<CommitOutcome> {
        let mut lane = self.lanes.acquire(self.store.as_ref(), &self.home).await?;
        commit.ticket = Some(lane.ticket());
        match self.store.commit(&self.home, commit).await {
            Ok(outcome) => Ok(outcome),
            Err(StoreError::LaneClosed) => {
                lane.close();
                Err(Error::serialization_failure())
            }
            Err(error) => Err(error.into()),
        }
    }
}
