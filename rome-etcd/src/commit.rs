//! Commits: one transaction, sent again with the same ticket while its reply is lost.
//!
//! Writes become operations so: a put is a put; a delete is a delete and the put of a tombstone, for range guards; an
//! addition is the put of a sum (see [`counter`](crate::counter)); a change is a put of its stream's key, which
//! watchers see; and the outcome goes to the lane. [`tree`](crate::tree) makes one transaction of it all. Its revision
//! is the version of everything that it wrote.
//!
//! A commit that goes through takes one RPC. A conflict takes a second one to find out which guard it was, where there
//! are several.

use crate::connection::{Connection, Resend};
use crate::counter::{Counters, HeldCounters, Sums};
use crate::errors::{Failure, no_space};
use crate::guard::{compile, oldest_range};
use crate::keyspace::Keyspace;
use crate::lane::{Found, Lane, Recorded};
use crate::limits::{CAPABILITIES, EPOCH, OPERATION_BYTES, check_request_bytes, key_bytes};
use crate::read::first_failing;
use crate::tree::{Parts, Reply, Tree};
use etcd_client::{Txn, TxnOp};
use rand::Rng;
use rome_core::store::{Commit, CommitOutcome, StoreError, Write, rules};
use std::time::Duration;

/// How often a commit is repeated because others moved its counters.
const ATTEMPTS: u32 = 64;
/// Attempts that follow each other at once; later ones wait a random time below [`PAUSE`] times their number.
const HASTY_ATTEMPTS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(2);

/// A commit under way.
struct Attempt<'a> {
    connection: &'a Connection,
    keys: &'a Keyspace,
    commit: &'a Commit,
    lane: Option<Lane>,
}

/// What one sending came to.
enum Sent {
    /// The commit has its outcome.
    Outcome(CommitOutcome),
    /// Others moved the counters: again.
    Again,
}

/// Carries out a commit.
pub(crate) async fn commit(
    connection: &Connection,
    counters: &Counters,
    keys: &Keyspace,
    commit: &Commit,
) -> Result<CommitOutcome, StoreError> {
    rules::check_commit(commit, &CAPABILITIES)?;
    rules::check_epoch(commit.epoch, EPOCH)?;
    let lane = commit.ticket.map(|ticket| Lane::new(keys, ticket));
    let attempt = Attempt { connection, keys, commit, lane };
    let mut held = counters.hold(keys, &commit.writes).await;
    for number in 0..ATTEMPTS {
        if number > HASTY_ATTEMPTS {
            let longest = PAUSE * number;
            let pause = rand::rng().random_range(Duration::ZERO..longest);
            tokio::time::sleep(pause).await;
        }
        held.load(connection).await?;
        if let Sent::Outcome(outcome) = attempt.send(&mut held).await? {
            return Ok(outcome);
        }
    }
    Err(StoreError::Unavailable {
        address: connection.address().to_owned(),
        reason: format!("others changed the commit's counters {ATTEMPTS} times in a row"),
    })
}

