//! Claims made anew after a site was forgotten: into new, empty spaces, page by page, while nobody may use the table.
//!
//! Who goes on after one who has died begins with the first row again: what is claimed already is claimed the same.

use super::Engine;
use crate::catalog::keys::{schema_version_key, table_key, whole_space};
use crate::catalog::{Table, stamp_of};
use crate::database::ddl::page_limits;
use crate::error::{Error, Result, SqlState};
use crate::exec::claims::claims_of_row;
use crate::exec::keys::{Located, decode_table_row};
use crate::store::{Key, KeyRange, Read, ReadLimits, successor};
use crate::topology::HomeNo;
use crate::txn::{HomeRead, Mode};
use bytes::Bytes;
use std::collections::BTreeSet;

impl Engine {
    /// Claims the keys of all rows of the tables that wait for it, and lets them be used again. Tells how many claims each has.
    ///
    /// # Errors
    /// 08006 where a site can't be reached: do it again; 23505 where rows agree on a unique key.
    pub(super) async fn reclaim(&self) -> Result<Vec<(String, usize)>> {
        let catalog = self.refresh_catalog().await?;
        let mut done = vec![];
        for table in catalog.tables().into_iter().filter(|table| table.unclaimed) {
            done.push((table.name.clone(), self.reclaim_table(table).await?));
        }
        Ok(done)
    }

    /// Looks whether no two rows of a table agree on a unique key.
    ///
    /// # Errors
    /// 23505 where some do.
    pub(super) async fn check_keys(&self, table: &Table) -> Result<()> {
        let mut claims = BTreeSet::new();
        for home in table.homes.all() {
            let mut range = whole_space(table.row_space());
            loop {
                let read = Read::Range { range: range.clone(), limit: None, reverse: false };
                let page = self.client.read(home, vec![read], ReadLimits::default()).await?.pop().unwrap_or_default();
                for entry in &page.entries {
                    let claimed = claims_of_row(table, &decode_table_row(table, &entry.value)?)?;
                    if claimed.into_iter().any(|(claim, _)| !claims.insert(claim)) {
                        return Err(rows_agree(table));
                    }
                }
                match page.more {
                    Some(last) => range.from = successor(&last),
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn reclaim_table(&self, table: &Table) -> Result<usize> {
        let limits = page_limits(&self.client, table)?;
        let mut claimed = BTreeSet::new();
        for home in table.homes.all() {
            let mut range = whole_space(table.row_space());
            loop {
                let mut attempts = self.retry.start();
                let (claims, more) = loop {
                    match self.claim_page(table, (home, &range), limits).await {
                        Ok(page) => break page,
                        Err(error) => self.again(error, &mut attempts).await?,
                    }
                };
                if claims.into_iter().any(|claim| !claimed.insert(claim)) {
                    return Err(rows_agree(table));
                }
                match more {
                    Some(last) => range.from = successor(&last),
                    None => break,
                }
            }
        }
        let mut attempts = self.retry.start();
        let mut described = table.clone();
        while let Err(error) = self.open_table(&described).await {
            self.again(error, &mut attempts).await?;
            let catalog = self.refresh_catalog().await?;
            match catalog.tables().into_iter().find(|other| other.id == table.id) {
                // An attempt that was undone has left the same description in another version.
                Some(same) if same.stamp == table.stamp => described = Table::clone(same),
                // The claims are to be made once more, elsewhere.
                Some(other) if other.unclaimed => return Err(Error::schema_changed()),
                // It took effect, or somebody else has done it, or it was dropped.
                _ => break,
            }
        }
        Ok(claimed.len())
    }

    /// Claims the keys of some rows; returns the claims, and the last row where there are more.
    async fn claim_page(
        &self,
        table: &Table,
        (home, range): (HomeNo, &KeyRange),
        limits: ReadLimits,
    ) -> Result<(Vec<Located>, Option<Key>)> {
        let mut txn = self.client.begin(Mode::Interactive);
        // Whoever comes late, when the table is in use again, loses.
        txn.use_description(table.id, table.version, table.stamp)?;
        let read = Read::Range { range: range.clone(), limit: None, reverse: false };
        let page = txn.read(vec![HomeRead { home, read }], limits).await?.pop().unwrap_or_default();
        let mut claims = vec![];
        for entry in &page.entries {
            for (place, value) in claims_of_row(table, &decode_table_row(table, &entry.value)?)? {
                txn.put(place.home, place.key.clone(), value)?;
                claims.push(place);
            }
        }
        txn.commit().await?;
        Ok((claims, page.more))
    }

    /// Lets a table be used whose claims are complete.
    async fn open_table(&self, table: &Table) -> Result<()> {
        let catalog = self.catalog();
        let topology = catalog.topology();
        let mut txn = self.client.begin(Mode::Interactive);
        // Of the topology, too: a stamp is of its epoch.
        txn.use_description(table.id, table.version, table.stamp)?;
        let open = Table { unclaimed: false, ..table.clone() };
        let description = catalog.format().describe(&open)?;
        let stamp = Bytes::copy_from_slice(&stamp_of(&description, topology.epoch).to_be_bytes());
        if let Some(stream) = open.stream() {
            txn.tell_key(schema_version_key(open.id), stream);
        }
        for home in topology.homes() {
            txn.put(home, table_key(open.id), description.clone())?;
            txn.put(home, schema_version_key(open.id), stamp.clone())?;
        }
        txn.commit().await?;
        self.refresh_catalog().await.map(|_| ())
    }
}

fn rows_agree(table: &Table) -> Error {
    Error::new(SqlState::UNIQUE_VIOLATION, format!("two rows of \"{}\" that remain agree on a unique key", table.name))
        .with_table(&table.name)
}
