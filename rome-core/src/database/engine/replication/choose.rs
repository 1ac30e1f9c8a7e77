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
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So long after a statement wanted a copy fresher than its record tells, this client asks the home itself.
const INTEREST: Duration = Duration::from_secs(30);

/// At `asked`, copies at this cursor missed nothing of these tables.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) epoch: Epoch,
    pub(super) cursor: Version,
    /// By the spaces of their rows.
    pub(super) tables: BTreeSet<u32>,
    pub(super) asked: Instant,
}

/// When nothing was missing from the copies here, as far as this client has seen.
///
/// Whoever applies events asks the home and writes a beat, one after the other. So the home was asked for beat `n` after beat `n - 1` was written; and
/// that was after the moment at which this client looked and found beat `n - 2`, by its own clock.
#[derive(Debug, Default)]
pub(in crate::database::engine) struct Freshness(Mutex<HashMap<HomeNo, Heard>>);

#[derive(Debug, Default)]
struct Heard {
    fresh: Option<Fresh>,
    /// The last beats that were found, with the last moment before they were.
    beats: VecDeque<(u64, Instant)>,
    wanted: Option<Instant>,
}

impl Heard {
    fn note(&mut self, fresh: Fresh) {
        if self.fresh.as_ref().is_none_or(|known| known.asked < fresh.asked) {
            self.fresh = Some(fresh);
        }
    }
}

impl Freshness {
    /// The home was asked by this client.
    pub(super) fn note(&self, of: HomeNo, fresh: Fresh) {
        self.0.lock().entry(of).or_default().note(fresh);
    }

    /// The record was looked at, at the moment `asked` or later.
    pub(super) fn looked(&self, of: HomeNo, replica: &Replica, asked: Instant) {
        let mut homes = self.0.lock();
        let heard = homes.entry(of).or_default();
        let number = replica.beat.number;
        let before = heard.beats.iter().rev().find(|(earlier, _)| earlier + 2 <= number).map(|(_, asked)| *asked);
        if let Some(asked) = before {
            let tables = replica.beat.tables.clone();
            heard.note(Fresh { epoch: replica.epoch, cursor: replica.cursor, tables, asked });
        }
        match heard.beats.back_mut() {
            Some((last, looked)) if *last == number => *looked = asked,
            _ => heard.beats.push_back((number, asked)),
        }
        while heard.beats.len() > 3 {
            heard.beats.pop_front();
        }
    }

    /// Somebody wants the copy fresher than is known here.
    fn want(&self, of: HomeNo) {
        self.0.lock().entry(of).or_default().wanted = Some(Instant::now());
    }

    /// Whether somebody did lately, or nothing is known yet.
    pub(super) fn is_wanted(&self, of: HomeNo) -> bool {
        let homes = self.0.lock();
        let Some(heard) = homes.get(&of) else { return true };
        heard.fresh.is_none() || heard.wanted.is_some_and(|wanted| wanted.elapsed() < INTEREST)
    }

    /// How long ago a copy missed nothing of these tables; `None` where that is not known.
    fn staleness(&self, of: HomeNo, replica: &Replica, tables: &[&Arc<Table>]) -> Option<Duration> {
        let homes = self.0.lock();
        let fresh = homes.get(&of)?.fresh.as_ref()?;
        let of_all = tables.iter().all(|table| fresh.tables.contains(&table.row_space()));
        (of_all && replica.epoch == fresh.epoch && replica.cursor >= fresh.cursor).then(|| fresh.asked.elapsed())
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
            let staleness = replica.as_ref().and_then(|replica| self.freshness.staleness(of, replica, &tables));
            let fresh = match mode {
                ReadMode::Strong => false,
                ReadMode::Stale { max } => staleness.is_some_and(|staleness| staleness <= max),
                ReadMode::Available => true,
            };
            if matches!(mode, ReadMode::Stale { .. }) && !fresh {
                self.freshness.want(of);
            }
            // All or none: the tables of one home are read as they were at one moment.
            let whole = tables.iter().all(|table| replica.as_ref().is_some_and(|replica| replica.has(table)));
            for table in tables {
                txn.choose(table, fresh && whole, staleness);
            }
        }
        Ok(())
    }
}
