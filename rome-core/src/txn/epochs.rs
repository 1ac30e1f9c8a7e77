//! In which epochs of its homes a transaction has read.

use crate::store::Epoch;
use crate::topology::HomeNo;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The epochs that a transaction relies on: its commit is refused in any other.
#[derive(Debug, Default)]
pub struct Epochs(Mutex<BTreeMap<HomeNo, Epoch>>);

impl Epochs {
    /// The epoch of a home, as this transaction has read it; `None` where it has read nothing there.
    pub fn of(&self, home: HomeNo) -> Option<Epoch> {
        self.0.lock().get(&home).copied()
    }

    pub(super) fn note(&self, home: HomeNo, epoch: Option<Epoch>) {
        if let Some(epoch) = epoch {
            self.0.lock().entry(home).or_insert(epoch);
        }
    }
}
