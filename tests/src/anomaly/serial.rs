//! Whether what transactions saw has a serial order.
//!
//! An order is right where each transaction, run alone after those before it, gets the answers that it got, and the rows at
//! the end are those that were left. Who began after another had committed comes after it. Transactions that did not
//! commit have a place too, and change nothing there: what they saw before they lost was one state as well.
//!
//! The orders are tried on a database in memory, so a script may have few sessions only.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use super::runner::{History, Session, shown};
use crate::place::database;
use rome_core::database::{DatabaseExt, IntoStatement, Queryable};
use rome_core::store::MemoryStore;
use std::sync::Arc;

/// Most sessions of a script: so many that all their orders can be tried.
const SESSIONS: usize = 6;

/// A right order of all sessions, if there is one.
///
/// # Panics
/// Where a script has too many sessions.
pub async fn order<'h>(history: &'h History, setup: &[&str]) -> Option<Vec<&'h str>> {
    let names: Vec<&str> = history.sessions.keys().map(String::as_str).collect();
    assert!(names.len() <= SESSIONS, "{} sessions have too many orders", names.len());
    for order in permutations(&names) {
        let sessions: Vec<&Session> = order.iter().filter_map(|name| history.sessions.get(*name)).collect();
        if respects_time(&sessions) && explains(&sessions, &history.rows, setup).await {
            return Some(order);
        }
    }
    None
}

fn permutations<'n>(names: &[&'n str]) -> Vec<Vec<&'n str>> {
    if names.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in names {
        let rest: Vec<&str> = names.iter().copied().filter(|name| name != first).collect();
        all.extend(permutations(&rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}

/// Whether nobody stands before one that had committed when it first asked something.
fn respects_time(sessions: &[&Session]) -> bool {
    let ends_before = |one: &Session, other: &Session| match (one.committed, other.first_step) {
        (Some(end), Some(begin)) => end < begin,
        _ => false,
    };
    sessions
        .iter()
        .enumerate()
        .all(|(at, session)| !sessions.iter().skip(at + 1).any(|later| ends_before(later, session)))
}

async fn explains(sessions: &[&Session], rows: &[(i64, i64)], setup: &[&str]) -> bool {
    let alone = database(Arc::new(MemoryStore::new())).await;
    for statement in setup {
        alone.execute(*statement).await.expect(statement);
    }
    for session in sessions {
        let transaction = alone.begin().await.unwrap();
        for (statement, answer) in &session.statements {
            if shown(transaction.run(statement.as_str().into_statement()).await) != *answer {
                return false;
            }
        }
        match session.committed {
            Some(_) => transaction.commit().await.unwrap(),
            None => transaction.rollback().await.unwrap(),
        }
    }
    let left: Vec<(i64, i64)> = alone.query_as("SELECT id, value FROM test ORDER BY id").await.unwrap();
    left == rows
}
