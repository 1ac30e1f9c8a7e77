//! One write transaction of redb, in which the commits of a batch are applied one after the other. Each sees those before it. One
//! that fails (a guard, a bound, a closed lane) has written nothing, and does not disturb the others.

use crate::error;
use crate::lanes::Lanes;
use crate::layout::{self, ENTRIES, EVENTS, HOMES_KEY, HomeRow, STATE, STREAMS, StreamRow};
use crate::view::{Stop, View};
use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};
use rome_core::store::rules;
use rome_core::store::{Change, Commit, CommitOutcome, HomeId, Key, SPACE_LEN, StoreError, Version, Write};

/// How many events a change stream keeps. A watcher that falls further behind is told so.
pub const EVENTS_KEPT: u64 = 4096;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// Why a commit of a batch has no outcome.
pub(crate) enum Failure {
    /// This commit was refused; the others are not concerned.
    Refused(StoreError),
    /// The file failed; the whole batch must be given up.
    Broken(StoreError),
}

impl From<redb::StorageError> for Failure {
    fn from(error: redb::StorageError) -> Self {
        Self::Broken(error::storage(error))
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(error) => error.into(),
            Stop::Exhausted => Self::Broken(error::unavailable("a guard looked at too much".into())),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LaneClosed
            | StoreError::EpochChanged
            | StoreError::Undetermined { .. }
            | StoreError::Corrupt(_)
            | StoreError::Invalid(_) => Self::Refused(error),
            other => Self::Broken(other),
        }
    }
}

/// What a commit will do to a key: its space, the key, and its new value or none.
type Effect = ([u8; SPACE_LEN], Key, Option<Bytes>);

/// The tables of a batch's transaction.
pub(crate) struct Batch<'t> {
    state: Rows<'t>,
    entries: Rows<'t>,
    streams: Rows<'t>,
    events: Rows<'t>,
    lanes: &'t mut Lanes,
    wrote: bool,
}

impl<'t> Batch<'t> {
    pub fn new(transaction: &'t WriteTransaction, lanes: &'t mut Lanes) -> Result<Self, StoreError> {
        let open = |table| transaction.open_table(table).map_err(error::table);
        Ok(Self {
            state: open(STATE)?,
            entries: open(ENTRIES)?,
            streams: open(STREAMS)?,
            events: open(EVENTS)?,
            lanes,
            wrote: false,
        })
    }

    /// Whether there is anything to make durable.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// Applies one commit.
    pub fn apply(&mut self, home: &HomeId, commit: &Commit) -> Result<CommitOutcome, Failure> {
        if let Some(outcome) = self.lanes.settled(home, commit.ticket)? {
            return Ok(outcome);
        }
        let name = home.as_str().as_bytes();
        let mut row = self.home(name)?;
        let outcome = self.attempt(name, &mut row, commit)?;
        self.lanes.settle(home, commit.ticket, outcome);
        Ok(outcome)
    }

    fn home(&self, name: &[u8]) -> Result<HomeRow, Failure> {
        match self.state.get(layout::home_key(name).as_slice())? {
            Some(row) => Ok(HomeRow::decode(row.value())?),
            None => Ok(HomeRow { number: self.homes()?, version: 0 }),
        }
    }

    /// How many homes there are.
    fn homes(&self) -> Result<u32, Failure> {
        match self.state.get(HOMES_KEY)? {
            Some(count) => Ok(layout::decode_u32(count.value(), "the number of homes")?),
            None => Ok(0),
        }
    }

    fn save_home(&mut self, name: &[u8], row: HomeRow) -> Result<(), Failure> {
        let before = self.state.insert(layout::home_key(name).as_slice(), row.encode().as_slice())?.is_some();
        if !before {
            let count = row.number.checked_add(1);
            let count = count.ok_or_else(|| StoreError::Full("no more homes can be numbered".into()))?;
            self.state.insert(HOMES_KEY, count.to_be_bytes().as_slice())?;
        }
        Ok(())
    }

    /// Everything that can be refused comes before the first write.
    fn attempt(&mut self, name: &[u8], row: &mut HomeRow, commit: &Commit) -> Result<CommitOutcome, Failure> {
        let epoch = layout::epoch(&self.state)?;
        rules::check_epoch(commit.epoch, epoch)?;
        let view = View::new(&self.entries, &self.state, *row, epoch, usize::MAX);
        if let Some(guard) = view.first_failed(&commit.guards)? {
            return Ok(CommitOutcome::Conflict { guard });
        }
        if commit.writes.is_empty() && commit.changes.is_empty() {
            return Ok(CommitOutcome::Committed { version: row.version });
        }
        let mut effects: Vec<Effect> = Vec::with_capacity(commit.writes.len());
        for (index, write) in commit.writes.iter().enumerate() {
            let value = match write {
                Write::Put(_, value) => Some(value.clone()),
                Write::Delete(_) => None,
                Write::Add { key, delta, min, max } => {
                    let current = view.entry(key)?.map(|entry| entry.value);
                    let Some(sum) = rules::add(key, current.as_deref(), *delta, *min, *max)? else {
                        return Ok(CommitOutcome::OutOfBounds { write: index });
                    };
                    Some(sum)
                }
            };
            effects.push((rules::space_of(write.key())?, write.key().clone(), value));
        }
        row.version += 1;
        // What fails from here on leaves the transaction half written, whatever it is.
        self.write(name, *row, effects, &commit.changes).map_err(|failure| match failure {
            Failure::Refused(error) | Failure::Broken(error) => Failure::Broken(error),
        })?;
        Ok(CommitOutcome::Committed { version: row.version })
    }

    fn write(&mut self, name: &[u8], row: HomeRow, effects: Vec<Effect>, changes: &[Change]) -> Result<(), Failure> {
        self.wrote = true;
        self.save_home(name, row)?;
        let mut touched: Option<[u8; SPACE_LEN]> = None;
        for (space, key, value) in effects {
            let key = layout::in_home(row.number, &key);
            match value {
                Some(value) => {
                    self.entries.insert(key.as_slice(), layout::encode_entry(row.version, &value).as_slice())?;
                }
                None => {
                    self.entries.remove(key.as_slice())?;
                }
            }
            // Writes to one space mostly come together.
            if touched.replace(space) != Some(space) {
                let key = layout::space_key(row.number, space);
                self.state.insert(key.as_slice(), row.version.to_be_bytes().as_slice())?;
            }
        }
        for change in changes {
            self.append(row, change)?;
        }
        Ok(())
    }

    fn append(&mut self, home: HomeRow, change: &Change) -> Result<(), Failure> {
        let key = layout::in_home(home.number, &change.stream);
        let mut stream = match self.streams.get(key.as_slice())? {
            Some(row) => StreamRow::decode(row.value())?,
            None => StreamRow::default(),
        };
        let event = |version: Version| layout::event_key(home.number, &change.stream, version);
        self.events.insert(event(home.version).as_slice(), &change.payload[..])?;
        stream.kept += 1;
        if stream.kept > EVENTS_KEPT {
            let first = event(stream.trimmed);
            let oldest = match self.events.range::<&[u8]>(first.as_slice()..)?.next() {
                Some(oldest) => oldest?.0.value().to_vec(),
                None => return Err(StoreError::Corrupt("a stream has fewer events than it counts".into()).into()),
            };
            self.events.remove(oldest.as_slice())?;
            stream.kept -= 1;
            stream.trimmed = layout::event_version(&oldest)?;
        }
        self.streams.insert(key.as_slice(), stream.encode().as_slice())?;
        Ok(())
    }
}
