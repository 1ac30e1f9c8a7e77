//! Commits as calls of `scripts/commit.lua`, and their replies.

use crate::epoch::{self, History};
use crate::keys::HomeKeys;
use crate::read::{Orders, append_guards, unexpected_reply};
use crate::scripts;
use redis::{Cmd, Value};
use rome_core::store::rules::{size_bytes, space_of};
use rome_core::store::{Commit, CommitOutcome, LaneTicket, StoreError, Write};

/// The call of the script for a commit whose streams keep about `stream_len` events. Where `rewrite`, an outcome that is found in
/// the lane is written there once more. The server is in this history.
pub(crate) fn script(
    keys: &HomeKeys,
    commit: &Commit,
    stream_len: usize,
    rewrite: bool,
    history: History,
) -> Result<Cmd, StoreError> {
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
    cmd.arg(stream_len).arg(spaces.len());
    cmd.arg(commit.guards.len()).arg(commit.writes.len()).arg(commit.changes.len());
    cmd.arg(if rewrite { "1" } else { "" }).arg(history.argument()).arg(epoch::relied(commit.epoch, history)?);
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
