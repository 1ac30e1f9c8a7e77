//! Golden scripts of interleaved transactions, and whether what they saw has a serial order.
//!
//! A script (`tests/scripts/hermitage/`, after Martin Kleppmann's Hermitage) has one step in each line; a prefix names the
//! session. It runs on several databases in step with each other, and the golden text has one outcome for each step: rows,
//! what a change affected, or the SQLSTATE. Where stores with snapshots rightly differ from those without (a transaction
//! that reads after another has changed what it saw gets the old row from the first, and 40001 from the second), both are
//! there.
//!
//! A golden text shows what happens; [`serial`] asks whether it may: it looks for an order in which the same transactions,
//! one after the other, give the same answers and leave the same rows.

mod runner;
pub mod serial;

pub use runner::{History, Reads, Runner, Subject};