impl Attempt<'_> {
    async fn send(&self, held: &mut HeldCounters) -> Result<Sent, StoreError> {
        let sums = held.sums(&self.commit.writes);
        let tree = self.tree(held, &sums)?;
        let reply = match self.connection.txn(tree.txn.clone(), self.resend()).await {
            Ok(response) => tree.reply(response),
            Err(failure) => Err(failure),
        };
        let outcome = match reply {
            Ok(Reply::Done { revision }) => done(held, &sums, revision),
            Ok(Reply::Counters(answers)) => {
                held.learn(&answers)?;
                return Ok(Sent::Again);
            }
            Ok(Reply::Conflict { revision }) => CommitOutcome::Conflict { guard: self.failed_guard(revision).await },
            Ok(Reply::Lane(found)) => {
                held.forget();
                self.stored(found).await?
            }
            Err(Failure::FutureRevision) => return self.diagnose(held).await,
            Err(Failure::NoSpace) => return self.after_no_space().await.map(Sent::Outcome),
            Err(failure) => return Err(self.error(failure)),
        };
        Ok(Sent::Outcome(outcome))
    }

    /// A repetition is harmless under a ticket, and where there is nothing to write.
    fn resend(&self) -> Resend {
        let writes = !self.commit.writes.is_empty() || !self.commit.changes.is_empty();
        if writes && self.lane.is_none() { Resend::Never } else { Resend::Safe }
    }

    fn error(&self, failure: Failure) -> StoreError {
        match self.resend() {
            // Without a lane that is resent because it writes nothing.
            Resend::Safe if self.lane.is_none() => failure.into_read_error(self.connection.address()),
            _ => failure.into_commit_error(self.connection.address()),
        }
    }

    /// The error where finding out what became of the commit failed. Without a lane it is known: nothing.
    fn unresolved(&self, failure: Failure) -> StoreError {
        let address = self.connection.address();
        let error = failure.into_read_error(address);
        if self.lane.is_some() { Failure::Lost(error.to_string()).into_commit_error(address) } else { error }
    }

    fn tree(&self, held: &HeldCounters, sums: &Sums) -> Result<Tree<'_>, StoreError> {
        let guards = compile(self.keys, &self.commit.guards);
        let (mut writes, outcome) = match sums {
            Sums::InBounds(sums) => (self.operations(held.puts(sums)), Recorded::Committed),
            Sums::OutOfBounds { write } => (Vec::new(), Recorded::OutOfBounds { write: *write }),
        };
        writes.extend(self.lane.as_ref().map(|lane| lane.record(outcome)));
        check_request_bytes(guards.bytes + self.write_bytes())?;
        Ok(Tree::new(Parts {
            lane: self.lane.as_ref(),
            counters: (held.compares(), held.gets()),
            guards: guards.compares,
            writes,
            conflict: self.lane.as_ref().map(|lane| lane.record(Recorded::Conflict { guard: None })),
            witness: TxnOp::put(self.keys.witness(), [], None),
        }))
    }

    fn operations(&self, counters: Vec<TxnOp>) -> Vec<TxnOp> {
        let keys = self.keys;
        let mut operations = counters;
        for write in &self.commit.writes {
            match write {
                Write::Put(key, value) => operations.push(TxnOp::put(keys.data(key), value.as_ref(), None)),
                Write::Delete(key) => {
                    operations.push(TxnOp::delete(keys.data(key), None));
                    operations.push(TxnOp::put(keys.tombstone(key), [], None));
                }
                Write::Add { .. } => {}
            }
        }
        operations.extend(
            self.commit
                .changes
                .iter()
                .map(|change| TxnOp::put(keys.stream(&change.stream), change.payload.as_ref(), None)),
        );
        operations
    }

    /// The size of everything but the guards in the request.
    fn write_bytes(&self) -> usize {
        let write = |write: &Write| match write {
            Write::Put(key, value) => key_bytes(self.keys, key) + value.len(),
            Write::Delete(key) => 2 * key_bytes(self.keys, key),
            Write::Add { key, .. } => 3 * key_bytes(self.keys, key),
        };
        let writes: usize = self.commit.writes.iter().map(write).sum();
        let changes: usize =
            self.commit.changes.iter().map(|change| key_bytes(self.keys, &change.stream) + change.payload.len()).sum();
        let lane = self.lane.as_ref().map_or(0, |lane| 4 * (lane.bytes() + OPERATION_BYTES));
        writes + changes + lane
    }

    /// Which guard did not hold at `revision`. Where that can't be told any more (the revision is compacted, the server
    /// is away) a likely one is named: that there was a conflict is certain.
    async fn failed_guard(&self, revision: i64) -> usize {
        let guards = &self.commit.guards;
        if guards.len() <= 1 {
            return 0;
        }
        let found = first_failing(self.connection, self.keys, guards, Some(revision)).await;
        found.ok().flatten().or_else(|| oldest_range(guards)).unwrap_or(0)
    }

    /// The outcome where the lane did not let the ticket run.
    async fn stored(&self, found: Found) -> Result<CommitOutcome, StoreError> {
        match found {
            Found::Outcome(outcome) => Ok(outcome),
            Found::ConflictAt(revision) => Ok(CommitOutcome::Conflict { guard: self.failed_guard(revision).await }),
            Found::Before | Found::Past => Err(StoreError::LaneClosed),
        }
    }

    /// After a poisoned transaction: a guard, or a counter, and nothing was written.
    async fn diagnose(&self, held: &mut HeldCounters) -> Result<Sent, StoreError> {
        let guards = &self.commit.guards;
        let failing = first_failing(self.connection, self.keys, guards, None)
            .await
            .map_err(|failure| self.unresolved(failure))?;
        // With all guards and counters as they should be, a gc floor or a key that came and went failed a range; or
        // else the state has changed in between, and then the commit may go through now.
        let moved = failing.is_none() && held.reload(self.connection).await?;
        let blamed = if moved { None } else { failing.or_else(|| oldest_range(guards)) };
        let Some(guard) = blamed else { return Ok(Sent::Again) };
        let Some(lane) = &self.lane else {
            return Ok(Sent::Outcome(CommitOutcome::Conflict { guard }));
        };
        let record = Txn::new()
            .when([lane.open()])
            .and_then([lane.record(Recorded::Conflict { guard: Some(guard) })])
            .or_else([lane.get()]);
        let response = self.connection.txn(record, Resend::Safe).await.map_err(|failure| self.unresolved(failure))?;
        if response.succeeded() {
            return Ok(Sent::Outcome(CommitOutcome::Conflict { guard }));
        }
        self.stored(lane.find_in(&response.op_responses())?).await.map(Sent::Outcome)
    }

    /// After "the database is full": the commit that fills it is carried out and reported so all the same. The lane
    /// knows.
    async fn after_no_space(&self) -> Result<CommitOutcome, StoreError> {
        let Some(lane) = &self.lane else {
            return Err(self.error(Failure::NoSpace));
        };
        let stored = self.connection.get(lane.key().to_vec(), etcd_client::GetOptions::new()).await;
        match lane.find(&stored.map_err(|failure| self.unresolved(failure))?)? {
            Found::Before => Err(no_space()),
            found => self.stored(found).await,
        }
    }
}

fn done(held: &mut HeldCounters, sums: &Sums, revision: i64) -> CommitOutcome {
    match sums {
        Sums::InBounds(sums) => {
            held.written(sums, revision);
            CommitOutcome::Committed { version: u64::try_from(revision).unwrap_or_default() }
        }
        Sums::OutOfBounds { write } => CommitOutcome::OutOfBounds { write: *write },
    }
}
