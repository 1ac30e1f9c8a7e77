//! A bank whose books must always balance: the work of the crash and concurrency tests.
//!
//! ```text
//! account  id, balance                        what each account has
//! ledger   id, reference, debit, credit, amount   one row for each transfer; indexes on reference (unique), debit and credit
//! note     id, teller                         one row for each transfer, with the reference as its key; an index on teller
//! ```
//!
//! A transfer changes two accounts and inserts into `ledger` and `note`, in one transaction that its reference names.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use futures::future::BoxFuture;
use rand::Rng;
use rome_core::database::{Database, DatabaseExt, Queryable, Transaction};
use rome_core::{Result, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Accounts of a bank.
pub const ACCOUNTS: i64 = 200;
/// What each has at first.
pub const OPENING_BALANCE: i64 = 1_000;

/// Creates the tables and the accounts.
pub async fn open(db: &dyn Database) {
    for statement in [
        "CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))",
        "CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reference text NOT NULL UNIQUE, \
         debit bigint NOT NULL, credit bigint NOT NULL, amount bigint NOT NULL)",
        "CREATE INDEX ledger_debit ON ledger (debit)",
        "CREATE INDEX ledger_credit ON ledger (credit)",
        "CREATE TABLE note (id text PRIMARY KEY, teller bigint NOT NULL)",
        "CREATE INDEX note_teller ON note (teller)",
    ] {
        db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let ids: Vec<i64> = (0..ACCOUNTS).collect();
    // Small enough for every store's largest commit.
    for ids in ids.chunks(50) {
        let rows: Vec<String> = ids.iter().map(|id| format!("({id}, {OPENING_BALANCE})")).collect();
        db.execute(format!("INSERT INTO account (id, balance) VALUES {}", rows.join(", "))).await.unwrap();
    }
}

/// What to transfer.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The transaction's name.
    pub reference: String,
    /// Who runs it.
    pub teller: i64,
    /// The account that pays.
    pub debit: i64,
    /// The account that receives.
    pub credit: i64,
    /// How much, unless the paying account has less.
    pub amount: i64,
}

impl Transfer {
    /// Between two of the accounts, drawn at random.
    pub fn random(reference: String, teller: i64) -> Self {
        let mut random = rand::rng();
        let debit = random.random_range(0..ACCOUNTS);
        let credit = (debit + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
        Self { reference, teller, debit, credit, amount: random.random_range(1..=100) }
    }
}

/// Runs a transfer to its end, retried while it loses against others.
///
/// # Errors
/// The database's.
pub async fn transfer(db: &dyn Database, transfer: &Transfer) -> Result<()> {
    db.transaction(|tx| {
        let transfer = transfer.clone();
        Box::pin(async move { steps(tx, &transfer).await }) as BoxFuture<'_, Result<()>>
    })
    .await
}

async fn steps(tx: &dyn Transaction, transfer: &Transfer) -> Result<()> {
    let Transfer { reference, teller, debit, credit, amount } = transfer.clone();
    let balance = "SELECT balance FROM account WHERE id = $1";
    let has: i64 = tx.query_one((balance, [debit.into()])).await?;
    let amount = amount.min(has);
    let add = "UPDATE account SET balance = balance + $2 WHERE id = $1";
    tx.execute((add, [debit.into(), (-amount).into()])).await?;
    tx.execute((add, [credit.into(), amount.into()])).await?;
    let values: [Value; 4] = [reference.as_str().into(), debit.into(), credit.into(), amount.into()];
    tx.execute(("INSERT INTO ledger (reference, debit, credit, amount) VALUES ($1, $2, $3, $4)", values)).await?;
    tx.execute(("INSERT INTO note (id, teller) VALUES ($1, $2)", [reference.as_str().into(), teller.into()])).await?;
    Ok(())
}

/// Checks that the books balance and that indexes agree with their tables; returns the references of all transfers.
///
/// # Panics
/// Where they do not.
pub async fn inspect(db: &dyn Database) -> BTreeSet<String> {
    let accounts: Vec<(i64, i64)> = db.query_as("SELECT id, balance FROM account").await.unwrap();
    let ledger: Vec<(String, i64, i64, i64)> =
        db.query_as("SELECT reference, debit, credit, amount FROM ledger").await.unwrap();
    let notes: Vec<(String, i64)> = db.query_as("SELECT id, teller FROM note").await.unwrap();

    let total: i64 = accounts.iter().map(|(_, balance)| balance).sum();
    assert_eq!(total, ACCOUNTS * OPENING_BALANCE, "money appeared or vanished");
    let mut expected: BTreeMap<i64, i64> = (0..ACCOUNTS).map(|id| (id, OPENING_BALANCE)).collect();
    for (_, debit, credit, amount) in &ledger {
        *expected.get_mut(debit).unwrap() -= amount;
        *expected.get_mut(credit).unwrap() += amount;
    }
    assert_eq!(accounts.into_iter().collect::<BTreeMap<_, _>>(), expected, "balances differ from the ledger");

    let references: BTreeSet<String> = ledger.iter().map(|(reference, ..)| reference.clone()).collect();
    assert_eq!(references.len(), ledger.len(), "a transfer is in the ledger twice");
    let noted: BTreeSet<String> = notes.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(references, noted, "a transfer is half there");

    by_index(db, "ledger", "reference", "debit", ledger.iter().map(|row| (row.1, row.0.clone()))).await;
    by_index(db, "ledger", "reference", "credit", ledger.iter().map(|row| (row.2, row.0.clone()))).await;
    by_index(db, "note", "id", "teller", notes.iter().map(|row| (row.1, row.0.clone()))).await;
    references
}

/// Compares what an index finds, value by value, with what the scan found.
async fn by_index(db: &dyn Database, table: &str, id: &str, column: &str, rows: impl Iterator<Item = (i64, String)>) {
    let mut scanned: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for (value, id) in rows {
        scanned.entry(value).or_default().insert(id);
    }
    let query = format!("SELECT {id} FROM {table} WHERE {column} = $1");
    let plan: Vec<String> = db.query_as((format!("EXPLAIN {query}"), [0_i64.into()])).await.unwrap();
    assert!(plan.join("\n").contains(&format!("index {table}_{column}")), "{plan:?}");
    for (value, ids) in scanned {
        let found: Vec<String> = db.query_as((query.as_str(), [value.into()])).await.unwrap();
        assert_eq!(found.len(), ids.len(), "{table}.{column} = {value}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), ids, "{table}.{column} = {value}");
    }
}
