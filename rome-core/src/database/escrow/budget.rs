//! Making counters, changing their budgets, looking at them as a whole. All this concerns several sites, or all.

use super::ledger::{Entry, finish, no_site};
use super::rows::{Line, RESERVE};
use super::{Escrow, MAX_AMOUNT, Part, check, check_name, saturated, undefined, unspent};
use crate::database::retry::Attempts;
use crate::database::{DatabaseExt, Transaction, TransactionOptions};
use crate::error::{Error, Result, SqlState};
use std::collections::BTreeMap;

/// A counter over all sites, as of one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balance {
    /// All that was granted and not revoked. Equal to `unspent + spent`.
    pub budget: i64,
    /// What is left.
    pub unspent: i64,
    /// What was spent and not given back.
    pub spent: i64,
    /// By site, in the order of their names.
    pub sites: Vec<SiteBalance>,
}

/// A counter at one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteBalance {
    /// The site's name.
    pub site: String,
    /// What it can spend without asking others.
    pub unspent: i64,
    /// What was spent there, less what was given back there: negative where that was more.
    pub spent: i64,
    /// Whether it may spend: see [`Escrow::reconcile`].
    pub reconciled: bool,
}

impl Escrow {
    /// Makes a counter with a budget, shared evenly among the sites. Needs all of them.
    ///
    /// # Errors
    /// 42710 where there is one of this name, 22023 for a budget below zero or above [`MAX_AMOUNT`], 08006 where a site can't be reached, 08007 where the outcome is unknown.
    pub async fn create(&self, counter: &str, budget: i64) -> Result<()> {
        check_budget(counter, budget)?;
        let sites = self.sites(&*self.shared.db).await?;
        let count = i64::try_from(sites.len()).unwrap_or(i64::MAX).max(1);
        let (share, rest) = (budget / count, budget % count);
        let shares = sites.iter().zip(0..).map(|(site, at)| (site.as_str(), share + i64::from(at < rest)));
        self.create_at(counter, &shares.collect::<Vec<_>>()).await
    }

    /// Makes a counter of which these sites get so much, others nothing. Needs all sites.
    ///
    /// # Errors
    /// As [`Escrow::create`]; 22023 for a site that does not exist or is there twice.
    pub async fn create_at(&self, counter: &str, shares: &[(&str, i64)]) -> Result<()> {
        check_name(counter)?;
        let sites = self.sites(&*self.shared.db).await?;
        let mut by_site: BTreeMap<&str, i64> = sites.iter().map(|site| (site.as_str(), 0)).collect();
        let mut budget = 0_i64;
        for (at, (site, share)) in shares.iter().enumerate() {
            let twice = shares.iter().take(at).any(|(other, _)| other == site);
            let slot = by_site.get_mut(site).filter(|_| !twice).ok_or_else(|| no_site(site))?;
            check_budget(counter, *share)?;
            *slot = *share;
            budget = budget.saturating_add(*share);
        }
        check_budget(counter, budget)?;
        let mut attempts = self.shared.db.retry_policy().start();
        loop {
            let tx = self.shared.db.begin().await?;
            let done = self.lay_out(&*tx, counter, &by_site).await;
            if finish(tx, done, &mut attempts).await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn lay_out(&self, tx: &dyn Transaction, counter: &str, shares: &BTreeMap<&str, i64>) -> Result<()> {
        let sites = &self.sites(tx).await?;
        // By keys, which are then not read again when they are written.
        let ledger = self.ledger(tx, counter, sites, Some(&[Entry::Granted, Entry::SawGranted])).await?;
        if !self.parts(tx, counter, sites, Some(&[RESERVE])).await?.is_empty() || !ledger.is_empty() {
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("counter \"{counter}\" exists already")));
        }
        for (at, site) in sites.iter().enumerate() {
            let share = shares.get(site.as_str()).copied().unwrap_or(0);
            let part = Part { site: site.clone(), number: RESERVE, unspent: share, spent: 0, fresh: true };
            self.insert_part(tx, counter, &part).await?;
            // Also a grant of nothing: the ledgers tell that there is such a counter.
            let witness = sites.iter().cycle().nth(at + 1).unwrap_or(site);
            self.book(tx, counter, &ledger, witnessed(site, witness, Entry::Granted, share)).await?;
        }
        Ok(())
    }

    /// Lets a budget grow: the local site gets the amount, and another one is witness.
    ///
    /// # Errors
    /// As [`Escrow::spend`], without 23514.
    pub async fn grow(&self, counter: &str, amount: i64) -> Result<()> {
        check(counter, amount)?;
        self.change_budget(counter, amount, Entry::Granted).await
    }

    /// Takes some away from a budget, as far as it is unspent: from what the local site holds, which is filled up for it where necessary.
    ///
    /// # Errors
    /// As [`Escrow::spend`]; 23514 where less is left than the amount.
    pub async fn shrink(&self, counter: &str, amount: i64) -> Result<()> {
        check(counter, amount)?;
        self.change_budget(counter, amount, Entry::Revoked).await
    }

