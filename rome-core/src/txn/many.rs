//! The commit of a transaction over several homes: the client's side, driving [`super::protocol`].

use super::alone::{entries, out_of_bounds, passes_in_the_end, too_many_guards};
use super::buffer::Pending;
use super::changes::Streams;
use super::client::{Client, Link};
use super::guards::Guards;
use super::held::{KnownRanges, Met, guards_against_marks, marks_for};
use super::lanes::Lane;
use super::marks::{Blob, Participant, Record, WriteMark, encode, encode_write_mark, promise_key, record_key};
use super::part::{Part, Remember};
use super::perform::{Content, DistributedTxn, Written};
use super::protocol::{Coordinator, Decision, Found, Promise, Recovery, Reply, Request, RequestKind, Step};
use crate::error::{Error, Result, SqlState};
use crate::store::rules;
use crate::store::{Commit, CommitOutcome, Durability, Entry, Guard, Key, Read, ReadLimits, StoreError, Write};
use futures::StreamExt;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The first pause before a request is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What one home is to prepare.
struct Asked {
    link: Arc<Link>,
    commit: Commit,
    /// Guard 0 stands for the transaction itself; these for the next ones.
    relied: Guards,
    expected: Vec<Guard>,
    against: Vec<Met>,
    written: Vec<Key>,
}

/// Why a transaction could not be prepared.
enum Refusal {
    /// The guard of this index at this participant.
    Guard(usize, usize),
    Error(Error),
    /// It is not known whether a participant has prepared.
    Unknown(Error),
}

/// A transaction on its way.
struct Sent {
    client: Arc<Client>,
    homes: DistributedTxn,
    asked: Vec<Asked>,
    refusal: Mutex<Option<Refusal>>,
    /// A lane was closed at its home: all of this client's may be, after a failover.
    lane_closed: AtomicBool,
}

/// Commits over several homes: one round trip to all of them in parallel until the answer.
///
/// # Errors
/// As [`super::Txn::commit`].
pub(super) async fn commit_many(client: &Arc<Client>, mut parts: Vec<Part>, streams: &Streams) -> Result<()> {
    learn_old_values(client, &mut parts).await?;
    // The record is kept at the local home, or where something is written.
    let local = client.local();
    parts.sort_by_key(|part| (part.link.no != local, part.writes.is_empty(), part.link.no));
    for part in &parts {
        check_durability(client, &part.link)?;
    }
    let acquired = parts.iter().map(|part| async {
        part.link.lanes().acquire(part.link.store(), part.link.home()).await.map_err(|error| part.link.described(error))
    });
    let lanes = try_join_all(acquired).await?;
    let participants: Vec<Participant> =
        parts.iter().zip(&lanes).map(|(part, lane)| Participant::new(&part.link, lane.ticket())).collect();
    let mut homes = DistributedTxn::new(client, client.new_transaction(), participants).await?;
    let mut asked = Vec::with_capacity(parts.len());
    for (number, part) in parts.into_iter().enumerate() {
        let (content, prepare) = prepared(part, number, &homes, streams)?;
        if let Some(slot) = homes.contents.get_mut(number) {
            *slot = Some(content);
        }
        asked.push(prepare);
    }
    let sent = Arc::new(Sent {
        client: Arc::clone(client),
        homes,
        asked,
        refusal: Mutex::new(None),
        lane_closed: AtomicBool::new(false),
    });
    let (tell, told) = oneshot::channel();
    // In a task of its own: whoever stops waiting leaves no marks behind.
    let (running, unended) = (Arc::clone(&sent).run(lanes, tell), client.unended().begin());
    tokio::spawn(async move {
        running.await;
        drop(unended);
    });
    match told.await {
        Ok(result) => result,
        Err(_) => Err(undetermined(&sent.homes, "the commit was cut short")),
    }
}

fn check_durability(client: &Client, link: &Link) -> Result<()> {
    let capabilities = link.store().capabilities();
    if capabilities.durability != Durability::Async || client.patience().allow_torn_on_failover {
        return Ok(());
    }
    let message = format!(
        "a transaction over several homes needs a durable promise, and {} keeps commits only asynchronously",
        capabilities.engine
    );
    Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint(
        "Make the store flush or replicate each commit, or set allow_torn_on_failover to accept that a failover may tear such transactions.",
    ))
}

