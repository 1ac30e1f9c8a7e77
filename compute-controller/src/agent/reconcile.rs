//! What a host's driver has to do so that its guests are what the state says. No I/O: a comparison of two lists.
//!
//! | server's state | guest absent | guest incomplete or off | guest runs |
//! |---|---|---|---|
//! | building, starting | spawn, then active | spawn, then active | active |
//! | active | spawn | spawn | - |
//! | stopping | off, then stopped | off, then stopped | off, then stopped |
//! | stopped | - | - | off |
//! | rebooting | reboot, then active | reboot, then active | reboot, then active |
//! | deleting | release | destroy, release | destroy, release |
//! | error | - | - | - |
//! | no server of this host | | destroy | destroy |

use crate::driver::{Driver, DriverError, Guest, Power};
use crate::model::{HostedServer, ServerState};
use std::collections::{HashMap, HashSet};

/// A driver call, and what it means for the state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Task {
    /// Boot a new guest.
    Boot,
    /// Shut a guest down.
    Stop,
    /// Boot a guest that is shut down.
    Start,
    /// Shut down and boot.
    Reboot,
    /// Remove the guest, then the server.
    Destroy,
    /// A guest that should run does not: boot it; the state stays.
    Revive,
    /// A guest that should be off runs: shut it down; the state stays.
    Quiet,
    /// A guest that no server stands for: remove it.
    RemoveOrphan,
}

impl Task {
    /// What a state asks for.
    pub fn of(state: ServerState) -> Option<Self> {
        match state {
            ServerState::Building => Some(Self::Boot),
            ServerState::Stopping => Some(Self::Stop),
            ServerState::Starting => Some(Self::Start),
            ServerState::Rebooting => Some(Self::Reboot),
            ServerState::Deleting => Some(Self::Destroy),
            ServerState::Scheduling | ServerState::Active | ServerState::Stopped | ServerState::Error => None,
        }
    }

    /// From which state to which the server moves when the driver is done; `None` where the state stays or the row goes.
    pub fn step(self) -> Option<(ServerState, ServerState)> {
        match self {
            Self::Boot => Some((ServerState::Building, ServerState::Active)),
            Self::Stop => Some((ServerState::Stopping, ServerState::Stopped)),
            Self::Start => Some((ServerState::Starting, ServerState::Active)),
            Self::Reboot => Some((ServerState::Rebooting, ServerState::Active)),
            Self::Destroy | Self::Revive | Self::Quiet | Self::RemoveOrphan => None,
        }
    }

    /// Has the driver do it.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn call(self, driver: &dyn Driver, id: &str) -> Result<(), DriverError> {
        match self {
            Self::Boot | Self::Start | Self::Revive => driver.spawn(id).await,
            Self::Stop | Self::Quiet => driver.shut_down(id).await,
            Self::Reboot => driver.reboot(id).await,
            Self::Destroy | Self::RemoveOrphan => driver.destroy(id).await,
        }
    }
}

/// All that is to be done, at most one task for each guest or server.
pub fn compare(servers: &[HostedServer], guests: &[Guest]) -> Vec<(String, Task)> {
    let power: HashMap<&str, Power> = guests.iter().map(|guest| (guest.id.as_str(), guest.power)).collect();
    let mut tasks = Vec::new();
    for server in servers {
        let guest = power.get(server.id.as_str()).copied();
        let task = match (server.status, guest) {
            (ServerState::Active, None | Some(Power::Off | Power::Incomplete)) => Some(Task::Revive),
            (ServerState::Stopped, Some(Power::Running)) => Some(Task::Quiet),
            (state, _) => Task::of(state),
        };
        tasks.extend(task.map(|task| (server.id.clone(), task)));
    }
    let known: HashSet<&str> = servers.iter().map(|server| server.id.as_str()).collect();
    let orphans = guests.iter().filter(|guest| !known.contains(guest.id.as_str()));
    tasks.extend(orphans.map(|guest| (guest.id.clone(), Task::RemoveOrphan)));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: ServerState, guest: Option<Power>) -> Option<Task> {
        let servers = [HostedServer { id: "it".into(), status: state }];
        let guests: Vec<Guest> = guest.map(|power| Guest { id: "it".into(), power }).into_iter().collect();
        compare(&servers, &guests).first().map(|(_, task)| *task)
    }

    #[test]
    fn each_pair_of_state_and_guest_has_its_task() {
        for guest in [None, Some(Power::Incomplete), Some(Power::Off), Some(Power::Running)] {
            assert_eq!(task(ServerState::Building, guest), Some(Task::Boot));
            assert_eq!(task(ServerState::Deleting, guest), Some(Task::Destroy));
            assert_eq!(task(ServerState::Stopping, guest), Some(Task::Stop));
            assert_eq!(task(ServerState::Rebooting, guest), Some(Task::Reboot));
            assert_eq!(task(ServerState::Error, guest), None);
            let running = guest == Some(Power::Running);
            assert_eq!(task(ServerState::Active, guest), (!running).then_some(Task::Revive));
            assert_eq!(task(ServerState::Stopped, guest), running.then_some(Task::Quiet));
        }
    }

    #[test]
    fn a_guest_without_a_server_goes() {
        let guests = [Guest { id: "stray".into(), power: Power::Running }];
        assert_eq!(compare(&[], &guests), [("stray".to_owned(), Task::RemoveOrphan)]);
    }
}
