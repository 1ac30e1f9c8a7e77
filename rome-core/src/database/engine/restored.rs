//! What to do after a site was restored from a backup: the catalog and all claims are made anew.
//!
//! A home that is restored begins another epoch, so that nobody takes what was read before for what is there now; copies and watches begin again by
//! themselves. Two things don't. Its catalog may be older than that of the other homes, so that its tables are described otherwise there. And claims
//! ([`crate::exec::claims`]) no longer stand for rows: the home lacks those that it kept for rows elsewhere which have come since, and keeps some of rows that
//! have gone; other homes keep claims on rows that it has no more. Rows are what counts: one transaction over all homes writes the catalog of the
//! caller's site everywhere, with other spaces for claims, and then the keys of all rows that there are are claimed there, page by page.

use super::RomeDatabase;
use super::forget::Remains;
use super::sites::catalog_of;
use crate::error::Result;
use crate::store::SPACE_LEN;
use crate::topology::Topology;
use crate::txn::Mode;
use std::collections::BTreeSet;
use std::sync::Arc;

impl RomeDatabase {
    /// Puts a database in order of which a site was restored from a backup, as a client at a site that was not. Tables that are being moved stay where they are.
    /// Tells which tables' keys were claimed, with the number of claims.
    ///
    /// # Errors
    /// 23505 where two rows agree on a unique key: delete one of them; 08006 where a site can't be reached; 40001 where it lost against another change.
    /// Nothing is changed then, unless 08006 comes later, or 23505 since somebody has taken a key meanwhile: tables without their claims can't be used
    /// until it is repeated.
    pub async fn claim_anew(&self) -> Result<Vec<(String, usize)>> {
        let engine = &self.engine;
        let current = engine.refresh_catalog().await?;
        for table in current.tables().into_iter().filter(|table| table.claims_anything()) {
            engine.check_keys(table).await?;
        }
        let topology = Arc::clone(current.topology());
        let raised = Topology { epoch: topology.epoch + 1, ..Topology::clone(&topology) };
        let mut txn = engine.client.begin(Mode::Interactive);
        let catalog = catalog_of(&mut txn, engine.client.local()).await?;
        let mut anew = Remains::anew(catalog, &topology, &raised)?;
        // What the restored home describes and nobody else does any more.
        let mut foreign = BTreeSet::new();
        for home in raised.homes() {
            let theirs = catalog_of(&mut txn, home).await?.into_keys();
            foreign.extend(theirs.filter(|key| !matches!(key.get(SPACE_LEN), Some(b's' | b'g'))));
        }
        anew.remove_others(foreign);
        anew.write(&mut txn)?;
        txn.commit().await?;
        let claimed = engine.reclaim().await?;
        engine.collect_garbage().await;
        Ok(claimed)
    }
}
