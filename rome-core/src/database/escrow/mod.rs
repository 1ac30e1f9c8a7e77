//! Escrowed counters: quantities (quotas, capacities) that many sites spend from one budget, each without asking the others.
//!
//! Every site holds an *allotment* of the budget and spends it locally, together with whatever the quantity pays for, in one commit at its own
//! home. Only when it runs dry a transaction of its own moves some from another site. The sum of what is spent never exceeds the budget, since
//! nothing is ever spent that is not held: not while sites are cut off, not by clients that die.
//!
//! ```
//! use rome_core::database::{Database, DatabaseExt, Escrow, Options, Queryable, RomeDatabase};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> rome_core::Result<()> {
//! # let db = RomeDatabase::open(Arc::new(rome_core::store::MemoryStore::new()), Options::default()).await?;
//! let db: Arc<dyn Database> = Arc::new(db);
//! db.execute("CREATE TABLE server (id bigint PRIMARY KEY, cores bigint NOT NULL)").await?;
//! Escrow::install(&*db).await?;                      // once: makes two tables
//! let quota = Escrow::open(Arc::clone(&db)).await?;
//! quota.create("acme/cores", 16).await?;
//!
//! // A server and its cores: both or neither, at the local site alone.
//! let boot = |id: i64, cores: i64| {
//!     let (db, quota) = (&db, quota.clone());
//!     async move {
//!         db.transaction(|tx| {
//!             let quota = quota.clone();
//!             Box::pin(async move {
//!                 quota.spend_in(tx, "acme/cores", cores).await?;
//!                 tx.execute(("INSERT INTO server VALUES ($1, $2)", [id.into(), cores.into()])).await
//!             })
//!         }).await
//!     }
//! };
//! boot(1, 12).await?;
//! let refused = boot(2, 12).await.unwrap_err();
//! assert_eq!(refused.state().code(), "23514");       // exhausted
//! assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM server").await?, 1);
//! assert_eq!(quota.balance("acme/cores").await?.unspent, 4);
//! # Ok(()) }
//! ```
//!
//! # How it is kept
//!
//! Two ordinary tables, `by_site(site)`:
//!
//! ```text
//! rome_escrow_allotments   site, counter, part; unspent, spent, rebuilt_in
//! rome_escrow_ledger       site, counter, peer, entry; total
//! ```
//!
//! A site's allotment has *parts*: a reserve (0) and one or more purses (1, 2, ...). The site spends from its purses, which so change with every
//! commit; other sites take from its reserve, which changes seldom. If both were one row, a transaction from afar, whose read is a
//! round trip old when it commits, would lose against every local spender. A purse that runs dry is filled with an eighth of the reserve, in the
//! transaction that spends.
//!
//! The ledger has a line for each kind of entry (`ledger.rs`) between two sites, *at both*: what one has as sent the other has as received. Totals only
//! rise. Parts of the budget are granted to a site before a *witness*, another site, which keeps the same total. Of each site, always:
//!
//! ```text
//! sum of its parts' (unspent + spent) = granted + received - sent - revoked
//! ```
//!
//! # When a home has lost commits
//!
//! A failover that lost commits, or a restored backup, begins another epoch of a home (`store/mod.rs`). What its site had sent away before it may
//! hold again; so each part says in which epoch it was last known to be right, and is not spent from in any other. The site compares its ledger
//! with those of its peers ([`Escrow::reconcile`], also done by itself when somebody wants to spend): of two totals that should be the same the
//! greater one is right. That needs every peer once. What the site has *spent* in commits that were lost is lost with the rows that it paid for,
//! if those live at the same home.

mod budget;
mod closing;
mod ledger;
mod refill;
mod rows;

pub use budget::{Balance, SiteBalance};
pub(super) use closing::close_ledgers;
use ledger::Entry;
use refill::Gate;
use rows::{Part, RESERVE};

use super::{Database, DatabaseExt, Queryable, Transaction};
use crate::error::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Longest name of a counter, in bytes.
pub const MAX_COUNTER_NAME: usize = 255;

/// Largest budget, and largest amount that is moved at once: 2^53.
pub const MAX_AMOUNT: i64 = 1 << 53;

/// The site of a database that has none.
const ALONE: &str = "here";

/// A purse that has run dry gets this part of its site's reserve.
const PURSE_SHARE: i64 = 8;

/// The escrowed counters of a database, as a client at one site spends from them. Cheap to clone.
///
/// In a database without sites (a single store, a SQL server) everything is held by one.
#[derive(Clone)]
pub struct Escrow {
    shared: Arc<Shared>,
}

struct Shared {
    db: Arc<dyn Database>,
    /// The database has sites.
    spread: bool,
    /// The local one.
    site: String,
    purses: u16,
    /// By counter: who is filling up the local allotment.
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

impl fmt::Debug for Escrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Escrow").field("site", &self.shared.site).finish_non_exhaustive()
    }
}

