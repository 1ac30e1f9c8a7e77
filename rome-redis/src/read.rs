//! Read requests as commands, and their replies.
//!
//! Points without guards are one `HMGET` of the home's version and the keys. Everything else is a call of `scripts/read.lua`, which
//! hands over the arrays of keys and values that its commands gave: packing them in the script took the server twice as long.

use crate::epoch::{self, EPOCH_FIELD, History};
use crate::keys::{HomeKeys, RedisKey, VERSION_FIELD};
use crate::scripts;
use bytes::{Buf, Bytes};
use redis::{Cmd, Value};
use rome_core::store::rules::{space_of, space_of_range};
use rome_core::store::{
    Entry, Epoch, Guard, Key, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResponse, ReadResult,
    SPACE_LEN, StoreError, Version,
};

/// The length in bytes of the version before each stored value.
const VERSION_LEN: usize = 8;

/// Whether a request is answered without a script.
pub(crate) fn is_plain(request: &ReadRequest) -> bool {
    request.guards.is_empty() && request.reads.iter().all(|read| matches!(read, Read::Point(_)))
}

/// The command for a plain request.
pub(crate) fn plain(keys: &HomeKeys, reads: &[Read]) -> Cmd {
    let data = keys.data();
    let size = reads.iter().map(|read| if let Read::Point(key) = read { key.len() } else { 0 }).sum::<usize>();
    let mut cmd = Cmd::with_capacity(4 + reads.len(), 16 + data.0.len() + size);
    cmd.arg("HMGET").arg(&data.0).arg(VERSION_FIELD).arg(EPOCH_FIELD);
    for read in reads {
        if let Read::Point(key) = read {
            cmd.arg(&key[..]);
        }
    }
    cmd
}

/// The field of the epoch in the reply to a plain request.
pub(crate) fn plain_epoch(reply: &Value) -> Option<&[u8]> {
    let Value::Array(values) = reply else { return None };
    if let Some(Value::BulkString(field)) = values.get(1) { Some(field) } else { None }
}

/// The reply to a plain request from a server in this history.
pub(crate) fn plain_response(reads: &[Read], reply: Value, history: History) -> Result<ReadResponse, StoreError> {
    let epoch = history.epoch_of(plain_epoch(&reply))?.ok_or_else(unexpected_reply)?;
    let Value::Array(values) = reply else { return Err(unexpected_reply()) };
    let mut values = values.into_iter();
    let snapshot = match values.next() {
        Some(Value::Nil) => 0,
        Some(Value::BulkString(version)) => decode_version(&version)?,
        _ => return Err(unexpected_reply()),
    };
    values.next();
    if values.len() != reads.len() {
        return Err(unexpected_reply());
    }
    let results = reads
        .iter()
        .zip(values)
        .map(|(read, value)| {
            let entries = match (read, value) {
                (_, Value::Nil) => Vec::new(),
                (Read::Point(key), Value::BulkString(stored)) => vec![entry(key.clone(), stored.into())?],
                _ => return Err(unexpected_reply()),
            };
            Ok(ReadResult { entries, more: None })
        })
        .collect::<Result<_, _>>()?;
    Ok(ReadResponse { snapshot, epoch, results })
}

/// The keys of spaces' orders that a script touches, numbered as `KEYS` will be.
pub(crate) struct Orders {
    first: usize,
    spaces: Vec<[u8; SPACE_LEN]>,
}

impl Orders {
    /// No orders yet; the first will be `KEYS[first]`.
    pub fn new(first: usize) -> Self {
        Self { first, spaces: Vec::new() }
    }

    /// The number of a space's order, which is added where it is new.
    pub fn index(&mut self, space: [u8; SPACE_LEN]) -> usize {
        let known = self.spaces.iter().position(|known| *known == space);
        self.first
            + known.unwrap_or_else(|| {
                self.spaces.push(space);
                self.spaces.len() - 1
            })
    }

    /// The spaces in the order of their numbers.
    pub fn spaces(&self) -> &[[u8; SPACE_LEN]] {
        &self.spaces
    }

    /// Appends the keys of the orders.
    pub fn append_keys(&self, home: &HomeKeys, keys: &mut Vec<RedisKey>) {
        keys.extend(self.spaces.iter().map(|space| home.order(*space)));
    }

