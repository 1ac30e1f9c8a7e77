//! Hears that something has changed, where the database tells.
//!
//! What is heard only says that it is worth looking: whoever looks reads the state as it is then. So nothing depends on it that every change is
//! heard, and on a database that does not tell of changes parts look from time to time ([`crate::patience`]).

use futures::StreamExt;
use rome_core::database::{Database, IntoStatement, RowChange, Statement, Watch, WatchItem};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::debug;

/// How long to wait before a watch that has failed begins again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Rings when a row of a query comes or changes.
pub struct Doorbell {
    database: Arc<dyn Database>,
    query: Statement,
    watch: Option<Watch>,
    /// The rows at the beginning have been told: from here on it rings for changes.
    heard: bool,
}

impl Doorbell {
    /// A bell for a query of the rows of one table.
    pub fn new(database: Arc<dyn Database>, query: impl IntoStatement) -> Self {
        Self { database, query: query.into_statement(), watch: None, heard: false }
    }

    /// Whether every change since it rang last has been or will be heard. Where not, look from time to time.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// Waits until something has changed, or may have. For ever on a database that does not tell. May be dropped and called again.
    pub async fn rung(&mut self) {
        if !self.database.features().watch {
            return pending().await;
        }
        loop {
            if self.watch.is_none() {
                match self.database.watch(self.query.clone(), None).await {
                    Ok(watch) => self.watch = Some(watch),
                    Err(error) => self.failed(&error).await,
                }
            }
            let Some(watch) = &mut self.watch else { continue };
            match watch.next().await {
                Some(Ok(WatchItem::Rows(_))) => return,
                Some(Ok(WatchItem::Changes { changes, .. })) => {
                    // What has left the result is nobody's work any more.
                    if changes.iter().any(|change| !matches!(change, RowChange::Deleted(_))) {
                        return;
                    }
                }
                Some(Ok(WatchItem::Reset | WatchItem::Lost { .. })) => {
                    self.heard = false;
                    return;
                }
                Some(Ok(WatchItem::Current(_) | WatchItem::Regained { .. })) => self.heard = true,
                Some(Err(error)) => self.failed(&error).await,
                None => self.watch = None,
            }
        }
    }

    async fn failed(&mut self, error: &rome_core::Error) {
        debug!(%error, "changes can't be heard of");
        self.watch = None;
        self.heard = false;
        sleep(PAUSE_AFTER_ERROR).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rome_core::database::{Options, Queryable, RomeDatabase};
    use rome_core::store::MemoryStore;
    use tokio::time::timeout;

    #[tokio::test]
    async fn rings_for_what_comes_and_not_for_what_goes() {
        let database = RomeDatabase::open(Arc::new(MemoryStore::new()), Options::default()).await.unwrap();
        database.execute("CREATE TABLE job (id bigint PRIMARY KEY, host text)").await.unwrap();
        let database: Arc<dyn Database> = Arc::new(database);
        let mut bell = Doorbell::new(Arc::clone(&database), "SELECT id FROM job WHERE host = 'a'");
        let silence = Duration::from_millis(100);
        assert!(!bell.is_heard());
        assert!(timeout(silence, bell.rung()).await.is_err(), "there is no work yet");
        assert!(bell.is_heard());
        database.execute("INSERT INTO job VALUES (1, 'b')").await.unwrap();
        assert!(timeout(silence, bell.rung()).await.is_err(), "another's work");
        database.execute("UPDATE job SET host = 'a'").await.unwrap();
        bell.rung().await;
        database.execute("DELETE FROM job").await.unwrap();
        assert!(timeout(silence, bell.rung()).await.is_err(), "work that is gone");
        database.execute("INSERT INTO job VALUES (2, 'a')").await.unwrap();
        bell.rung().await;
    }
}
