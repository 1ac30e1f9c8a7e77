//! One transaction: everything that execution reads or writes passes through here.

use super::alone::commit_alone;
use super::changes::Streams;
use super::client::{Client, Mode};
use super::epochs::Epochs;
use super::many::commit_many;
use super::part::{Part, Remember};
use super::report::{ReadMode, ReadReport};
use crate::catalog::{SchemaVersion, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::store::{Epoch, Guard, Key, Read, ReadLimits, ReadResult, SPACE_LEN, Version};
use crate::topology::HomeNo;
use bytes::Bytes;
use futures::future::try_join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Round trips that a transaction has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoundTrips {
    /// Read requests; those sent to several homes at once count as one.
    pub reads: u64,
    /// Commits.
    pub commits: u64,
    /// Of all these, such that left the local home.
    pub wide: u64,
    /// Waits for other transactions' marks, which come on top.
    pub blocked: u64,
}

/// A point to which a transaction can be rolled back: for each home that had part in it, writes and expectations.
#[derive(Clone, Debug)]
pub struct Savepoint(Vec<(HomeNo, usize, usize)>);

/// Something to read at a home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeRead {
    /// Where.
    pub home: HomeNo,
    /// What.
    pub read: Read,
}

impl HomeRead {
    /// A key of a home.
    pub fn point(home: HomeNo, key: Key) -> Self {
        Self { home, read: Read::Point(key) }
    }

    fn space(&self) -> Option<[u8; SPACE_LEN]> {
        match &self.read {
            Read::Point(key) => key.first_chunk().copied(),
            Read::Range { range, .. } | Read::Follow { range, .. } => range.from.first_chunk().copied(),
        }
    }
}

/// An open transaction. Dropping it forgets it: nothing has been written.
#[derive(Debug)]
pub struct Txn {
    client: Arc<Client>,
    mode: Mode,
    /// By home, in the order in which they were first needed.
    parts: Vec<Part>,
    /// Tables whose descriptions are relied upon: number, version at the local home, hash.
    tables: Vec<(TableId, SchemaVersion, u64)>,
    trips: RoundTrips,
    streams: Streams,
    read_mode: ReadMode,
    report: ReadReport,
    /// Tables of which it is decided whether they are read from the local copy.
    chosen: BTreeSet<TableId>,
    /// The spaces that are read from it.
    copied: BTreeSet<[u8; SPACE_LEN]>,
    validate: bool,
    /// Savepoints exist: changes must be logged.
    logging: bool,
    epochs: Arc<Epochs>,
}

impl Txn {
    pub(super) fn new(client: Arc<Client>, mode: Mode) -> Self {
        Self {
            client,
            mode,
            parts: vec![],
            tables: vec![],
            trips: RoundTrips::default(),
            streams: Streams::default(),
            read_mode: ReadMode::Strong,
            report: ReadReport::default(),
            chosen: BTreeSet::new(),
            copied: BTreeSet::new(),
            validate: false,
            logging: false,
            epochs: Arc::default(),
        }
    }

    /// Where it runs.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// How it behaves.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How current its answers must be. To be said before it reads.
    pub fn set_read_mode(&mut self, mode: ReadMode) {
        self.read_mode = mode;
    }

    /// How current its answers must be.
    pub fn read_mode(&self) -> ReadMode {
        self.read_mode
    }

    /// What its answers lacked so far.
    pub fn report(&self) -> ReadReport {
        let mut report = self.report.clone();
        report.undecided_keys = self.parts.iter().map(Part::undecided).sum();
        let lost = self.parts.iter().filter(|part| part.is_lost()).map(|part| part.link.site().to_owned());
        report.missing_sites.extend(lost);
        report.missing_sites.sort_unstable();
        report.missing_sites.dedup();
        report
    }

    /// Whether it is decided from where a table is read.
    pub fn has_chosen(&self, table: TableId) -> bool {
        self.chosen.contains(&table)
    }

