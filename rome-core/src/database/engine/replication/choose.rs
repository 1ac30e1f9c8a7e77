//! Which tables a statement reads from the copy at this site, and how stale that is.

use super::Replica;
use crate::catalog::Table;
use crate::database::ReadMode;
use crate::database::engine::Engine;
use crate::error::Result;
use crate::store::{Epoch, Version};
use crate::topology::HomeNo;
use crate::txn::Txn;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When nothing was missing from the copies here, as far as this client has seen.
#[derive(Debug, Default)]
pub(in crate::database::engine) struct Freshness(Mutex<HashMap<HomeNo, (Epoch, Version, Instant)>>);

impl Freshness {
    /// At `asked`, the copy at this cursor missed nothing.
    pub(super) fn note(&self, of: HomeNo, epoch: Epoch, cursor: Version, asked: Instant) {
        self.0.lock().insert(of, (epoch, cursor, asked));
    }

    /// How long ago a copy at this cursor missed nothing; `None` where that is not known.
    fn staleness(&self, of: HomeNo, replica: &Replica) -> Option<Duration> {
        let (epoch, cursor, asked) = *self.0.lock().get(&of)?;
        (replica.epoch == epoch && replica.cursor >= cursor).then(|| asked.elapsed())
    }
}

impl Engine {
    /// Lets a transaction that only reads read global tables from the copy at this site, as its read mode allows.
    ///
    /// # Errors
    /// Those of the local store.
    pub(in crate::database::engine) async fn choose_copies(&self, txn: &mut Txn, tables: &[Arc<Table>]) -> Result<()> {
        let mode = txn.read_mode();
        let here = self.client.local();
        let mut by_home: BTreeMap<HomeNo, Vec<&Arc<Table>>> = BTreeMap::new();
        for table in tables.iter().filter(|table| table.homes.replicas().contains(&here)) {
            by_home
                .extend(table.homes.only().map(|home| (home, vec![])).filter(|(home, _)| !by_home.contains_key(home)));
            if let Some(of_home) = table.homes.only().and_then(|home| by_home.get_mut(&home)) {
                of_home.push(table);
            }
        }
        for (of, tables) in by_home {
            let tables: Vec<_> = tables.into_iter().filter(|table| !txn.has_chosen(table.id)).collect();
            if tables.is_empty() {
                continue;
            }
            let replica = Replica::read(txn, of).await?;
            let staleness = replica.as_ref().and_then(|replica| self.freshness.staleness(of, replica));
            let fresh = match mode {
                ReadMode::Strong => false,
                ReadMode::Stale { max } => staleness.is_some_and(|staleness| staleness <= max),
                ReadMode::Available => true,
            };
            // All or none: the tables of one home are read as they were at one moment.
            let whole = tables.iter().all(|table| replica.as_ref().is_some_and(|replica| replica.has(table)));
            for table in tables {
                txn.choose(table, fresh && whole, staleness);
            }
        }
        Ok(())
    }
}
