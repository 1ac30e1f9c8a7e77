//! Lanes: the last sequence number and outcome of each client's lane, compared by etcd itself.
//!
//! A lane's value is its sequence number (8 bytes, big-endian), then the outcome: `c` (committed), `g` (a guard did not
//! hold) or `b` (a counter would leave its bounds), then the index of the guard or write (4 bytes, big-endian). etcd
//! compares values bytewise, so "a sequence below n" is "a value below the 8 bytes of n": a value of sequence n is
//! longer and therefore above.
//!
//! | arriving | runs when | otherwise the stored value tells |
//! |---|---|---|
//! | 1 | the lane does not exist (`create_revision` = 0) | the outcome of 1, or closed |
//! | n > 1 | the lane's value is below n (false for a missing key) | none or above: closed; equal: its outcome |
//!
//! The version of a commit is the revision at which its lane was written, so it is not stored. Which guard failed is
//! not known to the transaction that writes `g`: the index is [`UNNAMED`], and whoever needs it probes the guards at
//! that revision.

use crate::keyspace::Keyspace;
use crate::state::malformed;
use etcd_client::{Compare, CompareOp, GetResponse, KeyValue, TxnOp};
use rome_core::store::{CommitOutcome, LaneTicket, StoreError};

const COMMITTED: u8 = b'c';
const CONFLICT: u8 = b'g';
const OUT_OF_BOUNDS: u8 = b'b';
/// In place of a guard's index: some guard.
const UNNAMED: u32 = u32::MAX;

/// A commit's place in its lane.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    key: Vec<u8>,
    sequence: u64,
}

/// An outcome as it is written, before the version is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recorded {
    Committed,
    Conflict { guard: Option<usize> },
    OutOfBounds { write: usize },
}

/// What a lane says about a ticket.
#[derive(Debug)]
pub(crate) enum Found {
    /// The lane has not reached this sequence, or does not exist.
    Before,
    /// The outcome of this sequence.
    Outcome(CommitOutcome),
    /// A guard did not hold; which one can be told from the state at this revision.
    ConflictAt(i64),
    /// The lane is past this sequence.
    Past,
}

impl Lane {
    pub(crate) fn new(keys: &Keyspace, ticket: LaneTicket) -> Self {
        Self { key: keys.lane(ticket.client, ticket.lane), sequence: ticket.sequence }
    }

    /// How many bytes one mention takes in a request.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + 13
    }

    /// Whether the ticket may run.
    pub(crate) fn open(&self) -> Compare {
        match self.sequence {
            1 => Compare::create_revision(self.key.clone(), CompareOp::Equal, 0),
            sequence => Compare::value(self.key.clone(), CompareOp::Less, sequence.to_be_bytes()),
        }
    }

    /// Reads the lane.
    pub(crate) fn get(&self) -> TxnOp {
        TxnOp::get(self.key.clone(), None)
    }

    /// The lane's key, to read it alone.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Writes the outcome.
    pub(crate) fn record(&self, outcome: Recorded) -> TxnOp {
        let index = |index: usize| u32::try_from(index).unwrap_or(UNNAMED);
        let (kind, index) = match outcome {
            Recorded::Committed => (COMMITTED, 0),
            Recorded::Conflict { guard } => (CONFLICT, guard.map_or(UNNAMED, index)),
            Recorded::OutOfBounds { write } => (OUT_OF_BOUNDS, index(write)),
        };
        let mut value = Vec::with_capacity(13);
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.push(kind);
        value.extend_from_slice(&index.to_be_bytes());
        TxnOp::put(self.key.clone(), value, None)
    }

    /// What the lane as read says about this ticket.
    pub(crate) fn find(&self, lane: &GetResponse) -> Result<Found, StoreError> {
        let Some(kv) = lane.kvs().first() else {
            return Ok(Found::Before);
        };
        let (sequence, kind, index) = decode(kv)?;
        if sequence != self.sequence {
            return Ok(if sequence < self.sequence { Found::Before } else { Found::Past });
        }
        let version = u64::try_from(kv.mod_revision()).unwrap_or_default();
        Ok(match kind {
            COMMITTED => Found::Outcome(CommitOutcome::Committed { version }),
            CONFLICT if index == UNNAMED => Found::ConflictAt(kv.mod_revision()),
            CONFLICT => Found::Outcome(CommitOutcome::Conflict { guard: index as usize }),
            OUT_OF_BOUNDS => Found::Outcome(CommitOutcome::OutOfBounds { write: index as usize }),
            _ => return Err(corrupt()),
        })
    }

    /// The lane in the failure branch of a transaction that compares [`Lane::open`].
    pub(crate) fn find_in(&self, responses: &[etcd_client::TxnOpResponse]) -> Result<Found, StoreError> {
        match responses.first() {
            Some(etcd_client::TxnOpResponse::Get(lane)) => self.find(lane),
            _ => Err(malformed("the lane is missing").into_read_error("")),
        }
    }
}

fn decode(kv: &KeyValue) -> Result<(u64, u8, u32), StoreError> {
    let value: &[u8; 13] = kv.value().try_into().map_err(|_| corrupt())?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, kind, i0, i1, i2, i3] = *value;
    Ok((u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), kind, u32::from_be_bytes([i0, i1, i2, i3])))
}

fn corrupt() -> StoreError {
    StoreError::Corrupt("a lane's value is not a sequence number and an outcome".to_owned())
}