    /// Reads a global table from the local copy from now on, which is so stale as far as that is known, or from its home.
    pub fn choose(&mut self, table: &Table, copied: bool, staleness: Option<Duration>) {
        self.chosen.insert(table.id);
        if !copied {
            return;
        }
        self.report.staleness = self.report.staleness.max(staleness);
        self.report.staleness_unknown |= staleness.is_none();
        let spaces = table.indexes.iter().map(|index| index.space).chain([table.row_space()]);
        self.copied.extend(spaces.map(u32::to_be_bytes));
    }

    /// Whether a global table is read from the local copy.
    pub fn reads_copy_of(&self, table: &Table) -> bool {
        self.copied.contains(&table.row_space().to_be_bytes())
    }

    /// The round trips so far.
    pub fn round_trips(&self) -> RoundTrips {
        self.trips
    }

    /// In which epochs it has read, at any moment from now on.
    pub fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    fn position(&mut self, home: HomeNo) -> Result<usize> {
        match self.parts.iter().position(|part| part.link.no == home) {
            Some(position) => Ok(position),
            None => {
                let mut part = Part::new(self.client.link(home)?, self.logging);
                for (table, version, stamp) in &self.tables {
                    part.use_description(self.client.local(), *table, *version, *stamp)?;
                }
                self.parts.push(part);
                Ok(self.parts.len() - 1)
            }
        }
    }

    fn part(&mut self, home: HomeNo) -> Result<&mut Part> {
        let position = self.position(home)?;
        self.parts.get_mut(position).ok_or_else(|| Error::internal("a transaction has lost a part"))
    }

    fn existing(&self, home: HomeNo) -> Option<&Part> {
        self.parts.iter().find(|part| part.link.no == home)
    }

    /// Notes that the statement relies on a table's description (unless this transaction made it: version 0). The next read at each home checks it
    /// there in the same round trip, and the commit guards it: a stale description is a retryable error, never a wrong result.
    ///
    /// # Errors
    /// 40001 where this transaction already relies on another version; 55006 where the table waits for its claims to be made anew; 55000
    /// where the local site was forgotten.
    pub fn use_table(&mut self, table: &Table) -> Result<()> {
        self.client.check_member()?;
        if table.unclaimed {
            return Err(Error::new(
                SqlState::OBJECT_IN_USE,
                format!(
                    "the unique keys of table \"{}\" are being claimed anew, since a site was forgotten",
                    table.name
                ),
            )
            .with_table(&table.name)
            .with_hint("Wait for the command that forgets the site, or repeat it where it has failed."));
        }
        self.use_description(table.id, table.version, table.stamp)
    }

    /// [`Txn::use_table`] by the table's number, what its description was read at at the local home, and its hash, by which other homes know it.
    ///
    /// # Errors
    /// As [`Txn::use_table`].
    pub fn use_description(&mut self, id: TableId, version: SchemaVersion, stamp: u64) -> Result<()> {
        if version.version == 0 {
            return Ok(());
        }
        let local = self.client.local();
        if !self.tables.contains(&(id, version, stamp)) {
            self.tables.push((id, version, stamp));
            for part in &mut self.parts {
                part.use_description(local, id, version, stamp)?;
            }
        }
        self.position(local).map(|_| ())
    }

    /// Reads, in one round trip where the stores can, at all homes in parallel, through the transaction's own writes. Everything read is validated
    /// (see the module's table). [`Read::Follow`] may always be sent. Entries that this transaction wrote have version 0. What it has read
    /// before is not asked for again.
    ///
    /// # Errors
    /// 40001 where what was read before has changed meanwhile, 08006 where another transaction's mark is in the way and can't be resolved, and
    /// the stores' own errors.
    pub async fn read(&mut self, mut reads: Vec<HomeRead>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
        if !self.copied.is_empty() {
            let local = self.client.local();
            for read in &mut reads {
                if read.space().is_some_and(|space| self.copied.contains(&space)) {
                    read.home = local;
                }
            }
        }
        if self.read_mode != ReadMode::Available {
            return self.read_homes(reads, limits).await;
        }
        // What can't even be asked for has no rows.
        let mut asked = vec![];
        let mut places = vec![];
        for read in reads {
            match self.client.link(read.home) {
                Err(error) if error.state() == SqlState::CONNECTION_FAILURE => {
                    self.report.missing_sites.push(self.client.site_of(read.home));
                    places.push(false);
                }
                _ => {
                    asked.push(read);
                    places.push(true);
                }
            }
        }
        let mut found = self.read_homes(asked, limits).await?.into_iter();
        Ok(places.into_iter().map(|asked| if asked { found.next() } else { None }.unwrap_or_default()).collect())
    }

