//! The tables: their definition, their creation on an empty store, and what a new cloud starts with.
//!
//! Portable by construction: identifiers are UUIDs kept as text, times are microseconds in a bigint, flags are 0 or 1 in a bigint, and
//! every key has a length that MariaDB can index. Nothing here is the dialect of one server.

mod create;
mod define;
mod seed;
mod tables;

pub use create::create;
pub use seed::{ADMIN_PROJECT, ADMIN_USER, Seed, seed};
pub use tables::*;
