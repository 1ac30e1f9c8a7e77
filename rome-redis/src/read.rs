//! Read requests as commands, and their replies.
//!
//! Points without guards are one `HMGET` of the home's version and the keys. Everything else is a call of `scripts/read.lua`, whose
//! answer is one string: entries are slices of it, so a page costs one allocation. Such an entry keeps its page in memory.

use crate::keys::{HomeKeys, RedisKey, VERSION_FIELD};
use crate::scripts;
use bytes::{Buf, Bytes};
use redis::{Cmd, Value};
use rome_core::store::rules::{space_of, space_of_range};
use rome_core::store::{
    Entry, Guard, Key, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResponse, ReadResult, SPACE_LEN,
    StoreError, Version,
};

/// The length in bytes of the version before each stored value.
const VERSION_LEN: usize = 8;

/// The length that `scripts/read.lua` gives for a target that does not exist.
const NO_TARGET: u32 = u32::MAX;

/// Whether a request is answered without a script.
pub(crate) fn is_plain(request: &ReadRequest) -> bool {
    request.guards.is_empty() && request.reads.iter().all(|read| matches!(read, Read::Point(_)))
}

/// The command for a plain request.
pub(crate) fn plain(keys: &HomeKeys, reads: &[Read]) -> Cmd {
    let data = keys.data();
    let size = reads.iter().map(|read| if let Read::Point(key) = read { key.len() } else { 0 }).sum::<usize>();
    let mut cmd = Cmd::with_capacity(3 + reads.len(), 16 + data.0.len() + size);
    cmd.arg("HMGET").arg(&data.0).arg(VERSION_FIELD);
    for read in reads {
        if let Read::Point(key) = read {
            cmd.arg(&key[..]);
        }
    }
    cmd
}

/// The reply to a plain request.
pub(crate) fn plain_response(reads: &[Read], reply: Value) -> Result<ReadResponse, StoreError> {
    let Value::Array(values) = reply else { return Err(unexpected_reply()) };
    let mut values = values.into_iter();
    let snapshot = match values.next() {
        Some(Value::Nil) => 0,
        Some(Value::BulkString(version)) => decode_version(&version)?,
        _ => return Err(unexpected_reply()),
    };
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
    Ok(ReadResponse { snapshot, results })
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
        };
    }
    Ok(())
}

/// The call of the script for a request.
pub(crate) fn script(keys: &HomeKeys, request: &ReadRequest) -> Result<Cmd, StoreError> {
    let mut orders = Orders::new(3);
    orders.add_guards(&request.guards)?;
    for read in &request.reads {
        if let Read::Range { range, .. } | Read::Follow { range, .. } = read {
            orders.index(space_of_range(range)?);
        }
    }
    let mut touched = vec![keys.data(), keys.meta()];
    orders.append_keys(keys, &mut touched);
    let arguments = 3 + 7 * (request.guards.len() + request.reads.len());
    let mut cmd = scripts::READ.call(&touched, arguments, 16 * arguments);
    cmd.arg(request.guards.len()).arg(request.reads.len()).arg(request.limits.bytes.max(1));
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
    let Value::BulkString(bytes) = reply else { return Err(unexpected_reply()) };
    let mut answer = Answer(bytes.into());
    let kind = answer.take(1)?;
    let number = answer.0.try_get_u64().map_err(|_| unexpected_reply())?;
    match &kind[..] {
        b"G" => Ok(ReadOutcome::Conflict { guard: usize::try_from(number).map_err(|_| unexpected_reply())? }),
        b"A" => {
            let results = reads.iter().map(|read| answer.result(read)).collect::<Result<_, _>>()?;
            Ok(ReadOutcome::Answer(ReadResponse { snapshot: number, results }))
        }
        _ => Err(unexpected_reply()),
    }
}

/// What is left of a script's answer.
struct Answer(Bytes);

impl Answer {
    fn take(&mut self, len: usize) -> Result<Bytes, StoreError> {
        if self.0.len() < len { Err(unexpected_reply()) } else { Ok(self.0.split_to(len)) }
    }

    fn length(&mut self) -> Result<u32, StoreError> {
        self.0.try_get_u32().map_err(|_| unexpected_reply())
    }

    fn sized(&mut self, len: u32) -> Result<Bytes, StoreError> {
        self.take(usize::try_from(len).map_err(|_| unexpected_reply())?)
    }

    fn result(&mut self, read: &Read) -> Result<ReadResult, StoreError> {
        let count = self.length()?;
        let more = self.0.try_get_u8().map_err(|_| unexpected_reply())? == 1;
        let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or_default().min(self.0.len() / 8));
        for _ in 0..count {
            entries.push(self.entry(matches!(read, Read::Follow { .. }))?);
        }
        let more = if more { entries.last().map(|last| last.key.clone()) } else { None };
        Ok(ReadResult { entries, more })
    }

    fn entry(&mut self, follow: bool) -> Result<Entry, StoreError> {
        let (key_len, stored_len) = (self.length()?, self.length()?);
        let mut found = entry(self.sized(key_len)?, self.sized(stored_len)?)?;
        if follow {
            let target_len = self.length()?;
            if target_len != NO_TARGET {
                found.target = Some(Box::new(entry(found.value.clone(), self.sized(target_len)?)?));
            }
        }
        Ok(found)
    }
}

fn entry(key: Key, mut stored: Bytes) -> Result<Entry, StoreError> {
    if stored.len() < VERSION_LEN {
        return Err(StoreError::Corrupt(format!("the value of key {key:?} has no version")));
    }
    let version = stored.get_u64();
    Ok(Entry { key, version, value: stored, target: None })
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