    async fn read_homes(&mut self, reads: Vec<HomeRead>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
        let Some(first) = reads.first().map(|read| read.home) else { return Ok(vec![]) };
        if reads.iter().all(|read| read.home == first) {
            return self.read_one_home(first, reads.into_iter().map(|read| read.read).collect(), limits).await;
        }
        // By part: positions in `reads`, and the reads.
        let mut by_part: Vec<(Vec<usize>, Vec<Read>)> = vec![];
        for (at, HomeRead { home, read }) in reads.into_iter().enumerate() {
            let position = self.position(home)?;
            by_part.resize_with(self.parts.len(), Default::default);
            if let Some((positions, reads)) = by_part.get_mut(position) {
                positions.push(at);
                reads.push(read);
            }
        }
        let remember = self.remember();
        let (client, epochs) = (&self.client, &self.epochs);
        let asked = self.parts.iter_mut().zip(by_part).filter(|(_, (positions, _))| !positions.is_empty());
        let answered = asked.map(|(part, (positions, reads))| async move {
            let before = (part.reads, part.repeated);
            let results = part.read(client, reads, limits, remember).await;
            epochs.note(part.link.no, part.epoch);
            let blocked = part.repeated - before.1;
            let trips = part.reads - before.0 - blocked;
            Ok::<_, Error>((positions, results?, trips, blocked, !client.is_near(&part.link)))
        });
        let answered = try_join_all(answered).await;
        let mut results: Vec<(usize, ReadResult)> = vec![];
        let (mut reads, mut wide) = (0, 0);
        for (positions, found, trips, blocked, is_wide) in answered? {
            reads = reads.max(trips);
            wide = wide.max(if is_wide { trips } else { 0 });
            self.trips.blocked += blocked;
            results.extend(positions.into_iter().zip(found));
        }
        self.trips.reads += reads;
        self.trips.wide += wide;
        results.sort_unstable_by_key(|(at, _)| *at);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    async fn read_one_home(&mut self, home: HomeNo, reads: Vec<Read>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
        let remember = self.remember();
        let position = self.position(home)?;
        let Some(part) = self.parts.get_mut(position) else {
            return Err(Error::internal("a transaction has lost a part"));
        };
        let before = (part.reads, part.repeated);
        let results = part.read(&self.client, reads, limits, remember).await;
        self.epochs.note(home, part.epoch);
        let blocked = part.repeated - before.1;
        let trips = part.reads - before.0 - blocked;
        self.trips.reads += trips;
        self.trips.blocked += blocked;
        if !self.client.is_near(&part.link) {
            self.trips.wide += trips;
        }
        results
    }

    /// Tells that what was read under keys of a home follows from something that was read later, so that it need not be validated. Does nothing
    /// where this transaction may write, since what it has read tells what it writes over.
    pub fn forget<'k>(&mut self, home: HomeNo, keys: impl IntoIterator<Item = &'k Key>) {
        if self.mode == Mode::ReadOnly
            && let Some(part) = self.parts.iter_mut().find(|part| part.link.no == home)
        {
            keys.into_iter().for_each(|key| part.forget(key));
        }
    }

    fn remember(&self) -> Remember {
        // Over several homes even a transaction that only reads validates in the end.
        let alone = self.mode == Mode::ReadOnly && !self.validate && !self.client.is_spread();
        Remember { nothing_at_snapshots: alone, available: self.read_mode == ReadMode::Available }
    }

    /// Buffers a write. The transaction must have read the key, expect something of it, or rely on another key of the same home that changes with
    /// it (as the row of an index entry does): otherwise a commit over several homes reads it first, so as not to write over what another
    /// transaction has prepared.
    ///
    /// # Errors
    /// 25006 in a read-only transaction, 54000 beyond what the store commits at once.
    pub fn put(&mut self, home: HomeNo, key: Key, value: Bytes) -> Result<()> {
        self.part(home)?.writes.set(key, Some(value));
        self.check_size(home)
    }

