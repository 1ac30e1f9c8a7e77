//! Filling up an allotment that has run dry.
//!
//! One spender of a process does it for all: first it asks the sites that can be reached what they have (each for itself, so that one that is cut
//! off stops nobody), then one transaction takes some. How much:
//!
//! - half of the richest reserve: a site with much demand gets much, and a transfer is followed by the next one only after many spends;
//! - near the end of the budget half of further reserves, too, until a fair share of what is left is together, though not more than
//!   [`WORTHWHILE`] times what is needed: sites that each have a little must not ask one another for every single spend;
//! - whole reserves where halves do not have what is needed;
//! - what lies in purses only where the reserves together do not have what is needed, since those rows are contended.
//!
//! That a counter is exhausted is said only after one query over all sites has seen it: what was asked site by site may have moved meanwhile.

use super::ledger::{Entry, finish};
use super::rows::{Line, RESERVE};
use super::{Escrow, Part, begin_anew, undefined, unspent};
use crate::database::{DatabaseExt, Transaction};
use crate::error::{Error, Result, SqlState};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A transfer of several takes brings at most so many times what is needed.
const WORTHWHILE: i64 = 16;

/// How long answers are waited for when those that have come say that there is enough.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who fills up a counter's allotment, and what came of it the last time.
#[derive(Default)]
pub(super) struct Gate {
    /// How many times somebody has begun.
    begun: AtomicU64,
    turn: tokio::sync::Mutex<Option<(i64, Verdict)>>,
}

/// What came of an attempt to fill up.
#[derive(Clone)]
enum Verdict {
    /// There was enough, or is now.
    Filled,
    /// All sites together have so little.
    Exhausted(i128),
    /// The sites that could be asked have so little; these could not.
    Unreached(i128, Vec<(String, Error)>),
}

/// What a site has that others may take.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Offer {
    site: String,
    reserve: i64,
    purses: i64,
}

/// What is to be taken from a site.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Take {
    site: String,
    amount: i64,
}

/// From whom to take.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Plan {
    takes: Vec<Take>,
    /// Not from reserves alone.
    purses: bool,
}

impl Offer {
    fn of(site: &str, parts: &[Part]) -> Self {
        let sum = |of: &dyn Fn(&Part) -> bool| parts.iter().filter(|part| of(part)).map(|part| part.unspent).sum();
        let reserve = sum(&|part| part.number == RESERVE);
        // A reserve below zero is what the site owes before anybody gets what is in its purses.
        let purses: i64 = sum(&|part| part.number != RESERVE);
        Self { site: site.to_owned(), reserve: reserve.max(0), purses: purses.saturating_add(reserve.min(0)).max(0) }
    }
}

/// From whom to take how much, so that at least `needed` comes together; `None` where there is not so much.
fn plan(needed: i64, offers: &[Offer]) -> Option<Plan> {
    let mut richest: Vec<&Offer> = offers.iter().collect();
    richest.sort_by(|a, b| b.reserve.cmp(&a.reserve).then_with(|| a.site.cmp(&b.site)));
    let half = |offer: &Offer| offer.reserve - offer.reserve / 2;
    let sites = i128::try_from(offers.len()).unwrap_or(i128::MAX) + 1;
    let fair = offers.iter().map(|offer| i128::from(offer.reserve)).sum::<i128>() / sites;
    let wanted = needed.max(needed.saturating_mul(WORTHWHILE).min(i64::try_from(fair).unwrap_or(i64::MAX)));
    let halves = gather(wanted, richest.iter().map(|offer| (*offer, half(offer))));
    if total(&halves) >= i128::from(needed) {
        return Some(Plan { takes: halves, purses: false });
    }
    let reserves = gather(needed, richest.iter().map(|offer| (*offer, offer.reserve)));
    if total(&reserves) >= i128::from(needed) {
        return Some(Plan { takes: reserves, purses: false });
    }
    let all = |offer: &Offer| offer.reserve.saturating_add(offer.purses);
    richest.sort_by_key(|offer| std::cmp::Reverse(all(offer)));
    let takes = gather(needed, richest.iter().map(|offer| (*offer, all(offer))));
    (total(&takes) >= i128::from(needed)).then_some(Plan { takes, purses: true })
}

