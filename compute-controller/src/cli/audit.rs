//! Checks that no host is overcommitted, from the rows alone: what the servers on a host take together, recomputed, against what it has.

use crate::model::{Host, Resources};
use crate::state::{hosts, servers};
use crate::stop;
use rome_core::Result;
use rome_core::database::Database;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the rows are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How often all hosts were looked at.
    pub samples: usize,
    /// What was wrong; empty if nothing ever was.
    pub violations: Vec<String>,
}

/// A running check.
pub struct Audit {
    stop: watch::Sender<bool>,
    task: JoinHandle<Findings>,
}

impl Audit {
    /// Starts to look.
    pub fn start(database: Arc<dyn Database>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut findings = Findings::default();
            loop {
                match sample(database.as_ref()).await {
                    Ok(violations) => findings.violations.extend(violations),
                    Err(error) => findings.violations.push(format!("can't look: {error}")),
                }
                findings.samples += 1;
                tokio::select! {
                    () = stop::requested(&mut stopped) => return findings,
                    () = tokio::time::sleep(SAMPLE_EVERY) => {}
                }
            }
        });
        Self { stop, task }
    }

    /// Ends, and gives what was found.
    pub async fn finish(self) -> Findings {
        let _ = self.stop.send(true);
        self.task.await.unwrap_or_else(|_| Findings { samples: 0, violations: vec!["the check itself failed".into()] })
    }
}

/// Whether any host is overcommitted now, by its servers or by its own count.
async fn sample(database: &dyn Database) -> Result<Vec<String>> {
    let (taken, all) = (recount(database).await?, hosts::all(database).await?);
    let mut violations = Vec::new();
    for host in &all {
        let (_, claimed) = taken.get(&host.id).copied().unwrap_or_default();
        for (what, takes) in [("servers take", claimed), ("claims are", host.used())] {
            if !takes.fits(host.capacity()) {
                violations.push(format!("{}: {what} {takes:?} of {:?}", host.name, host.capacity()));
            }
        }
    }
    Ok(violations)
}

async fn recount(database: &dyn Database) -> Result<HashMap<String, (i64, Resources)>> {
    let mut taken: HashMap<String, (i64, Resources)> = HashMap::new();
    for (host_id, count, takes) in servers::claimed_by_host(database).await? {
        let entry = taken.entry(host_id).or_default();
        *entry = (entry.0 + count, entry.1 + takes);
    }
    Ok(taken)
}

/// While nothing moves: whether each host's own count is exactly what its servers take.
///
/// # Errors
/// What the database says.
pub async fn books_agree(database: &dyn Database) -> Result<Vec<String>> {
    let taken = recount(database).await?;
    let disagrees = |host: &Host| {
        let (count, takes) = taken.get(&host.id).copied().unwrap_or_default();
        let agree = count == host.instances && takes == host.used();
        (!agree).then(|| {
            format!(
                "{}: {count} servers take {takes:?}, but {} claims are {:?}",
                host.name,
                host.instances,
                host.used()
            )
        })
    };
    Ok(hosts::all(database).await?.iter().filter_map(disagrees).collect())
}