    async fn change_budget(&self, counter: &str, amount: i64, entry: Entry) -> Result<()> {
        let here = &self.shared.site;
        let mut attempts = self.shared.db.retry_policy().start();
        'again: loop {
            self.replenish(counter, if entry == Entry::Revoked { amount } else { 0 }).await?;
            let mut witnesses = self.sites(&*self.shared.db).await?;
            // Nobody is witness where there is nobody else.
            if witnesses.len() > 1 {
                witnesses.retain(|site| site != here);
            }
            let mut failure = undefined(counter);
            for witness in &witnesses {
                let tx = self.shared.db.begin().await?;
                let done = self.grant(&*tx, counter, amount, entry, witness).await;
                match finish(tx, done, &mut attempts).await {
                    Ok(Some(())) => return Ok(()),
                    Ok(None) => continue 'again,
                    Err(error) if error.state() == SqlState::CONNECTION_FAILURE => failure = error,
                    Err(error) => return Err(error),
                }
            }
            return Err(failure);
        }
    }

    async fn grant(&self, tx: &dyn Transaction, counter: &str, amount: i64, entry: Entry, witness: &str) -> Result<()> {
        let here = &self.shared.site;
        let mut sites = vec![here.clone()];
        if witness != here {
            sites.push(witness.to_owned());
        }
        // The local read first: the other then tells in the same round trip that both tables are as they are known.
        let parts = self.parts(tx, counter, std::slice::from_ref(here), None).await?;
        let ledger = self.ledger(tx, counter, &sites, Some(&[entry, entry.mirrored()])).await?;
        if !self.are_fresh(&parts) {
            return Err(super::begin_anew(counter));
        }
        if entry == Entry::Granted {
            self.change_part(tx, counter, (here, RESERVE), (amount, 0)).await?;
        } else {
            if unspent(&parts) < i128::from(amount) {
                return Err(super::begin_anew(counter));
            }
            let mut missing = amount;
            for part in &parts {
                let taken = part.unspent.min(missing).max(0);
                if taken > 0 {
                    self.change_part(tx, counter, (here, part.number), (-taken, 0)).await?;
                    missing -= taken;
                }
            }
            if missing > 0 {
                return Err(super::begin_anew(counter));
            }
        }
        self.book(tx, counter, &ledger, witnessed(here, witness, entry, amount)).await
    }

    /// A counter as a whole, by one query over all sites.
    ///
    /// # Errors
    /// 42704 where there is no such counter, 08006 where a site can't be reached.
    pub async fn balance(&self, counter: &str) -> Result<Balance> {
        check_name(counter)?;
        let parts = self.everywhere(counter, &mut self.shared.db.retry_policy().start()).await?;
        if parts.is_empty() {
            return Err(undefined(counter));
        }
        let mut by_site: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
        for part in &parts {
            by_site.entry(&part.site).or_default().push(part);
        }
        let spent: i128 = parts.iter().map(|part| i128::from(part.spent)).sum();
        let of_site = |(site, parts): (&str, Vec<&Part>)| {
            let sum = |of: fn(&Part) -> i64| saturated(parts.iter().map(|part| i128::from(of(part))).sum());
            Ok(SiteBalance {
                site: site.to_owned(),
                unspent: sum(|part| part.unspent)?,
                spent: sum(|part| part.spent)?,
                reconciled: parts.iter().all(|part| part.fresh),
            })
        };
        Ok(Balance {
            budget: saturated(unspent(&parts) + spent)?,
            unspent: saturated(unspent(&parts))?,
            spent: saturated(spent)?,
            sites: by_site.into_iter().map(of_site).collect::<Result<_>>()?,
        })
    }

    /// All parts at all sites, as of one moment.
    pub(super) async fn everywhere(&self, counter: &str, attempts: &mut Attempts<'_>) -> Result<Vec<Part>> {
        let options = TransactionOptions { read_only: true, ..TransactionOptions::default() };
        loop {
            let tx = self.shared.db.begin_with(options).await?;
            let done = match self.sites(&*tx).await {
                Ok(sites) => self.parts(&*tx, counter, &sites, None).await,
                Err(error) => Err(error),
            };
            if let Some(parts) = finish(tx, done, attempts).await? {
                return Ok(parts);
            }
        }
    }

    /// Removes a counter with all that was spent of it. Needs all sites.
    ///
    /// # Errors
    /// 42704 where there is no such counter, 08006 where a site can't be reached, 08007 where the outcome is unknown.
    pub async fn drop(&self, counter: &str) -> Result<()> {
        check_name(counter)?;
        let mut attempts = self.shared.db.retry_policy().start();
        loop {
            let tx = self.shared.db.begin().await?;
            let done = match self.sites(&*tx).await {
                Ok(sites) => self.erase(&*tx, counter, &sites).await,
                Err(error) => Err(error),
            };
            if let Some(parts) = finish(tx, done, &mut attempts).await? {
                return if parts > 0 { Ok(()) } else { Err(undefined(counter)) };
            }
        }
    }
}

fn check_budget(counter: &str, budget: i64) -> Result<()> {
    if (0..=MAX_AMOUNT).contains(&budget) {
        return Ok(());
    }
    let message = format!("the budget of counter \"{counter}\" is between 0 and {MAX_AMOUNT}, not {budget}");
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

/// The lines by which a part of the budget is granted to a site or taken from it, before a witness.
fn witnessed(site: &str, witness: &str, entry: Entry, amount: i64) -> Vec<(Line, i64)> {
    let line = Line::new(site, witness, entry);
    match site == witness {
        true => vec![(line, amount)],
        false => vec![(line.mirrored(), amount), (line, amount)],
    }
}
