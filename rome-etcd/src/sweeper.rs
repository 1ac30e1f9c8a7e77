//! The sweeper removes tombstones that no open transaction can need.
//!
//! A sweep up to floor `F` removes tombstones whose revision is at most `F`, in batches, each batch in one transaction
//! that also sets the gc floor `F`. A range guard with `since >= F` loses nothing by that: the removed deletions were
//! before it. An older guard finds the floor above it and fails. A tombstone that was written anew since the sweeper
//! saw it stays, because each removal compares its revision.
//!
//! Any number of clients may sweep one home at a time. Floors are keys, the floor being in the key: a guard asks
//! whether one lies above its `since`, so a late sweeper with a lower floor can't lower it.
//!
//! In the background a client sweeps the homes it writes to, every `tombstone_retention`, up to the revision of one
//! period ago. Safety does not depend on that time, only how old a transaction may be before its range guards fail
//! falsely.

use crate::connection::{Connection, Resend};
use crate::errors::Failure;
use crate::guard::revision;
use crate::keyspace::{Interval, Keyspace};
use crate::read::newest_revision;
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp};
use parking_lot::Mutex;
use rome_core::store::{HomeId, Version};
use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

/// Tombstones removed in one transaction: each is a nested transaction, beside the floor's two operations.
const BATCH: usize = 120;

/// The homes that a client sweeps.
#[derive(Default)]
pub(crate) struct Sweeper {
    /// With the revision up to which the next turn may go.
    homes: Mutex<HashMap<HomeId, Option<Version>>>,
}

impl Sweeper {
    /// Notes that tombstones may lie in `home`.
    pub(crate) fn visit(&self, home: &HomeId) {
        let mut homes = self.homes.lock();
        if !homes.contains_key(home) {
            homes.insert(home.clone(), None);
        }
    }

    async fn turn(&self, connection: &Connection, namespace: &str, home: &HomeId) -> Result<(), Failure> {
        let keys = Keyspace::new(namespace, home).map_err(Failure::Refused)?;
        let now = u64::try_from(newest_revision(connection, &keys).await?).unwrap_or_default();
        let floor = self.homes.lock().insert(home.clone(), Some(now)).flatten();
        match floor {
            Some(floor) => sweep(connection, &keys, floor).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Removes the tombstones of a home up to version `floor`; returns how many.
pub(crate) async fn sweep(connection: &Connection, keys: &Keyspace, floor: Version) -> Result<usize, Failure> {
    // A floor in the future would fail every range guard until that revision.
    let newest = newest_revision(connection, keys).await?;
    let limit = revision(floor).min(newest);
    let floor = u64::try_from(limit).unwrap_or_default();
    let mut removed = 0;
    loop {
        let Interval { from, to } = keys.all_tombstones();
        let options =
            GetOptions::new().with_range(to).with_max_mod_revision(limit).with_keys_only().with_limit(BATCH as i64);
        let mut old = connection.get(from, options).await?;
        let old: Vec<_> = old.take_kvs().into_iter().map(|kv| kv.into_key_value().0).collect();
        if old.is_empty() {
            return Ok(removed);
        }
        removed += old.len();
        connection.txn(removal(keys, floor, limit, old), Resend::Safe).await?;
    }
}

fn removal(keys: &Keyspace, floor: Version, limit: i64, tombstones: Vec<Vec<u8>>) -> Txn {
    let Interval { from, to } = keys.gc_floors_below(floor);
    let mut ops = vec![
        TxnOp::put(keys.gc_floor(floor), [], None),
        TxnOp::delete(from, Some(DeleteOptions::new().with_range(to))),
    ];
    ops.extend(tombstones.into_iter().map(|key| {
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Less, limit.saturating_add(1));
        TxnOp::txn(Txn::new().when([unchanged]).and_then([TxnOp::delete(key, None)]))
    }));
    Txn::new().and_then(ops)
}

/// Sweeps until the store is gone.
pub(crate) async fn run(connection: Weak<Connection>, sweeper: Weak<Sweeper>, namespace: String, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        let (Some(connection), Some(sweeper)) = (connection.upgrade(), sweeper.upgrade()) else {
            return;
        };
        let homes: Vec<_> = sweeper.homes.lock().keys().cloned().collect();
        for home in homes {
            if let Err(failure) = sweeper.turn(&connection, &namespace, &home).await {
                tracing::debug!(%home, ?failure, "tombstones were not swept; the next turn tries again");
            }
        }
    }
}
