//! How parts are told to end: a watch channel that turns true once.

use tokio::sync::watch;

/// Waits until the parts are to end; also when whoever could say so is gone.
pub async fn requested(stop: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` gives must not be held across an await.
    let _ = stop.wait_for(|stop| *stop).await.map(drop);
}
