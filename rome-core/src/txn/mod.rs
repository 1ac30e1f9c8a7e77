//! Transactions on one home: reads with versions, buffered writes, guards, savepoints, commit.

mod buffer;

pub use buffer::Txn;