/// Marks keep what they replace, so that anybody can undo them: reads the old values that this transaction has not seen.
async fn learn_old_values(client: &Client, parts: &mut [Part]) -> Result<()> {
    let remember = Remember { nothing_at_snapshots: false, available: false };
    let reads = parts.iter_mut().map(|part| async move {
        let absent = part.guards.absent();
        let unknown = part.writes.all().filter(|(key, _)| part.old_value(key, &absent).is_none());
        let reads: Vec<Read> = unknown.map(|(key, _)| Read::Point(key.clone())).collect();
        if !reads.is_empty() {
            for entry in part
                .fetch(client, reads, ReadLimits::default(), remember)
                .await?
                .into_iter()
                .flat_map(|result| result.entries)
            {
                let Entry { key, value, .. } = entry;
                part.replaces(&key, value);
            }
        }
        // What was not there needs no removal; that it stays so is guarded.
        let gone = |(key, new): &(&Key, &Pending)| new.is_none() && part.old_value(key, &absent) == Some(None);
        let idle: Vec<Key> = part.writes.all().filter(gone).map(|(key, _)| key.clone()).collect();
        idle.into_iter().for_each(|key| part.writes.forget(key));
        Ok::<_, Error>(())
    });
    try_join_all(reads).await.map(|_| ())
}

/// What a home is to prepare, as its commit.
fn prepared(part: Part, number: usize, homes: &DistributedTxn, streams: &Streams) -> Result<(Content, Asked)> {
    let txn = homes.txn;
    let capabilities = part.link.store().capabilities();
    let absent = part.guards.absent();
    let mut content = Content::default();
    let mut writes = Vec::new();
    for (key, new) in part.writes.all() {
        // Never taken for nothing: to undo it would be to remove it.
        let old = part.old_value(key, &absent).ok_or_else(|| Error::internal("what a key held was not learnt"))?;
        let mark = WriteMark { txn, old: old.clone().map(Blob), new: new.clone().map(Blob) };
        writes.push(Write::Put(key.clone(), encode_write_mark(&mark)?));
        let stream = streams.of(key).cloned();
        content.written.push(Written { key: key.clone(), old, new: new.clone(), stream });
    }
    let room = (capabilities.max_writes / 2).saturating_sub(part.writes.len()).max(1);
    let kept = content.written.iter().map(|Written { key, old, new, .. }| (key, old.is_some() && new.is_some()));
    let marks = marks_for(txn, part.guards.holds(room).into_iter(), kept)?;
    content.marks = marks.iter().map(|write| write.key().clone()).collect();
    // What is prepared must be possible to end.
    rules::check_commit(&content.end(txn, Decision::Committed)?, capabilities)?;
    writes.extend(marks);
    writes.push(Write::Put(promise_key(txn), encode(&content.promise(&homes.participants))?));
    if number == 0 {
        let record = Record { committed: None, participants: homes.participants.clone() };
        writes.push(Write::Put(record_key(txn), encode(&record)?));
    }
    let present = part.guards.present();
    let against = guards_against_marks(part.writes.all(), &present, true, &KnownRanges::new());
    let room = capabilities.max_guards.saturating_sub(against.len() + 1);
    let most = part.most_guards().min(room);
    let mut relied = part.guards.of_commit(part.newest, most);
    if relied.guards.len() > room {
        return Err(too_many_guards(relied.guards.len() + against.len() + 1, capabilities.max_guards));
    }
    let expected = relied.take();
    // A transaction prepares once; and a refusal by this guard is known to be no other's.
    let mut guards = vec![Guard::Absent(promise_key(txn))];
    guards.extend(expected.iter().cloned());
    let (against_guards, against) = against.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    guards.extend(against_guards);
    let ticket = homes.participants.get(number).map(Participant::ticket);
    let commit = Commit { guards, writes, ticket, epoch: part.epoch, ..Commit::default() };
    let written = content.written.iter().map(|written| written.key.clone()).collect();
    Ok((content, Asked { link: part.link, commit, relied, expected, against, written }))
}

type Answered = (Request, Result<Reply>);

impl Sent {
    /// Drives the transaction to its end; tells its outcome as soon as that is known.
    async fn run(self: Arc<Self>, lanes: Vec<Lane>, tell: oneshot::Sender<Result<()>>) {
        let mut lanes = lanes;
        let mut tell = Some(tell);
        let ended = self.drive(&mut tell).await;
        let ended = match ended {
            Ok(()) => Ok(()),
            Err(problem) => self.recover(problem, &mut tell).await,
        };
        if ended.is_err() || self.lane_closed.load(Ordering::Relaxed) {
            // Somebody else will end it, and must find its prepares in their lanes; or they are of no use any more.
            lanes.iter_mut().for_each(Lane::close);
        }
    }

