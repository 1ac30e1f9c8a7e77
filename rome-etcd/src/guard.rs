//! Guards, as etcd compares them and as a client checks them.
//!
//! # In a commit: comparisons
//!
//! | guard | holds when |
//! |---|---|
//! | version | `mod_revision` of the key equals it (a missing key has 0, and no key has version 0) |
//! | absent, present | `create_revision` of the key is 0, above 0 |
//! | range, `count: 0` | `create_revision` = 0 over the range: true only where no key exists |
//! | range, unchanged | `mod_revision` < `since + 1` over the range's data **and** over its tombstones, **and** no gc floor lies above `since` |
//!
//! etcd's comparison over a range holds when it holds for every key that exists, so a deleted key can't fail it: hence
//! the tombstones. The sweeper that removes tombstones first raises the gc floor (in the same transaction), so a guard
//! from before the floor fails rather than miss a deletion. One comparison of the floor serves all range guards of a
//! commit, with the smallest `since`.
//!
//! A range that held `count` keys at `since`, and in which nothing was written or deleted afterwards, holds them still:
//! `count` adds nothing except where it is 0. A key that came and went after `since` fails the guard although the range
//! is as it was: allowed by the contract, and rare.
//!
//! # In a read, and to name the guard that failed: probes
//!
//! A probe is a range read that returns no values. It sees how many keys a range holds and whether any is newer than
//! `since`, which is exact without tombstones, and works at an old revision too.

use crate::keyspace::{Interval, Keyspace};
use crate::limits::{OPERATION_BYTES, key_bytes};
use crate::state::Get;
use etcd_client::{Compare, CompareOp, GetOptions, GetResponse};
use rome_core::store::{Guard, Version};

/// A revision that no key has.
const NEVER: i64 = i64::MAX;

/// The comparisons that stand for guards, and their size in a request.
#[derive(Default)]
pub(crate) struct Comparisons {
    pub(crate) compares: Vec<Compare>,
    pub(crate) bytes: usize,
}

/// A version as etcd counts; one that etcd can't reach stays out of reach.
pub(crate) fn revision(version: Version) -> i64 {
    i64::try_from(version).unwrap_or(NEVER)
}

/// The comparisons for `guards`.
pub(crate) fn compile(keys: &Keyspace, guards: &[Guard]) -> Comparisons {
    let mut all = Comparisons::default();
    let mut oldest: Option<Version> = None;
    for guard in guards {
        match guard {
            Guard::Version { key, version } => {
                let wanted = if *version == 0 { NEVER } else { revision(*version) };
                all.push(Compare::mod_revision(keys.data(key), CompareOp::Equal, wanted), key_bytes(keys, key));
            }
            Guard::Absent(key) => {
                all.push(Compare::create_revision(keys.data(key), CompareOp::Equal, 0), key_bytes(keys, key));
            }
            Guard::Present(key) => {
                all.push(Compare::create_revision(keys.data(key), CompareOp::Greater, 0), key_bytes(keys, key));
            }
            Guard::Range { range, count: 0, .. } if range.is_empty() => {}
            Guard::Range { range, .. } if range.is_empty() => {
                // No interval to compare, and it can't hold what it is said to hold.
                all.push(
                    Compare::create_revision(keys.data(&range.from), CompareOp::Less, 0),
                    key_bytes(keys, &range.from),
                );
            }
            Guard::Range { range, count: 0, .. } => {
                all.push_interval(keys.data_range(range), |key| Compare::create_revision(key, CompareOp::Equal, 0));
            }
            Guard::Unchanged { range, .. } if range.is_empty() => {}
            Guard::Range { range, since, .. } | Guard::Unchanged { range, since } => {
                let beyond = revision(since.saturating_add(1));
                all.push_interval(keys.data_range(range), |key| Compare::mod_revision(key, CompareOp::Less, beyond));
                all.push_interval(keys.tombstone_range(range), |key| {
                    Compare::mod_revision(key, CompareOp::Less, beyond)
                });
                oldest = Some(oldest.map_or(*since, |oldest| oldest.min(*since)));
            }
        }
    }
    if let Some(oldest) = oldest {
        all.push_interval(keys.gc_floors_above(oldest), |key| Compare::create_revision(key, CompareOp::Equal, 0));
    }
    all
}

impl Comparisons {
    fn push(&mut self, compare: Compare, bytes: usize) {
        self.compares.push(compare);
        self.bytes += bytes;
    }

    fn push_interval(&mut self, interval: Interval, compare: impl FnOnce(Vec<u8>) -> Compare) {
        self.bytes += interval.len() + OPERATION_BYTES;
        self.compares.push(compare(interval.from).with_range(interval.to));
    }
}

/// The reads that tell whether a guard holds; none for a range that can hold nothing.
pub(crate) fn probes(keys: &Keyspace, guard: &Guard) -> Vec<Get> {
    match guard {
        Guard::Version { key, .. } | Guard::Absent(key) | Guard::Present(key) => {
            vec![Get { key: keys.data(key), options: GetOptions::new().with_keys_only(), limit: 1 }]
        }
        Guard::Range { range, .. } | Guard::Unchanged { range, .. } if range.is_empty() => vec![],
        Guard::Range { range, count: 0, .. } => {
            let Interval { from, to } = keys.data_range(range);
            vec![Get { key: from, options: GetOptions::new().with_range(to).with_count_only(), limit: 1 }]
        }
        // The answer's count is the range's, whatever the filter.
        Guard::Range { range, since, .. } => vec![newer(keys.data_range(range), *since)],
        Guard::Unchanged { range, since } => {
            vec![
                newer(keys.data_range(range), *since),
                newer(keys.tombstone_range(range), *since),
                newer(keys.gc_floors_above(*since), 0),
            ]
        }
    }
}

/// One key of an interval that was written after `since`, if there is any.
fn newer(interval: Interval, since: Version) -> Get {
    let options = GetOptions::new().with_range(interval.to).with_keys_only();
    let options = options.with_min_mod_revision(revision(since.saturating_add(1)));
    Get { key: interval.from, options, limit: 1 }
}

/// Whether a guard holds, by the answers to its probes.
pub(crate) fn holds(guard: &Guard, answers: &[&GetResponse]) -> bool {
    let count = answers.first().map_or(0, |answer| answer.count());
    let mut kvs = answers.iter().flat_map(|answer| answer.kvs());
    match guard {
        Guard::Version { version, .. } => kvs.next().is_some_and(|kv| kv.mod_revision() == revision(*version)),
        Guard::Absent(_) | Guard::Unchanged { .. } => kvs.next().is_none(),
        Guard::Present(_) => kvs.next().is_some(),
        Guard::Range { count: wanted, .. } => kvs.next().is_none() && i64::try_from(*wanted) == Ok(count),
    }
}

/// The guard to name where a comparison failed and yet every guard holds: a range whose guard is older than the gc
/// floor, or in which something came and went. The oldest is the likeliest.
pub(crate) fn oldest_range(guards: &[Guard]) -> Option<usize> {
    let since = |guard: &Guard| match guard {
        Guard::Range { since, count, .. } if *count > 0 => Some(*since),
        Guard::Unchanged { since, .. } => Some(*since),
        _ => None,
    };
    guards.iter().enumerate().filter_map(|(index, guard)| Some((since(guard)?, index))).min().map(|(_, index)| index)
}
