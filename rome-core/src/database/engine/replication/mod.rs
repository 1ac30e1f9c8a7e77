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
//! Every client of a site looks after the copies there, and only one of them talks to the home: it applies events, asks at intervals whether
//! anything is missing, and writes down each time that nothing was ([`Beat`]). The others look at that record: whoever finds that it no longer moves
//! takes over. It does no harm where two do: a commit that finds the record other than it took it is void.
//!
//! **How stale a copy is needs no clock of another machine.** A client asks the table's home whether anything was written there since the copy's
//! cursor, and notes by its own clock when it asked: where nothing was, whoever reads the copy at that cursor or a later one misses nothing that was committed
//! before that moment. The other clients of the site know by the order of beats: see [`Freshness`].

mod apply;
mod choose;
mod copy;

pub(super) use choose::Freshness;

use self::choose::Fresh;
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
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// Events that are applied in one commit, at most.
const EVENTS_AT_ONCE: usize = 64;
/// The longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who applies events is taken for gone when the record has not moved for so many looks,
const STILL: usize = 3;
/// or so many while tables are copied: a page takes longer than a beat.
const STILL_COPYING: usize = 20;

/// What a home knows of its copies of another home's global tables. JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Replica {
    /// The other home's epoch.
    epoch: Epoch,
    /// The version there of the last event that was applied.
    cursor: Version,
    /// Tables by the space of their rows.
    tables: BTreeMap<u32, Copied>,
    /// Who is copying tables now.
    copier: Option<Copier>,
    /// The last word that nothing is missing.
    beat: Beat,
}

/// Who is copying tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Copier {
    /// A random number.
    id: u64,
    /// So many pages are done.
    pages: u64,
}

