//! What [`super::protocol`] asks of homes, as commits and reads of their stores.

use super::changes::events;
use super::client::{Client, Link};
use super::marks::write_mark;
use super::marks::{
    Blob, Participant, Promise, Record, TxnId, decode, encode, fence_key, never_key, promise_key, record_key,
};
use super::protocol::{Decision, Found, Promise as Answer, Reply, Request, RequestKind};
use crate::error::{Error, Result, SqlState};
use crate::store::{
    Commit, CommitOutcome, Entry, Guard, Key, LaneTicket, Read, ReadLimits, StoreError, Version, Write,
};
use bytes::Bytes;
use futures::future::try_join_all;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A key that a home has prepared, or is to prepare.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) key: Key,
    pub(super) old: Option<Bytes>,
    pub(super) new: Option<Bytes>,
    /// The stream that tells of it.
    pub(super) stream: Option<Bytes>,
}

/// What a home has prepared, or is to prepare: keys with their old and new values, and keys of marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) written: Vec<Written>,
    pub(super) marks: Vec<Key>,
}

impl Content {
    /// What its promise says of it.
    pub(super) fn promise(&self, participants: &[Participant]) -> Promise {
        let mut streams: BTreeMap<&Bytes, Vec<u32>> = BTreeMap::new();
        for (at, written) in (0..).zip(&self.written) {
            if let Some(stream) = &written.stream {
                streams.entry(stream).or_default().push(at);
            }
        }
        Promise {
            participants: participants.to_vec(),
            written: self.written.iter().map(|written| Blob(written.key.clone())).collect(),
            marks: self.marks.iter().cloned().map(Blob).collect(),
            streams: streams.into_iter().map(|(stream, written)| (Blob(stream.clone()), written)).collect(),
        }
    }

    /// What ends it, without guards: values in place of marks, and the events that tell of them.
    ///
    /// # Errors
    /// XX000 where an event can't be encoded.
    pub(super) fn end(&self, txn: TxnId, decision: Decision) -> Result<Commit> {
        let committed = decision == Decision::Committed;
        let written =
            self.written.iter().map(|Written { key, old, new, .. }| match if committed { new } else { old } {
                Some(value) => Write::Put(key.clone(), value.clone()),
                None => Write::Delete(key.clone()),
            });
        let marks = self.marks.iter().cloned().chain([promise_key(txn)]).map(Write::Delete);
        let told = self.written.iter().map(|Written { key, old, new, stream }| {
            let now = if committed { new } else { old };
            (stream.as_ref(), key, old.as_ref(), now.as_ref())
        });
        Ok(Commit { writes: written.chain(marks).collect(), changes: events(told)?, ..Commit::default() })
    }
}

/// What a home's lane says of a participant whose promise is not there, or not there any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trace {
    /// It had prepared, and was not undone.
    Prepared,
    /// It never will.
    Refused,
    /// Somebody has undone it, or has seen to it that it is never prepared.
    Undone,
    /// The home knows nothing of it any more.
    Unknown,
}

/// A transaction over several homes, as anybody who ends it knows it.
#[derive(Debug)]
pub(super) struct DistributedTxn {
    pub(super) txn: TxnId,
    pub(super) participants: Vec<Participant>,
    links: Vec<Arc<Link>>,
    /// What its client knows without asking, by participant.
    pub(super) contents: Vec<Option<Content>>,
}

impl DistributedTxn {
    /// The homes of a transaction.
    ///
    /// # Errors
    /// Where a home is neither known to this client nor at a site that it knows how to reach.
    pub(super) async fn new(client: &Client, txn: TxnId, participants: Vec<Participant>) -> Result<Self> {
        let links = try_join_all(participants.iter().map(|participant| client.link_of(participant))).await?;
        let contents = vec![None; participants.len()];
        Ok(Self { txn, participants, links, contents })
    }

    fn at(&self, participant: usize) -> Result<(&Arc<Link>, &Participant)> {
        let pair = self.links.get(participant).zip(self.participants.get(participant));
        pair.ok_or_else(|| Error::internal("a transaction has no such participant"))
    }

    /// Does what is asked, except preparing, and gives the reply.
    ///
    /// # Errors
    /// The store's: ask again.
    pub(super) async fn perform(&self, request: Request) -> Result<Reply> {
        match request.kind {
            RequestKind::Prepare => Err(Error::internal("only a transaction's client prepares it")),
            RequestKind::Inquire => self.inquire().await.map(Reply::Found),
            RequestKind::Poison => {
                let given = match self.trace(request.to).await? {
                    Trace::Refused | Trace::Undone => false,
                    // What has come to its end there without being undone was committed: where the record does not know, its home was restored. And
                    // where the record is gone for good, this one decides nothing any more.
                    trace => match self.stands(request.to).await? {
                        (true, _) => true,
                        (false, true) => return Err(self.record_is_gone()),
                        // Asked once more, since it may have been undone after it was asked.
                        (false, false) => trace == Trace::Prepared && self.trace(request.to).await? == Trace::Prepared,
                    },
                };
                Ok(Reply::Promise(if given { Answer::Given } else { Answer::Refused }))
            }
            RequestKind::Decide(decision) => self.decide(decision).await.map(Reply::Decided),
            RequestKind::Finalise(decision) => self.finalise(request.to, decision).await.map(|()| Reply::Done),
            RequestKind::Forget => self.forget().await.map(|()| Reply::Done),
        }
    }

