//! What transactions over several homes have left undecided with homes that are gone for good, and how it is decided without them.
//!
//! First the lost homes are *fenced*: every home that remains notes that they are gone ([`Client::fence`]). From then on nobody finalises anything
//! there that had its record at a lost home, also where that comes back, so that what the promises say stays as it is until it is decided, by
//! whoever goes on after one who dies.
//!
//! Where the record is at a home that remains, it decides, as always; what it has not decided yet, and all of what had its record at a lost home, is
//! decided by the participants that remain:
//!
//! | the remaining participants | decision | |
//! |---|---|---|
//! | one of them never promised, and never will (it is poisoned) | aborted | for certain: it can't have committed |
//! | one of them was undone, or somebody has tried to: its lane tells ([`Trace::Undone`]) | aborted | for certain: that follows a decision |
//! | all promised, or have ended their part already | committed | assumed: it may have been acknowledged; the lost home alone could have refused it |
//!
//! The assumption loses no acknowledged commit. It is wrong where the lost home refused, or never heard of it, and the client could not write that
//! down at any home that remains. A home whose store has forgotten its lanes, as an embedded one does with its process, can't tell that a
//! transaction was undone there.

use super::client::Client;
use super::marks::{
    Participant, Promise, Record, TxnId, all_fences, all_promises, all_records, decode, fence_key, fenced_home,
    owner_of,
};
use super::perform::{DistributedTxn, Trace};
use super::protocol::{Decision, Found, Reply, Request, RequestKind};
use crate::error::{Error, Result};
use crate::store::{
    Commit, Entry, HomeId, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, Store, Write, successor,
};
use crate::topology::HomeNo;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::sleep;

/// A transaction that was decided without a home that is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecidedTxn {
    /// Its number.
    pub txn: TxnId,
    /// Whether it has taken effect at the homes that remain.
    pub committed: bool,
    /// Whether this is only what must be assumed: the homes that remain can't tell whether the lost one had refused it.
    pub assumed: bool,
    /// Keys that it has written, or would have, at the homes that remain, as far as they were not ended before.
    pub keys: usize,
}

/// The homes that are fenced at a home, with the names of their sites.
///
/// # Errors
/// The store's.
pub async fn fenced_at(store: &dyn Store, home: &HomeId) -> Result<BTreeMap<HomeNo, String>> {
    let reads = vec![Read::Range { range: all_fences(), limit: None, reverse: false }];
    let request = ReadRequest { reads, ..ReadRequest::default() };
    let ReadOutcome::Answer(answer) = store.read(home, request).await? else {
        return Err(Error::internal("a read without guards had a conflict"));
    };
    let fences = answer.results.iter().flat_map(|result| &result.entries);
    fences.map(|entry| Ok((fenced_home(&entry.key)?, String::from_utf8_lossy(&entry.value).into_owned()))).collect()
}

impl Client {
    /// Fences the homes of a site that is gone at those that remain, for ever: numbers of homes are not used again.
    ///
    /// # Errors
    /// 08006 where a home that remains can't be reached; it may be done at others by then. Do it again.
    pub async fn fence(&self, lost: &BTreeSet<HomeNo>, site: &str, remaining: &[HomeNo]) -> Result<()> {
        // A client that is alive may yet write down what it has heard.
        sleep(self.patience().recovery_after).await;
        let name = Bytes::copy_from_slice(site.as_bytes());
        for home in remaining {
            let writes = lost.iter().map(|gone| Write::Put(fence_key(*gone), name.clone())).collect();
            self.link(*home)?.commit(Commit { writes, ..Commit::default() }).await?;
        }
        Ok(())
    }

    /// Decides and ends, at the homes that remain, the transactions that lost homes, which are fenced, take part in and that were left
    /// behind: those that are still there after `recovery_after`. Call it again until it finds none.
    ///
    /// # Errors
    /// 08006 where a home that remains can't be reached; what was decided before stays so.
    pub async fn decide_without(&self, lost: &BTreeSet<HomeNo>, remaining: &[HomeNo]) -> Result<Vec<DecidedTxn>> {
        let seen = self.promised_with(lost, remaining).await?;
        if seen.is_empty() {
            return Ok(vec![]);
        }
        // A client that is alive may yet write down what it has heard.
        sleep(self.patience().recovery_after).await;
        let mut decided = vec![];
        for (txn, promise) in self.promised_with(lost, remaining).await? {
            if seen.contains_key(&txn) {
                decided.push(self.decide_one(txn, promise, lost).await?);
            }
        }
        Ok(decided)
    }

