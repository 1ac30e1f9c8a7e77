//! The task that asks whether the local site still belongs to the database: one that was only cut off may have been forgotten.
//!
//! Whoever writes local rows alone meets no other site and would not hear of it. So each client asks one other site in turn, now and then, by one small
//! read, and lets nothing be read or written any more once it was told. **While the site is cut off nobody can tell it**: what is acknowledged there
//! before it has heard is lost to the others.

use super::Engine;
use rand::Rng;
use rand::rngs::StdRng;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long to wait for an answer.
const ASKING: Duration = Duration::from_secs(1);

/// The task. Ends when this is dropped.
#[derive(Debug)]
pub(super) struct Membership(JoinHandle<()>);

impl Membership {
    /// Starts it, where the client looks after its site at all: as often as it sweeps there.
    pub(super) fn start(engine: &Arc<Engine>, random: StdRng) -> Option<Self> {
        let every = engine.client.patience().sweep_every?;
        Some(Self(tokio::spawn(ask(Arc::downgrade(engine), every, random))))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask(engine: Weak<Engine>, every: Duration, mut random: StdRng) {
    for turn in 0.. {
        sleep(every.mul_f64(random.random_range(0.5..1.5))).await;
        let Some(engine) = engine.upgrade() else { return };
        let catalog = engine.catalog();
        let local = engine.client.local_site();
        let others: Vec<&str> =
            catalog.topology().sites.iter().map(|site| site.name.as_str()).filter(|site| *site != local).collect();
        let Some(site) = others.iter().cycle().nth(turn % others.len().max(1)) else { continue };
        if let Ok(Ok(true)) = timeout(ASKING, engine.is_removed_at(site)).await {
            tracing::error!(site = local, told_by = site, "the local site was removed from the database");
            engine.client.leave_database();
            return;
        }
    }
}
