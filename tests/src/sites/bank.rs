//! A bank with branches at all sites.
//!
//! ```text
//! account  site, id, balance                                  what each account has
//! ledger   site, reference, debit, to_site, credit, amount    one row for each transfer, at the site of the account that pays
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::{Stop, Told, at_work, breathe, draw_site};
use futures::future::BoxFuture;
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Queryable, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Accounts at each site.
const ACCOUNTS: i64 = 20;
/// What each has at first.
const OPENING_BALANCE: i64 = 1_000;

/// What all have at any time.
pub fn total() -> i64 {
    ACCOUNTS * OPENING_BALANCE * at_work().len() as i64
}

/// What became of a transfer, by its reference.
pub type Outcomes = UnboundedSender<(String, Told)>;

/// Creates the tables and the accounts.
pub async fn open(db: &dyn Database) {
    for statement in [
        "CREATE TABLE account (site text, id bigint, balance bigint NOT NULL CHECK (balance >= 0), PRIMARY KEY (site, id)) \
         WITH (placement = 'by_site(site)')",
        "CREATE TABLE ledger (site text, reference text, debit bigint NOT NULL, to_site text NOT NULL, \
         credit bigint NOT NULL, amount bigint NOT NULL, PRIMARY KEY (site, reference)) WITH (placement = 'by_site(site)')",
        "CREATE INDEX ledger_debit ON ledger (debit)",
    ] {
        db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    for site in at_work() {
        let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("('{site}', {id}, {OPENING_BALANCE})")).collect();
        db.execute(format!("INSERT INTO account VALUES {}", rows.join(", ")).as_str()).await.unwrap();
    }
}

/// Transfers between accounts, those of this site more often than others, until it is time to stop.
pub async fn transfer(db: Arc<dyn Database>, near: &'static str, prefix: String, stop: Stop, outcomes: Outcomes) {
    for number in 0.. {
        if stop.is_now() {
            return;
        }
        let reference = format!("{prefix}-{number}");
        let transferred = transfer_once(db.as_ref(), near, &reference).await;
        if outcomes.send((reference, Told::by(&transferred))).is_err() {
            return;
        }
        // Slowly: an audit has to find a moment in which no account changes.
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..400))).await;
    }
}

/// One transfer, retried while it loses against others.
///
/// # Errors
/// The database's.
pub async fn transfer_once(db: &dyn Database, near: &'static str, reference: &str) -> Result<()> {
    let (from, to) = (draw_site(near), draw_site(near));
    let debit = rand::random_range(0..ACCOUNTS);
    let credit = (debit + rand::random_range(1..ACCOUNTS)) % ACCOUNTS;
    db.transaction(|tx| {
        let reference = reference.to_owned();
        Box::pin(async move {
            let balance = "SELECT balance FROM account WHERE site = $1 AND id = $2";
            let has: i64 = tx.query_one((balance, [from.into(), debit.into()])).await?;
            let amount = rand::random_range(1..=100).min(has);
            let add = "UPDATE account SET balance = balance + $3 WHERE site = $1 AND id = $2";
            tx.execute((add, [from.into(), debit.into(), (-amount).into()])).await?;
            tx.execute((add, [to.into(), credit.into(), amount.into()])).await?;
            let values = [from.into(), reference.into(), debit.into(), to.into(), credit.into(), amount.into()];
            tx.execute(("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5, $6)", values)).await?;
            Ok(())
        }) as BoxFuture<'_, Result<()>>
    })
    .await
}

/// Adds up all sites, in one statement and statement by statement, until it is time to stop.
///
/// # Panics
/// Where a committed sum is wrong.
pub async fn audit(db: Arc<dyn Database>, audits: Arc<AtomicU64>, stop: Stop) {
    while !stop.is_now() {
        let sum = db.query_one::<i64, _>("SELECT sum(balance)::bigint FROM account").await;
        if Told::by(&sum) == Told::Done {
            assert_eq!(sum.unwrap(), total(), "one statement saw half a transfer");
            audits.fetch_add(1, Ordering::Relaxed);
        }
        breathe().await;
        let sum = by_statements(db.as_ref()).await;
        if Told::by(&sum) == Told::Done {
            assert_eq!(sum.unwrap(), total(), "a transaction saw half a transfer");
            audits.fetch_add(1, Ordering::Relaxed);
        }
        breathe().await;
    }
}

