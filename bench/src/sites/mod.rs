//! What operations cost as sites become many: counted, on memory stores, in virtual time.
//!
//! Every site is an in-memory store of its own. A request to another site takes one [`ROUND_TRIP`] of virtual time and everything else nothing, so that
//! the time until an answer, divided by it, is the number of round trips that had to follow each other. Requests and bytes are counted as they pass,
//! to and from the client's own site and to and from the others.
//!
//! | module | what it does |
//! |---|---|
//! | [`counted`] | stores that count and delay |
//! | `global` | a global table and its copies |
//! | [`world`] | sites with hosts and virtual machines on them, and what is asked of them |

pub mod counted;
mod global;
pub mod world;

use std::time::Duration;

/// Between any two sites.
pub const ROUND_TRIP: Duration = Duration::from_millis(100);
