//! Random histories against a model: one client, random commits, guards taken from earlier reads, random reads; every outcome and
//! every answer must be what the model says. A failure names its seed, and the same seed replays the same history.

use super::rig::*;
use crate::store::{
    Commit, CommitOutcome, Guard, Key, KeyRange, Read, ReadLimits, ReadRequest, Version, Write, successor,
};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const SEEDS: std::ops::Range<u64> = 0..4;
const STEPS: usize = 120;

/// The whole state as a sorted list: slow and obvious.
#[derive(Default)]
struct Model {
    entries: Vec<(Key, Version, Bytes)>,
    /// Every key that was inserted, updated or deleted, and when.
    changes: Vec<(Key, Version)>,
    /// The newest version of a commit, and of one in each space that changed.
    version: Version,
}

/// Several histories in one home, one after the other.
pub async fn random_histories_match_the_model(rig: Rig) {
    for seed in SEEDS {
        let rig = Rig { home: crate::store::HomeId::new(&format!("{}-{seed}", rig.home)), ..rig.clone() };
        History { rig, seed, rng: StdRng::seed_from_u64(seed), model: Model::default(), observed: Vec::new() }
            .run()
            .await;
    }
}

struct History {
    rig: Rig,
    seed: u64,
    rng: StdRng,
    model: Model,
    /// Guards from reads of any time, still true or not.
    observed: Vec<Guard>,
}

impl History {
    async fn run(mut self) {
        for step in 0..STEPS {
            let place = format!("seed {}, step {step}", self.seed);
            if self.rng.random_bool(0.5) { self.commit(&place).await } else { self.read(&place).await }
        }
    }

    fn key(&mut self) -> Key {
        const SUFFIXES: [&[u8]; 9] = [b"", b"\0", b"a", b"a\0", b"ab", b"b", b"b\xff", b"\xff", b"\xff\xff"];
        let space = SPACE + self.rng.random_range(0..2);
        key_in(space, SUFFIXES.choose(&mut self.rng).expect("not empty"))
    }

    fn range(&mut self) -> KeyRange {
        let (a, b) = (self.key(), self.key());
        match (a[..4].cmp(&b[..4]), a <= b) {
            (std::cmp::Ordering::Equal, true) => KeyRange { from: a, to: b },
            (std::cmp::Ordering::Equal, false) => KeyRange { from: b, to: a },
            _ => KeyRange::prefix(&a[..4]),
        }
    }

    async fn commit(&mut self, place: &str) {
        let mut guards: Vec<Guard> = Vec::new();
        for _ in 0..self.rng.random_range(0..3) {
            // Recent observations, so that a good part of them still holds.
            let recent = self.observed.len().saturating_sub(6);
            guards.extend(self.observed[recent..].choose(&mut self.rng).cloned());
        }
        let mut writes: Vec<Write> = Vec::new();
        for _ in 0..self.rng.random_range(0..4) {
            let key = self.key();
            if writes.iter().all(|write| *write.key() != key) {
                writes.push(match self.rng.random_range(0..6) {
                    0..3 => put(&key, &self.rng.random_range(-20..20).to_string()),
                    3..5 => Write::Delete(key),
                    _ => Write::Add { key, delta: self.rng.random_range(-15..15), min: -25, max: 25 },
                });
            }
        }
        let outcome =
            self.rig.commit(Commit { guards: guards.clone(), writes: writes.clone(), ..Commit::default() }).await;
        let failed: Vec<_> = (0..guards.len()).filter(|i| !self.model.holds(&guards[*i])).collect();
        match outcome {
            CommitOutcome::Conflict { guard } => {
                let refused = guards.get(guard).unwrap_or_else(|| panic!("{place}: guard {guard} was not sent"));
                // A range that has not changed may be refused, if only because something near it has.
                let coarse = matches!(refused, Guard::Range { since, .. } | Guard::Unchanged { since, .. } if *since < self.model.version);
                assert!(failed.contains(&guard) || coarse, "{place}: {refused:?} holds and was refused");
            }
            CommitOutcome::OutOfBounds { write } => {
                assert!(failed.is_empty(), "{place}: the guards {failed:?} of {guards:?} do not hold");
                assert!(!self.model.fits(&writes[write]), "{place}: {:?} is within its bounds", writes[write]);
            }
            CommitOutcome::Committed { version } => {
                assert!(failed.is_empty(), "{place}: accepted, though {:?} does not hold", guards[failed[0]]);
                assert!(writes.iter().all(|write| self.model.fits(write)), "{place}: accepted out of bounds");
                if !writes.is_empty() {
                    assert!(version > self.model.version, "{place}: version {version} does not rise");
                    self.model.apply(&writes, version);
                }
            }
        }
    }

