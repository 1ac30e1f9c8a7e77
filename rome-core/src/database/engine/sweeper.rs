//! A task that works in the background: it ends what clients of a database at several sites have left behind at the homes of this site.
//!
//! Whoever meets a mark ends its transaction; this is for what nobody meets, and for records, which nothing leads to. Every client sweeps its own
//! site: what several end at once is ended once. A home costs two reads each time.

use crate::txn::{Client, Sweep};
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The task. Ends, wherever it is, when this is dropped: what it leaves half ended anybody goes on to end.
#[derive(Debug)]
pub(super) struct Sweeper(JoinHandle<()>);

impl Sweeper {
    /// Starts it, where the client is to sweep at all.
    pub(super) fn start(client: &Arc<Client>, random: StdRng) -> Option<Self> {
        let every = client.patience().sweep_every?;
        Some(Self(tokio::spawn(sweep(Arc::clone(client), every, random))))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn sweep(client: Arc<Client>, every: Duration, mut random: StdRng) {
    let mut seen = Sweep::default();
    loop {
        // Clients that were started together sweep apart.
        sleep(every.mul_f64(random.random_range(0.5..1.5))).await;
        match client.sweep_site(&mut seen).await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "transactions that others left behind were ended"),
            Err(problem) => tracing::debug!(%problem, "the site could not be swept"),
        }
    }
}
