//! How many entries to ask for, since etcd can't be asked for bytes.
//!
//! The target of [`ReadLimits::bytes`] becomes a number of entries by the mean size of the entries that the same space
//! answered last. A space that is not known yet is taken at its word; the bound on an answer's size (see
//! [`read`](crate::read)) catches the rest.

use parking_lot::Mutex;
use rome_core::store::{Key, ReadLimits, ReadResult, SPACE_LEN};
use std::collections::HashMap;

/// Spaces that are kept; beyond this all are forgotten and learned anew.
const KEPT: usize = 4096;
/// Pages smaller than this teach nothing and are not asked for.
const SMALLEST: usize = 16;

/// The mean size of the entries of each space, in bytes.
#[derive(Default)]
pub(crate) struct PageSizes {
    means: Mutex<HashMap<[u8; SPACE_LEN], usize>>,
}

impl PageSizes {
    /// The largest number of entries to ask for in the space of `from`.
    pub(crate) fn entries(&self, from: &Key, limits: ReadLimits) -> usize {
        let mean = from.first_chunk().and_then(|space| self.means.lock().get(space).copied());
        let by_bytes = mean.map_or(usize::MAX, |mean| (limits.bytes / mean.max(1)).max(SMALLEST));
        limits.entries.max(1).min(by_bytes)
    }

    /// Learns from an answer.
    pub(crate) fn learn(&self, result: &ReadResult) {
        let Some(space) = result.entries.first().and_then(|entry| entry.key.first_chunk()) else { return };
        if result.entries.len() < SMALLEST {
            return;
        }
        let bytes: usize = result.entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        let mut means = self.means.lock();
        if means.len() >= KEPT {
            means.clear();
        }
        means.insert(*space, bytes / result.entries.len());
    }
}
