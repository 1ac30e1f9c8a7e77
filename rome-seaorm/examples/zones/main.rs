//! One SeaORM program, on the database that the URL names:
//!
//! ```text
//! cargo run -p rome-seaorm --example zones                                  # in memory
//! cargo run -p rome-seaorm --example zones embedded:/tmp/zones.rome
//! cargo run -p rome-seaorm --example zones redis://127.0.0.1:6379
//! cargo run -p rome-seaorm --example zones postgres://user@127.0.0.1/empty  # SeaORM's own driver
//! ```

mod program;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    if url.starts_with("postgres") {
        program::run(&sea_orm::Database::connect(url).await?).await?;
    } else {
        program::run(&rome_seaorm::RomeConnection::new(rome::connect(&url).await?)?).await?;
    }
    Ok(())
}
