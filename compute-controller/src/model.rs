//! Rows as structs, and the states of a server.

use crate::clock::Micros;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A service whose last heartbeat is older is taken for dead. A hint: no correctness rests on it.
pub const ALIVE_FOR: Duration = Duration::from_secs(10);

/// How often a service beats.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);

/// Where a server is in its life. Whoever is named on the right moves it on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum ServerState {
    /// waits for a scheduler
    Scheduling,
    /// has a host; its agent boots it
    Building,
    /// runs
    Active,
    /// its agent shuts it down
    Stopping,
    /// is shut down
    Stopped,
    /// its agent starts it again
    Starting,
    /// its agent reboots it
    Rebooting,
    /// its agent destroys it, then removes the row
    Deleting,
    /// nothing moves it but deletion; `server_faults` says why
    Error,
}

impl ServerState {
    const ALL: [Self; 9] = [
        Self::Scheduling,
        Self::Building,
        Self::Active,
        Self::Stopping,
        Self::Stopped,
        Self::Starting,
        Self::Rebooting,
        Self::Deleting,
        Self::Error,
    ];

    /// The states in which the agent of the server's host has something to do.
    pub const WORK_OF_AGENT: [Self; 5] =
        [Self::Building, Self::Deleting, Self::Stopping, Self::Starting, Self::Rebooting];

    /// As it is kept in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduling => "scheduling",
            Self::Building => "building",
            Self::Active => "active",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Rebooting => "rebooting",
            Self::Deleting => "deleting",
            Self::Error => "error",
        }
    }
}

impl From<ServerState> for sea_query::Value {
    fn from(state: ServerState) -> Self {
        state.as_str().into()
    }
}

impl TryFrom<String> for ServerState {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is no state of a server"))
    }
}

/// What something takes or offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the names say it, units included")]
pub struct Resources {
    pub vcpus: i64,
    pub ram_mb: i64,
    pub disk_gb: i64,
}

impl Resources {
    /// Whether this fits into `free`.
    pub fn fits(self, free: Self) -> bool {
        self.vcpus <= free.vcpus && self.ram_mb <= free.ram_mb && self.disk_gb <= free.disk_gb
    }
}

impl std::ops::Add for Resources {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            ram_mb: self.ram_mb.saturating_add(other.ram_mb),
            disk_gb: self.disk_gb.saturating_add(other.disk_gb),
        }
    }
}

impl std::ops::Sub for Resources {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            ram_mb: self.ram_mb.saturating_sub(other.ram_mb),
            disk_gb: self.disk_gb.saturating_sub(other.disk_gb),
        }
    }
}

/// A server that waits for a scheduler.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `servers`")]
pub struct WaitingServer {
    pub id: String,
    pub vcpus: i64,
    pub ram_mb: i64,
    pub disk_gb: i64,
    pub availability_zone: Option<String>,
}

impl WaitingServer {
    /// What it takes.
    pub fn needs(&self) -> Resources {
        Resources { vcpus: self.vcpus, ram_mb: self.ram_mb, disk_gb: self.disk_gb }
    }
}

/// A server as its agent sees it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `servers`")]
pub struct HostedServer {
    pub id: String,
    pub status: ServerState,
}

/// A row of `servers`, with the name of its host.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `servers`")]
pub struct Server {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub project_id: String,
    pub user_id: String,
    pub site: String,
    pub host_id: Option<String>,
    pub host_name: Option<String>,
    pub status: ServerState,
    pub flavor_id: String,
    pub flavor: String,
    pub vcpus: i64,
    pub ram_mb: i64,
    pub disk_gb: i64,
    pub image_id: Option<String>,
    pub availability_zone: Option<String>,
    pub metadata: Option<String>,
    pub tags: Option<String>,
    pub user_data: Option<String>,
    pub config_drive: i64,
    pub reservation_id: String,
    pub launch_index: i64,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub launched_at: Option<Micros>,
}

/// The flavor as a server keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "columns of `flavors`")]
pub struct FlavorSnapshot {
    pub name: String,
    pub vcpus: i64,
    pub ram_mb: i64,
    pub disk_gb: i64,
    pub ephemeral_gb: i64,
    pub swap_mb: i64,
    pub extra_specs: BTreeMap<String, String>,
}

/// A row of `flavors`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `flavors`")]
pub struct Flavor {
    pub id: String,
    pub name: String,
    pub vcpus: i64,
    pub ram_mb: i64,
    pub disk_gb: i64,
    pub ephemeral_gb: i64,
    pub swap_mb: i64,
    pub is_public: i64,
    pub description: Option<String>,
    pub created_at: Micros,
}

impl Flavor {
    /// What a server of this flavor occupies on its host; swap is rounded up to whole gigabytes.
    pub fn needs(&self) -> Resources {
        let swap_gb = self.swap_mb.saturating_add(1023) / 1024;
        Resources {
            vcpus: self.vcpus,
            ram_mb: self.ram_mb,
            disk_gb: self.disk_gb.saturating_add(self.ephemeral_gb).saturating_add(swap_gb),
        }
    }
}