    /// Takes in the spaces of range guards.
    pub fn add_guards(&mut self, guards: &[Guard]) -> Result<(), StoreError> {
        for guard in guards {
            if let Guard::Range { range, .. } = guard {
                self.index(space_of_range(range)?);
            }
        }
        Ok(())
    }

    /// Appends the arguments that name a range: its order, its space, and its bounds within it.
    fn append_range(&mut self, cmd: &mut Cmd, range: &KeyRange) -> Result<(), StoreError> {
        let space = space_of_range(range)?;
        cmd.arg(self.index(space)).arg(&space[..]);
        cmd.arg(bound(b'[', &range.from));
        if range.to.starts_with(&space) {
            cmd.arg(bound(b'(', &range.to))
        } else {
            cmd.arg("+")
        };
        Ok(())
    }
}

fn bound(kind: u8, key: &[u8]) -> Vec<u8> {
    let member = key.get(SPACE_LEN..).unwrap_or_default();
    let mut bound = Vec::with_capacity(1 + member.len());
    bound.push(kind);
    bound.extend_from_slice(member);
    bound
}

/// Appends guards as `scripts/state.lua` takes them.
pub(crate) fn append_guards(cmd: &mut Cmd, orders: &mut Orders, guards: &[Guard]) -> Result<(), StoreError> {
    for guard in guards {
        match guard {
            Guard::Version { key, version } => cmd.arg("v").arg(&key[..]).arg(&version.to_be_bytes()[..]),
            Guard::Absent(key) => cmd.arg("a").arg(&key[..]),
            Guard::Present(key) => cmd.arg("p").arg(&key[..]),
            Guard::Range { range, since, count } => {
                cmd.arg("r");
                orders.append_range(cmd, range)?;
                cmd.arg(&since.to_be_bytes()[..]).arg(*count)
            }
            Guard::Unchanged { range, since } => {
                cmd.arg("u").arg(&space_of_range(range)?[..]).arg(&since.to_be_bytes()[..])
            }
        };
    }
    Ok(())
}

/// The call of the script for a request, at a server in this history.
pub(crate) fn script(keys: &HomeKeys, request: &ReadRequest, history: History) -> Result<Cmd, StoreError> {
    let mut orders = Orders::new(3);
    orders.add_guards(&request.guards)?;
    for read in &request.reads {
        if let Read::Range { range, .. } | Read::Follow { range, .. } = read {
            orders.index(space_of_range(range)?);
        }
    }
    let mut touched = vec![keys.data(), keys.meta()];
    orders.append_keys(keys, &mut touched);
    let arguments = 5 + 7 * (request.guards.len() + request.reads.len());
    let mut cmd = scripts::READ.call(&touched, arguments, 16 * arguments);
    cmd.arg(request.guards.len()).arg(request.reads.len()).arg(request.limits.bytes.max(1));
    cmd.arg(history.argument()).arg(epoch::relied(request.epoch, history)?);
    append_guards(&mut cmd, &mut orders, &request.guards)?;
    for read in &request.reads {
        match read {
            Read::Point(key) => {
                space_of(key)?;
                cmd.arg("p").arg(&key[..]);
            }
            Read::Range { range, limit, reverse } => {
                append_read(&mut cmd, &mut orders, "r", range, entries(&request.limits, *limit), *reverse)?;
            }
            Read::Follow { range, limit, reverse } => {
                append_read(&mut cmd, &mut orders, "f", range, entries(&request.limits, *limit), *reverse)?;
            }
        }
    }
    Ok(cmd)
}

/// A request's limit never stops the first entry, so that each continuation makes progress.
fn entries(limits: &ReadLimits, own: Option<usize>) -> usize {
    let entries = limits.entries.max(1);
    own.map_or(entries, |own| own.min(entries))
}

fn append_read(
    cmd: &mut Cmd,
    orders: &mut Orders,
    kind: &str,
    range: &KeyRange,
    entries: usize,
    reverse: bool,
) -> Result<(), StoreError> {
    cmd.arg(kind);
    orders.append_range(cmd, range)?;
    cmd.arg(entries).arg(if reverse { "1" } else { "0" });
    Ok(())
}

