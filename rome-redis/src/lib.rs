//! A [`Store`](rome_core::store::Store) on Redis 7: one server, a primary with replicas that Sentinels watch, or a
//! cluster.
//!
//! # Lay-out
//!
//! Everything of a home lies under keys with one hash tag, `{namespace/home}`, so that a home is one slot of a cluster, and homes
//! spread over its slots:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `{n/h}:d` | hash | the data: key -> version (8 bytes, big-endian), value; `v` -> the home's version, `e` -> its epoch |
//! | `{n/h}:m` | hash | `s` space -> the version of its last commit, the size of its largest value; `c` stream -> the version of its last event; `l` client, lane -> sequence, outcome |
//! | `{n/h}:o` space | sorted set | the order of the keys of a space, without the space, all at score 0 |
//! | `{n/h}:c` stream | stream | change events; the id is the commit's version, the entry begins with the version of the event before |
//!
//! Keys of the data have at least four bytes, so `v` and `e` are none of them. `{`, `}` and `%` in a home's name are escaped.
//!
//! # Calls
//!
//! A read of points without guards is one `HMGET`. Every other read is one `EVALSHA`, as is every commit. After a failover, a restart or the move of
//! a slot, the first call about a home begins its epoch, which costs three commands once. Scripts declare each key
//! that they touch, check everything first and then do only writes that cannot fail, so that an error leaves nothing half-written.
//! Their work is bounded (see `scripts/state.lua`), so that none holds the server for more than a few milliseconds.
//!
//! # The URL
//!
//! | URL | what is there |
//! |---|---|
//! | `redis[s]://[user:password@]host[:port][/database][?parameters]` | one server |
//! | `redis[s]-sentinel://[user:password@]host[:port],..[/database]?master=name[&parameters]` | Sentinels (port 26379) that watch a server under this name; user and password are the server's |
//! | `redis[s]-cluster://[user:password@]host[:port],..[?parameters]` | a cluster of which these are some nodes |
//!
//! | parameter | meaning |
//! |---|---|
//! | `namespace` | the prefix of all keys, by default `rome`, so that many applications share a server |
//! | `durability` | what commits must survive: a tier of the table below; by default `fsync` where the server is seen to do it, else `async` |
//! | `ssl_ca_certs` | with TLS (`rediss`): a PEM file of the authorities to trust, instead of the system's |
//! | `ssl_certfile`, `ssl_keyfile` | with TLS: PEM files of the client's certificate and key, for servers that ask for one |
//! | `master`, `sentinel_username`, `sentinel_password` | with Sentinels: what they call the server, and how to get in at them |
//!
//! The names are those of redis-py's URLs. The server's certificate must be for the host name or address in the URL. A user needs
//! `+@read +@write +@scripting +@connection +info` on `~{namespace/*`, `+config|get` where the tier is to be seen, and `+cluster|slots` in a cluster. What trying again
//! can't cure (a wrong password, a certificate that nobody trusted has signed or that is for another name) is `Denied` at once.
//!
//! # Epochs
//!
//! A home's epoch is told by `master_replid`, which is another after each restart and promotion of a server (and when a server gets
//! its first replica). Transactions that began before lose once, and change streams end with `Compacted`, whether
//! or not anything was lost.
//!
//! # Sentinels
//!
//! A connection goes to the server that the Sentinel with the newest configuration names, and only if that server says that it is the
//! primary. When a connection fails, or the server answers as a replica does, they are asked again; calls wait for a failover as
//! long as their time allows. What was sent to the old primary and not answered is sent to the new one with the same ticket.
//!
//! A primary that is cut off from its Sentinels but not from its clients goes on answering until it is reached again: **reads from it
//! may be stale**, and commits to it are lost, on the tier `async` even after they were acknowledged. `replicated(n)` refuses or leaves
//! undetermined what its replicas, which follow the new primary, do not confirm; so does `min-replicas-to-write` at the server.
//!
//! # Clusters
//!
//! A home is served by the node that has its slot. The library's own client for clusters sends a command again by itself where a connection
//! was lost, which only this crate can judge (a commit without a ticket must not be), and gives no hold of the connection that `WAIT`
//! has to follow; so this crate keeps the map of slots itself and uses the library's connections.
//!
//! While a slot is on its way to another node, a script is refused as a whole (`TRYAGAIN`) as long as the keys that it declares are not
//! all at one node; a key that does not exist counts as not there. So writes to a home wait until its slot has arrived, as long as their time
//! allows, and are `Unavailable` beyond it: a home should not be so large that its keys take seconds to move. A home whose node is dead waits
//! for the replica. Other homes go on meanwhile if `cluster-require-full-coverage` is `no`.
//!
//! Watches take a connection for each home that is watched, since one command waits within one slot only.
//!
//! # Durability
//!
//! | tier | a commit is acknowledged when | what may be lost of acknowledged commits |
//! |---|---|---|
//! | `async` | the server has it in memory | a crash loses what the server had not yet flushed (a second, with `appendfsync everysec`); a failover what it had not yet sent to the replica |
//! | `replicated(n)` | n replicas have it in memory too (`WAIT`) | nothing by the crash of the server, if the replica that takes over is one of those n. Where there are more replicas than n, Sentinel and Cluster prefer the one that has most, by what they heard last, which may be wrong. What outlives no crash of a single server: a crash of all n + 1, or a restart of the server with less than it had |
//! | `fsync` | it is in the server's log on disk (`appendonly yes`, `appendfsync always`, verified by `CONFIG GET`; refused where that can't be seen) | nothing by a crash; the disk's loss; a failover as above |
//!
//! A commit that the replicas do not confirm in time is `Undetermined`, never a success: the server has made it, and a failover may
//! undo it. The call itself sends it again, which finds its outcome in its lane and waits for the replicas once more. While fewer than n
//! replicas follow the server, commits are refused before anything is sent. Reads wait for nobody: on the tiers `async` and
//! `replicated(n)` they may show what a failover takes back before it was acknowledged to its writer.
//!
//! # Invariants
//!
//! - **A commit whose reply was lost is never reported as not done.** Once a commit may have been sent, only an outcome stored in its
//!   lane ends the call; everything else is `Undetermined`.
//! - **Nothing enumerates the server's keys**: no call's cost depends on what else the server holds.
//! - **A watch never skips an event silently**: each event names its predecessor.
//! - Credentials appear in no error, log line or `Debug` output.
//!
//! Deliberately absent: reads from replicas, snapshots, and sweeping of lanes.

mod address;
mod cluster;
mod commit;
mod dial;
mod epoch;
mod failure;
mod keys;
mod link;
mod read;
mod replicate;
mod scripts;
mod seat;
mod sentinel;
mod server;
mod store;
mod tier;
mod watch;

pub use store::{RedisOptions, RedisStore};
