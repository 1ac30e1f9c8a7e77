//! A hypervisor without guests: it keeps records of guests that would exist and takes as long to boot them as it is told.
//!
//! The records stand for the machine itself, so they outlive the agent: in memory they belong to a [`FakeHypervisor`] that the process
//! holds beside its agents, on disk they are one small file for each guest (`<server id>`, holding `incomplete`, `running` or `off`), written to
//! a temporary name and renamed, so that a killed process leaves the old record or the new one.

use super::{Driver, DriverError, Guest, Power};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The guests of one machine.
#[derive(Clone, Debug)]
pub enum FakeHypervisor {
    /// They live as long as the process.
    Memory(Arc<Mutex<HashMap<String, Power>>>),
    /// They live in this directory.
    Directory(PathBuf),
}

/// Files with this ending were being written when their process died.
const TEMPORARY: &str = "tmp";

impl FakeHypervisor {
    /// A machine without guests, in memory.
    pub fn in_memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// The machine whose guests this directory holds; the directory is made where it is absent.
    ///
    /// # Errors
    /// Where it can't be made.
    pub async fn in_directory(path: &Path) -> Result<Self, DriverError> {
        tokio::fs::create_dir_all(path).await.map_err(|error| at(path, &error))?;
        Ok(Self::Directory(path.to_owned()))
    }

    async fn set(&self, id: &str, power: Power) -> Result<(), DriverError> {
        match self {
            Self::Memory(guests) => {
                guests.lock().insert(id.to_owned(), power);
                Ok(())
            }
            Self::Directory(path) => {
                let temporary = path.join(format!("{id}.{TEMPORARY}"));
                tokio::fs::write(&temporary, word(power)).await.map_err(|error| at(&temporary, &error))?;
                tokio::fs::rename(&temporary, path.join(id)).await.map_err(|error| at(path, &error))
            }
        }
    }

    async fn get(&self, id: &str) -> Result<Option<Power>, DriverError> {
        match self {
            Self::Memory(guests) => Ok(guests.lock().get(id).copied()),
            Self::Directory(path) => match tokio::fs::read_to_string(path.join(id)).await {
                Ok(text) => Ok(Some(parse(&text))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(at(path, &error)),
            },
        }
    }

    async fn remove(&self, id: &str) -> Result<(), DriverError> {
        match self {
            Self::Memory(guests) => {
                guests.lock().remove(id);
                Ok(())
            }
            Self::Directory(path) => match tokio::fs::remove_file(path.join(id)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path, &error)),
                _ => Ok(()),
            },
        }
    }

    async fn all(&self) -> Result<Vec<Guest>, DriverError> {
        let path = match self {
            Self::Memory(guests) => {
                let guests = guests.lock();
                return Ok(guests.iter().map(|(id, power)| Guest { id: id.clone(), power: *power }).collect());
            }
            Self::Directory(path) => path,
        };
        let mut all = Vec::new();
        let mut entries = tokio::fs::read_dir(path).await.map_err(|error| at(path, &error))?;
        while let Some(entry) = entries.next_entry().await.map_err(|error| at(path, &error))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(TEMPORARY) {
                continue;
            }
            if let Some(power) = self.get(&name).await? {
                all.push(Guest { id: name, power });
            }
        }
        Ok(all)
    }
}

fn word(power: Power) -> &'static str {
    match power {
        Power::Incomplete => "incomplete",
        Power::Running => "running",
        Power::Off => "off",
    }
}

fn parse(text: &str) -> Power {
    match text {
        "running" => Power::Running,
        "off" => Power::Off,
        _ => Power::Incomplete,
    }
}

fn at(path: &Path, error: &std::io::Error) -> DriverError {
    DriverError(format!("{}: {error}", path.display()))
}

/// The driver of a [`FakeHypervisor`].
#[derive(Clone, Debug)]
pub struct FakeDriver {
    hypervisor: FakeHypervisor,
    boot_time: Duration,
}

impl FakeDriver {
    /// A driver whose guests take `boot_time` to boot.
    pub fn new(hypervisor: FakeHypervisor, boot_time: Duration) -> Self {
        Self { hypervisor, boot_time }
    }
}

#[async_trait]
impl Driver for FakeDriver {
    async fn guests(&self) -> Result<Vec<Guest>, DriverError> {
        self.hypervisor.all().await
    }

    async fn spawn(&self, id: &str) -> Result<(), DriverError> {
        if self.hypervisor.get(id).await? == Some(Power::Running) {
            return Ok(());
        }
        self.hypervisor.set(id, Power::Incomplete).await?;
        tokio::time::sleep(self.boot_time).await;
        self.hypervisor.set(id, Power::Running).await
    }

    async fn shut_down(&self, id: &str) -> Result<(), DriverError> {
        self.hypervisor.set(id, Power::Off).await
    }

    async fn reboot(&self, id: &str) -> Result<(), DriverError> {
        self.hypervisor.set(id, Power::Off).await?;
        tokio::time::sleep(self.boot_time).await;
        self.hypervisor.set(id, Power::Running).await
    }

    async fn destroy(&self, id: &str) -> Result<(), DriverError> {
        self.hypervisor.remove(id).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn lives_and_dies(hypervisor: FakeHypervisor) {
        let driver = FakeDriver::new(hypervisor, Duration::ZERO);
        driver.spawn("one").await.unwrap();
        driver.spawn("one").await.unwrap();
        driver.spawn("two").await.unwrap();
        driver.shut_down("two").await.unwrap();
        let mut guests = driver.guests().await.unwrap();
        guests.sort_by(|left, right| left.id.cmp(&right.id));
        assert_eq!(
            guests,
            [Guest { id: "one".into(), power: Power::Running }, Guest { id: "two".into(), power: Power::Off }]
        );
        driver.destroy("one").await.unwrap();
        driver.destroy("one").await.unwrap();
        driver.reboot("two").await.unwrap();
        assert_eq!(driver.guests().await.unwrap(), [Guest { id: "two".into(), power: Power::Running }]);
    }

    #[tokio::test]
    async fn guests_in_memory() {
        lives_and_dies(FakeHypervisor::in_memory()).await;
    }

    #[tokio::test]
    async fn guests_in_a_directory_outlive_the_driver() {
        let directory = tempfile::tempdir().unwrap();
        lives_and_dies(FakeHypervisor::in_directory(directory.path()).await.unwrap()).await;
        let again = FakeHypervisor::in_directory(directory.path()).await.unwrap();
        assert_eq!(again.all().await.unwrap(), [Guest { id: "two".into(), power: Power::Running }]);
    }
}
