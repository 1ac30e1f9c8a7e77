//! Commits over several homes whose outcome has been told and whose marks are still being taken away: whoever is about to end its process may wait
//! for them, so that nobody else has to end them.

use std::sync::Arc;
use tokio::sync::watch;

/// How many there are.
#[derive(Clone, Debug)]
pub(super) struct Unended(Arc<watch::Sender<usize>>);

impl Default for Unended {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Unended {
    /// One more, until the result is dropped.
    pub(super) fn begin(&self) -> One {
        self.0.send_modify(|count| *count += 1);
        One(self.clone())
    }

    /// Waits until there are none.
    pub(super) async fn none(&self) {
        // It can't fail while this one sends.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct One(Unended);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
