//! One write transaction of redb, in which the commits of a batch are applied one after the other. Each sees those before it. One
//! that fails (a guard, a bound, a closed lane) has written nothing but its lane, and does not disturb the others.

use crate::error;
use crate::layout::{self, ENTRIES, EVENTS, HOMES, HomeRow, LANES, SPACES, STREAMS, StreamRow};
use crate::view::{Stop, View};
use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use rome_core::store::rules::{self, Admission};
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
            StoreError::LaneClosed | StoreError::Corrupt(_) | StoreError::Invalid(_) => Self::Refused(error),
            other => Self::Broken(other),
        }
    }
}

/// What a commit will do to a key: its space, the key, and its new value or none.
type Effect = ([u8; SPACE_LEN], Key, Option<Bytes>);

/// The tables of a batch's transaction.
pub(crate) struct Batch<'t> {
    homes: Rows<'t>,
    entries: Rows<'t>,
    spaces: Rows<'t>,
    lanes: Rows<'t>,
    streams: Rows<'t>,
    events: Rows<'t>,
    wrote: bool,
}

impl<'t> Batch<'t> {
    pub fn new(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let open = |table| transaction.open_table(table).map_err(error::table);
        Ok(Self {
            homes: open(HOMES)?,
            entries: open(ENTRIES)?,
            spaces: open(SPACES)?,
            lanes: open(LANES)?,
            streams: open(STREAMS)?,
            events: open(EVENTS)?,
            wrote: false,
        })
    }

    /// Whether there is anything to make durable.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// Applies one commit.
    pub fn apply(&mut self, home: &HomeId, commit: &Commit) -> Result<CommitOutcome, Failure> {
        let name = home.as_str().as_bytes();
        let mut row = self.home(name)?;
        let Some(ticket) = &commit.ticket else {
            return self.attempt(name, &mut row, commit);
        };
        let lane = layout::lane_key(row.number, ticket);
        let stored = match self.lanes.get(lane.as_slice())? {
            Some(stored) => Some(layout::decode_lane(stored.value())?),
            None => None,
        };
        match rules::admit(stored, ticket.sequence) {
            Admission::Repeat(outcome) => Ok(outcome),
            Admission::Closed => Err(StoreError::LaneClosed.into()),
            Admission::Run => {
                let outcome = self.attempt(name, &mut row, commit)?;
                self.wrote = true;
                // A home that so far has only lanes must keep its number.
                self.homes.insert(name, row.encode().as_slice())?;
                self.lanes.insert(lane.as_slice(), layout::encode_lane(ticket.sequence, outcome).as_slice())?;
                Ok(outcome)
            }
        }
    }

    fn home(&self, name: &[u8]) -> Result<HomeRow, Failure> {
        match self.homes.get(name)? {
            Some(row) => Ok(HomeRow::decode(row.value())?),
            None => {
                let number = u32::try_from(self.homes.len()?);
                let number = number.map_err(|_| StoreError::Full("no more homes can be numbered".into()))?;
                Ok(HomeRow { number, version: 0 })
            }
        }
    }

    /// Everything that can be refused comes before the first write.
    fn attempt(&mut self, name: &[u8], row: &mut HomeRow, commit: &Commit) -> Result<CommitOutcome, Failure> {
        let view = View::new(&self.entries, &self.spaces, *row, usize::MAX);
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
        self.homes.insert(name, row.encode().as_slice())?;
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
                self.spaces.insert(key.as_slice(), row.version.to_be_bytes().as_slice())?;
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