/// Takes what is offered until so much is together.
fn gather<'o>(wanted: i64, offers: impl Iterator<Item = (&'o Offer, i64)>) -> Vec<Take> {
    let mut missing = wanted;
    let mut takes = vec![];
    for (offer, amount) in offers.filter(|(_, amount)| *amount > 0) {
        if missing <= 0 {
            break;
        }
        missing = missing.saturating_sub(amount);
        takes.push(Take { site: offer.site.clone(), amount });
    }
    takes
}

fn total(takes: &[Take]) -> i128 {
    takes.iter().map(|take| i128::from(take.amount)).sum()
}

impl Escrow {
    fn gate(&self, counter: &str) -> Arc<Gate> {
        let mut gates = self.shared.gates.lock();
        // A gate that nobody stands at has nothing to tell.
        gates.retain(|name, gate| name == counter || Arc::strong_count(gate) > 1);
        Arc::clone(gates.entry(counter.to_owned()).or_default())
    }

    /// Sees to it that the local site has so much to spend, if there is so much anywhere. The caller must look again.
    pub(super) async fn replenish(&self, counter: &str, amount: i64) -> Result<()> {
        let gate = self.gate(counter);
        let asked = gate.begun.load(Ordering::SeqCst);
        let mut last = gate.turn.lock().await;
        // What somebody has found who began after this one came is as good as one's own finding.
        let shared = match &*last {
            Some((_, Verdict::Filled)) => Some(Verdict::Filled),
            Some((needed, verdict)) if *needed <= amount => Some(verdict.clone()),
            _ => None,
        };
        let verdict = match shared.filter(|_| gate.begun.load(Ordering::SeqCst) > asked) {
            Some(verdict) => verdict,
            None => {
                gate.begun.fetch_add(1, Ordering::SeqCst);
                *last = None;
                let verdict = self.fill_up(counter, amount).await?;
                *last = Some((amount, verdict.clone()));
                verdict
            }
        };
        match verdict {
            Verdict::Filled => Ok(()),
            Verdict::Exhausted(left) => Err(exhausted(counter, amount, left)),
            Verdict::Unreached(left, sites) => Err(unreached(counter, amount, left, &sites)),
        }
    }

    async fn fill_up(&self, counter: &str, amount: i64) -> Result<Verdict> {
        let here = &self.shared.site;
        let mut attempts = self.shared.db.retry_policy().start();
        loop {
            let sites = self.sites(&*self.shared.db).await?;
            let own = self.parts(&*self.shared.db, counter, std::slice::from_ref(here), None).await?;
            if !self.shared.spread {
                // Nobody else has any. A SQL server's locks also forbid another transaction to look while the caller's is open.
                return match (own.is_empty(), unspent(&own)) {
                    (true, _) => Err(undefined(counter)),
                    (false, held) if held < i128::from(amount) => Ok(Verdict::Exhausted(held)),
                    (false, _) => Ok(Verdict::Filled),
                };
            }
            if !self.are_fresh(&own) {
                match self.reconcile(counter).await {
                    Err(error) if !error.is_undetermined() => return Err(error),
                    _ => continue,
                }
            }
            let held = unspent(&own);
            if held >= i128::from(amount) || amount == 0 {
                return Ok(Verdict::Filled);
            }
            let needed = super::saturated(i128::from(amount) - held)?;
            let (offers, missing) = self.survey(counter, needed, sites.iter().filter(|site| *site != here)).await;
            match plan(needed, &offers) {
                Some(plan) => match self.take(counter, needed, &plan).await {
                    Ok(()) => return Ok(Verdict::Filled),
                    // Who can't be reached any more shows in the next survey.
                    Err(error) if error.is_permanent() && error.state() != SqlState::CONNECTION_FAILURE => {
                        return Err(error);
                    }
                    Err(_) => {}
                },
                None if !missing.is_empty() => {
                    let left = held
                        + offers.iter().map(|offer| i128::from(offer.reserve) + i128::from(offer.purses)).sum::<i128>();
                    return Ok(Verdict::Unreached(left, missing));
                }
                None => {
                    let left = unspent(&self.everywhere(counter, &mut attempts).await?);
                    if left < i128::from(amount) {
                        return Ok(Verdict::Exhausted(left));
                    }
                }
            }
            if !attempts.retry_after(Some(&begin_anew(counter))).await {
                return Err(begin_anew(counter));
            }
        }
    }

