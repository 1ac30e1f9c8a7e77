//! Identity columns: numbers are reserved in blocks, so that inserts do not meet at a counter.
//!
//! A block is taken by a commit of its own and is never given back: rolled-back inserts and processes that end leave gaps, as sequences do.

use crate::catalog::keys::sequence_key;
use crate::catalog::{Column, ColumnId, TableId};
use crate::error::{Error, Result, SqlState};
use crate::exec::NumberSource;
use crate::store::{Key, ReadLimits};
use crate::topology::HomeNo;
use crate::txn::{Client, HomeRead, Mode};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex as AsyncMutex;

/// Numbers reserved at a time, at least.
const BLOCK: usize = 256;
/// Attempts to reserve a block against other clients.
const ATTEMPTS: usize = 1_000;

/// The unused part of a block.
#[derive(Debug, Default)]
struct Reserved {
    next: i64,
    left: usize,
}

type Sequence = (TableId, ColumnId);

/// The reserved numbers of all identity columns.
#[derive(Debug)]
pub(super) struct Numbers {
    client: Arc<Client>,
    reserved: Mutex<HashMap<Sequence, Arc<AsyncMutex<Reserved>>>>,
}

impl Numbers {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, reserved: Mutex::new(HashMap::new()) }
    }

    pub(super) fn forget(&self, table: TableId, column: ColumnId) {
        self.reserved.lock().remove(&(table, column));
    }

    /// Reserves numbers at the store; returns the first.
    async fn reserve(&self, key: &Key, start: i64, increment: i64, count: usize, name: &str) -> Result<i64> {
        let exhausted = || {
            Error::new(SqlState::NUMERIC_OUT_OF_RANGE, format!("the numbers of identity column \"{name}\" are used up"))
        };
        // One home hands out the numbers of all sites.
        let home = HomeNo::FIRST;
        for _ in 0..ATTEMPTS {
            let mut txn = self.client.begin(Mode::SingleStatement);
            txn.rely_on_format(home)?;
            let found = txn.read(vec![HomeRead::point(home, key.clone())], ReadLimits::default()).await?;
            let first = match found.first().and_then(|result| result.entries.first()) {
                None => start,
                Some(entry) => std::str::from_utf8(&entry.value)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| Error::new(SqlState::DATA_CORRUPTED, "an identity column's counter is corrupt"))?,
            };
            let span =
                i64::try_from(count).ok().and_then(|count| count.checked_mul(increment)).ok_or_else(exhausted)?;
            let next = first.checked_add(span).ok_or_else(exhausted)?;
            txn.put(home, key.clone(), Bytes::from(next.to_string()))?;
            match txn.commit().await {
                Ok(_) => return Ok(first),
                Err(error) if error.is_retryable() && !error.is_schema_change() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::serialization_failure().with_contended(key.clone()))
    }
}

#[async_trait]
impl NumberSource for Numbers {
    async fn next(&self, table: TableId, column: &Column, count: usize) -> Result<Vec<i64>> {
        let Some(identity) = &column.identity else { return Ok(Vec::new()) };
        let reserved = Arc::clone(self.reserved.lock().entry((table, column.id)).or_default());
        let mut reserved = reserved.lock().await;
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            if reserved.left == 0 {
                let wanted = BLOCK.max(count - numbers.len());
                let key = sequence_key(table, column.id);
                reserved.next = self.reserve(&key, identity.start, identity.increment, wanted, &column.name).await?;
                reserved.left = wanted;
            }
            numbers.push(reserved.next);
            reserved.next = reserved.next.saturating_add(identity.increment);
            reserved.left -= 1;
        }
        Ok(numbers)
    }
}
