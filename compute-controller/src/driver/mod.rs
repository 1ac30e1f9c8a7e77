//! What an agent boots guests with.
//!
//! A [`Driver`] stands for one host's hypervisor. It holds the truth about the guests that exist there, and that truth outlives the agent: an agent
//! that starts asks the driver what is there and compares it with the state's servers. Every call may be repeated: spawning a guest that
//! runs, or destroying one that is gone, succeeds and changes nothing.

mod fake;

pub use fake::{FakeDriver, FakeHypervisor};

use async_trait::async_trait;
use std::fmt;

/// Whether a guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// It was being made when its agent died.
    Incomplete,
    /// It runs.
    Running,
    /// It is shut down.
    Off,
}

/// A guest on the hypervisor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// The server's id.
    pub id: String,
    /// Whether it runs.
    pub power: Power,
}

/// Why the hypervisor could not do it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriverError(pub String);

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DriverError {}

/// One host's hypervisor.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// The guests that exist.
    async fn guests(&self) -> Result<Vec<Guest>, DriverError>;

    /// Makes a guest and boots it; returns when it runs. Also boots one that is off or incomplete.
    async fn spawn(&self, id: &str) -> Result<(), DriverError>;

    /// Shuts a guest down and keeps it.
    async fn shut_down(&self, id: &str) -> Result<(), DriverError>;

    /// Shuts a guest down and boots it again.
    async fn reboot(&self, id: &str) -> Result<(), DriverError>;

    /// Removes a guest and what belongs to it.
    async fn destroy(&self, id: &str) -> Result<(), DriverError>;
}