    /// Removes the records of decided transactions that lost homes took part in: nobody can end them there any more.
    ///
    /// # Errors
    /// As [`Client::decide_without`].
    pub async fn forget_records_with(&self, lost: &BTreeSet<HomeNo>, remaining: &[HomeNo]) -> Result<()> {
        for home in remaining {
            for entry in self.all_of(*home, all_records()).await? {
                let record: Record = decode(&entry.value)?;
                if record.committed.is_none() || !takes_part(&record.participants, lost) {
                    continue;
                }
                let left = record.participants.into_iter().filter(|participant| !lost.contains(&participant.home));
                let homes = DistributedTxn::new(self, owner_of(&entry.key)?, left.collect()).await?;
                homes.perform(Request { to: 0, kind: RequestKind::Forget }).await?;
            }
        }
        Ok(())
    }

    async fn promised_with(
        &self,
        lost: &BTreeSet<HomeNo>,
        remaining: &[HomeNo],
    ) -> Result<BTreeMap<TxnId, Vec<Participant>>> {
        let mut found = BTreeMap::new();
        for home in remaining {
            for entry in self.all_of(*home, all_promises()).await? {
                let promise: Promise = decode(&entry.value)?;
                if takes_part(&promise.participants, lost) {
                    found.insert(owner_of(&entry.key)?, promise.participants);
                }
            }
        }
        Ok(found)
    }

    async fn decide_one(
        &self,
        txn: TxnId,
        participants: Vec<Participant>,
        lost: &BTreeSet<HomeNo>,
    ) -> Result<DecidedTxn> {
        let keeps_record = participants.first().is_some_and(|first| !lost.contains(&first.home));
        let left: Vec<Participant> =
            participants.into_iter().filter(|participant| !lost.contains(&participant.home)).collect();
        // The first of these has the record, if any of them has.
        let homes = DistributedTxn::new(self, txn, left).await?;
        let mut keys = 0;
        for at in 0..homes.participants.len() {
            keys += homes.promise(at).await?.map_or(0, |promise| promise.written.len());
        }
        let (decision, assumed) = match keeps_record {
            true => by_record(&homes).await?,
            false => by_promises(&homes).await?,
        };
        for to in 0..homes.participants.len() {
            homes.perform(Request { to, kind: RequestKind::Finalise(decision) }).await?;
        }
        Ok(DecidedTxn { txn, committed: decision == Decision::Committed, assumed, keys })
    }

    /// All entries of a range, as they are.
    async fn all_of(&self, home: HomeNo, mut range: KeyRange) -> Result<Vec<Entry>> {
        let link = self.link(home)?;
        let mut found = vec![];
        loop {
            let reads = vec![Read::Range { range: range.clone(), limit: None, reverse: false }];
            let result = link.look(reads, ReadLimits::default()).await?.results.pop().unwrap_or_default();
            found.extend(result.entries);
            match result.more {
                Some(last) => range.from = successor(&last),
                None => return Ok(found),
            }
        }
    }
}

fn takes_part(participants: &[Participant], homes: &BTreeSet<HomeNo>) -> bool {
    participants.iter().any(|participant| homes.contains(&participant.home))
}

/// The decision of a transaction whose record remains, written down there where it was not.
async fn by_record(homes: &DistributedTxn) -> Result<(Decision, bool)> {
    match homes.perform(Request { to: 0, kind: RequestKind::Inquire }).await? {
        Reply::Found(Found::Decided(decision)) => Ok((decision, false)),
        Reply::Found(Found::Staging) => {
            let (decision, assumed) = by_promises(homes).await?;
            match homes.perform(Request { to: 0, kind: RequestKind::Decide(decision) }).await? {
                // Its client, or somebody else, was first.
                Reply::Decided(Some(other)) => Ok((other, assumed && other == decision)),
                _ => Err(Error::serialization_failure()),
            }
        }
        // Where there never was a record, there is no commit; where it is gone, everything has ended, and this changes nothing.
        _ => Ok((Decision::Aborted, false)),
    }
}

/// What the participants that remain come to; no promise that is missing is ever given afterwards.
async fn by_promises(homes: &DistributedTxn) -> Result<(Decision, bool)> {
    let mut aborted = false;
    for at in 0..homes.participants.len() {
        aborted |= matches!(homes.trace(at).await?, Trace::Refused | Trace::Undone);
    }
    Ok(if aborted { (Decision::Aborted, false) } else { (Decision::Committed, true) })
}
