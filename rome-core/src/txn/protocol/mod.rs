//! The commit of a transaction over several homes: parallel commit with marks, as state machines without I/O.
//!
//! [`Coordinator`] is the client's part, [`Recovery`] that of anyone who meets what a client left behind. Both take replies and say what to
//! send next; who sends, waits, loses and repeats messages is not their business. `tests/protocol_model.rs` explores every order of messages
//! around them, lost, late and repeated ones included.
//!
//! # What a home does with each request
//!
//! A transaction has participants 0, 1, ...: its homes. Participant 0 also keeps its *record*. Each request is one atomic commit at its home.
//!
//! | request | effect | reply |
//! |---|---|---|
//! | [`Prepare`](RequestKind::Prepare) | where everything that was read is as it was and no other transaction's marks are met: marks on what is read and written, a promise, at participant 0 the record as *staging* | [`Promise`] |
//! | [`Inquire`](RequestKind::Inquire) | where there is no record: poisons, so that the record is never made | [`Found`] |
//! | [`Poison`](RequestKind::Poison) | where there is no promise: a late prepare will be refused | [`Promise`] |
//! | [`Decide`](RequestKind::Decide) | a staging record becomes decided, and what participant 0 itself has prepared is finalised; a decided record stays as it is; where there is none and it is to be aborted: poisons | the record's decision; none where there is no record |
//! | [`Finalise`](RequestKind::Finalise) | marks become values or go, the promise goes; to abort where there is no promise: poisons, so that a late prepare blocks nobody | |
//! | [`Forget`](RequestKind::Forget) | the record goes | |
//!
//! Each prepare has a lane ticket, so that a late or repeated one finds its first outcome; poison advances the lane.
//!
//! # Why it is right
//!
//! - A transaction is committed from the moment when every participant has promised: nothing but a missing promise lets anyone abort it,
//!   and poison makes a missing promise stay missing. So the client may acknowledge after one round trip to all homes in parallel.
//! - Nobody finalises before the record is decided. Otherwise a promise could be gone where it was kept, and be taken for missing.
//! - The record goes last: whoever finds a mark elsewhere finds the record, and whoever finds neither has nothing to do. A record that its
//!   client left behind, with no mark to lead to it, harms nobody. Whoever recovers a transaction leaves its record, since its client may come and
//!   ask what became of it, and only a collector takes it away, much later.
//! - Marks on what was read keep it as it was until the decision: without them two transactions that each read what the other writes, at different
//!   homes, could both commit.
//!
//! The algorithm is CockroachDB's parallel commit, with read marks in place of a timestamp cache.

mod coordinator;
mod ending;
mod recovery;

pub use coordinator::Coordinator;
pub use recovery::Recovery;

use std::collections::BTreeSet;
use std::ops::Range;

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Decision {
    /// All of it takes effect.
    Committed,
    /// None of it does.
    Aborted,
}

/// A participant's answer to being asked to prepare; it never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Promise {
    /// It can commit whatever happens, and waits for the decision.
    Given,
    /// It will not.
    Refused,
}

/// What a home is asked to do, in one atomic commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RequestKind {
    /// Validate, mark, promise.
    Prepare,
    /// Tell of the record, and prevent it where it is missing.
    Inquire,
    /// Tell of the promise, and prevent it where it is missing.
    Poison,
    /// Decide the record, unless it is decided, and finalise here.
    Decide(Decision),
    /// Turn the marks into what was decided.
    Finalise(Decision),
    /// Forget the record.
    Forget,
}

/// A request to a participant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    /// The participant's number.
    pub to: usize,
    /// What it is asked.
    pub kind: RequestKind,
}

/// What participant 0 knows of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Found {
    /// The record waits for a decision.
    Staging,
    /// The record is decided.
    Decided(Decision),
    /// There never was a record, and there will be none: whatever marks are left elsewhere are to be taken away.
    Nothing,
    /// There was a record, and everything was finalised before it was forgotten. How it was decided nobody knows any more.
    Forgotten,
}

/// A home's reply to a [`Request`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reply {
    /// To [`RequestKind::Prepare`] and [`RequestKind::Poison`].
    Promise(Promise),
    /// To [`RequestKind::Inquire`].
    Found(Found),
    /// To [`RequestKind::Decide`]: how the record is decided; `None` where there is none: it was never made, or everything is finalised.
    Decided(Option<Decision>),
    /// To [`RequestKind::Finalise`] and [`RequestKind::Forget`].
    Done,
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// Send this, again and again until its reply comes; the order among several does not matter.
    Send(Request),
    /// Tell the application.
    Acknowledge(Decision),
    /// Nothing is left to do.
    Finish,
}

fn to_all(participants: usize, kind: RequestKind) -> impl Iterator<Item = Step> {
    (0..participants).map(move |to| Step::Send(Request { to, kind }))
}

/// The participants whose replies are missing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Awaited(BTreeSet<usize>);

impl Awaited {
    fn all_of(participants: Range<usize>) -> Self {
        Self(participants.collect())
    }

    /// Notes a reply; whether it was the last one that was missing.
    fn completes(&mut self, from: usize) -> bool {
        self.0.remove(&from) && self.0.is_empty()
    }
}