    /// What other sites have, and which of them did not say.
    async fn survey<'s>(
        &self,
        counter: &str,
        needed: i64,
        peers: impl Iterator<Item = &'s String>,
    ) -> (Vec<Offer>, Vec<(String, Error)>) {
        let (mut offers, mut missing) = (vec![], vec![]);
        let mut silent: Vec<&String> = vec![];
        let mut asked = FuturesUnordered::new();
        for peer in peers {
            silent.push(peer);
            asked.push(async move { (peer, self.ask(counter, peer).await) });
        }
        let soon = Instant::now() + PATIENCE;
        loop {
            let enough = plan(needed, &offers).is_some();
            let next = match enough {
                false => asked.next().await,
                true => match timeout_at(soon, asked.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            let Some((peer, answer)) = next else { break };
            silent.retain(|other| *other != peer);
            match answer {
                Ok(parts) => offers.push(Offer::of(peer, &parts)),
                Err(error) => missing.push((peer.clone(), error)),
            }
        }
        missing.extend(silent.into_iter().map(|peer| (peer.clone(), late())));
        missing.sort_by(|(a, _), (b, _)| a.cmp(b));
        (offers, missing)
    }

    async fn ask(&self, counter: &str, peer: &str) -> Result<Vec<Part>> {
        let site = [peer.to_owned()];
        let parts = self.parts(&*self.shared.db, counter, &site, None).await?;
        if parts.iter().all(|part| part.fresh) {
            return Ok(parts);
        }
        // Its home has begun another epoch, and nobody there has spent since.
        self.reconcile_site(counter, peer).await?;
        self.parts(&*self.shared.db, counter, &site, None).await
    }

    /// Moves what a plan says to the local reserve, or as much of it as is left.
    async fn take(&self, counter: &str, needed: i64, plan: &Plan) -> Result<()> {
        // A few attempts: then better look again who has how much.
        const ATTEMPTS: usize = 3;
        let mut attempts = self.shared.db.retry_policy().start();
        for _ in 0..ATTEMPTS {
            let tx = self.shared.db.begin().await?;
            let done = self.transfer(&*tx, counter, needed, plan).await;
            if finish(tx, done, &mut attempts).await?.is_some() {
                return Ok(());
            }
        }
        Err(begin_anew(counter))
    }

    async fn transfer(&self, tx: &dyn Transaction, counter: &str, needed: i64, plan: &Plan) -> Result<()> {
        let here = &self.shared.site;
        let mut sites: Vec<String> = plan.takes.iter().map(|take| take.site.clone()).collect();
        sites.push(here.clone());
        let parts = self.parts(tx, counter, &sites, (!plan.purses).then_some(&[RESERVE])).await?;
        let own = parts.iter().any(|part| part.site == *here && part.number == RESERVE);
        if !own || parts.iter().any(|part| !part.fresh) {
            return Err(begin_anew(counter));
        }
        let ledger = self.ledger(tx, counter, &sites, Some(&[Entry::Sent, Entry::Received])).await?;
        let (mut received, mut lines) = (0_i64, vec![]);
        for take in &plan.takes {
            let mut missing = take.amount;
            let mut theirs: Vec<&Part> = parts.iter().filter(|part| part.site == take.site).collect();
            theirs.sort_by_key(|part| part.number);
            if unspent_of(&theirs) < i128::from(missing) {
                missing = super::saturated(unspent_of(&theirs))?.max(0);
            }
            let given = missing;
            for part in theirs {
                let taken = part.unspent.min(missing).max(0);
                if taken > 0 {
                    self.change_part(tx, counter, (&part.site, part.number), (-taken, 0)).await?;
                    missing -= taken;
                }
            }
            let given = given - missing;
            if given > 0 {
                let line = Line::new(here, &take.site, Entry::Received);
                lines.extend([(line.mirrored(), given), (line, given)]);
                received = received.saturating_add(given);
            }
        }
        if received < needed {
            return Err(begin_anew(counter));
        }
        self.book(tx, counter, &ledger, lines).await?;
        self.change_part(tx, counter, (here, RESERVE), (received, 0)).await
    }
}

fn unspent_of(parts: &[&Part]) -> i128 {
    parts.iter().map(|part| i128::from(part.unspent)).sum()
}

fn late() -> Error {
    Error::new(SqlState::CONNECTION_FAILURE, "no answer in time")
}

/// SQLSTATE 23514: there is nowhere enough.
fn exhausted(counter: &str, amount: i64, left: i128) -> Error {
    let message = format!("counter \"{counter}\" is exhausted: {amount} wanted, {left} left at all sites together");
    Error::new(SqlState::CHECK_VIOLATION, message)
        .with_constraint(counter)
        .with_hint("Wait until some is given back, or let the budget grow.")
}

/// SQLSTATE 08006: there may be enough, at sites that can't be asked.
fn unreached(counter: &str, amount: i64, left: i128, sites: &[(String, Error)]) -> Error {
    let names: Vec<String> = sites.iter().map(|(site, _)| format!("\"{site}\"")).collect();
    let reasons: Vec<String> = sites.iter().map(|(site, error)| format!("\"{site}\": {}", error.message())).collect();
    let message = format!(
        "counter \"{counter}\" has too little left at the sites that can be reached: {amount} wanted, {left} left; \
         more may be left at {}",
        names.join(", ")
    );
    Error::new(SqlState::CONNECTION_FAILURE, message)
        .with_constraint(counter)
        .with_detail(reasons.join("; "))
        .with_hint("Try again when they can be reached.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(has: &[(i64, i64)]) -> Vec<Offer> {
        let offer = |(at, (reserve, purses)): (usize, &(i64, i64))| Offer {
            site: format!("s{at}"),
            reserve: *reserve,
            purses: *purses,
        };
        has.iter().enumerate().map(offer).collect()
    }

    fn amounts(plan: Option<Plan>) -> Option<(Vec<(String, i64)>, bool)> {
        plan.map(|plan| (plan.takes.into_iter().map(|take| (take.site, take.amount)).collect(), plan.purses))
    }

    #[test]
    fn half_of_the_richest_reserve_while_that_is_much() {
        let plan = plan(1, &offers(&[(10, 500), (100, 0), (50, 0)]));
        assert_eq!(amounts(plan), Some((vec![("s1".into(), 50)], false)));
    }

    #[test]
    fn half_of_several_reserves_near_the_end() {
        let gathered = plan(1, &offers(&[(7, 0), (3, 0), (9, 0), (4, 0), (9, 0), (2, 0)]));
        assert_eq!(amounts(gathered), Some((vec![("s2".into(), 5)], false)), "a fair share");
        let gathered = plan(4, &offers(&[(7, 0), (3, 0), (9, 0)]));
        assert_eq!(amounts(gathered), Some((vec![("s2".into(), 5)], false)));
        let gathered = plan(6, &offers(&[(7, 0), (3, 0), (9, 0)]));
        assert_eq!(amounts(gathered), Some((vec![("s2".into(), 5), ("s0".into(), 4)], false)));
    }

    #[test]
    fn whole_reserves_for_much() {
        let large = plan(18, &offers(&[(7, 0), (3, 0), (9, 0), (4, 0)]));
        let takes = vec![("s2".into(), 9), ("s0".into(), 7), ("s3".into(), 4)];
        assert_eq!(amounts(large), Some((takes, false)));
    }

    #[test]
    fn purses_only_where_reserves_do_not_suffice() {
        let needy = plan(5, &offers(&[(0, 3), (1, 2), (0, 0)]));
        assert_eq!(amounts(needy), Some((vec![("s1".into(), 3), ("s0".into(), 3)], true)));
        assert_eq!(amounts(plan(7, &offers(&[(0, 3), (1, 2)]))), None);
        assert_eq!(amounts(plan(1, &[])), None);
    }

    #[test]
    fn debts_come_first() {
        let part = |number, unspent| Part { site: "s".into(), number, unspent, spent: 0, fresh: true };
        assert_eq!(Offer::of("s", &[part(0, -3), part(1, 5)]), Offer { site: "s".into(), reserve: 0, purses: 2 });
        assert_eq!(Offer::of("s", &[part(0, -3), part(1, 2)]).purses, 0);
    }
}
