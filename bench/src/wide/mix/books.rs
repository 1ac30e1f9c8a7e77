//! What must hold after any number of transactions, whoever lost and was tried again.

use super::super::deployment::Deployment;
use super::transactions::Kind;
use crate::{Failure, Result};
use rome::Queryable;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What clients were told to be done.
#[derive(Debug, Default)]
pub struct Told {
    orders: AtomicI64,
    payments: AtomicI64,
    transactions: AtomicU64,
    remote: AtomicU64,
}

impl Told {
    /// Notes a transaction that was acknowledged.
    pub fn note(&self, kind: Kind, remote: bool) {
        match kind {
            Kind::NewOrder => self.orders.fetch_add(1, Ordering::Relaxed),
            Kind::Payment => self.payments.fetch_add(1, Ordering::Relaxed),
            Kind::OrderStatus => 0,
        };
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.remote.fetch_add(u64::from(remote), Ordering::Relaxed);
    }

    /// Transactions since this was asked last, and how many of them had a part at another site.
    pub fn transactions_since(&self) -> (u64, u64) {
        (self.transactions.swap(0, Ordering::Relaxed), self.remote.swap(0, Ordering::Relaxed))
    }
}

/// Two queries whose answers must be the same.
const SAME: [(&str, &str, &str); 6] = [
    (
        "a warehouse's takings are its districts'",
        "SELECT site, w, sum(ytd) FROM warehouse GROUP BY site, w ORDER BY site, w",
        "SELECT site, w, sum(ytd) FROM district GROUP BY site, w ORDER BY site, w",
    ),
    (
        "a warehouse's takings are its history's",
        "SELECT site, w, sum(ytd) FROM warehouse WHERE ytd > 0 GROUP BY site, w ORDER BY site, w",
        "SELECT site, w, sum(amount) FROM history GROUP BY site, w ORDER BY site, w",
    ),
    (
        "what customers have paid, wherever they are, has arrived",
        "SELECT 'all', 0, sum(paid) FROM customer",
        "SELECT 'all', 0, sum(ytd) FROM warehouse",
    ),
    (
        "an order has as many lines as it says",
        "SELECT site, w, sum(order_lines) FROM orders GROUP BY site, w ORDER BY site, w",
        "SELECT site, w, count(*) FROM order_line GROUP BY site, w ORDER BY site, w",
    ),
    (
        "orders are numbered without gaps",
        "SELECT site, w, sum(next_order) FROM district WHERE next_order > 0 GROUP BY site, w ORDER BY site, w",
        "SELECT site, w, count(*) FROM new_order GROUP BY site, w ORDER BY site, w",
    ),
    (
        "what was taken from stocks, wherever they are, was ordered",
        "SELECT site, w, sum(ytd) FROM stock WHERE ytd > 0 GROUP BY site, w ORDER BY site, w",
        "SELECT supply_site, supply_w, sum(quantity) FROM order_line GROUP BY supply_site, supply_w ORDER BY supply_site, supply_w",
    ),
];

/// Checks the books.
///
/// # Errors
/// What does not balance.
pub async fn balance(deployment: &Deployment, told: &Told) -> Result<()> {
    let db = deployment.client(0, 0)?;
    for (what, one, other) in SAME {
        let one: Vec<(String, i64, i64)> = db.query_as(one).await?;
        let other: Vec<(String, i64, i64)> = db.query_as(other).await?;
        if one != other || one.is_empty() {
            return Err(Failure::from(format!("{what}: not so: {one:?} and {other:?}")));
        }
    }
    for (what, query, expected) in [
        ("orders", "SELECT count(*) FROM orders", &told.orders),
        ("payments", "SELECT count(*) FROM history", &told.payments),
    ] {
        let (found, expected) = (db.query_one::<i64, _>(query).await?, expected.load(Ordering::Relaxed));
        if found != expected {
            return Err(Failure::from(format!("{expected} {what} were acknowledged, {found} are there")));
        }
    }
    Ok(())
}
