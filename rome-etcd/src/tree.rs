//! The shape of a commit's transaction.
//!
//! etcd allows 128 comparisons and 128 operations in a transaction, but an operation may be a transaction, all
//! comparisons of the whole tree are evaluated before anything is written, and a level that holds `n` leaves `128 - n`
//! to *each* transaction below it. Two shapes use this:
//!
//! ```text
//! layered   if lane is open                     else read the lane
//!             if counters are as known          else read the counters
//!               if guards hold                  else record a conflict
//!                 write, record                 (in groups, where there are many writes)
//!
//! poisoned  if lane is open                     else read the lane
//!             { if guards 1..64 hold            else poison }
//!             { if guards 65..128 hold          else poison }  ...
//!             { write 1..64 }  { write 65..128, record }  ...
//! ```
//!
//! etcd's space quota counts the puts of the outermost level only: a tree without any would fill the disk unchecked. So
//! the outermost `else` has a put besides, of the *witness*, a key without meaning: it counts although it is hardly
//! ever carried out.
//!
//! Layers add up against the limit, so the layered shape holds some 120 comparisons. Beyond that siblings are needed,
//! and a sibling can't keep another from writing. The *poison* does: a read of a revision that does not exist, which
//! etcd refuses before it applies anything of the tree. A poisoned commit leaves no trace, so its conflict is recorded
//! in a transaction of its own.

use crate::errors::Failure;
use crate::lane::{Found, Lane};
use crate::limits::TXN_OPERATIONS;
use crate::state::malformed;
use etcd_client::{Compare, GetOptions, GetResponse, Txn, TxnOp, TxnOpResponse, TxnResponse};

/// Comparisons or operations in each sibling, and siblings at most, in the poisoned shape.
const SIBLINGS: usize = TXN_OPERATIONS / 2;

/// What a commit compares and does.
pub(crate) struct Parts<'a> {
    pub(crate) lane: Option<&'a Lane>,
    /// That the counters are as known, and how to read them.
    pub(crate) counters: (Vec<Compare>, Vec<TxnOp>),
    pub(crate) guards: Vec<Compare>,
    /// What to do where all holds.
    pub(crate) writes: Vec<TxnOp>,
    /// What to do where a guard does not hold.
    pub(crate) conflict: Option<TxnOp>,
    /// A put for the quota to count.
    pub(crate) witness: TxnOp,
}

/// A transaction with what is needed to understand its answer.
pub(crate) struct Tree<'a> {
    pub(crate) txn: Txn,
    lane: Option<&'a Lane>,
    counters: bool,
    layered: bool,
}

/// What the answer says.
pub(crate) enum Reply {
    /// All held; this is the revision.
    Done { revision: i64 },
    /// The ticket may not run.
    Lane(Found),
    /// The counters were not as known but as answered.
    Counters(Vec<GetResponse>),
    /// A guard did not hold in the state of this revision.
    Conflict { revision: i64 },
}

impl<'a> Tree<'a> {
    pub(crate) fn new(parts: Parts<'a>) -> Self {
        let (lane, counters) = (parts.lane, !parts.counters.0.is_empty());
        match layers(&parts) {
            Some(group) => Self { txn: layered(parts, group), lane, counters, layered: true },
            None => Self { txn: poisoned(parts), lane, counters, layered: false },
        }
    }

    /// Reads the answer.
    pub(crate) fn reply(&self, response: TxnResponse) -> Result<Reply, Failure> {
        let revision = response.header().ok_or_else(|| malformed("an answer has no header"))?.revision();
        let mut level = response;
        if let Some(lane) = self.lane {
            if !level.succeeded() {
                return lane.find_in(&level.op_responses()).map(Reply::Lane).map_err(Failure::Refused);
            }
            if !self.layered {
                return Ok(Reply::Done { revision });
            }
            level = below(&level)?;
        }
        if self.counters && self.layered {
            if !level.succeeded() {
                return Ok(Reply::Counters(gets(&level)));
            }
            level = below(&level)?;
        }
        Ok(if level.succeeded() { Reply::Done { revision } } else { Reply::Conflict { revision } })
    }
}

/// How many writes go into a group in the layered shape; `None` where the commit does not fit it.
fn layers(parts: &Parts) -> Option<usize> {
    // The lane's layer has a read and the witness, the counters' a read of each and, where it is the outermost, the
    // witness.
    let above = match (parts.lane, parts.counters.0.len()) {
        (Some(_), counters) => 2 + counters,
        (None, 0) => 0,
        (None, counters) => 1 + counters,
    };
    let room = TXN_OPERATIONS.checked_sub(above)?;
    if parts.guards.len().max(parts.writes.len()).max(1) <= room {
        return Some(parts.writes.len().max(1));
    }
    let groups = room / 2;
    let group = room - groups;
    (parts.guards.len() <= groups && parts.writes.len() <= groups * group).then_some(group)
}

fn layered(parts: Parts, group: usize) -> Txn {
    let (compares, mut gets) = parts.counters;
    let mut conflict: Vec<_> = parts.conflict.into_iter().collect();
    let writes = if parts.writes.len() > group {
        if parts.lane.is_none() && compares.is_empty() {
            conflict.push(parts.witness.clone());
        }
        grouped(parts.writes, group, |ops| Txn::new().and_then(ops))
    } else {
        parts.writes
    };
    let mut txn = Txn::new().when(parts.guards).and_then(writes).or_else(conflict);
    if !compares.is_empty() {
        if parts.lane.is_none() {
            gets.push(parts.witness.clone());
        }
        txn = Txn::new().when(compares).and_then([TxnOp::txn(txn)]).or_else(gets);
    }
    match parts.lane {
        Some(lane) => outermost(lane, vec![TxnOp::txn(txn)], parts.witness),
        None => txn,
    }
}

fn poisoned(parts: Parts) -> Txn {
    let mut compares = parts.guards;
    compares.extend(parts.counters.0);
    let mut siblings = grouped(compares, SIBLINGS, |compares| Txn::new().when(compares).or_else([poison()]));
    siblings.extend(grouped(parts.writes, SIBLINGS, |ops| Txn::new().and_then(ops)));
    match parts.lane {
        Some(lane) => outermost(lane, siblings, parts.witness),
        None => Txn::new().and_then(siblings).or_else([parts.witness]),
    }
}

fn outermost(lane: &Lane, then: Vec<TxnOp>, witness: TxnOp) -> Txn {
    Txn::new().when([lane.open()]).and_then(then).or_else([lane.get(), witness])
}

/// What etcd refuses to do, and with it the whole transaction: [`Failure::FutureRevision`].
fn poison() -> TxnOp {
    TxnOp::get([0], Some(GetOptions::new().with_revision(i64::MAX)))
}

fn grouped<T>(items: Vec<T>, size: usize, group: impl Fn(Vec<T>) -> Txn) -> Vec<TxnOp> {
    let mut items = items.into_iter().peekable();
    let mut groups = Vec::new();
    while items.peek().is_some() {
        groups.push(TxnOp::txn(group(items.by_ref().take(size).collect())));
    }
    groups
}

fn below(response: &TxnResponse) -> Result<TxnResponse, Failure> {
    match response.op_responses().into_iter().next() {
        Some(TxnOpResponse::Txn(inner)) => Ok(inner),
        _ => Err(malformed("an inner transaction is missing")),
    }
}

fn gets(response: &TxnResponse) -> Vec<GetResponse> {
    let get = |response| match response {
        TxnOpResponse::Get(answer) => Some(answer),
        _ => None,
    };
    response.op_responses().into_iter().filter_map(get).collect()
}
