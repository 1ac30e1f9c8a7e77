//! Global tables: copies at every site of what is written at one.
//!
//! The home of a global table tells every change in one stream for all of its global tables. At each other site the first home keeps a copy: the same
//! keys with the same values, index entries included, and under [`replica_key`] what it is a copy of ([`Replica`]): up to which event of which
//! epoch, and from which event on each table is whole, with which of its indexes. Applying an event and moving that cursor is one commit, so that each event is applied exactly once, by
//! whoever does it, and a copy always shows whole transactions.
//!
//! | file | what |
//! |---|---|
//! | `apply` | events into the copy |
//! | `copy` | the rows that were there before |
//! | `choose` | which tables a statement reads from the copy, and how stale that is |
//!
//! Every client of a site looks after the copies there. One applies events and the others see that it does: whoever finds twice that the copy is behind and
//! has not moved takes over. It does no harm where two do: a commit that finds the cursor elsewhere than it took it is void.
//!
//! **How stale a copy is needs no clock of another machine.** A client asks the table's home whether anything was written there since the copy's
//! cursor, and notes by its own clock when it asked: where nothing was, whoever reads the copy at that cursor or a later one misses nothing that was committed
//! before that moment.

mod apply;
mod choose;
mod copy;

pub(super) use choose::Freshness;

use super::Engine;
use crate::catalog::keys::{replica_key, replicated_key, replicated_stream, topology_key, whole_space};
use crate::catalog::{Placement, Table};
use crate::error::{Error, Result, SqlState};
use crate::store::{
    Entry, Epoch, Guard, HomeId, Read, ReadLimits, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchEvent,
};
use crate::topology::HomeNo;
use crate::txn::{HomeRead, Mode, Txn};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Events that are applied in one commit, at most.
const EVENTS_AT_ONCE: usize = 64;
/// The longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a home knows of its copies of another home's global tables. JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Replica {
    /// The other home's epoch.
    epoch: Epoch,
    /// The version there of the last event that was applied.
    cursor: Version,
    /// Tables by the space of their rows.
    tables: BTreeMap<u32, Copied>,
    /// Who is copying tables now: a random number.
    copier: Option<u64>,
}

/// A table of which there is a copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Copied {
    /// From which version on it is whole.
    from: Version,
    /// The spaces of the indexes that it has: one made since must be copied, too.
    indexes: BTreeSet<u32>,
}

impl Replica {
    fn at((epoch, cursor): (Epoch, Version)) -> Self {
        Self { epoch, cursor, tables: BTreeMap::new(), copier: None }
    }

    fn copied(&self, table: &Table) -> Option<&Copied> {
        let copied = self.tables.get(&table.row_space())?;
        table.indexes.iter().all(|index| copied.indexes.contains(&index.space)).then_some(copied)
    }

    /// Whether a table was copied as it is described now; its copy becomes whole with the events.
    fn covers(&self, table: &Table) -> bool {
        self.copied(table).is_some()
    }

    /// Whether the copy of a table is whole.
    pub(super) fn has(&self, table: &Table) -> bool {
        self.copied(table).is_some_and(|copied| copied.from <= self.cursor)
    }

