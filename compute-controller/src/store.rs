//! Opening the store that a URL names. The only place of the program that knows there are different ones.

use rome_core::Result;
use rome_core::database::Database;
use std::sync::Arc;

/// Connects.
///
/// # Errors
/// Where the URL names no store that this build knows, or the store can't be reached.
pub async fn open(url: &str) -> Result<Arc<dyn Database>> {
    rome::connect(url).await
}
