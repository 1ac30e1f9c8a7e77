//! How far the copies of global tables at a site are behind, asked from outside.
//!
//! Nobody can tell by versions how long ago something was written. So this waits: a copy is as far behind as it takes to catch up with what the tables' homes
//! hold when they are asked.

use super::replication::Replica;
use super::status::{Survey, in_time, tables_at};
use crate::catalog::{Placement, Table};
use crate::error::{Error, Result};
use crate::store::{Epoch, ReadOutcome, ReadRequest, StoreError, Version};
use crate::topology::HomeNo;
use crate::txn::Place;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often to look whether a copy has caught up.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How far a site's copies are behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lag {
    /// They missed nothing so long after they were asked: zero where they missed nothing at once.
    CaughtUpAfter(Duration),
    /// They still missed something when the time for an answer was over.
    Behind,
}

impl Survey {
    /// How far the copies of global tables at a site are behind; `None` where it keeps none.
    ///
    /// # Errors
    /// 08006 where the site, or the home of a table that it copies, can't be reached, and the stores' own.
    pub async fn lag_at(&self, site: &str) -> Result<Option<Lag>> {
        let Some(here) = self.places(site)?.into_iter().next() else { return Ok(None) };
        let mut sources: BTreeMap<HomeNo, (Place, Vec<Table>)> = BTreeMap::new();
        for table in in_time(site, self.options(), tables_at(&here)).await? {
            let Placement::Global { site: home } = &table.placement else { continue };
            if home != site
                && let Some(place) = self.places(home)?.into_iter().next()
            {
                sources.entry(place.no).or_insert_with(|| (place, vec![])).1.push(table);
            }
        }
        if sources.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut asked = vec![];
        for (source, tables) in sources.into_values() {
            let standing = in_time(&source.site, self.options(), standing(&source)).await?;
            asked.push((source, tables, standing));
        }
        let mut first = true;
        loop {
            let mut whole = true;
            for (source, tables, standing) in &asked {
                whole = whole && self.has_all(&here, source, tables, *standing).await?;
            }
            let elapsed = begun.elapsed();
            match whole {
                true if first => return Ok(Some(Lag::CaughtUpAfter(Duration::ZERO))),
                true => return Ok(Some(Lag::CaughtUpAfter(elapsed))),
                false if elapsed >= self.options().timeout => return Ok(Some(Lag::Behind)),
                false => sleep(LOOK_EVERY).await,
            }
            first = false;
        }
    }

    /// Whether a copy has all that its home had when it was asked: it has come that far, or nothing was written there since what it has.
    async fn has_all(
        &self,
        here: &Place,
        source: &Place,
        tables: &[Table],
        standing: (Epoch, Version),
    ) -> Result<bool> {
        let look = Replica::look(here.store.as_ref(), &here.home, source.no);
        let Some(replica) = in_time(&here.site, self.options(), look).await? else { return Ok(false) };
        if !tables.iter().all(|table| replica.has(table)) {
            return Ok(false);
        }
        if replica.reaches(standing) {
            return Ok(true);
        }
        let (guards, epoch) = replica.nothing_since(tables.iter());
        let request = ReadRequest { guards, epoch: Some(epoch), ..ReadRequest::default() };
        let ask = async {
            match source.store.read(&source.home, request).await {
                Ok(outcome) => Ok(matches!(outcome, ReadOutcome::Answer(_))),
                Err(StoreError::EpochChanged) => Ok(false),
                Err(error) => Err(error.into()),
            }
        };
        in_time(&source.site, self.options(), ask).await
    }
}

/// The epoch and version at which a home stands.
async fn standing(home: &Place) -> Result<(Epoch, Version)> {
    match home.store.read(&home.home, ReadRequest::default()).await? {
        ReadOutcome::Answer(answer) => Ok((answer.epoch, answer.snapshot)),
        ReadOutcome::Conflict { .. } => Err(Error::internal("a read without guards had a conflict")),
    }
}