/// A row of `images`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `images`")]
pub struct Image {
    pub id: String,
    pub name: String,
    pub status: String,
    pub visibility: String,
    pub disk_format: String,
    pub container_format: String,
    pub size_bytes: i64,
    pub min_disk_gb: i64,
    pub min_ram_mb: i64,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// A host with what it has, what is claimed, and whether its agent is alive.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `hosts`, `host_usages` and `services`")]
pub struct Host {
    pub id: String,
    pub number: i64,
    pub name: String,
    pub site: String,
    pub vcpus: i64,
    pub ram_mb: i64,
    pub disk_gb: i64,
    pub vcpus_used: i64,
    pub ram_mb_used: i64,
    pub disk_gb_used: i64,
    pub instances: i64,
    pub service_id: String,
    pub service_number: i64,
    pub service_status: String,
    pub disabled_reason: Option<String>,
    pub forced_down: i64,
    pub heartbeat_at: Micros,
}

impl Host {
    /// What it has.
    pub fn capacity(&self) -> Resources {
        Resources { vcpus: self.vcpus, ram_mb: self.ram_mb, disk_gb: self.disk_gb }
    }

    /// What is claimed.
    pub fn used(&self) -> Resources {
        Resources { vcpus: self.vcpus_used, ram_mb: self.ram_mb_used, disk_gb: self.disk_gb_used }
    }

    /// Whether the operator lets it take servers.
    pub fn is_enabled(&self) -> bool {
        self.service_status == ENABLED
    }

    /// Whether its agent seems to run at `now`.
    pub fn is_alive(&self, now: Micros) -> bool {
        is_alive(self.forced_down, self.heartbeat_at, now)
    }
}

/// The status of a service that takes work.
pub const ENABLED: &str = "enabled";
/// The status of a service that the operator has taken out.
pub const DISABLED: &str = "disabled";

fn is_alive(forced_down: i64, heartbeat_at: Micros, now: Micros) -> bool {
    forced_down == 0 && now.saturating_sub(heartbeat_at) <= crate::clock::to_micros(ALIVE_FOR)
}

/// The program names that OpenStack's operators know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Program {
    Agent,
    Scheduler,
}

impl Program {
    /// As kept in `services.program`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "nova-compute",
            Self::Scheduler => "nova-scheduler",
        }
    }
}

/// A row of `services`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `services`")]
pub struct Service {
    pub id: String,
    pub number: i64,
    pub program: String,
    pub host: String,
    pub site: String,
    pub status: String,
    pub disabled_reason: Option<String>,
    pub forced_down: i64,
    pub heartbeat_at: Micros,
    pub updated_at: Micros,
}

impl Service {
    /// Whether it seems to run at `now`.
    pub fn is_alive(&self, now: Micros) -> bool {
        is_alive(self.forced_down, self.heartbeat_at, now)
    }
}

/// An aggregate with its members and metadata.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "columns of `aggregates`")]
pub struct Aggregate {
    pub id: i64,
    pub uuid: String,
    pub name: String,
    pub created_at: Micros,
    pub updated_at: Option<Micros>,
    pub metadata: BTreeMap<String, String>,
    /// Names of its hosts.
    pub hosts: Vec<String>,
}

/// The key in an aggregate's metadata that makes it an availability zone.
pub const ZONE_KEY: &str = "availability_zone";

/// The zone of hosts that are in no other.
pub const DEFAULT_ZONE: &str = "nova";

impl Aggregate {
    /// The zone that it makes of its hosts.
    pub fn zone(&self) -> Option<&str> {
        self.metadata.get(ZONE_KEY).map(String::as_str)
    }
}

/// A row of `projects`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `projects`")]
pub struct Project {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub enabled: i64,
}

/// A row of `users`.
#[derive(Clone, Deserialize)]
#[expect(missing_docs, reason = "columns of `users`")]
pub struct User {
    pub id: String,
    pub name: String,
    pub project_id: String,
    pub password_hash: String,
    pub is_admin: i64,
    pub enabled: i64,
}

/// Limits or usage of a project.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "columns of `quotas` and `quota_usages`")]
pub struct QuotaNumbers {
    pub instances: i64,
    pub cores: i64,
    pub ram_mb: i64,
}

/// The limit that means none.
pub const UNLIMITED: i64 = -1;

/// A row of `server_faults`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `server_faults`")]
pub struct Fault {
    pub server_id: String,
    pub created_at: Micros,
    pub code: i64,
    pub message: String,
    pub details: Option<String>,
}

/// A row of `server_actions`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "columns of `server_actions`")]
pub struct Action {
    pub server_id: String,
    pub request_id: String,
    pub action: String,
    pub user_id: String,
    pub project_id: String,
    pub started_at: Micros,
    pub finished_at: Option<Micros>,
    pub result: Option<String>,
}
