//! What transactions over several homes have left at a home, looked at from outside: nothing is ended and nothing is written.

use super::marks::{TxnId, all_promises, owner_of};
use crate::error::{Error, Result};
use crate::store::{HomeId, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, Store, Version, successor};

/// The transactions that a home has promised to commit and has not ended yet, the oldest first.
///
/// Most are on their way and are gone a moment later; what is still there after `Patience::recovery_after` has lost its client.
///
/// # Errors
/// The store's.
pub async fn prepared_at(store: &dyn Store, home: &HomeId) -> Result<Vec<TxnId>> {
    let mut found: Vec<(Version, TxnId)> = vec![];
    let mut range = all_promises();
    loop {
        let reads = vec![Read::Range { range: range.clone(), limit: None, reverse: false }];
        let request = ReadRequest { reads, limits: ReadLimits::default(), ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = store.read(home, request).await? else {
            return Err(Error::internal("a read without guards had a conflict"));
        };
        let mut more = None;
        for result in answer.results {
            for entry in &result.entries {
                found.push((entry.version, owner_of(&entry.key)?));
            }
            more = result.more;
        }
        match more {
            Some(last) => range = KeyRange { from: successor(&last), to: range.to },
            None => break,
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, txn)| txn).collect())
}