    async fn read(&mut self, place: &str) {
        let mut reads = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            reads.push(match self.rng.random_bool(0.5) {
                true => Read::Point(self.key()),
                false => Read::Range {
                    range: self.range(),
                    limit: self.rng.random_bool(0.5).then(|| self.rng.random_range(1..6)),
                    reverse: self.rng.random(),
                },
            });
        }
        let limits = ReadLimits { entries: self.rng.random_range(1..8), ..ReadLimits::default() };
        let response = self.rig.request(ReadRequest { reads: reads.clone(), limits, ..Default::default() }).await;
        for (read, result) in reads.iter().zip(&response.results) {
            let found: Vec<_> = result.entries.iter().map(|e| (e.key.clone(), e.version, e.value.clone())).collect();
            let (expected, rest) = self.model.answer(read, limits.entries);
            assert_eq!(found, expected, "{place}: {read:?}");
            assert!(rest == 0 || result.more.is_some(), "{place}: {read:?} was cut and does not say so");
            self.observe(read, &found, result.more.as_ref(), response.snapshot);
        }
    }

    /// What a careful transaction would guard after this answer.
    fn observe(&mut self, read: &Read, found: &[(Key, Version, Bytes)], more: Option<&Key>, since: Version) {
        self.observed.push(match (read, found) {
            (Read::Point(key), []) => Guard::Absent(key.clone()),
            (Read::Point(key), [_, ..]) if self.rng.random_bool(0.2) => Guard::Present(key.clone()),
            (Read::Point(key), [(_, version, _), ..]) => Guard::Version { key: key.clone(), version: *version },
            (Read::Range { range, reverse, .. } | Read::Follow { range, reverse, .. }, _) => {
                let mut range = range.clone();
                match more {
                    Some(last) if *reverse => range.from = last.clone(),
                    Some(last) => range.to = successor(last),
                    None => {}
                }
                match self.rng.random_bool(0.2) {
                    true => Guard::Unchanged { range, since },
                    false => Guard::Range { range, since, count: found.len() as u64 },
                }
            }
        });
    }
}

impl Model {
    fn get(&self, key: &Key) -> Option<&(Key, Version, Bytes)> {
        self.entries.iter().find(|(k, ..)| k == key)
    }

    fn inside<'a>(&'a self, range: &'a KeyRange) -> impl DoubleEndedIterator<Item = &'a (Key, Version, Bytes)> {
        self.entries.iter().filter(|(key, ..)| range.contains(key))
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Version { key, version } => self.get(key).is_some_and(|(_, v, _)| v == version),
            Guard::Absent(key) => self.get(key).is_none(),
            Guard::Present(key) => self.get(key).is_some(),
            Guard::Range { range, since, count } => {
                self.inside(range).count() as u64 == *count
                    && self.inside(range).all(|(_, version, _)| version <= since)
            }
            Guard::Unchanged { range, since } => {
                !self.changes.iter().any(|(key, version)| range.contains(key) && version > since)
            }
        }
    }

    fn sum(&self, key: &Key, delta: i64) -> i64 {
        let current = self.get(key).map_or("0".into(), |(.., value)| String::from_utf8_lossy(value).into_owned());
        current.parse::<i64>().expect("the history puts only numbers") + delta
    }

    fn fits(&self, write: &Write) -> bool {
        match write {
            Write::Add { key, delta, min, max } => (*min..=*max).contains(&self.sum(key, *delta)),
            _ => true,
        }
    }

    fn apply(&mut self, writes: &[Write], version: Version) {
        for write in writes {
            let value = match write {
                Write::Put(_, value) => Some(value.clone()),
                Write::Delete(_) => None,
                Write::Add { key, delta, .. } => Some(Bytes::from(self.sum(key, *delta).to_string())),
            };
            if value.is_some() || self.get(write.key()).is_some() {
                self.changes.push((write.key().clone(), version));
            }
            self.entries.retain(|(key, ..)| key != write.key());
            self.entries.extend(value.map(|value| (write.key().clone(), version, value)));
        }
        self.entries.sort();
        self.version = version;
    }

    /// The entries of a read under a limit, and how many more there are.
    fn answer(&self, read: &Read, entries: usize) -> (Vec<(Key, Version, Bytes)>, usize) {
        match read {
            Read::Point(key) => (self.get(key).cloned().into_iter().collect(), 0),
            Read::Range { range, limit, reverse } | Read::Follow { range, limit, reverse } => {
                let mut all: Vec<_> = self.inside(range).cloned().collect();
                if *reverse {
                    all.reverse();
                }
                let rest = all.split_off(all.len().min(limit.unwrap_or(entries).min(entries)));
                (all, rest.len())
            }
        }
    }
}
