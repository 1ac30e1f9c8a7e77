//! Who goes on with the global tables of a site that is gone: the site whose copies of them are the newest, of those that are whole.
//!
//! Copies of one home's tables show whole transactions, each site's as of a moment of its own. So all tables of a home go to one site where one
//! has all of them.

use super::replication::Replica;
use crate::catalog::Table;
use crate::catalog::keys::replica_key;
use crate::error::{Error, Result, SqlState};
use crate::store::{Epoch, Read, ReadLimits, ReadResult, Version};
use crate::topology::{HomeNo, Topology};
use crate::txn::{Client, HomeRead, Txn};
use serde::Deserialize;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The copies of the lost homes' global tables, at all sites that remain.
#[derive(Debug, Default)]
pub(super) struct Heirs(Vec<Candidate>);

/// A site's copy of a home's global tables.
#[derive(Debug)]
struct Candidate {
    of: HomeNo,
    site: String,
    is_here: bool,
    upto: UpTo,
    replica: Replica,
}

/// How far a copy has come: the part of a stored [`Replica`] that tells it.
#[derive(Clone, Copy, Debug, Deserialize)]
struct UpTo {
    epoch: Epoch,
    cursor: Version,
}

impl Heirs {
    /// Looks at all copies, outside of any transaction.
    ///
    /// # Errors
    /// 08006 where a site can't be reached.
    pub(super) async fn look(client: &Client, remaining: &Topology, lost: &BTreeSet<HomeNo>) -> Result<Self> {
        let mut heirs = Self::default();
        for site in &remaining.sites {
            let reads = lost.iter().map(|of| Read::Point(replica_key(*of))).collect();
            let found = client.read(site.home(), reads, ReadLimits::default()).await?;
            heirs.note((&site.name, site.home() == client.local()), lost, &found)?;
        }
        Ok(heirs)
    }

    /// Looks at all copies, as they stay until the transaction commits.
    ///
    /// # Errors
    /// As [`Heirs::look`].
    pub(super) async fn read(txn: &mut Txn, remaining: &Topology, lost: &BTreeSet<HomeNo>) -> Result<Self> {
        let mut heirs = Self::default();
        let here = txn.client().local();
        let of_site = |home| lost.iter().map(move |of| HomeRead::point(home, replica_key(*of)));
        let reads = remaining.sites.iter().flat_map(|site| of_site(site.home())).collect();
        let found = txn.read(reads, ReadLimits::default()).await?;
        for (site, found) in remaining.sites.iter().zip(found.chunks(lost.len().max(1))) {
            heirs.note((&site.name, site.home() == here), lost, found)?;
        }
        Ok(heirs)
    }

    fn note(&mut self, (site, is_here): (&str, bool), lost: &BTreeSet<HomeNo>, found: &[ReadResult]) -> Result<()> {
        for (of, found) in lost.iter().zip(found) {
            let Some(entry) = found.entries.first() else { continue };
            let corrupt = |_| Error::new(SqlState::DATA_CORRUPTED, "what the store says of its copies is corrupt");
            let upto = serde_json::from_slice(&entry.value).map_err(corrupt)?;
            let replica = serde_json::from_slice(&entry.value).map_err(corrupt)?;
            self.0.push(Candidate { of: *of, site: site.to_owned(), is_here, upto, replica });
        }
        Ok(())
    }

    /// Puts the copies with the most of these tables first, then the newest, then those here.
    pub(super) fn rank<'t>(&mut self, tables: impl Iterator<Item = &'t Table> + Clone) {
        let whole = |copy: &Candidate| {
            tables.clone().filter(|table| table.homes.only() == Some(copy.of) && copy.replica.has(table)).count()
        };
        // Versions of different epochs say nothing of each other; the sort keeps them as they stand.
        let newer = |a: &Candidate, b: &Candidate| match a.upto.epoch == b.upto.epoch {
            true => b.upto.cursor.cmp(&a.upto.cursor),
            false => Ordering::Equal,
        };
        let before = |a: &Candidate, b: &Candidate| {
            whole(b).cmp(&whole(a)).then(newer(a, b)).then(b.is_here.cmp(&a.is_here)) == Ordering::Less
        };
        let mut ranked: Vec<Candidate> = Vec::with_capacity(self.0.len());
        for copy in self.0.drain(..) {
            let at = ranked.iter().position(|other| before(&copy, other)).unwrap_or(ranked.len());
            ranked.insert(at, copy);
        }
        self.0 = ranked;
    }

    /// The site that has the best whole copy of a table of a lost home.
    pub(super) fn of(&self, home: HomeNo, table: &Table) -> Option<&str> {
        self.0.iter().find(|copy| copy.of == home && copy.replica.has(table)).map(|copy| copy.site.as_str())
    }
}
