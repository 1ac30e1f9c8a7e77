//! The agent of one host: makes what the driver has equal to what the state says.
//!
//! It looks at the servers of its host, starts what each state asks for, and writes down what the driver has finished, many servers in one
//! transaction. It keeps nothing that it could not find out again: after a crash at any point the next agent of the host compares the
//! driver's guests with the state's servers ([`reconcile`]) and goes on. For that to be true, **the driver acts before the state is written**,
//! every driver call may be repeated, and every write says from which state it moves a server.
//!
//! Each start registers a new incarnation. An agent whose heartbeat finds another incarnation has been replaced and ends.

pub mod reconcile;

use crate::doorbell::Doorbell;
use crate::driver::{Driver, DriverError};
use crate::model::{HEARTBEAT_EVERY, Program, Resources, ServerState};
use crate::patience::Patience;
use crate::state::{claims, hosts, moves, servers, services, sites};
use crate::stop;
use reconcile::Task;
use rome_core::Result;
use rome_core::database::Database;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};
use uuid::Uuid;

/// Driver calls under way at once.
const MAX_TASKS: usize = 512;

/// How often all guests are compared with all servers, beside once at the start.
const RECONCILE_EVERY: Duration = Duration::from_secs(30);

/// How long to wait after the database failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Which host an agent serves.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The site that the host is at.
    pub site: String,
    /// The host's name, unique in the cloud.
    pub host: String,
    /// What the host has.
    pub capacity: Resources,
}

/// Why an agent ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// Another agent of the same host has started.
    Replaced,
}

/// What a driver call gave.
struct Done {
    id: String,
    task: Task,
    /// `None`: called off.
    outcome: Option<Result<(), DriverError>>,
}

/// A driver call under way.
struct Busy {
    task: Task,
    call_off: Option<oneshot::Sender<()>>,
}

/// An agent that has registered.
struct Agent {
    database: Arc<dyn Database>,
    driver: Arc<dyn Driver>,
    host_id: String,
    service_id: String,
    incarnation: Uuid,
    busy: HashMap<String, Busy>,
    tasks: JoinSet<Done>,
}

/// Runs the agent of a host until it is told to stop or is replaced.
///
/// # Errors
/// Where it can't register its host; later errors of the database are logged and tried again.
pub async fn run(
    database: Arc<dyn Database>,
    config: AgentConfig,
    driver: Arc<dyn Driver>,
    mut stop: watch::Receiver<bool>,
) -> Result<End> {
    sites::register(database.as_ref(), &config.site, None).await?;
    let host_id = hosts::register(database.as_ref(), &config.host, &config.site, config.capacity).await?;
    let incarnation = Uuid::new_v4();
    let service_id =
        services::register(database.as_ref(), Program::Agent, &config.host, &config.site, incarnation).await?;
    let mut agent =
        Agent { database, driver, host_id, service_id, incarnation, busy: HashMap::new(), tasks: JoinSet::new() };
    info!(host = config.host, site = config.site, "agent runs");
    let end = agent.serve(&mut stop).await;
    if end == End::Stopped {
        let _ = services::leave(agent.database.as_ref(), &agent.service_id, incarnation).await;
    } else {
        warn!(host = config.host, "another agent of this host has started; this one ends");
    }
    Ok(end)
}

