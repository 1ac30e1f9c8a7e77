//! Commits as calls of `scripts/commit.lua`, and their replies.

use crate::epoch::{self, History};
use crate::keys::HomeKeys;
use crate::read::{Orders, append_guards, unexpected_reply};
use crate::scripts;
use redis::{Cmd, Value};
use rome_core::store::rules::{size_bytes, space_of};
use rome_core::store::{Commit, CommitOutcome, LaneTicket, StoreError, Write};

/// How the script is to go about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Streams keep about so many events.
    pub stream_len: usize,
    /// An outcome that is found in the lane is written there once more.
    pub rewrite: bool,
    /// The server's memory is full: what takes no more room than it leaves passes nevertheless.
    pub full: bool,
}

/// Whether a commit is worth another try where memory is full: it removes something, as what ends a transaction over several homes does, or it has nothing
/// to write but its outcome.
pub(crate) fn may_leave_room(commit: &Commit) -> bool {
    let writes_nothing = commit.writes.is_empty() && commit.changes.is_empty();
    let removes = || commit.writes.iter().any(|write| matches!(write, Write::Delete(_)));
    commit.ticket.is_some() && (writes_nothing || removes())
}

/// The call of the script for a commit. The server is in this history.
pub(crate) fn script(keys: &HomeKeys, commit: &Commit, manner: Manner, history: History) -> Result<Cmd, StoreError> {
    let mut orders = Orders::new(3);
    orders.add_guards(&commit.guards)?;
    for write in &commit.writes {
        orders.index(space_of(write.key())?);
    }
    let mut touched = vec![keys.data(), keys.meta()];
    orders.append_keys(keys, &mut touched);
    let first_stream = touched.len() + 1;
    touched.extend(commit.changes.iter().map(|change| keys.stream(&change.stream)));

    let spaces = orders.spaces().to_vec();
    let arguments = 10 + spaces.len() + 7 * commit.guards.len() + 6 * commit.writes.len() + 3 * commit.changes.len();
    let mut cmd = scripts::COMMIT.call(&touched, arguments, 4 * arguments + size_bytes(commit));
    match &commit.ticket {
        Some(ticket) => cmd.arg(&lane_field(ticket)[..]).arg(&ticket.sequence.to_be_bytes()[..]),
        None => cmd.arg("").arg(""),
    };
    cmd.arg(manner.stream_len).arg(spaces.len());
    cmd.arg(commit.guards.len()).arg(commit.writes.len()).arg(commit.changes.len());
    let flags = match (manner.rewrite, manner.full) {
        (false, false) => "",
        (true, false) => "r",
        (false, true) => "f",
        (true, true) => "rf",
    };
    cmd.arg(flags).arg(history.argument()).arg(epoch::relied(commit.epoch, history)?);
    for space in &spaces {
        cmd.arg(&space[..]);
    }
    append_guards(&mut cmd, &mut orders, &commit.guards)?;
    for write in &commit.writes {
        let order = orders.index(space_of(write.key())?);
        match write {
            Write::Put(key, value) => cmd.arg("p").arg(order).arg(&key[..]).arg(&value[..]),
            Write::Delete(key) => cmd.arg("d").arg(order).arg(&key[..]),
            Write::Add { key, delta, min, max } => {
                cmd.arg("a").arg(order).arg(&key[..]).arg(*delta).arg(*min).arg(*max)
            }
        };
    }
    for (i, change) in commit.changes.iter().enumerate() {
        cmd.arg(first_stream + i).arg(&change.stream[..]).arg(&change.payload[..]);
    }
    Ok(cmd)
}

/// The field of a lane: `l`, client, lane.
fn lane_field(ticket: &LaneTicket) -> Vec<u8> {
    [b"l", &ticket.client.to_be_bytes()[..], &ticket.lane.to_be_bytes()].concat()
}

/// The answer of the script.
pub(crate) fn outcome(reply: &Value) -> Result<CommitOutcome, StoreError> {
    let Value::BulkString(bytes) = reply else { return Err(unexpected_reply()) };
    let Some((kind, number)) = bytes.split_first() else { return Err(unexpected_reply()) };
    if (*kind, number.len()) == (b'L', 0) {
        return Err(StoreError::LaneClosed);
    }
    let number = number.try_into().map(u64::from_be_bytes).map_err(|_| unexpected_reply())?;
    let index = usize::try_from(number).map_err(|_| unexpected_reply())?;
    match kind {
        b'C' => Ok(CommitOutcome::Committed { version: number }),
        b'G' => Ok(CommitOutcome::Conflict { guard: index }),
        b'B' => Ok(CommitOutcome::OutOfBounds { write: index }),
        _ => Err(unexpected_reply()),
    }
}