    /// Tells what a key holds in the store that is about to be written, where the caller knows it from what it has read at the same home: a commit
    /// over several homes then need not ask.
    ///
    /// # Errors
    /// 42704 where there is no such home.
    pub fn replaces(&mut self, home: HomeNo, key: &Key, value: impl FnOnce() -> Bytes) -> Result<()> {
        if self.client.is_spread() || self.streams.of(key).is_some() {
            let part = self.part(home)?;
            // What this transaction has written before is not what the store holds.
            if part.writes.get(key).is_none() {
                part.replaces(key, value());
            }
        }
        Ok(())
    }

    /// Tells a change stream of everything that this transaction writes in a space. To be said before the first write there.
    pub fn tell(&mut self, space: u32, stream: &Bytes) {
        self.streams.add_space(space, stream);
    }

    /// Tells a change stream what this transaction writes to one key. To be said before it is written.
    pub fn tell_key(&mut self, key: Key, stream: Bytes) {
        self.streams.add_key(key, stream);
    }

    /// The epoch and the version of a home of which all that was read there is true; `None` where nothing was read.
    pub fn as_of(&self, home: HomeNo) -> Option<(Epoch, Version)> {
        self.existing(home)?.as_of()
    }

    /// Buffers a removal, of a key as [`Txn::put`] asks for.
    ///
    /// # Errors
    /// As [`Txn::put`].
    pub fn delete(&mut self, home: HomeNo, key: Key) -> Result<()> {
        self.part(home)?.delete(key);
        self.check_size(home)
    }

