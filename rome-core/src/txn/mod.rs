//! Transactions: reads with versions, buffered writes, guards, savepoints, one-trip commit.
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
//! Therefore a transaction without writes needs no round trip to commit (unless it locked rows or read at several homes), and none ever sees a state
//! of a home that never was.
//!
//! | file | what |
//! |---|---|
//! | `transaction`, `part` | reads and writes, by home |
//! | `guards`, `buffer`, `overlay` | what was read, what is to be written, the latter over the former |
//! | `alone` | the commit at one home, past the marks of others |
//! | `many`, `protocol`, `perform` | the commit over several homes: its driver, its state machines, its requests as commits of stores |
//! | `marks`, `held` | marks as bytes; what stands between a transaction and the marks of others |
//! | `settle` | what to do about another transaction's mark |
//! | `lost` | what was in doubt with a home that is gone for good |
//! | `unended` | what is left to do of commits that were told |
//! | `survey` | what a home holds of such transactions, without touching it |
//! | `epochs` | in which epochs of its homes a transaction has read |
//!
//! Deliberately absent: locks, leases and clocks. A transaction that a client forgets holds nothing.

mod alone;
mod buffer;
mod changes;
mod client;
mod epochs;
mod guards;
mod held;
mod lanes;
mod lost;
mod many;
mod marks;
mod overlay;
mod part;
mod perform;
pub mod protocol;
mod report;
mod settle;
mod survey;
mod transaction;
mod unended;

pub use changes::{KeyChange, decode_event};
pub use client::{Client, Mode, Patience, Place, was_removed};
pub use epochs::Epochs;
pub use lost::{DecidedTxn, fenced_at};
pub use marks::{MARKS_SPACE, RECORDS_SPACE, TxnId, value_or_intent};
pub use report::{ReadMode, ReadReport};
pub use settle::Sweep;
pub use survey::prepared_at;
pub use transaction::{HomeRead, RoundTrips, Savepoint, Txn};