/// The answer of the script.
pub(crate) fn script_outcome(reads: &[Read], reply: Value) -> Result<ReadOutcome, StoreError> {
    let answers = match reply {
        Value::Array(answers) => answers,
        Value::Int(guard) => {
            let guard = usize::try_from(guard).map_err(|_| unexpected_reply())?;
            return Ok(ReadOutcome::Conflict { guard });
        }
        _ => return Err(unexpected_reply()),
    };
    let mut answers = answers.into_iter();
    let (snapshot, epoch) = decode_state(&bulk(answers.next())?)?;
    if answers.len() != reads.len() {
        return Err(unexpected_reply());
    }
    let result = |(read, answer): (&Read, Value)| match (read, answer) {
        (Read::Point(_), Value::Nil) => Ok(ReadResult::default()),
        (Read::Point(key), stored) => {
            Ok(ReadResult { entries: vec![entry(key.clone(), bulk(Some(stored))?)?], more: None })
        }
        (Read::Range { .. }, Value::Array(answer)) => page(answer, false),
        (Read::Follow { .. }, Value::Array(answer)) => page(answer, true),
        _ => Err(unexpected_reply()),
    };
    let results = reads.iter().zip(answers).map(result).collect::<Result<_, _>>()?;
    Ok(ReadOutcome::Answer(ReadResponse { snapshot, epoch, results }))
}

/// The entries of a range: whether more follow, then keys, values and (where followed) targets, as often as the script fetched.
fn page(answer: Vec<Value>, follow: bool) -> Result<ReadResult, StoreError> {
    let mut answer = answer.into_iter();
    let more = match answer.next() {
        Some(Value::Int(more)) => more == 1,
        _ => return Err(unexpected_reply()),
    };
    let mut entries = Vec::new();
    while let Some(keys) = answer.next() {
        let (keys, values) = (array(Some(keys))?, array(answer.next())?);
        let targets = if follow { array(answer.next())? } else { Vec::new() };
        if keys.len() != values.len() || (follow && targets.len() != keys.len()) {
            return Err(unexpected_reply());
        }
        entries.reserve(keys.len());
        let mut targets = targets.into_iter();
        for (key, value) in keys.into_iter().zip(values) {
            let mut found = entry(bulk(Some(key))?, bulk(Some(value))?)?;
            if let Some(target) = targets.next().filter(|target| *target != Value::Nil) {
                found.target = Some(Box::new(entry(found.value.clone(), bulk(Some(target))?)?));
            }
            entries.push(found);
        }
    }
    let more = if more { entries.last().map(|last: &Entry| last.key.clone()) } else { None };
    Ok(ReadResult { entries, more })
}

fn array(value: Option<Value>) -> Result<Vec<Value>, StoreError> {
    if let Some(Value::Array(values)) = value { Ok(values) } else { Err(unexpected_reply()) }
}

fn bulk(value: Option<Value>) -> Result<Bytes, StoreError> {
    if let Some(Value::BulkString(bytes)) = value { Ok(bytes.into()) } else { Err(unexpected_reply()) }
}

fn entry(key: Key, mut stored: Bytes) -> Result<Entry, StoreError> {
    if stored.len() < VERSION_LEN {
        return Err(StoreError::Corrupt(format!("the value of key {key:?} has no version")));
    }
    let version = stored.get_u64();
    Ok(Entry { key, version, value: stored, target: None })
}

/// The home's version and epoch as scripts answer them.
pub(crate) fn decode_state(bytes: &[u8]) -> Result<(Version, Epoch), StoreError> {
    let (version, epoch) = bytes.split_at_checked(VERSION_LEN).ok_or_else(unexpected_reply)?;
    Ok((decode_version(version)?, if epoch.is_empty() { 0 } else { decode_version(epoch)? }))
}

/// A version as stored.
pub(crate) fn decode_version(bytes: &[u8]) -> Result<Version, StoreError> {
    match bytes.try_into() {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => Err(StoreError::Corrupt(format!("a version of {} bytes", bytes.len()))),
    }
}

/// The server answered something else than its command does.
pub(crate) fn unexpected_reply() -> StoreError {
    StoreError::Corrupt("the Redis server sent an unexpected reply".to_owned())
}