    fn check_size(&self, home: HomeNo) -> Result<()> {
        if self.mode == Mode::ReadOnly {
            return Err(Error::new(SqlState::READ_ONLY_TRANSACTION, "cannot change data in a read-only transaction"));
        }
        let Some(part) = self.existing(home) else { return Ok(()) };
        let capabilities = part.link.store().capabilities();
        let limit = |what: &str, size: usize, limit: usize| {
            Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("the transaction writes {size} {what}, above this store's limit of {limit}"),
            )
            .with_hint("Split the transaction into smaller ones.")
        };
        if part.writes.len() > capabilities.max_writes {
            return Err(limit("keys", part.writes.len(), capabilities.max_writes));
        }
        if part.writes.bytes() > capabilities.max_commit_bytes {
            return Err(limit("bytes", part.writes.bytes(), capabilities.max_commit_bytes));
        }
        Ok(())
    }

    /// Adds a guard that was not read: `Absent`, `Present`, or an empty `Range` (`count: 0`). The transaction's own earlier reads and writes
    /// are taken into account at once: where they contradict it, `failure` is returned now. Where the guard fails at commit, the
    /// commit's error is `failure`.
    ///
    /// # Errors
    /// `failure`.
    pub fn expect(&mut self, home: HomeNo, guard: Guard, failure: Error) -> Result<()> {
        self.part(home)?.expect(guard, failure)
    }

    /// Relies on the database having the format that this client speaks, at a home: for what is written there without relying on a table's description, which
    /// changes with the format.
    ///
    /// # Errors
    /// 40001 where that is known to be wrong.
    pub fn rely_on_format(&mut self, home: HomeNo) -> Result<()> {
        match self.client.format_guard() {
            Some(fence) => self.expect(home, fence, Error::schema_changed()),
            None => Ok(()),
        }
    }

    /// Whether this transaction wrote (`Some(true)`) or removed (`Some(false)`) a key.
    pub fn own_write(&self, home: HomeNo, key: &Key) -> Option<bool> {
        self.existing(home)?.writes.get(key).map(Option::is_some)
    }

    /// Whether anything is to be written.
    pub fn has_writes(&self) -> bool {
        self.parts.iter().any(|part| !part.writes.is_empty())
    }

    /// FOR UPDATE: what was read is validated at commit even if nothing is written.
    pub fn validate_at_commit(&mut self) {
        self.validate = true;
    }

    /// Whether uniqueness and foreign keys are checked by reading at the statement (in a transaction of several statements, so that the error comes
    /// with the statement that caused it) or by guards alone (one round trip less).
    pub fn checks_early(&self) -> bool {
        self.mode == Mode::Interactive
    }

    /// Marks the present state.
    pub fn savepoint(&mut self) -> Savepoint {
        self.logging = true;
        let marks = self.parts.iter_mut().map(|part| (part.link.no, part.writes.mark(), part.guards.expected_len()));
        Savepoint(marks.collect())
    }

    /// Undoes every write since the mark. What was read stays guarded.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        for part in &mut self.parts {
            let mark = savepoint.0.iter().find(|(home, ..)| *home == part.link.no);
            let (writes, expected) = mark.map(|(_, writes, expected)| (*writes, *expected)).unwrap_or_default();
            part.writes.rewind(writes);
            part.guards.truncate_expected(expected);
        }
    }

    /// What an error of a statement really is. What was read at several homes fits together only once it has been validated: where it does not, a
    /// division by zero or a row that was seen twice is a lost race.
    pub async fn explained(&self, error: Error) -> Error {
        // Data exceptions, cardinality, constraints, and what can't be.
        let by_data = ["21", "22", "23", "XX"].contains(&error.state().code().get(..2).unwrap_or_default());
        if !by_data {
            return error;
        }
        self.torn().await.unwrap_or(error)
    }

    /// Whether what was read at several homes does not fit together any more.
    pub async fn is_torn(&self) -> bool {
        self.torn().await.is_some()
    }

    async fn torn(&self) -> Option<Error> {
        let read: Vec<&Part> = self.parts.iter().filter(|part| part.has_read()).collect();
        if read.len() < 2 {
            return None;
        }
        try_join_all(read.into_iter().map(Part::validate)).await.err().filter(Error::is_retryable)
    }

    /// Whether committing takes a round trip: there is something to write or to validate.
    pub fn commits_by_round_trip(&self) -> bool {
        let changes = |part: &Part| !part.writes.is_empty() || part.guards.expected_len() > 0;
        self.validate || self.parts.iter().any(changes) || self.parts.iter().filter(|part| part.has_read()).count() > 1
    }

    /// Commits: guards and writes in one round trip, or none where there is nothing to write or validate. Returns the round trips made.
    ///
    /// # Errors
    /// 40001 where something that was read has changed, the error of an expectation that failed, 08007 where the outcome is unknown.
    pub async fn commit(mut self) -> Result<RoundTrips> {
        self.client.check_member()?;
        if !self.commits_by_round_trip() {
            return Ok(self.trips);
        }
        let changes =
            self.validate || self.has_writes() || self.parts.iter().any(|part| part.guards.expected_len() > 0);
        self.parts.retain(|part| !part.is_lost());
        // A part that only holds the descriptions of tables, at a home that nothing was read from or written to, is none.
        self.parts.retain(|part| part.has_read() || !part.writes.is_empty() || part.guards.expected_len() > 0);
        self.trips.commits += 1;
        self.trips.wide += u64::from(self.parts.iter().any(|part| !self.client.is_near(&part.link)));
        if !changes {
            // All of it held at once: after the last read, and before the first of these.
            let validated = try_join_all(self.parts.iter().map(Part::validate)).await;
            return match validated {
                // Rows were handed out that were there.
                Err(error)
                    if self.read_mode == ReadMode::Available && error.state() == SqlState::CONNECTION_FAILURE =>
                {
                    Ok(self.trips)
                }
                validated => validated.map(|_| self.trips),
            };
        }
        // What is written at another home without having been read there: by which description?
        let (client, remember) = (&self.client, self.remember());
        let unknown = self.parts.iter_mut().filter(|part| part.guards.lacks_versions());
        let learnt = unknown.map(|part| part.fetch(client, vec![], ReadLimits::default(), remember));
        let learnt = try_join_all(learnt).await?;
        if !learnt.is_empty() {
            self.trips.reads += 1;
            self.trips.wide += u64::from(self.parts.iter().any(|part| !self.client.is_near(&part.link)));
        }
        match self.parts.as_slice() {
            [] => {}
            [part] => commit_alone(&self.client, part, &self.streams, &mut self.trips.blocked).await?,
            _ => commit_many(&self.client, self.parts, &self.streams).await?,
        }
        Ok(self.trips)
    }
}
