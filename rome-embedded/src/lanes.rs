//! Lanes, kept in memory: every client of this store lives in its process, so that whoever could send a commit again is gone when the
//! store is. A commit whose outcome is a conflict therefore writes nothing at all.

use rome_core::store::rules::{self, Admission};
use rome_core::store::{CommitOutcome, HomeId, LaneTicket, StoreError};
use std::collections::HashMap;

type Lane = (HomeId, u128, u32);

/// The last sequence of each lane and its outcome.
#[derive(Default)]
pub(crate) struct Lanes {
    /// `None` where the file failed before the outcome was known.
    known: HashMap<Lane, (u64, Option<CommitOutcome>)>,
    /// Of the batch at hand.
    pending: HashMap<Lane, (u64, CommitOutcome)>,
}

impl Lanes {
    /// The outcome of a commit that was sent before; `None` where it is to run.
    pub fn settled(&self, home: &HomeId, ticket: Option<LaneTicket>) -> Result<Option<CommitOutcome>, StoreError> {
        let Some(ticket) = ticket else { return Ok(None) };
        let lane = lane(home, ticket);
        let stored = match (self.pending.get(&lane), self.known.get(&lane)) {
            (Some(pending), _) => Some(*pending),
            (None, Some((sequence, None))) if *sequence == ticket.sequence => {
                let reason = "the file failed while this commit was being written".into();
                return Err(StoreError::Undetermined { address: "the embedded store".into(), reason });
            }
            // The outcome is not asked for: any does.
            (None, Some((sequence, None))) => Some((*sequence, CommitOutcome::Committed { version: 0 })),
            (None, Some((sequence, Some(outcome)))) => Some((*sequence, *outcome)),
            (None, None) => None,
        };
        match rules::admit(stored, ticket.sequence) {
            Admission::Repeat(outcome) => Ok(Some(outcome)),
            Admission::Closed => Err(StoreError::LaneClosed),
            Admission::Run => Ok(None),
        }
    }

    /// Notes the outcome of a commit that ran in this batch.
    pub fn settle(&mut self, home: &HomeId, ticket: Option<LaneTicket>, outcome: CommitOutcome) {
        if let Some(ticket) = ticket {
            self.pending.insert(lane(home, ticket), (ticket.sequence, outcome));
        }
    }

    /// The batch is in the file.
    pub fn keep(&mut self) {
        let kept = self.pending.drain().map(|(lane, (sequence, outcome))| (lane, (sequence, Some(outcome))));
        self.known.extend(kept);
    }

    /// Nothing of the batch is in the file.
    pub fn forget(&mut self) {
        self.pending.clear();
    }

    /// Nobody knows whether the batch is in the file.
    pub fn lose(&mut self) {
        let lost = self.pending.drain().map(|(lane, (sequence, _))| (lane, (sequence, None)));
        self.known.extend(lost);
    }
}

fn lane(home: &HomeId, ticket: LaneTicket) -> Lane {
    (home.clone(), ticket.client, ticket.lane)
}
