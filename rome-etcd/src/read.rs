//! Read requests as range reads of one [`state`](crate::state).
//!
//! The guards of a guarded read are probes among the reads, evaluated here, so that they are tested in exactly the
//! state that is read, also an old one.
//!
//! A descending range makes etcd read the whole range and sort it, even for one entry; ascending ones cost what they
//! return.

use crate::connection::Connection;
use crate::errors::Failure;
use crate::guard::{holds, probes, revision};
use crate::keyspace::{Interval, Keyspace};
use crate::limits::{CAPABILITIES, EPOCH};
use crate::page::PageSizes;
use crate::state::{Get, State, read_state};
use bytes::Bytes;
use etcd_client::{GetOptions, GetResponse, KeyValue, SortOrder, SortTarget};
use rome_core::store::{
    Entry, Guard, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResponse, ReadResult, StoreError, Version, rules,
};

/// How often a read of the newest state begins anew because the revision it began at was compacted under it.
const COMPACTION_RETRIES: usize = 3;

/// The index of the first guard that does not hold at revision `at` (or now).
pub(crate) async fn first_failing(
    connection: &Connection,
    keys: &Keyspace,
    guards: &[Guard],
    at: Option<i64>,
) -> Result<Option<usize>, Failure> {
    let probes: Vec<_> = guards.iter().map(|guard| probes(keys, guard)).collect();
    let state = read_state(connection, probes.iter().flatten().cloned().collect(), at).await?;
    Ok(failing(guards, &probes, &mut state.answers.iter()))
}

fn failing<'a>(
    guards: &[Guard],
    probes: &[Vec<Get>],
    answers: &mut impl Iterator<Item = &'a GetResponse>,
) -> Option<usize> {
    let held = |(guard, probes): (&Guard, &Vec<Get>)| {
        let answers: Vec<_> = answers.by_ref().take(probes.len()).collect();
        holds(guard, &answers)
    };
    guards.iter().zip(probes).map(held).position(|held| !held)
}

/// The newest revision.
pub(crate) async fn newest_revision(connection: &Connection, keys: &Keyspace) -> Result<i64, Failure> {
    Ok(read_state(connection, vec![nothing(keys)], None).await?.revision)
}

/// A read that costs next to nothing, for its header.
fn nothing(keys: &Keyspace) -> Get {
    Get { key: keys.gc_floor(0), options: GetOptions::new().with_count_only(), limit: 0 }
}

/// Answers a read request.
pub(crate) async fn read(
    connection: &Connection,
    pages: &PageSizes,
    keys: &Keyspace,
    request: &ReadRequest,
) -> Result<ReadOutcome, StoreError> {
    rules::check_read(request, &CAPABILITIES)?;
    rules::check_epoch(request.epoch, EPOCH)?;
    let probes: Vec<_> = request.guards.iter().map(|guard| probes(keys, guard)).collect();
    let reads: Vec<_> = request.reads.iter().map(|read| compile(pages, keys, read, request.limits)).collect();
    let mut gets: Vec<_> = probes.iter().flatten().chain(reads.iter().flatten()).cloned().collect();
    if gets.is_empty() {
        gets.push(nothing(keys));
    }
    let mut state = read_snapshot(connection, gets, request.at).await?;
    if let Some(guard) = failing(&request.guards, &probes, &mut state.answers.iter()) {
        return Ok(ReadOutcome::Conflict { guard });
    }
    let probed = probes.iter().flatten().count();
    let mut answers = state.answers.drain(..).skip(probed);
    let results = reads.iter().map(|read| match read {
        Some(_) => answers.next().map(|answer| result(pages, keys, answer)).unwrap_or_default(),
        None => ReadResult::default(),
    });
    let results = results.collect();
    let snapshot = request.at.unwrap_or(u64::try_from(state.revision).unwrap_or_default());
    Ok(ReadOutcome::Answer(ReadResponse { snapshot, epoch: EPOCH, results }))
}

async fn read_snapshot(connection: &Connection, gets: Vec<Get>, at: Option<Version>) -> Result<State, StoreError> {
    // etcd is empty at revision 1, and understands 0 as the newest.
    let wanted = at.map(|at| revision(at).max(1));
    let mut retries = 0;
    loop {
        match read_state(connection, gets.clone(), wanted).await {
            Ok(state) => return Ok(state),
            Err(Failure::Compacted) if at.is_none() && retries < COMPACTION_RETRIES => retries += 1,
            Err(Failure::Compacted) => {
                return Err(StoreError::SnapshotTooOld(at.unwrap_or_default()));
            }
            Err(failure) => return Err(failure.into_read_error(connection.address())),
        }
    }
}

/// The etcd read for a read; none where the answer is empty whatever is stored.
fn compile(pages: &PageSizes, keys: &Keyspace, read: &Read, limits: ReadLimits) -> Option<Get> {
    let (range, limit, reverse) = match read {
        Read::Point(key) => return Some(Get { key: keys.data(key), options: GetOptions::new(), limit: 0 }),
        Read::Range { range, limit, reverse } | Read::Follow { range, limit, reverse } => (range, limit, *reverse),
    };
    let entries = limit.unwrap_or(usize::MAX).min(pages.entries(&range.from, limits));
    // Zero is etcd's word for no limit.
    if range.is_empty() || entries == 0 {
        return None;
    }
    let Interval { from, to } = keys.data_range(range);
    let mut options = GetOptions::new().with_range(to);
    if reverse {
        options = options.with_sort(SortTarget::Key, SortOrder::Descend);
    }
    Some(Get { key: from, options, limit: i64::try_from(entries).unwrap_or(i64::MAX) })
}

fn result(pages: &PageSizes, keys: &Keyspace, mut answer: GetResponse) -> ReadResult {
    let cut = answer.more();
    let entries: Vec<_> = answer.take_kvs().into_iter().map(|kv| entry(keys, kv)).collect();
    let more = entries.last().filter(|_| cut).map(|entry| entry.key.clone());
    let result = ReadResult { entries, more };
    pages.learn(&result);
    result
}

fn entry(keys: &Keyspace, kv: KeyValue) -> Entry {
    let version = u64::try_from(kv.mod_revision()).unwrap_or_default();
    let (key, value) = kv.into_key_value();
    let mut key = Bytes::from(key);
    let key = key.split_off(keys.overhead().min(key.len()));
    Entry { key, version, value: Bytes::from(value), target: None }
}