    /// Takes the place of the prepare in its lane, unless it was there first; whether the prepare may have taken effect.
    pub(super) async fn poison(&self, participant: usize) -> Result<bool> {
        let (link, at) = self.at(participant)?;
        // Where the lane is past it, it was undone, or its client uses the lane for something else by now.
        Ok(ask_lane(link, at.ticket()).await?.unwrap_or(true))
    }

    /// What the lane of a participant says of it; poisons it where it has not prepared.
    pub(super) async fn trace(&self, participant: usize) -> Result<Trace> {
        let (link, at) = self.at(participant)?;
        Ok(match ask_lane(link, at.ticket()).await? {
            Some(true) => Trace::Prepared,
            Some(false) => Trace::Refused,
            // A number is reached only by what undoes, and by what comes after the transaction's end: nothing is asked here that could be first.
            None => match ask_lane(link, at.undoing()).await? {
                Some(_) => Trace::Undone,
                None => Trace::Unknown,
            },
        })
    }

    async fn inquire(&self) -> Result<Found> {
        let mut poisoned = false;
        loop {
            if let Some((_, record)) = self.record().await? {
                return Ok(record.decision().map_or(Found::Staging, Found::Decided));
            }
            if poisoned {
                return Ok(Found::Forgotten);
            }
            // Prepared after we looked, or long ago: look again.
            poisoned = self.poison(0).await?;
            if !poisoned {
                return Ok(Found::Nothing);
            }
        }
    }

    async fn decide(&self, decision: Decision) -> Result<Option<Decision>> {
        let (link, _) = self.at(0)?;
        loop {
            let Some((version, record)) = self.record().await? else {
                if decision == Decision::Committed || !self.poison(0).await? || self.record().await?.is_none() {
                    return Ok(None);
                }
                continue;
            };
            if let Some(decided) = record.decision() {
                return Ok(Some(decided));
            }
            let key = record_key(self.txn);
            let decided = Record { committed: Some(decision == Decision::Committed), ..record };
            let Some(content) = self.content(0).await? else { continue };
            let mut commit = content.end(self.txn, decision)?;
            commit.writes.push(Write::Put(key.clone(), encode(&decided)?));
            commit.guards.push(Guard::Version { key, version });
            if let CommitOutcome::Committed { .. } = link.commit(commit).await? {
                return Ok(Some(decision));
            }
        }
    }

    async fn finalise(&self, participant: usize, decision: Decision) -> Result<()> {
        let (link, at) = self.at(participant)?;
        // So that others who come late know, too.
        let mut undoing = (decision == Decision::Aborted).then(|| at.undoing());
        loop {
            if let Some(content) = self.content(participant).await? {
                let mut commit = content.end(self.txn, decision)?;
                commit.guards.push(Guard::Present(promise_key(self.txn)));
                commit.guards.extend(self.fence(participant).map(Guard::Absent));
                let outcome = match undoing.take() {
                    Some(ticket) => {
                        let undone = link.store().commit(link.home(), Commit { ticket: Some(ticket), ..commit }).await;
                        match undone {
                            Err(StoreError::LaneClosed) => continue,
                            undone => undone.map_err(|error| link.described(error))?,
                        }
                    }
                    None => link.commit(commit).await?,
                };
                if let CommitOutcome::Committed { .. } = outcome {
                    return Ok(());
                }
            }
            // Somebody else has done it; or it was never prepared, and must stay so.
            if decision == Decision::Aborted && !self.poison(participant).await? {
                return Ok(());
            }
            match self.stands(participant).await? {
                (false, _) => return Ok(()),
                (true, true) => return Err(self.record_is_gone()),
                (true, false) => {}
            }
        }
    }

    /// What says at a participant that the record's home is gone for good. The record itself needs none.
    fn fence(&self, participant: usize) -> Option<Key> {
        self.participants.first().filter(|_| participant > 0).map(|record| fence_key(record.home))
    }

    /// Whether a participant has a promise, and whether the record's home is fenced there.
    async fn stands(&self, participant: usize) -> Result<(bool, bool)> {
        let (link, _) = self.at(participant)?;
        let promised = promise_key(self.txn);
        let found = points(link, [promised.clone()].into_iter().chain(self.fence(participant)).collect()).await?;
        let fenced = found.iter().any(|entry| entry.key != promised);
        Ok((found.iter().any(|entry| entry.key == promised), fenced))
    }