    /// Guards at the home of these tables, and the epoch in which they say that nothing was written there since what the copy has.
    pub(super) fn nothing_since<'t>(&self, tables: impl Iterator<Item = &'t Table>) -> (Vec<Guard>, Epoch) {
        let unchanged = |table: &Table| Guard::Unchanged { range: whole_space(table.row_space()), since: self.cursor };
        (tables.map(unchanged).collect(), self.epoch)
    }

    /// As a store keeps it, outside of any transaction.
    pub(super) async fn look(store: &dyn Store, home: &HomeId, of: HomeNo) -> Result<Option<Self>> {
        let request = ReadRequest { reads: vec![Read::Point(replica_key(of))], ..ReadRequest::default() };
        match store.read(home, request).await? {
            ReadOutcome::Answer(answer) => {
                answer.results.first().and_then(|result| result.entries.first()).map(Self::of).transpose()
            }
            ReadOutcome::Conflict { .. } => Err(Error::internal("a read without guards had a conflict")),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// XX001 where it is corrupt.
    fn of(entry: &Entry) -> Result<Self> {
        serde_json::from_slice(&entry.value)
            .map_err(|_| Error::new(SqlState::DATA_CORRUPTED, "what the store says of its copies is corrupt"))
    }

    /// As a transaction reads it.
    pub(super) async fn read(txn: &mut Txn, of: HomeNo) -> Result<Option<Self>> {
        let here = txn.client().local();
        let found = txn.read(vec![HomeRead::point(here, replica_key(of))], ReadLimits::default()).await?;
        found.first().and_then(|result| result.entries.first()).map(Self::of).transpose()
    }

    fn write(&self, txn: &mut Txn, of: HomeNo) -> Result<()> {
        let here = txn.client().local();
        txn.rely_on_format(here)?;
        txn.put(here, replica_key(of), Bytes::from(serde_json::to_vec(self).map_err(Error::internal)?))
    }
}

/// The tasks of a client that look after the copies at its site. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Replicator(JoinHandle<()>);

impl Replicator {
    /// Starts them, where the client is to do so at all.
    pub(super) fn start(engine: &Arc<Engine>) -> Option<Self> {
        let every = engine.client.patience().replicate_every?;
        Some(Self(tokio::spawn(look_after(Arc::downgrade(engine), every))))
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task that ends with its value.
struct Tended(JoinHandle<()>);

impl Drop for Tended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps one task for each home whose global tables are copied here.
async fn look_after(engine: Weak<Engine>, every: Duration) {
    let mut tended: HashMap<HomeNo, Tended> = HashMap::new();
    let mut seen = None;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(engine) = engine.upgrade() else { return };
        match engine.marks_of_descriptions().await {
            Ok(now) if seen.as_ref() == Some(&now) => {}
            Ok(now) => match engine.refresh_catalog().await {
                Ok(_) => seen = Some(now),
                Err(problem) => tracing::debug!(%problem, "the catalog could not be read again"),
            },
            Err(problem) => tracing::debug!(%problem, "the site's store could not be asked"),
        }
        let sources = engine.sources();
        tended.retain(|home, _| sources.contains_key(home));
        for home in sources.into_keys() {
            let task = || Tended(tokio::spawn(tend(Arc::downgrade(&engine), home, every)));
            tended.entry(home).or_insert_with(task);
        }
    }
}

/// Looks after the copy of one home.
async fn tend(engine: Weak<Engine>, of: HomeNo, every: Duration) {
    let mut leads = false;
    let mut behind: Option<Replica> = None;
    let mut pause = every;
    loop {
        let Some(engine) = engine.upgrade() else { return };
        let tended = if leads { engine.lead(of, every).await } else { engine.follow(of).await };
        match tended {
            Ok(Standing::Whole) => {
                behind = None;
                pause = every;
            }
            // Whoever should apply what is missing has had time to.
            Ok(Standing::Behind(replica)) => {
                leads = behind.as_ref() == Some(&replica) || replica.tables.is_empty();
                behind = Some(replica);
                if leads {
                    continue;
                }
            }
            Ok(Standing::Overtaken) => leads = false,
            Ok(Standing::Again) => continue,
            Err(problem) => {
                let problem = engine.caught_up(problem).await;
                tracing::debug!(home = of.0, %problem, "the copy of a home's global tables can't go on");
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        drop(engine);
        sleep(pause).await;
    }
}

/// What became of looking after a copy.
enum Standing {
    /// Nothing is missing.
    Whole,
    /// Something is missing.
    Behind(Replica),
    /// Somebody else applies events.
    Overtaken,
    /// Something has changed: at once once more.
    Again,
}

impl Engine {
    /// Changes whenever a global table's description or the topology does.
    async fn marks_of_descriptions(&self) -> Result<Vec<Option<Bytes>>> {
        let reads = vec![Read::Point(replicated_key()), Read::Point(topology_key())];
        let found = self.client.read(self.client.local(), reads, ReadLimits::default()).await?;
        Ok(found.into_iter().map(|result| result.entries.into_iter().next().map(|entry| entry.value)).collect())
    }

    /// The global tables of which the local home keeps copies, by their home.
    pub(super) fn sources(&self) -> BTreeMap<HomeNo, Vec<Arc<Table>>> {
        let catalog = self.catalog();
        let here = self.client.local();
        let mut sources: BTreeMap<HomeNo, Vec<Arc<Table>>> = BTreeMap::new();
        for table in catalog.tables() {
            if let (Placement::Global { .. }, Some(home)) = (&table.placement, table.homes.only())
                && table.homes.replicas().contains(&here)
            {
                sources.entry(home).or_default().push(Arc::clone(table));
            }
        }
        sources
    }

    fn copied_from(&self, of: HomeNo) -> Vec<Arc<Table>> {
        self.sources().remove(&of).unwrap_or_default()
    }

    /// Sees whether the copy of a home's tables is complete.
    async fn follow(&self, of: HomeNo) -> Result<Standing> {
        let mut txn = self.client.begin(Mode::ReadOnly);
        let replica = Replica::read(&mut txn, of).await?;
        let Some(replica) = replica else {
            let begun = Replica::at(self.client.standing(of).await?);
            let mut txn = self.client.begin(Mode::SingleStatement);
            if Replica::read(&mut txn, of).await?.is_none() {
                begun.write(&mut txn, of)?;
                txn.commit().await?;
            }
            return Ok(Standing::Again);
        };
        let tables = self.copied_from(of);
        let whole = tables.iter().all(|table| replica.has(table)) && self.probe(of, &replica, &tables).await?;
        Ok(if whole { Standing::Whole } else { Standing::Behind(replica) })
    }

    /// Asks a home whether anything was written to its global tables since the copy's cursor, and notes when it was asked.
    async fn probe(&self, of: HomeNo, replica: &Replica, tables: &[Arc<Table>]) -> Result<bool> {
        let asked = Instant::now();
        let (guards, epoch) = replica.nothing_since(tables.iter().map(Arc::as_ref));
        let whole = self.client.stands(of, guards, epoch).await?;
        if whole {
            self.freshness.note(of, replica.epoch, replica.cursor, asked);
        }
        Ok(whole)
    }

    /// Copies what is missing, then applies events as they come.
    async fn lead(&self, of: HomeNo, every: Duration) -> Result<Standing> {
        let mut txn = self.client.begin(Mode::ReadOnly);
        let Some(mut replica) = Replica::read(&mut txn, of).await? else { return Ok(Standing::Overtaken) };
        let tables = self.copied_from(of);
        if tables.iter().any(|table| !replica.covers(table)) {
            match self.copy(of, &tables).await? {
                Some(copied) => replica = copied,
                None => return Ok(Standing::Overtaken),
            }
        }
        let events = self.client.watch(of, replicated_stream(), replica.epoch, replica.cursor).await;
        let mut events = match events {
            Ok(events) => events.ready_chunks(EVENTS_AT_ONCE),
            Err(failure) => return self.missed(of, &replica, failure).await,
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let chunk = tokio::select! {
                // In this order, so that the same seed is the same run.
                biased;
                chunk = events.next() => chunk.unwrap_or_default(),
                _ = ticks.tick() => {
                    self.probe(of, &replica, &tables).await?;
                    if self.copied_from(of).iter().any(|table| !replica.covers(table)) {
                        return Ok(Standing::Again);
                    }
                    continue;
                }
            };
            let mut failure = None;
            let mut found: Vec<WatchEvent> = Vec::with_capacity(chunk.len());
            for event in chunk {
                match event {
                    Ok(event) => found.push(event),
                    Err(error) => failure = Some(error),
                }
            }
            if found.is_empty() {
                let ended =
                    || StoreError::Unavailable { address: String::new(), reason: "the stream ended".to_owned() };
                return self.missed(of, &replica, failure.unwrap_or_else(ended)).await;
            }
            match self.apply(of, &replica, &found).await? {
                Some(applied) => replica = applied,
                None => return Ok(Standing::Overtaken),
            }
            if let Some(failure) = failure {
                return self.missed(of, &replica, failure).await;
            }
        }
    }

    /// The stream has ended. Where events were missed, the copy begins anew from where the home stands now.
    async fn missed(&self, of: HomeNo, replica: &Replica, failure: StoreError) -> Result<Standing> {
        if !matches!(failure, StoreError::Compacted | StoreError::EpochChanged) {
            return Err(failure.into());
        }
        let anew = Replica::at(self.client.standing(of).await?);
        let mut txn = self.client.begin(Mode::SingleStatement);
        if Replica::read(&mut txn, of).await?.as_ref() != Some(replica) {
            return Ok(Standing::Overtaken);
        }
        anew.write(&mut txn, of)?;
        txn.commit().await?;
        Ok(Standing::Again)
    }
}
