//! What [`super::protocol`] asks of homes, as commits and reads of their stores.

use super::changes::events;
use super::client::{Client, Link};
use super::marks::write_mark;
use super::marks::{Blob, Participant, Promise, Record, TxnId, decode, encode, never_key, promise_key, record_key};
use super::protocol::{Decision, Found, Promise as Answer, Reply, Request, RequestKind};
use crate::error::{Error, Result, SqlState};
use crate::store::{Commit, CommitOutcome, Entry, Guard, Key, Read, ReadLimits, StoreError, Version, Write};
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

/// What became of a prepare, by its lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Prepare {
    /// It took effect.
    Done,
    /// It did not and will not.
    Refused,
    /// One of both: its client has used the lane for something else since.
    Past,
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
                let given = match self.prepare_of(request.to).await? {
                    // Also where the promise has gone: what was decided is not written down any more, if the record's home was restored.
                    Prepare::Done => true,
                    Prepare::Refused => false,
                    Prepare::Past => self.promise(request.to).await?.is_some(),
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
        Ok(self.prepare_of(participant).await? != Prepare::Refused)
    }

    /// What became of a prepare; one that has not come is refused from now on.
    async fn prepare_of(&self, participant: usize) -> Result<Prepare> {
        let (link, at) = self.at(participant)?;
        let commit =
            Commit { guards: vec![Guard::Present(never_key())], ticket: Some(at.ticket()), ..Commit::default() };
        match link.store().commit(link.home(), commit).await {
            Ok(CommitOutcome::Committed { .. }) => Ok(Prepare::Done),
            Ok(CommitOutcome::Conflict { .. } | CommitOutcome::OutOfBounds { .. }) => Ok(Prepare::Refused),
            Err(StoreError::LaneClosed) => Ok(Prepare::Past),
            Err(error) => Err(link.described(error)),
        }
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
        let (link, _) = self.at(participant)?;
        loop {
            if let Some(content) = self.content(participant).await? {
                let mut commit = content.end(self.txn, decision)?;
                commit.guards.push(Guard::Present(promise_key(self.txn)));
                if let CommitOutcome::Committed { .. } = link.commit(commit).await? {
                    return Ok(());
                }
            }
            // Somebody else has done it; or it was never prepared, and must stay so.
            let over = decision == Decision::Committed || !self.poison(participant).await?;
            if over || self.promise(participant).await?.is_none() {
                return Ok(());
            }
        }
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
                None => all_prepared &= self.prepare_of(number).await? == Prepare::Done,
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