    /// SQLSTATE 55000.
    fn record_is_gone(&self) -> Error {
        let site = self.participants.first().map_or("", |record| record.site.as_str());
        Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "site \"{site}\", which was to decide transaction {}, was forgotten, or is being forgotten",
                self.txn
            ),
        )
        .with_hint("Repeat the command that forgets the site, as a client of another one.")
    }

    async fn forget(&self) -> Result<()> {
        let (link, _) = self.at(0)?;
        let key = record_key(self.txn);
        let commit =
            Commit { guards: vec![Guard::Present(key.clone())], writes: vec![Write::Delete(key)], ..Commit::default() };
        link.commit(commit).await.map(|_| ())
    }

    /// The record, where there is one, with its version.
    async fn record(&self) -> Result<Option<(Version, Record)>> {
        let (link, _) = self.at(0)?;
        let found = points(link, vec![record_key(self.txn)]).await?.into_iter().next();
        found.map(|entry| Ok((entry.version, decode(&entry.value)?))).transpose()
    }

    pub(super) async fn promise(&self, participant: usize) -> Result<Option<Promise>> {
        let (link, _) = self.at(participant)?;
        promise(link, self.txn).await
    }

    /// Ends a transaction whose record is forgotten where a home has prepared it nevertheless, and says so. Records go last, so that this is a home which
    /// was restored from a backup, or has lost commits. What all have prepared was committed; where lanes have moved on nobody knows that any more,
    /// and its part there is undone.
    ///
    /// # Errors
    /// The stores'.
    pub(super) async fn end_half_restored(&self) -> Result<()> {
        let (mut left, mut all_prepared) = (vec![], true);
        for number in 0..self.links.len() {
            match self.promise(number).await? {
                Some(promise) => left.push((number, promise.written.len())),
                None => all_prepared &= self.trace(number).await? == Trace::Prepared,
            }
        }
        let decision = if all_prepared { Decision::Committed } else { Decision::Aborted };
        for (number, keys) in left {
            let (txn, site) = (self.txn, self.at(number)?.0.site());
            tracing::warn!(%txn, site, keys, ?decision, "a restored home had prepared a transaction that is over: its part there is ended so");
            self.finalise(number, decision).await?;
        }
        Ok(())
    }

    /// What a participant has prepared; `None` where it has not, or no more.
    async fn content(&self, participant: usize) -> Result<Option<Content>> {
        if let Some(Some(known)) = self.contents.get(participant) {
            return Ok(Some(known.clone()));
        }
        let Some(promise) = self.promise(participant).await? else { return Ok(None) };
        let (link, _) = self.at(participant)?;
        let keys: Vec<Key> = promise.written.into_iter().map(|key| key.0).collect();
        let count = keys.len();
        let mut streams: HashMap<Key, Bytes> = HashMap::new();
        for (stream, written) in &promise.streams {
            let keys = written.iter().filter_map(|at| keys.get(usize::try_from(*at).ok()?));
            streams.extend(keys.map(|key| (key.clone(), stream.0.clone())));
        }
        let mut content = Content { marks: promise.marks.into_iter().map(|key| key.0).collect(), ..Content::default() };
        for entry in points(link, keys).await? {
            if let Some(mark) = write_mark(&entry.value)?.filter(|mark| mark.txn == self.txn) {
                let (old, new) = (mark.old.map(|old| old.0), mark.new.map(|new| new.0));
                let stream = streams.remove(&entry.key);
                content.written.push(Written { key: entry.key, old, new, stream });
            }
        }
        if content.written.len() == count {
            return Ok(Some(content));
        }
        // Ended between the two reads, or somebody has written over its marks.
        match self.promise(participant).await? {
            None => Ok(None),
            Some(_) => {
                let message = format!("transaction {} has lost a mark at one of its homes", self.txn);
                Err(Error::new(SqlState::DATA_CORRUPTED, message))
            }
        }
    }
}

/// Sends an empty commit that changes nothing: whether the commit with this ticket took effect; `None` where the lane is past it, or unknown.
async fn ask_lane(link: &Link, ticket: LaneTicket) -> Result<Option<bool>> {
    let commit = Commit { guards: vec![Guard::Present(never_key())], ticket: Some(ticket), ..Commit::default() };
    match link.store().commit(link.home(), commit).await {
        Ok(CommitOutcome::Committed { .. }) => Ok(Some(true)),
        Ok(CommitOutcome::Conflict { .. } | CommitOutcome::OutOfBounds { .. }) => Ok(Some(false)),
        Err(StoreError::LaneClosed) => Ok(None),
        Err(error) => Err(link.described(error)),
    }
}

/// A home's promise, where it has one.
pub(super) async fn promise(link: &Link, txn: TxnId) -> Result<Option<Promise>> {
    let found = points(link, vec![promise_key(txn)]).await?.into_iter().next();
    found.map(|entry| decode(&entry.value)).transpose()
}

/// What these keys hold, those that exist.
async fn points(link: &Link, keys: Vec<Key>) -> Result<Vec<Entry>> {
    let reads = keys.into_iter().map(Read::Point).collect();
    let answer = link.look(reads, ReadLimits::default()).await?;
    Ok(answer.results.into_iter().flat_map(|result| result.entries).collect())
}
