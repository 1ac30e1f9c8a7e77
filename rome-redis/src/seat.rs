//! A seat: what one server fills at a time. It keeps the connection for calls to that server.

use crate::address::Host;
use crate::dial::Open;
use crate::failure::Failure;
use parking_lot::RwLock;
use std::sync::Arc;

/// The connection for calls to the server that sits here.
#[derive(Default)]
pub(crate) struct Seat {
    /// Where the server is, if always at the same place.
    host: Option<Host>,
    current: RwLock<Option<Arc<Open>>>,
    /// Held while a connection is being opened, so that calls do not open one each.
    opening: tokio::sync::Mutex<()>,
}

impl Seat {
    /// The seat of the server at `host`.
    pub fn at(host: Host) -> Self {
        Self { host: Some(host), ..Self::default() }
    }

    /// Where the server is, if always at the same place.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// The connection, if there is one that works.
    pub fn current(&self) -> Option<Arc<Open>> {
        self.current.read().as_ref().filter(|open| !open.is_lost()).cloned()
    }

    /// The connection; opens one where there is none.
    pub async fn open(&self, opening: impl Future<Output = Result<Open, Failure>>) -> Result<Arc<Open>, Failure> {
        let _turn = self.opening.lock().await;
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let open = Arc::new(opening.await?);
        *self.current.write() = Some(open.clone());
        Ok(open)
    }
}
