//! What to do about another transaction's mark: wait for its client, then end it in its place.

use super::client::{Client, Link};
use super::many::end;
use super::marks::{Participant, Promise, Record, TxnId, all_promises, all_records, decode, owner_of, write_mark};
use super::perform::{DistributedTxn, promise};
use crate::catalog::Format;
use crate::catalog::keys::format_key;
use crate::error::{Error, Result, SqlState};
use crate::store::{Entry, KeyRange, Read, ReadLimits};
use crate::topology::HomeNo;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first pause between two looks at a mark.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Transactions that a sweep ends at a time.
const ENDED_AT_ONCE: usize = 16;

impl Client {
    /// Waits until a transaction that has prepared at this home has ended here; ends it where its client does not.
    ///
    /// # Errors
    /// 08006 where it can be ended only with a site that can't be reached.
    pub(super) async fn settle(&self, link: &Arc<Link>, txn: TxnId) -> Result<()> {
        let met = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(promise) = promise(link, txn).await? else { return Ok(()) };
            if met.elapsed() >= self.patience().recovery_after {
                let homes = DistributedTxn::new(self, txn, promise.participants).await;
                let ended = match homes {
                    Ok(homes) => end(&homes, false, Instant::now()).await.map(|_| ()),
                    Err(unreached) => Err(unreached),
                };
                return match ended {
                    Err(error) if super::perform::promise(link, txn).await?.is_some() => Err(blocked(txn, &error)),
                    _ => Ok(()),
                };
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Ends what the clients of other transactions have left behind at this home for longer than `recovery_after`, marks that nobody meets
    /// included. Call it now and then with the same `seen`, which remembers what was there when.
    ///
    /// # Errors
    /// Those of reading the home; a transaction that can't be ended now stays for the next call.
    pub async fn sweep(&self, home: HomeNo, seen: &mut Sweep) -> Result<usize> {
        let link = self.link(home)?;
        let mut left = BTreeMap::new();
        // Where a home has both, the promise: of what is marked no record may be forgotten.
        for range in [all_promises(), all_records()] {
            for entry in self.left_in(&link, range).await? {
                left.entry(owner_of(&entry.key)?).or_insert(entry);
            }
        }
        seen.0.retain(|(at, txn), _| *at != home || left.contains_key(txn));
        let mut due = vec![];
        for (txn, entry) in left {
            let since = *seen.0.entry((home, txn)).or_insert_with(Instant::now);
            let forgets = since.elapsed() >= self.patience().record_kept;
            if since.elapsed() < self.patience().recovery_after || is_decided(&entry)? && !forgets {
                continue;
            }
            due.push((txn, participants_of(&entry)?, forgets));
        }
        // Several at once: each may have to wait for a site that does not answer.
        let ended = futures::stream::iter(due).map(|(txn, participants, forgets)| async move {
            let ended = match DistributedTxn::new(self, txn, participants).await {
                Ok(homes) => end(&homes, forgets, Instant::now()).await.map(|_| ()),
                Err(unreached) => Err(unreached),
            };
            if let Err(problem) = &ended {
                tracing::debug!(%txn, %problem, "a transaction over several homes could not be ended");
            }
            usize::from(ended.is_ok())
        });
        Ok(ended.buffer_unordered(ENDED_AT_ONCE).fold(0, |sum, ended| async move { sum + ended }).await)
    }

    /// What transactions have left in a range of a home, seen together with its format: what is in one that this client does not speak is not its to
    /// end. Transactions that it sees began in a format that it speaks, and stay in it.
    async fn left_in(&self, link: &Link, range: KeyRange) -> Result<Vec<Entry>> {
        let reads = vec![Read::Range { range, limit: None, reverse: false }, Read::Point(format_key())];
        let mut found = link.look(reads, ReadLimits::default()).await?.results.into_iter();
        let left = found.next().unwrap_or_default().entries;
        let format = found.next().and_then(|result| result.entries.into_iter().next());
        // While it is being raised nobody has prepared anything in the new one here.
        let format = match format {
            None => None,
            Some(entry) => match write_mark(&entry.value)? {
                Some(mark) => mark.old.map(|old| old.0),
                None => Some(entry.value),
            },
        };
        Format::held(format.as_deref()).map(|_| left)
    }

    /// [`Client::sweep`] at all homes of the local site.
    ///
    /// # Errors
    /// As [`Client::sweep`].
    pub async fn sweep_site(&self, seen: &mut Sweep) -> Result<usize> {
        let mut ended = 0;
        for home in self.near_homes() {
            ended += self.sweep(home, seen).await?;
        }
        Ok(ended)
    }
}

/// What calls of [`Client::sweep`] have seen before.
#[derive(Debug, Default)]
pub struct Sweep(BTreeMap<(HomeNo, TxnId), Instant>);

fn participants_of(entry: &Entry) -> Result<Vec<Participant>> {
    if all_records().contains(&entry.key) {
        Ok(decode::<Record>(&entry.value)?.participants)
    } else {
        Ok(decode::<Promise>(&entry.value)?.participants)
    }
}

/// Whether this is a record, and decided.
fn is_decided(entry: &Entry) -> Result<bool> {
    Ok(all_records().contains(&entry.key) && decode::<Record>(&entry.value)?.committed.is_some())
}

fn blocked(txn: TxnId, cause: &Error) -> Error {
    let detail = match cause.detail() {
        Some(site) => format!("{} {site}", cause.message()),
        None => cause.message().to_owned(),
    };
    let (state, hint) = match cause.state() {
        SqlState::DISK_FULL => (SqlState::DISK_FULL, "It is ended as soon as there is room."),
        _ => (SqlState::CONNECTION_FAILURE, "It is ended as soon as all of its homes can be reached."),
    };
    Error::new(state, format!("what was asked for is held by transaction {txn}, which can't be ended now"))
        .with_detail(detail)
        .with_hint(hint)
}
