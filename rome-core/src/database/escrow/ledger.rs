//! What has gone between sites, kept at both, and how a site that has lost commits learns from its peers what it holds.

use super::rows::{Line, RESERVE};
use super::{Escrow, Part, saturated, undefined};
use crate::database::retry::Attempts;
use crate::database::{DatabaseExt, Transaction};
use crate::error::{Error, Result, SqlState};
use std::collections::BTreeMap;

/// What a total in a ledger counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Entry {
    /// Sent to the peer.
    Sent,
    /// Received from the peer.
    Received,
    /// Granted to the site out of nothing, before the peer.
    Granted,
    /// Granted to the peer, before this site.
    SawGranted,
    /// Taken from the site into nothing, before the peer.
    Revoked,
    /// Taken from the peer, before this site.
    SawRevoked,
}

impl Entry {
    const ALL: [Self; 6] =
        [Self::Sent, Self::Received, Self::Granted, Self::SawGranted, Self::Revoked, Self::SawRevoked];

    /// As the ledger has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Granted => "granted",
            Self::SawGranted => "saw granted",
            Self::Revoked => "revoked",
            Self::SawRevoked => "saw revoked",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entry| entry.name() == name)
    }

    /// The same as the peer has it.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
            Self::Granted => Self::SawGranted,
            Self::SawGranted => Self::Granted,
            Self::Revoked => Self::SawRevoked,
            Self::SawRevoked => Self::Revoked,
        }
    }

    /// Whether it is part of the site's allotment, with which sign.
    fn sign(self) -> i128 {
        match self {
            Self::Received | Self::Granted => 1,
            Self::Sent | Self::Revoked => -1,
            Self::SawGranted | Self::SawRevoked => 0,
        }
    }
}

impl Line {
    pub(super) fn new(site: &str, peer: &str, entry: Entry) -> Self {
        Self { site: site.to_owned(), peer: peer.to_owned(), entry }
    }

    /// The line that says the same at the peer.
    pub(super) fn mirrored(&self) -> Self {
        Self { site: self.peer.clone(), peer: self.site.clone(), entry: self.entry.mirrored() }
    }
}

/// What a site was allotted, by its ledger.
pub(super) fn allotted(ledger: &BTreeMap<Line, i64>, site: &str) -> i128 {
    let own = ledger.iter().filter(|(line, _)| line.site == site);
    own.map(|(line, total)| line.entry.sign() * i128::from(*total)).sum()
}

/// By how much the lines of a site's ledger fall short of what its peers have.
fn shortfalls(ledger: &BTreeMap<Line, i64>, site: &str) -> BTreeMap<Line, i64> {
    let mut short = BTreeMap::new();
    for (theirs, total) in ledger.iter().filter(|(line, _)| line.peer == site && line.site != site) {
        let own = theirs.mirrored();
        let known = ledger.get(&own).copied().unwrap_or(0);
        if known < *total {
            short.insert(own, total - known);
        }
    }
    short
}

impl Escrow {
    /// Rebuilds what the local site holds of a counter from the ledgers of its peers, all of which must be reached, and lets it be spent from again.
    /// Needed once after the site's home has begun another epoch, and done by itself by whoever wants to spend; does no harm at other times.
    ///
    /// Where the site turns out to have given away more than it has left (since the home has lost commits that gave something back), its reserve
    /// is negative until enough has been given back.
    ///
    /// # Errors
    /// 08006 where a site can't be reached, 42704 where there is no such counter.
    pub async fn reconcile(&self, counter: &str) -> Result<()> {
        self.reconcile_site(counter, &self.shared.site).await
    }

    /// [`Escrow::reconcile`] for another site.
    ///
    /// # Errors
    /// As [`Escrow::reconcile`]; 22023 where there is no such site.
    pub async fn reconcile_site(&self, counter: &str, site: &str) -> Result<()> {
        super::check_name(counter)?;
        self.rebuild_apart(counter, site).await.map_err(|error| {
            if error.state() != SqlState::CONNECTION_FAILURE {
                return error;
            }
            let message =
                format!("the allotment of counter \"{counter}\" at site \"{site}\" can't be rebuilt: {error}");
            Error::new(SqlState::CONNECTION_FAILURE, message)
                .with_hint("The ledgers of all other sites are needed, once, before it may be spent again.")
        })
    }

    async fn rebuild_apart(&self, counter: &str, site: &str) -> Result<()> {
        let mut attempts = self.shared.db.retry_policy().start();
        loop {
            let tx = self.shared.db.begin().await?;
            let done = self.rebuild(&*tx, counter, site).await;
            if finish(tx, done, &mut attempts).await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn rebuild(&self, tx: &dyn Transaction, counter: &str, site: &str) -> Result<()> {
        let sites = &self.sites(tx).await?;
        if !sites.iter().any(|known| known == site) {
            return Err(no_site(site));
        }
        let parts = self.parts(tx, counter, &[site.to_owned()], None).await?;
        let ledger = self.ledger(tx, counter, sites, None).await?;
        if ledger.is_empty() {
            return Err(undefined(counter));
        }
        let short = shortfalls(&ledger, site);
        self.book(tx, counter, &ledger, short.clone()).await?;
        let mut corrected = ledger;
        for (line, amount) in short {
            *corrected.entry(line).or_default() += amount;
        }
        let held: i128 = parts.iter().map(|part| i128::from(part.unspent) + i128::from(part.spent)).sum();
        let missing = saturated(allotted(&corrected, site) - held)?;
        let reserve = parts.iter().find(|part| part.number == RESERVE);
        let mut left = reserve.map_or(0, |part| part.unspent).saturating_add(missing);
        let mut spent = reserve.map_or(0, |part| part.spent);
        if left < 0 {
            // What is missing from the reserve is in the purses, if it is anywhere. While anything is owed there are none: all that is given back
            // goes to the reserve then, and nothing is spent before that is above zero.
            for purse in parts.iter().filter(|part| part.number != RESERVE) {
                left = left.saturating_add(purse.unspent);
                spent = spent.saturating_add(purse.spent);
                self.delete_part(tx, counter, purse).await?;
            }
        }
        match reserve {
            Some(old) => {
                let change = (left.saturating_sub(old.unspent), spent.saturating_sub(old.spent));
                self.change_part(tx, counter, (site, RESERVE), change).await?;
            }
            None => {
                let part = Part { site: site.to_owned(), number: RESERVE, unspent: left, spent, fresh: true };
                self.insert_part(tx, counter, &part).await?;
            }
        }
        self.freshen(tx, counter, site).await
    }
}

/// Ends a transaction of the helper's own: commits it, or rolls it back where its work has failed. `None` where it has lost and is to be tried again.
///
/// Such a transaction may run while another is open that holds its turn on the very rows, so it never queues for one.
pub(super) async fn finish<T>(
    tx: Box<dyn Transaction>,
    done: Result<T>,
    attempts: &mut Attempts<'_>,
) -> Result<Option<T>> {
    let failure = match done {
        Ok(value) => match tx.commit().await {
            Ok(()) => return Ok(Some(value)),
            Err(error) => error,
        },
        Err(error) => {
            // That error is the one to report, whatever becomes of the rollback.
            let _ = tx.rollback().await;
            error
        }
    };
    if failure.is_retryable() && attempts.retry_after(Some(&Error::serialization_failure())).await {
        return Ok(None);
    }
    Err(failure)
}

/// SQLSTATE 22023.
pub(super) fn no_site(site: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("site \"{site}\" does not exist"))
}