    async fn drive(self: &Arc<Self>, tell: &mut Option<oneshot::Sender<Result<()>>>) -> Result<()> {
        let deadline = Instant::now() + self.client.patience().ending;
        let (mut coordinator, steps) = Coordinator::begin(self.homes.participants.len());
        let mut waiting: FuturesUnordered<BoxFuture<'_, Answered>> = FuturesUnordered::new();
        let mut todo = steps;
        loop {
            for step in todo.drain(..) {
                match step {
                    Step::Send(request) => waiting.push(Box::pin(self.send(request, deadline))),
                    Step::Acknowledge(Decision::Committed) => {
                        tell.take().map(|tell| tell.send(Ok(())));
                    }
                    // Why is told below, where marks that were in the way may be waited for.
                    Step::Acknowledge(Decision::Aborted) => {
                        if let Some(tell) = tell.take() {
                            let sent = Arc::clone(self);
                            tokio::spawn(async move { tell.send(Err(sent.why_refused().await)) });
                        }
                    }
                    Step::Finish => return Ok(()),
                }
            }
            let Some((request, reply)) = waiting.next().await else {
                return Err(Error::internal("a commit over several homes has nothing left to wait for"));
            };
            todo = coordinator.on(request.to, request.kind, reply?);
        }
    }

    /// Sends a request until it is answered.
    async fn send(&self, request: Request, deadline: Instant) -> Answered {
        let reply = match request.kind {
            RequestKind::Prepare => self.prepare(request.to).await,
            _ => persistently(&self.homes, request, deadline).await,
        };
        (request, reply)
    }

    async fn prepare(&self, number: usize) -> Result<Reply> {
        let Some(asked) = self.asked.get(number) else {
            return Err(Error::internal("a transaction has no such participant"));
        };
        let refused = |refusal| {
            self.refusal.lock().get_or_insert(refusal);
            Ok(Reply::Promise(Promise::Refused))
        };
        match asked.link.store().commit(asked.link.home(), asked.commit.clone()).await {
            Ok(CommitOutcome::Committed { .. }) => Ok(Reply::Promise(Promise::Given)),
            Ok(CommitOutcome::Conflict { guard }) => refused(Refusal::Guard(number, guard)),
            Ok(CommitOutcome::OutOfBounds { .. }) => refused(Refusal::Error(out_of_bounds())),
            Err(error @ StoreError::Undetermined { .. }) => {
                let error = asked.link.described(error);
                self.refusal.lock().get_or_insert(Refusal::Unknown(error.clone()));
                Err(error)
            }
            Err(error @ StoreError::LaneClosed) => {
                self.lane_closed.store(true, Ordering::Relaxed);
                refused(Refusal::Error(asked.link.described(error)))
            }
            // Nothing was written, and nothing will be.
            Err(error) => refused(Refusal::Error(asked.link.described(error))),
        }
    }

    /// The error that tells the application why.
    async fn why_refused(&self) -> Error {
        let refusal = self.refusal.lock().take();
        match refusal {
            None => Error::serialization_failure(),
            Some(Refusal::Error(error)) => error,
            // It is known by now.
            Some(Refusal::Unknown(error)) => match error.detail() {
                Some(site) => Error::serialization_failure().with_detail(site),
                None => Error::serialization_failure(),
            },
            Some(Refusal::Guard(number, guard)) => match self.why_guarded(number, guard).await {
                Ok(error) => error,
                Err(_) => Error::serialization_failure(),
            },
        }
    }

    async fn why_guarded(&self, number: usize, guard: usize) -> Result<Error> {
        let lost = Error::serialization_failure;
        let Some((asked, guard)) = self.asked.get(number).zip(guard.checked_sub(1)) else { return Ok(lost()) };
        if let Some(expected) = asked.expected.get(guard) {
            return Ok(match asked.relied.expectation(guard) {
                None => asked.relied.failure(guard),
                Some(error) => match passes_in_the_end(&self.client, &asked.link, expected).await? {
                    true => lost(),
                    false => error.clone(),
                },
            });
        }
        // Another transaction's mark: when that one has ended, this one has a chance.
        let Some(met) = asked.against.get(guard - asked.expected.len()) else { return Ok(lost()) };
        let (marks, _) = entries(&asked.link, met.range()).await?;
        // The prepare was refused for any interval at all in its table: one that covers nothing of it has to go, too.
        let other = match met.in_the_way(&marks, asked.written.iter())? {
            Some(other) => Some(other),
            None => met.owner_of_any(&marks)?,
        };
        if let Some(other) = other {
            self.client.settle(&asked.link, other).await?;
        }
        Ok(lost())
    }

