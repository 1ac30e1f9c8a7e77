//! Measurements of Rome beside the raw clients of its stores and beside SQL servers.
//!
//! ```text
//! scripts/servers run -- cargo bench -p bench                            # criterion, see benches/statements.rs
//! cargo run --release -p bench --bin report                              # its results as a table
//! scripts/servers run -- cargo run --release -p bench --bin scale        # what a point select costs beside a million keys
//! scripts/servers run -- cargo run --release -p bench --bin memory       # what a scan of a million rows holds
//! scripts/servers run -- cargo run --release -p bench --bin wide_area    # several sites far apart beside one central server, see [`wide`]
//! cargo run --release -p bench --bin scale_sites                         # what operations cost with up to 100 sites, counted, see [`sites`]
//! ```
//!
//! Every subject of a measurement implements [`subject::Subject`]: [`relational`] runs the operations as sea-query statements on any
//! `Database`, Rome or SQL server, [`raw`] as the fewest commands of a store's own client that do the same with the same
//! guarantees. One client, one operation at a time, in the same process and runtime for all.
//!
//! Where a server's variable (`ROME_TEST_REDIS_URL`, `ROME_TEST_ETCD_URL`, `ROME_TEST_MARIADB_URL`, `ROME_TEST_POSTGRES_URL`) is not set, its
//! subjects are left out, and that is said.

pub mod back_end;
pub mod raw;
pub mod relational;
pub mod report;
pub mod sites;
pub mod subject;
pub mod wide;

/// Whatever went wrong, for a person to read.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A result of a measurement's step.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
