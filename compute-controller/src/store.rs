//! Opening the store that a URL names. The only place of the program that knows there are different ones.

use rome_core::database::Database;
use rome_core::{Error, Result};
use std::sync::Arc;

/// Connects.
///
/// # Errors
/// Where the URL names no store that this build knows, or the store can't be reached.
pub async fn open(url: &str) -> Result<Arc<dyn Database>> {
    #[cfg(feature = "sql")]
    if ["sqlite:", "mysql://", "mariadb://", "postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Ok(Arc::new(rome_sql::SqlDatabase::connect(url).await?));
    }
    Err(Error::unsupported(format!("the store {url}")))
}