impl Agent {
    async fn serve(&mut self, stop: &mut watch::Receiver<bool>) -> End {
        let mut heartbeat = interval(HEARTBEAT_EVERY);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = Patience::default();
        let work = servers::hosted(&self.host_id, Some(&ServerState::WORK_OF_AGENT));
        let mut bell = Doorbell::new(Arc::clone(&self.database), work);
        let mut look_at = Instant::now();
        let mut reconcile_at = Instant::now();
        loop {
            tokio::select! {
                () = stop::requested(stop) => return End::Stopped,
                _ = heartbeat.tick() => {
                    match services::beat(self.database.as_ref(), &self.service_id, self.incarnation).await {
                        Ok(true) => {}
                        Ok(false) => return End::Replaced,
                        Err(error) => warn!(%error, "the heartbeat failed"),
                    }
                }
                Some(done) = self.tasks.join_next() => {
                    if let Err(error) = self.record(done.ok()).await {
                        // Nothing is lost: the servers are still in the state that asks for what was done, and are looked at again.
                        warn!(%error, "can't record what the driver did");
                        sleep(PAUSE_AFTER_ERROR).await;
                    }
                    patience.reset();
                }
                () = bell.rung() => {
                    patience.reset();
                    look_at = look_at.min(Instant::now() + patience.next_pause());
                }
                () = sleep_until(look_at) => {
                    let whole = Instant::now() >= reconcile_at;
                    match self.look(whole).await {
                        Ok(started) => {
                            if whole {
                                reconcile_at = Instant::now() + RECONCILE_EVERY;
                            }
                            if started {
                                patience.reset();
                            }
                            look_at = Instant::now() + patience.next_pause_beside(&bell);
                        }
                        Err(error) => {
                            warn!(%error, "can't look at the state");
                            look_at = Instant::now() + PAUSE_AFTER_ERROR;
                        }
                    }
                }
            }
        }
    }

    /// Looks for work and starts it; with `whole`, compares all guests with all servers. Says whether there was any.
    async fn look(&mut self, whole: bool) -> Result<bool> {
        let tasks = if whole {
            // Guests first: one that a later look at the servers does not know has been given up, never one just begun.
            let guests = match self.driver.guests().await {
                Ok(guests) => guests,
                Err(error) => {
                    warn!(%error, "the driver can't list its guests");
                    return Ok(false);
                }
            };
            let known = servers::of_host(self.database.as_ref(), &self.host_id, None).await?;
            reconcile::compare(&known, &guests)
        } else {
            let states = Some(ServerState::WORK_OF_AGENT.as_slice());
            let waiting = servers::of_host(self.database.as_ref(), &self.host_id, states).await?;
            waiting.into_iter().filter_map(|server| Some((server.id, Task::of(server.status)?))).collect()
        };
        let mut started = false;
        for (id, task) in tasks {
            started |= self.start(id, task);
        }
        Ok(started)
    }

    /// Starts a driver call, unless one for this server is under way; a deletion calls that off first.
    fn start(&mut self, id: String, task: Task) -> bool {
        if let Some(busy) = self.busy.get_mut(&id) {
            if task == Task::Destroy && busy.task != Task::Destroy {
                // The next look starts the deletion.
                drop(busy.call_off.take());
            }
            return false;
        }
        if self.tasks.len() >= MAX_TASKS {
            return false;
        }
        let (call_off, called_off) = oneshot::channel();
        self.busy.insert(id.clone(), Busy { task, call_off: Some(call_off) });
        let driver = Arc::clone(&self.driver);
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = task.call(driver.as_ref(), &id) => Some(outcome),
                _ = called_off => None,
            };
            Done { id, task, outcome }
        });
        true
    }

    /// Writes down what the driver has done: this call and all others that have ended meanwhile, one transaction for each kind.
    async fn record(&mut self, first: Option<Done>) -> Result<()> {
        let mut finished: BTreeMap<Task, Vec<String>> = BTreeMap::new();
        let mut failed = Vec::new();
        let mut next = first;
        loop {
            if let Some(done) = next {
                self.busy.remove(&done.id);
                match done.outcome {
                    Some(Ok(())) => finished.entry(done.task).or_default().push(done.id),
                    Some(Err(error)) => failed.push((done.id, done.task, error)),
                    None => {}
                }
            }
            match self.tasks.try_join_next() {
                Some(done) => next = done.ok(),
                None => break,
            }
        }
        for (id, task, error) in failed {
            warn!(server = id, %error, "the driver failed");
            // Without a state to move from, and for deletions, the next look tries again.
            if let Some((from, _)) = task.step().filter(|_| task != Task::Destroy) {
                moves::fail(self.database.as_ref(), &self.host_id, &id, from, &error.to_string()).await?;
            }
        }
        for (task, ids) in finished {
            if task == Task::Destroy {
                claims::release(self.database.as_ref(), &self.host_id, ids).await?;
            } else if let Some((from, to)) = task.step() {
                moves::advance(self.database.as_ref(), &self.host_id, ids, from, to).await?;
            }
        }
        Ok(())
    }
}