async fn by_statements(db: &dyn Database) -> Result<i64> {
    db.transaction(|tx: &dyn Transaction| {
        Box::pin(async move {
            let mut sum = 0;
            for site in at_work() {
                let of_site = "SELECT sum(balance)::bigint FROM account WHERE site = $1";
                sum += tx.query_one::<i64, _>((of_site, [(*site).into()])).await?;
            }
            Ok(sum)
        }) as BoxFuture<'_, Result<i64>>
    })
    .await
}

/// Checks that the books balance; returns the references of all transfers.
///
/// # Panics
/// Where they do not.
pub async fn inspect(db: &dyn Database) -> BTreeSet<String> {
    let accounts: Vec<(String, i64, i64)> = db.query_as("SELECT site, id, balance FROM account").await.unwrap();
    let ledger: Vec<(String, String, i64, String, i64, i64)> =
        db.query_as("SELECT site, reference, debit, to_site, credit, amount FROM ledger").await.unwrap();
    let mut expected: BTreeMap<(String, i64), i64> = BTreeMap::new();
    for site in at_work() {
        expected.extend((0..ACCOUNTS).map(|id| (((*site).to_owned(), id), OPENING_BALANCE)));
    }
    for (site, _, debit, to_site, credit, amount) in &ledger {
        *expected.get_mut(&(site.clone(), *debit)).unwrap() -= amount;
        *expected.get_mut(&(to_site.clone(), *credit)).unwrap() += amount;
    }
    let found: BTreeMap<(String, i64), i64> =
        accounts.into_iter().map(|(site, id, balance)| ((site, id), balance)).collect();
    assert_eq!(found, expected, "balances differ from the ledger");
    let mut by_index = 0;
    for debit in 0..ACCOUNTS {
        let count = "SELECT count(*) FROM ledger WHERE debit = $1";
        by_index += db.query_one::<i64, _>((count, [debit.into()])).await.unwrap();
    }
    assert_eq!(by_index, ledger.len() as i64, "an index knows other transfers");
    let references: BTreeSet<String> = ledger.iter().map(|row| row.1.clone()).collect();
    assert_eq!(references.len(), ledger.len(), "a transfer is in the ledger twice");
    references
}

/// Compares the transfers that are there with what clients were told; those of `killed` clients are known by their prefixes, and what they
/// were told only as far as it was heard.
///
/// # Panics
/// Where an acknowledged transfer is lost, or one is there that failed or that nobody made.
pub fn compare(found: &BTreeSet<String>, told: &BTreeMap<String, Told>, killed: &[String]) {
    let of = |outcome: Told| -> BTreeSet<String> {
        told.iter().filter(|(_, told)| **told == outcome).map(|(reference, _)| reference.clone()).collect()
    };
    let (done, failed, unknown) = (of(Told::Done), of(Told::Failed), of(Told::Unknown));
    println!("transfers: {} done, {} failed, {} of unknown outcome", done.len(), failed.len(), unknown.len());
    let lost: Vec<&String> = done.difference(found).collect();
    assert!(lost.is_empty(), "acknowledged transfers are lost: {lost:?}");
    let undead: Vec<&String> = failed.intersection(found).collect();
    assert!(undead.is_empty(), "transfers that failed are there: {undead:?}");
    let is_known = |reference: &&String| {
        told.contains_key(*reference) || killed.iter().any(|prefix| reference.starts_with(prefix.as_str()))
    };
    let foreign: Vec<&String> = found.iter().filter(|reference| !is_known(reference)).collect();
    assert!(foreign.is_empty(), "transfers that nobody made: {foreign:?}");
}
