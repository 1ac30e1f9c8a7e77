//! Events into the copy.

use super::Replica;
use crate::catalog::Table;
use crate::database::engine::Engine;
use crate::error::Result;
use crate::exec::change::{CopiedRow, replicate_rows};
use crate::store::{Key, Read, ReadLimits, SPACE_LEN, WatchEvent};
use crate::topology::HomeNo;
use crate::txn::{Mode, Txn, decode_event};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

impl Engine {
    /// Applies events, all of them or none. `None` where somebody else has moved the copy since `replica` was read.
    pub(super) async fn apply(&self, of: HomeNo, replica: &Replica, events: &[WatchEvent]) -> Result<Option<Replica>> {
        let tables = self.copied_from(of);
        let Some((last, others)) = events.split_last() else { return Ok(Some(replica.clone())) };
        match self.apply_together(of, replica, &tables, events).await {
            // More than the store commits at once, though each may fit.
            Err(error) if error.state() == crate::SqlState::PROGRAM_LIMIT_EXCEEDED => {
                if others.is_empty() {
                    return self.pass_over(of, replica, last).await;
                }
                let Some(before) = Box::pin(self.apply(of, replica, others)).await? else { return Ok(None) };
                Box::pin(self.apply(of, &before, std::slice::from_ref(last))).await
            }
            applied => applied,
        }
    }

    /// Goes on behind an event that is more than this store commits at once: the tables that it speaks of are copied again.
    async fn pass_over(&self, of: HomeNo, replica: &Replica, event: &WatchEvent) -> Result<Option<Replica>> {
        let mut passed = Replica { cursor: event.version, ..replica.clone() };
        for change in decode_event(&event.payload)? {
            if let Some(space) = change.key.first_chunk() {
                passed.tables.remove(&u32::from_be_bytes(*space));
            }
        }
        tracing::info!(
            home = of.0,
            "a transaction is too large for the copy at this site: its tables are copied again"
        );
        Ok(self.replace(of, replica, &passed).await?.then_some(passed))
    }

    async fn apply_together(
        &self,
        of: HomeNo,
        replica: &Replica,
        tables: &[Arc<Table>],
        events: &[WatchEvent],
    ) -> Result<Option<Replica>> {
        let spaces: HashMap<[u8; SPACE_LEN], &Arc<Table>> =
            tables.iter().map(|table| (table.row_space().to_be_bytes(), table)).collect();
        let table_of = |key: &Key| key.first_chunk().and_then(|space| spaces.get(space));
        // The last value of each key.
        let mut rows: BTreeMap<Key, Option<Bytes>> = BTreeMap::new();
        for event in events {
            let changes = decode_event(&event.payload)?;
            rows.extend(changes.into_iter().filter(|change| table_of(&change.key).is_some()).map(|c| (c.key, c.new)));
        }
        let mut txn = self.client.begin(Mode::SingleStatement);
        if Replica::read(&mut txn, of).await?.as_ref() != Some(replica) {
            return Ok(None);
        }
        let held = held(&mut txn, tables, rows.keys()).await?;
        let here = self.client.local();
        for table in tables {
            let space = table.row_space().to_be_bytes();
            let of_table = rows.iter().filter(|(key, _)| key.starts_with(&space));
            let copied = of_table.map(|(key, new)| CopiedRow {
                key: key.clone(),
                held: held.get(key).cloned(),
                new: new.clone(),
            });
            replicate_rows(&mut txn, table, here, &copied.collect::<Vec<_>>()).await?;
        }
        let cursor = events.last().map_or(replica.cursor, |event| event.version);
        let applied = Replica { cursor, ..replica.clone() };
        applied.write(&mut txn, of)?;
        txn.commit().await?;
        Ok(Some(applied))
    }
}

/// What the copy holds of these rows.
async fn held<'k>(
    txn: &mut Txn,
    tables: &[Arc<Table>],
    keys: impl Iterator<Item = &'k Key>,
) -> Result<HashMap<Key, Bytes>> {
    for table in tables {
        txn.use_table(table)?;
    }
    let reads = keys.map(|key| Read::Point(key.clone())).collect();
    let found = txn.client().read(txn.client().local(), reads, ReadLimits::default()).await?;
    Ok(found.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key, entry.value)).collect())
}
