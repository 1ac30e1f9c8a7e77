//! A cloud in this process: for each site an API, schedulers and agents, sharing nothing but the database.

use super::commands::listen;
use super::{CliError, CliResult};
use crate::agent::{self, AgentConfig};
use crate::api::{self, App};
use crate::clock;
use crate::driver::{FakeDriver, FakeHypervisor};
use crate::model::Resources;
use crate::scheduler;
use crate::state::hosts;
use rome_core::database::Database;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long the parts have to end in order.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How long hosts have to report.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What each host has, and how fast its guests boot.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct HostSize {
    pub capacity: Resources,
    pub boot_time: Duration,
}

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct CloudConfig {
    /// Sites: `site1`, `site2`, ...
    pub sites: u16,
    /// Hosts at each site: `site1-host1`, ...
    pub hosts: u16,
    /// Schedulers at each site.
    pub schedulers: u16,
    /// Port of the first API; without, any that are free.
    pub port_base: Option<u16>,
    /// What each host has.
    pub host: HostSize,
}

/// A running cloud.
pub struct Cloud {
    apis: Vec<(String, String)>,
    stop: watch::Sender<bool>,
    parts: JoinSet<CliResult<()>>,
}

/// Names of sites, hosts and schedulers: letters, digits, `.`, `-`, `_`.
///
/// # Errors
/// For any other name, or one longer than 64 characters.
pub fn check_name(what: &str, name: &str) -> CliResult<()> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(CliError::new(format!("\"{name}\" is no name for a {what}"))
            .with_hint("Use at most 64 letters, digits, '.', '-' and '_'."));
    }
    Ok(())
}

impl Cloud {
    /// Starts all parts and waits until every host is alive.
    ///
    /// # Errors
    /// Where a port is taken or the database fails.
    pub async fn start(database: Arc<dyn Database>, config: &CloudConfig) -> CliResult<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut cloud = Self { apis: Vec::new(), stop, parts: JoinSet::new() };
        for number in 1..=config.sites {
            let site = format!("site{number}");
            cloud.start_api(&database, &site, number - 1, config.port_base, &stopped).await?;
            for scheduler in 1..=config.schedulers {
                let (database, site, stopped) = (Arc::clone(&database), site.clone(), stopped.clone());
                cloud.parts.spawn(async move {
                    let name = format!("{site}-scheduler{scheduler}");
                    Ok(scheduler::run(database, &site, &name, stopped).await?)
                });
            }
            for host in 1..=config.hosts {
                let (database, stopped) = (Arc::clone(&database), stopped.clone());
                // The hypervisor belongs to this process; within it, it outlives its agent.
                let driver = Arc::new(FakeDriver::new(FakeHypervisor::in_memory(), config.host.boot_time));
                let agent = AgentConfig {
                    site: site.clone(),
                    host: format!("{site}-host{host}"),
                    capacity: config.host.capacity,
                };
                cloud.parts.spawn(async move {
                    agent::run(database, agent, driver, stopped).await?;
                    Ok(())
                });
            }
        }
        cloud.wait_for_hosts(database.as_ref(), config).await?;
        Ok(cloud)
    }

    async fn start_api(
        &mut self,
        database: &Arc<dyn Database>,
        site: &str,
        offset: u16,
        port_base: Option<u16>,
        stopped: &watch::Receiver<bool>,
    ) -> CliResult<()> {
        let port = match port_base {
            None => 0,
            Some(base) => base.checked_add(offset).ok_or_else(|| {
                CliError::new("the ports of the sites end beyond 65535").with_hint("Lower --port-base.")
            })?,
        };
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let at = listener.local_addr().map_err(|error| CliError::new(error.to_string()))?;
        let url = format!("http://{at}");
        let app = App::new(Arc::clone(database), site, &url).await?;
        self.apis.push((site.to_owned(), url));
        let stopped = stopped.clone();
        self.parts.spawn(async move {
            api::serve(app, listener, stopped).await.map_err(|error| CliError::new(format!("an API ended: {error}")))
        });
        Ok(())
    }

    /// Waits until the hosts of this cloud beat.
    async fn wait_for_hosts(&mut self, database: &dyn Database, config: &CloudConfig) -> CliResult<()> {
        let wanted = usize::from(config.sites) * usize::from(config.hosts);
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            let now = clock::now();
            let alive = hosts::all(database).await?.iter().filter(|host| host.is_alive(now)).count();
            if alive >= wanted {
                return Ok(());
            }
            if let Some(Ok(Err(error))) = self.parts.try_join_next() {
                return Err(error);
            }
            if Instant::now() >= give_up {
                return Err(CliError::new(format!("only {alive} of {wanted} hosts have reported")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The sites with the URLs of their APIs.
    pub fn apis(&self) -> &[(String, String)] {
        &self.apis
    }

    /// Stops all parts and waits for them.
    ///
    /// # Errors
    /// The first error with which a part ended.
    pub async fn stop(mut self) -> CliResult<()> {
        let _ = self.stop.send(true);
        let ended = timeout(STOP_WITHIN, async {
            let mut first = Ok(());
            while let Some(part) = self.parts.join_next().await {
                let part =
                    part.unwrap_or_else(|error| Err(CliError::new(format!("a part of the cloud failed: {error}"))));
                first = first.and(part);
            }
            first
        })
        .await;
        ended.unwrap_or_else(|_| {
            Err(CliError::new(format!("some parts did not end within {} s and were cut off", STOP_WITHIN.as_secs())))
        })
    }
}
