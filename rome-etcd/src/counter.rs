//! Counters: `Add` on a store that can't add.
//!
//! A commit with an `Add` compares that each counter is as the client knows it and writes the sum. The comparison is a
//! layer of its own in the transaction, above the guards and below the lane: where a counter has moved nothing is
//! written, not even the lane, the answer brings the counters as they are, and the same ticket goes again. To the
//! caller it is one commit, never a conflict.
//!
//! Each counter's last known value is kept, behind a lock that is held during the commit: the tasks of one process take
//! turns at a counter rather than defeat each other, and a process that has a counter to itself needs one RPC. Several
//! counters are locked in order of their keys. Against other processes the commit is repeated a bounded number of
//! times.

use crate::connection::Connection;
use crate::errors::Failure;
use crate::keyspace::Keyspace;
use crate::state::{Get, read_state};
use etcd_client::{Compare, CompareOp, GetOptions, GetResponse, TxnOp};
use parking_lot::Mutex;
use rome_core::store::{StoreError, Write};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// Counters that are kept; beyond this those not in use are forgotten.
const KEPT: usize = 4096;

type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

/// The counters that this process has met.
#[derive(Default)]
pub(crate) struct Counters {
    slots: Mutex<HashMap<Vec<u8>, Slot>>,
}

/// A counter as last seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    /// 0 where it does not exist.
    revision: i64,
    value: i64,
}

/// A counter that a commit adds to, locked.
struct Held {
    /// Index into the commit's writes.
    write: usize,
    key: Vec<u8>,
    slot: OwnedMutexGuard<Option<Known>>,
}

/// All counters that a commit adds to.
pub(crate) struct HeldCounters(Vec<Held>);

/// What the additions come to, if the counters are as known.
pub(crate) enum Sums {
    /// The new value of each counter.
    InBounds(Vec<i64>),
    /// This write would leave its bounds.
    OutOfBounds { write: usize },
}

impl Counters {
    fn slot(&self, key: &[u8]) -> Slot {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        if slots.len() >= KEPT {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key.to_vec()).or_default())
    }

    /// Locks the counters that `writes` add to.
    pub(crate) async fn hold(&self, keys: &Keyspace, writes: &[Write]) -> HeldCounters {
        let mut wanted: Vec<_> = writes
            .iter()
            .enumerate()
            .filter(|(_, write)| matches!(write, Write::Add { .. }))
            .map(|(index, write)| (keys.data(write.key()), index))
            .collect();
        wanted.sort();
        let mut held = Vec::with_capacity(wanted.len());
        for (key, write) in wanted {
            let slot = self.slot(&key).lock_owned().await;
            held.push(Held { write, key, slot });
        }
        HeldCounters(held)
    }
}

impl HeldCounters {
    /// Reads the counters that are not known.
    pub(crate) async fn load(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let unknown: Vec<_> = self.0.iter_mut().filter(|held| held.slot.is_none()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let gets =
            unknown.iter().map(|held| Get { key: held.key.clone(), options: GetOptions::new(), limit: 1 }).collect();
        let state = read_state(connection, gets, None)
            .await
            .map_err(|failure: Failure| failure.into_read_error(connection.address()))?;
        for (held, answer) in unknown.into_iter().zip(&state.answers) {
            *held.slot = Some(decode(answer)?);
        }
        Ok(())
    }

    /// Takes the counters from the answer to [`HeldCounters::gets`].
    pub(crate) fn learn(&mut self, answers: &[GetResponse]) -> Result<(), StoreError> {
        for (held, answer) in self.0.iter_mut().zip(answers) {
            *held.slot = Some(decode(answer)?);
        }
        Ok(())
    }

    /// Reads all counters anew; whether any has moved.
    pub(crate) async fn reload(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        let known = |held: &HeldCounters| held.0.iter().map(|held| *held.slot).collect::<Vec<_>>();
        let before = known(self);
        self.forget();
        self.load(connection).await?;
        Ok(known(self) != before)
    }

    /// Forgets what is known, so that it is read anew.
    pub(crate) fn forget(&mut self) {
        for held in &mut self.0 {
            *held.slot = None;
        }
    }

    /// Notes that the commit wrote `sums` at `revision`.
    pub(crate) fn written(&mut self, sums: &[i64], revision: i64) {
        for (held, value) in self.0.iter_mut().zip(sums) {
            *held.slot = Some(Known { revision, value: *value });
        }
    }

    /// The results of the additions.
    pub(crate) fn sums(&self, writes: &[Write]) -> Sums {
        let mut sums = Vec::with_capacity(self.0.len());
        let mut violations = Vec::new();
        for held in &self.0 {
            let Some(Write::Add { delta, min, max, .. }) = writes.get(held.write) else {
                continue;
            };
            let value = held.slot.map_or(0, |known| known.value);
            match value.checked_add(*delta).filter(|sum| (min..=max).contains(&sum)) {
                Some(sum) => sums.push(sum),
                None => violations.push(held.write),
            }
        }
        match violations.into_iter().min() {
            Some(write) => Sums::OutOfBounds { write },
            None => Sums::InBounds(sums),
        }
    }

    /// That the counters are as known.
    pub(crate) fn compares(&self) -> Vec<Compare> {
        let compare = |held: &Held| match held.slot.map_or(0, |known| known.revision) {
            0 => Compare::create_revision(held.key.clone(), CompareOp::Equal, 0),
            revision => Compare::mod_revision(held.key.clone(), CompareOp::Equal, revision),
        };
        self.0.iter().map(compare).collect()
    }

    /// Reads the counters.
    pub(crate) fn gets(&self) -> Vec<TxnOp> {
        self.0.iter().map(|held| TxnOp::get(held.key.clone(), None)).collect()
    }

    /// Writes the counters.
    pub(crate) fn puts(&self, sums: &[i64]) -> Vec<TxnOp> {
        let put = |(held, sum): (&Held, &i64)| TxnOp::put(held.key.clone(), sum.to_string(), None);
        self.0.iter().zip(sums).map(put).collect()
    }
}

fn decode(answer: &GetResponse) -> Result<Known, StoreError> {
    let Some(kv) = answer.kvs().first() else {
        return Ok(Known { revision: 0, value: 0 });
    };
    let value = std::str::from_utf8(kv.value()).ok().and_then(|text| text.parse().ok());
    match value {
        Some(value) => Ok(Known { revision: kv.mod_revision(), value }),
        None => Err(StoreError::Corrupt("a counter's value is not a decimal integer".to_owned())),
    }
}