impl Escrow {
    /// Makes the tables where they are not there yet. In a database of several sites this needs all of them, like any DDL.
    ///
    /// # Errors
    /// Those of CREATE TABLE.
    pub async fn install(db: &dyn Database) -> Result<()> {
        let spread = rows::local_site(db).await?.is_some();
        for statement in rows::ddl(db.features().dialect, spread) {
            db.execute(statement).await?;
        }
        Ok(())
    }

    /// The counters of a database, for a client at its local site.
    ///
    /// # Errors
    /// 55000 where the tables are not there ([`Escrow::install`]) or were made before the database had sites.
    pub async fn open(db: Arc<dyn Database>) -> Result<Self> {
        Self::open_with(db, 1).await
    }

    /// [`Escrow::open`] with so many purses at the local site, at least one. Spenders of one purse take turns; several purses let processes that
    /// spend from the same counter at the same site work side by side.
    ///
    /// # Errors
    /// As [`Escrow::open`].
    pub async fn open_with(db: Arc<dyn Database>, purses: u16) -> Result<Self> {
        let local = rows::local_site(&*db).await?;
        let spread = local.is_some();
        let site = local.unwrap_or_else(|| ALONE.to_owned());
        rows::check_tables(&*db, &site, ALONE).await?;
        let purses = purses.clamp(1, i16::MAX as u16);
        let shared = Shared { db, spread, site, purses, gates: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Spends some of a counter, as a transaction of its own: one read and one commit at the local home, as long as the allotment lasts.
    ///
    /// # Errors
    /// 23514 where all sites together have less left; 08006 where sites that may have some can't be reached; 42704 where there is no such counter;
    /// 22023 for an amount below 1 or above [`MAX_AMOUNT`]; 08007 where it is not known whether it was spent.
    pub async fn spend(&self, counter: &str, amount: i64) -> Result<()> {
        check(counter, amount)?;
        if self.draw(&*self.shared.db, counter, self.purse(), amount).await? {
            return Ok(());
        }
        self.with_retries(counter, amount).await
    }

    /// Spends some of a counter in a transaction that is open: it is spent if and only if that commits. Where the local allotment has run dry, it is
    /// filled up from other sites by a transaction of its own, and the open one is told to begin anew (40001), as
    /// [`DatabaseExt::transaction`] does. To spend first spares repeating the rest.
    ///
    /// # Errors
    /// 40001 after the allotment was filled up or changed: run the transaction again. Others as [`Escrow::spend`].
    pub async fn spend_in(&self, tx: &dyn Transaction, counter: &str, amount: i64) -> Result<()> {
        check(counter, amount)?;
        let purse = self.purse();
        if self.draw(tx, counter, purse, amount).await? {
            return Ok(());
        }
        let here = std::slice::from_ref(&self.shared.site);
        let mut parts = self.parts(tx, counter, here, Some(&[RESERVE, purse])).await?;
        if self.are_fresh(&parts) && unspent(&parts) < i128::from(amount) {
            parts = self.parts(tx, counter, here, None).await?;
        }
        if self.are_fresh(&parts) && unspent(&parts) >= i128::from(amount) {
            return self.fill_purse(tx, counter, purse, &parts, amount).await;
        }
        self.replenish(counter, amount).await?;
        Err(begin_anew(counter))
    }

    /// Gives back what was spent, at this site or at another, as a transaction of its own.
    ///
    /// Nobody checks that it was: what is given back without having been spent lets so much more be spent afterwards, though never more than the
    /// budget at any time.
    ///
    /// # Errors
    /// As [`Escrow::spend`], without 23514.
    pub async fn give_back(&self, counter: &str, amount: i64) -> Result<()> {
        check(counter, amount)?;
        if self.draw(&*self.shared.db, counter, self.purse(), -amount).await? {
            return Ok(());
        }
        self.with_retries(counter, -amount).await
    }

    /// Gives back what was spent in a transaction that is open.
    ///
    /// # Errors
    /// As [`Escrow::spend_in`], without 23514.
    pub async fn give_back_in(&self, tx: &dyn Transaction, counter: &str, amount: i64) -> Result<()> {
        check(counter, amount)?;
        let purse = self.purse();
        if self.draw(tx, counter, purse, -amount).await? {
            return Ok(());
        }
        let parts = self.parts(tx, counter, std::slice::from_ref(&self.shared.site), None).await?;
        if !self.are_fresh(&parts) {
            self.replenish(counter, 0).await?;
            return Err(begin_anew(counter));
        }
        // Debts come first.
        let owes = parts.iter().any(|part| part.number == RESERVE && part.unspent < 0);
        self.add_to(tx, counter, &parts, if owes { RESERVE } else { purse }, (amount, -amount)).await
    }

    /// What the local site has left to spend without asking another: one local round trip.
    ///
    /// # Errors
    /// Those of the read.
    pub async fn left_here(&self, counter: &str) -> Result<i64> {
        let parts = self.parts(&*self.shared.db, counter, std::slice::from_ref(&self.shared.site), None).await?;
        if self.are_fresh(&parts) { saturated(unspent(&parts)) } else { Ok(0) }
    }

    /// The local site's name.
    pub fn site(&self) -> &str {
        &self.shared.site
    }

    /// The purse of the task that asks: the same whenever it tries again, since who has lost a race for a row waits for its turn at that row.
    fn purse(&self) -> i16 {
        let mut hasher = DefaultHasher::new();
        tokio::task::try_id().hash(&mut hasher);
        let number = hasher.finish() % u64::from(self.shared.purses);
        i16::try_from(number).unwrap_or(0).saturating_add(1)
    }

    /// Whether a site's parts are there and known to be right.
    fn are_fresh(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| part.number == RESERVE) && parts.iter().all(|part| part.fresh)
    }

    /// Spends from a purse that has too little, while the site's parts together have enough.
    async fn fill_purse(
        &self,
        tx: &dyn Transaction,
        counter: &str,
        purse: i16,
        parts: &[Part],
        amount: i64,
    ) -> Result<()> {
        let held = parts.iter().find(|part| part.number == purse).map_or(0, |part| part.unspent);
        let reserve = parts.iter().find(|part| part.number == RESERVE).map_or(0, |part| part.unspent);
        let mut needed = amount.saturating_sub(held);
        let mut moved = 0;
        // The reserve first, then what is left in other purses.
        let mut sources: Vec<&Part> = parts.iter().filter(|part| part.number != purse && part.unspent > 0).collect();
        sources.sort_by_key(|part| part.number);
        for part in sources {
            if needed <= 0 {
                break;
            }
            let wanted = if part.number == RESERVE { needed.max(reserve / PURSE_SHARE) } else { needed };
            let taken = wanted.min(part.unspent);
            self.change_part(tx, counter, (&part.site, part.number), (-taken, 0)).await?;
            moved += taken;
            needed -= taken;
        }
        self.add_to(tx, counter, parts, purse, (moved - amount, amount)).await
    }

    /// Changes a purse of the local site by these amounts, making it where it is not there yet.
    async fn add_to(
        &self,
        tx: &dyn Transaction,
        counter: &str,
        parts: &[Part],
        number: i16,
        (unspent, spent): (i64, i64),
    ) -> Result<()> {
        let site = &self.shared.site;
        if parts.iter().any(|part| part.number == number) {
            return self.change_part(tx, counter, (site, number), (unspent, spent)).await;
        }
        self.insert_part(tx, counter, &Part { site: site.clone(), number, unspent, spent, fresh: true }).await
    }

    /// Spends an amount, or gives it back where it is negative, in a transaction that is repeated as often as it takes.
    async fn with_retries(&self, counter: &str, amount: i64) -> Result<()> {
        let (escrow, counter): (Self, Arc<str>) = (self.clone(), counter.into());
        self.shared
            .db
            .transaction(|tx| {
                let (escrow, counter) = (escrow.clone(), Arc::clone(&counter));
                Box::pin(async move {
                    match amount {
                        1.. => escrow.spend_in(tx, &counter, amount).await,
                        _ => escrow.give_back_in(tx, &counter, amount.saturating_neg()).await,
                    }
                })
            })
            .await
    }
}

/// The sum of what parts have left.
fn unspent(parts: &[Part]) -> i128 {
    parts.iter().map(|part| i128::from(part.unspent)).sum()
}

fn saturated(amount: i128) -> Result<i64> {
    i64::try_from(amount).map_err(|_| Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "bigint out of range"))
}

/// Checks a name.
fn check_name(counter: &str) -> Result<()> {
    if counter.is_empty() || counter.len() > MAX_COUNTER_NAME {
        let message = format!("a counter's name is between 1 and {MAX_COUNTER_NAME} bytes long");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(())
}

/// Checks a name and an amount to be moved.
fn check(counter: &str, amount: i64) -> Result<()> {
    check_name(counter)?;
    if !(1..=MAX_AMOUNT).contains(&amount) {
        let message = format!("an amount of counter \"{counter}\" is between 1 and {MAX_AMOUNT}, not {amount}");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(())
}

/// SQLSTATE 40001: nothing of the transaction has happened, and it may succeed now.
fn begin_anew(counter: &str) -> Error {
    Error::new(SqlState::SERIALIZATION_FAILURE, format!("the allotment of counter \"{counter}\" has changed"))
        .with_hint("It was filled up or rebuilt meanwhile: run the transaction again.")
}

/// SQLSTATE 42704.
fn undefined(counter: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("counter \"{counter}\" does not exist"))
}

/// The page for users; its example is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/escrow.md")]
struct Page;
