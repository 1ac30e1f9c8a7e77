//! Rome at several sites with a wide-area network between them, beside one central SQL server behind the same network.
//!
//! | | where the data is | how clients reach it |
//! |---|---|---|
//! | Rome | each row at its site, on a Redis of that site | their own site's server directly, the others through the network |
//! | central | everything on one SQL server, at the first site | directly at the first site, through the network from all others |
//!
//! The network is [`rome_proxy`]'s: every figure of a delay is a round trip. All clients, the network and (on other ports) all servers share one machine,
//! the same for every system, so that what is compared is the waiting and not the computing. Both sides flush each commit to disk before it is
//! acknowledged, and both isolate transactions serializably. Applications run the same code on both, by the `Database` trait; only the DDL differs
//! ([`dialect`]).
//!
//! | module | what it does |
//! |---|---|
//! | [`settings`] | what to measure, from the command line |
//! | [`deployment`] | starts servers and networks, opens clients |
//! | [`dialect`] | the few words in which the systems differ |
//! | [`load`] | closed loops of clients, and their latencies |
//! | [`operations`] | single operations, one client at each site |
//! | [`mix`] | transactions in the manner of TPC-C, and whether their books balance |
//! | [`tables`] | the results |

pub mod deployment;
pub mod dialect;
pub mod load;
pub mod mix;
pub mod operations;
pub mod settings;
pub mod tables;