/// Word that the home was asked, after the beat before this one was written, and had written nothing since the cursor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Beat {
    number: u64,
    /// The spaces of the rows of those tables that it was asked about.
    tables: BTreeSet<u32>,
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
        Self { epoch, cursor, tables: BTreeMap::new(), copier: None, beat: Beat::default() }
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

    /// Whether the copy has come so far.
    pub(super) fn reaches(&self, (epoch, version): (Epoch, Version)) -> bool {
        self.epoch == epoch && self.cursor >= version
    }

    /// With another beat.
    fn beaten(&self, tables: &[Arc<Table>]) -> Self {
        Self { beat: Beat { number: self.beat.number + 1, tables: spaces(tables) }, ..self.clone() }
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
    let (mut seen, mut still) = (None, 0);
    let mut pause = every;
    loop {
        let Some(engine) = engine.upgrade() else { return };
        let tended = if leads { engine.lead(of, every).await } else { engine.follow(of).await };
        match tended {
            Ok(Standing::At(replica)) => {
                pause = every;
                still = if seen.as_ref() == Some(&replica) { still + 1 } else { 0 };
                let nobody_does = match replica.copier {
                    Some(_) => still >= STILL_COPYING,
                    None => still >= STILL || replica.tables.is_empty(),
                };
                seen = Some(replica);
                if nobody_does {
                    (leads, still) = (true, 0);
                    continue;
                }
            }
            Ok(Standing::Overtaken) => (leads, still) = (false, 0),
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

/// When the home was asked while there was something that the copy did not have: so far the copy has to come.
struct Ahead {
    version: Version,
    asked: Instant,
}

/// What became of looking after a copy.
enum Standing {
    /// As the record says.
    At(Replica),
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

    /// Sees how the copy of a home's tables stands, as far as the record tells.
    async fn follow(&self, of: HomeNo) -> Result<Standing> {
        let asked = Instant::now();
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
        self.freshness.looked(of, &replica, asked);
        // A client that has just come must not wait for beats. Whether the home answers says nothing of who applies events.
        if self.freshness.is_wanted(of)
            && let Err(problem) = self.probe(of, &replica, &self.copied_from(of)).await
        {
            tracing::debug!(home = of.0, %problem, "the home of global tables could not be asked");
        }
        Ok(Standing::At(replica))
    }

    /// Asks a home whether anything was written to its global tables since the copy's cursor; notes when it was asked.
    async fn probe(&self, of: HomeNo, replica: &Replica, tables: &[Arc<Table>]) -> Result<bool> {
        let asked = Instant::now();
        let (guards, epoch) = replica.nothing_since(tables.iter().map(Arc::as_ref));
        let whole = self.client.stands(of, guards, epoch).await?;
        if whole {
            self.note(of, replica, tables, asked);
        }
        Ok(whole)
    }

    /// At `asked`, this copy missed nothing of these tables.
    fn note(&self, of: HomeNo, replica: &Replica, tables: &[Arc<Table>], asked: Instant) {
        let fresh = Fresh { epoch: replica.epoch, cursor: replica.cursor, tables: spaces(tables), asked };
        self.freshness.note(of, fresh);
    }

    /// Asks the home, and writes down where nothing was missing; where something is, notes how far the home is. `None` where somebody else has moved
    /// the copy.
    async fn beat(
        &self,
        of: HomeNo,
        replica: &Replica,
        tables: &[Arc<Table>],
        ahead: &mut Option<Ahead>,
    ) -> Result<Option<Replica>> {
        if !self.probe(of, replica, tables).await? {
            if ahead.is_none() {
                let asked = Instant::now();
                let (epoch, version) = self.client.standing(of).await?;
                *ahead = (epoch == replica.epoch).then_some(Ahead { version, asked });
            }
            return Ok(Some(replica.clone()));
        }
        *ahead = None;
        let mut beaten = replica.beaten(tables);
        // No page of a table was read before something was written that the cursor does not have.
        for table in tables {
            if let Some(copied) = beaten.tables.get_mut(&table.row_space()) {
                copied.from = copied.from.min(replica.cursor);
            }
        }
        Ok(self.replace(of, replica, &beaten).await?.then_some(beaten))
    }

    /// Changes the record; `false` where it is not as it was.
    async fn replace(&self, of: HomeNo, replica: &Replica, becomes: &Replica) -> Result<bool> {
        let mut txn = self.client.begin(Mode::SingleStatement);
        if Replica::read(&mut txn, of).await?.as_ref() != Some(replica) {
            return Ok(false);
        }
        becomes.write(&mut txn, of)?;
        txn.commit().await?;
        Ok(true)
    }

    /// Copies what is missing, then applies events as they come.
    async fn lead(&self, of: HomeNo, every: Duration) -> Result<Standing> {
        let mut txn = self.client.begin(Mode::ReadOnly);
        let Some(mut replica) = Replica::read(&mut txn, of).await? else { return Ok(Standing::Overtaken) };
        if self.client.standing(of).await?.0 != replica.epoch {
            return self.begin_anew(of, &replica).await;
        }
        let mut tables = self.copied_from(of);
        if replica.tables.keys().any(|copied| tables.iter().all(|table| table.row_space() != *copied)) {
            // Others know of tables that this client does not, and would miss events, or these tables are gone.
            self.refresh_catalog().await?;
            tables = self.copied_from(of);
        }
        if !covers_all(&replica, &tables) {
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
        let (mut next_beat, mut ahead) = (Instant::now(), None);
        loop {
            let tables = self.copied_from(of);
            // However many events come.
            if Instant::now() >= next_beat {
                next_beat = Instant::now() + every;
                if !covers_all(&replica, &tables) {
                    return Ok(Standing::Again);
                }
                match self.beat(of, &replica, &tables, &mut ahead).await? {
                    Some(beaten) => replica = beaten,
                    None => return Ok(Standing::Overtaken),
                }
            }
            let chunk = tokio::select! {
                // In this order, so that the same seed is the same run.
                biased;
                chunk = events.next() => chunk.unwrap_or_default(),
                () = sleep_until(next_beat) => continue,
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
            if let Some(Ahead { asked, .. }) = ahead.take_if(|ahead| ahead.version <= replica.cursor) {
                let beaten = replica.beaten(&tables);
                if !self.replace(of, &replica, &beaten).await? {
                    return Ok(Standing::Overtaken);
                }
                self.note(of, &beaten, &tables, asked);
                replica = beaten;
            }
            if let Some(failure) = failure {
                return self.missed(of, &replica, failure).await;
            }
        }
    }

    /// The stream has ended. Where events were missed, the copy begins anew.
    async fn missed(&self, of: HomeNo, replica: &Replica, failure: StoreError) -> Result<Standing> {
        match failure {
            StoreError::Compacted | StoreError::EpochChanged => self.begin_anew(of, replica).await,
            failure => Err(failure.into()),
        }
    }

    /// Lets the copy begin anew from where the home stands now.
    async fn begin_anew(&self, of: HomeNo, replica: &Replica) -> Result<Standing> {
        let anew = Replica::at(self.client.standing(of).await?);
        Ok(if self.replace(of, replica, &anew).await? { Standing::Again } else { Standing::Overtaken })
    }
}

fn spaces(tables: &[Arc<Table>]) -> BTreeSet<u32> {
    tables.iter().map(|table| table.row_space()).collect()
}

fn covers_all(replica: &Replica, tables: &[Arc<Table>]) -> bool {
    tables.iter().all(|table| replica.covers(table))
}
