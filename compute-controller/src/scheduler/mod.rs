//! The scheduler of one site: gives waiting servers a host.
//!
//! Several schedulers may serve a site without knowing of each other. A round reads the waiting servers and the hosts, decides in memory
//! ([`placement`]), and claims: one transaction for each host that got servers, all hosts at once. What others took meanwhile simply does not
//! fit any more and waits for the next round. To collide little, a scheduler takes a random part of what waits, and chooses at random among
//! the best hosts.

pub mod placement;

use crate::clock;
use crate::doorbell::Doorbell;
use crate::model::{HEARTBEAT_EVERY, Program};
use crate::patience::Patience;
use crate::state::{claims, hosts, moves, servers, services, sites};
use crate::stop;
use futures::future::join_all;
use rand::seq::IndexedRandom;
use rome_core::Result;
use rome_core::database::Database;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;

/// The words of Nova, which clients look for.
pub const NO_VALID_HOST: &str = "No valid host was found. There are not enough hosts available.";

/// Waiting servers that a round reads.
const CANDIDATES: u64 = 512;

/// Waiting servers that a round gives hosts.
const BATCH: usize = 128;

/// How long to wait after the database failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Round {
    /// Servers that waited, as far as the round read them.
    pub seen: usize,
    /// Servers that got a host.
    pub claimed: usize,
    /// Servers for which there was none.
    pub failed: usize,
}

/// Runs a scheduler of the site until it is told to stop. `name` tells schedulers of one site apart in lists of services.
///
/// # Errors
/// Where it can't register; later errors of the database are logged and tried again.
pub async fn run(database: Arc<dyn Database>, site: &str, name: &str, mut stop: watch::Receiver<bool>) -> Result<()> {
    sites::register(database.as_ref(), site, None).await?;
    let incarnation = Uuid::new_v4();
    let service_id = services::register(database.as_ref(), Program::Scheduler, name, site, incarnation).await?;
    info!(site, name, "scheduler runs");
    let mut heartbeat = interval(HEARTBEAT_EVERY);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut patience = Patience::default();
    let mut bell = Doorbell::new(Arc::clone(&database), servers::all_waiting(site));
    let mut look_at = Instant::now();
    loop {
        tokio::select! {
            () = stop::requested(&mut stop) => break,
            _ = heartbeat.tick() => {
                match services::beat(database.as_ref(), &service_id, incarnation).await {
                    Ok(true) => {}
                    Ok(false) => {
                        // Two schedulers do no harm, only the list of services shows but one of them.
                        warn!(site, name, "another scheduler has this name; give each its own with --name");
                    }
                    Err(error) => warn!(%error, "the heartbeat failed"),
                }
            }
            () = bell.rung() => {
                patience.reset();
                look_at = look_at.min(Instant::now() + patience.next_pause());
            }
            () = sleep_until(look_at) => {
                match round(database.as_ref(), site).await {
                    Ok(done) => {
                        if done.claimed + done.failed > 0 {
                            patience.reset();
                        }
                        look_at = Instant::now() + patience.next_pause_beside(&bell);
                    }
                    Err(error) => {
                        warn!(%error, "a round of scheduling failed");
                        look_at = Instant::now() + PAUSE_AFTER_ERROR;
                    }
                }
            }
        }
    }
    let _ = services::leave(database.as_ref(), &service_id, incarnation).await;
    Ok(())
}

/// One round: reads what waits, places it, claims.
///
/// # Errors
/// What the database says. Claims that were made before the error stand.
pub async fn round(database: &dyn Database, site: &str) -> Result<Round> {
    let waiting = servers::waiting(database, site, CANDIDATES).await?;
    let mut done = Round { seen: waiting.len(), ..Round::default() };
    if waiting.is_empty() {
        return Ok(done);
    }
    let batch: Vec<_> = waiting.choose_multiple(&mut rand::rng(), BATCH).cloned().collect();
    let (all, zones) = (hosts::of_site(database, site).await?, hosts::zones(database).await?);
    let plan = placement::place(&all, &zones, batch, clock::now(), &mut rand::rng());
    let claims = plan
        .by_host
        .into_iter()
        .map(|(host_id, servers)| async move { claims::claim(database, &host_id, servers).await });
    let mut first_error = None;
    for claimed in join_all(claims).await {
        match claimed {
            Ok(ids) => done.claimed += ids.len(),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if !plan.hopeless.is_empty() {
        done.failed = moves::fail_waiting(database, plan.hopeless, NO_VALID_HOST).await?;
    }
    first_error.map_or(Ok(done), Err)
}
