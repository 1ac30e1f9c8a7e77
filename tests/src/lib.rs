//! Tests that need real servers: the portable suite, run on every back end that the `Database` trait has.
//!
//! Servers are those that environment variables name (`scripts/servers run -- cargo test -p rome-tests` starts them and sets the variables), else
//! are started from programs on PATH, else in containers where a Docker engine answers (`server/source.rs`). A test for which there is none of
//! these fails and says so: a suite that skips in silence proves nothing.

pub mod anomaly;
pub mod audit;
pub mod back_end;
pub mod bank;
pub mod figures;
pub mod place;
pub mod portable;
pub mod random;
pub mod server;
pub mod sites;