    /// Learns what became of a transaction that a participant has left in the dark, and ends it.
    async fn recover(&self, problem: Error, tell: &mut Option<oneshot::Sender<Result<()>>>) -> Result<()> {
        if tell.is_none() {
            // Its outcome was told; what is left of it is anybody's to clear away.
            tracing::debug!(txn = %self.homes.txn, %problem, "a transaction over several homes was left to be recovered");
            return Err(problem);
        }
        let begun = Instant::now();
        let (decided, first) = end_knowing(&self.homes, true, begun).await;
        let told = match (decided, &first) {
            // Also where a home could not be told.
            (Some(Decision::Committed), _) => Ok(()),
            (Some(Decision::Aborted), _) => Err(self.why_refused().await),
            (None, Ok(())) => Err(undetermined(&self.homes, "Others have ended it, too long ago to know how.")),
            (None, Err(error)) => Err(undetermined(&self.homes, error.detail().unwrap_or(error.message()))),
        };
        tell.take().map(|tell| tell.send(told));
        match first {
            Ok(()) => Ok(()),
            Err(_) => end(&self.homes, true, begun + self.client.patience().ending).await.map(|_| ()),
        }
    }
}

/// Ends a transaction, whatever state it is in; tells how it was decided, where that can still be known.
/// Whether it `forgets` the record: see [`Recovery::begin`]. Requests that fail are repeated until the deadline.
///
/// # Errors
/// Those of the first request that could not be made.
pub(super) async fn end(homes: &DistributedTxn, forgets: bool, deadline: Instant) -> Result<Option<Decision>> {
    let (decided, ended) = end_knowing(homes, forgets, deadline).await;
    ended.map(|()| decided)
}

/// The same: how it was decided, as far as that is known although it may not have been possible to end it everywhere.
async fn end_knowing(homes: &DistributedTxn, forgets: bool, deadline: Instant) -> (Option<Decision>, Result<()>) {
    let (mut recovery, mut todo) = Recovery::begin(homes.participants.len(), forgets);
    let mut waiting: FuturesUnordered<BoxFuture<'_, Answered>> = FuturesUnordered::new();
    let (mut decided, mut failure) = (None, None);
    loop {
        for step in todo.drain(..) {
            match step {
                Step::Send(request) => {
                    waiting.push(Box::pin(async move { (request, persistently(homes, request, deadline).await) }));
                }
                Step::Acknowledge(_) => {}
                Step::Finish => return (decided, Ok(())),
            }
        }
        let Some((request, reply)) = waiting.next().await else {
            let nothing = || Error::internal("a recovery has nothing left to wait for");
            return (decided, Err(failure.unwrap_or_else(nothing)));
        };
        let reply = match reply {
            Ok(reply) => reply,
            // Where homes can be reached their marks go nevertheless.
            Err(error) => {
                failure.get_or_insert(error);
                continue;
            }
        };
        match reply {
            Reply::Decided(Some(decision)) | Reply::Found(Found::Decided(decision)) => decided = Some(decision),
            Reply::Found(Found::Nothing) => decided = Some(Decision::Aborted),
            Reply::Found(Found::Forgotten) => {
                if let Err(error) = homes.end_half_restored().await {
                    return (decided, Err(error));
                }
            }
            _ => {}
        }
        todo = recovery.on(request.to, request.kind, reply);
    }
}

/// Makes a request again and again until it is answered or the deadline has passed.
async fn persistently(homes: &DistributedTxn, request: Request, deadline: Instant) -> Result<Reply> {
    let mut pause = FIRST_PAUSE;
    loop {
        match homes.perform(request).await {
            Ok(reply) => return Ok(reply),
            Err(error) if Instant::now() + pause > deadline => return Err(error),
            Err(_) => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn undetermined(homes: &DistributedTxn, what: &str) -> Error {
    let message = format!("it is not known whether transaction {} has committed", homes.txn);
    Error::new(SqlState::TRANSACTION_RESOLUTION_UNKNOWN, message)
        .with_detail(what)
        .with_hint("It is decided as soon as all of its homes can be reached: read before repeating it.")
}
