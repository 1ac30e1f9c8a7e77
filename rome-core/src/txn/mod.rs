//! Transactions on one home: reads with versions, buffered writes, guards, savepoints, one-trip commit.
//!
//! A [`Txn`] keeps three things: what it has read (keys with versions, ranges with counts), what it will write, and what it expects besides
//! (absent unique keys, present parents). Commit sends all of them as guards and writes in one round trip; the store applies all or nothing.
//!
//! # Which reads are validated, and when
//!
//! | the transaction | a store with snapshots | a store without |
//! |---|---|---|
//! | one round trip of reads | nothing to do: one request is answered from one state | the same |
//! | further round trips of reads | all at the first read's version | each request guards what was read before, so every answer fits all earlier ones |
//! | commit with writes | everything read is guarded | the same |
//!
//! Therefore a transaction without writes needs no round trip to commit (unless it locked rows), and none ever sees a state that never was.
//!
//! Deliberately absent: locks, leases and clocks. A transaction that a client forgets holds nothing.

mod alone;
mod buffer;
mod client;
mod guards;
mod held;
mod lanes;
mod many;
mod marks;
mod overlay;
mod part;
mod perform;
pub mod protocol;
mod settle;
mod transaction;

pub use client::{Client, Mode, Patience, Place};
pub use marks::{MARKS_SPACE, RECORDS_SPACE, TxnId};
pub use settle::Sweep;
pub use transaction::{HomeRead, RoundTrips, Savepoint, Txn};
