//! Which node of a cluster serves a home.
//!
//! All keys of a home have one hash tag and so lie in one slot; the map of slots to nodes comes from `CLUSTER SLOTS` of any node that
//! answers. It is corrected by every `MOVED`, and fetched anew when a node is lost, is no master, or says that the cluster is down. A home in
//! a slot that is on its way from one node to another is asked for where `ASK` says; while its keys lie at both, its commits
//! and reads of more than points wait (`TRYAGAIN`), since every script declares all its keys.

use crate::address::Host;
use crate::dial::Dialer;
use crate::failure::Failure;
use crate::seat::Seat;
use parking_lot::RwLock;
use redis::{Cmd, FromRedisValue, Value};
use rome_core::store::StoreError;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Slots of every cluster.
const SLOTS: u16 = 16_384;

/// The nodes of a cluster.
pub(crate) struct Cluster {
    seeds: Vec<Host>,
    map: RwLock<Map>,
    stale: AtomicBool,
    /// Held while the map is being fetched.
    fetching: tokio::sync::Mutex<()>,
    /// Which node to ask for the map first: another each time, since one may be cut off from the others.
    turn: AtomicUsize,
}

#[derive(Default)]
struct Map {
    seats: HashMap<Host, Arc<Seat>>,
    slots: HashMap<u16, Host>,
}

impl Map {
    fn seat(&mut self, host: &Host) -> Arc<Seat> {
        self.seats.entry(host.clone()).or_insert_with(|| Arc::new(Seat::at(host.clone()))).clone()
    }
}

impl Cluster {
    /// A cluster of which these nodes are known.
    pub fn new(seeds: Vec<Host>) -> Self {
        Self {
            seeds,
            map: RwLock::default(),
            stale: AtomicBool::new(true),
            fetching: tokio::sync::Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The seat of the node that serves a slot.
    pub async fn seat(&self, slot: u16, dialer: &Dialer) -> Result<Arc<Seat>, Failure> {
        if !self.stale.load(Ordering::Acquire)
            && let Some(seat) = self.known(slot)
        {
            return Ok(seat);
        }
        self.refresh(dialer).await?;
        self.known(slot).ok_or_else(|| Failure::NotRun(format!("no node of the cluster serves slot {slot}")))
    }

    /// The seats of all nodes that serve slots.
    pub async fn seats(&self, dialer: &Dialer) -> Result<Vec<Arc<Seat>>, Failure> {
        self.refresh(dialer).await?;
        Ok(self.map.read().seats.values().cloned().collect())
    }

    /// The seat of the node at `host`.
    pub fn seat_at(&self, host: &Host) -> Arc<Seat> {
        self.map.write().seat(host)
    }

    /// The seat of the node that serves a slot now, as another node says.
    pub fn moved(&self, slot: u16, host: &Host) -> Arc<Seat> {
        let mut map = self.map.write();
        map.slots.insert(slot, host.clone());
        map.seat(host)
    }

    /// Has the map fetched anew before it is used again.
    pub fn doubt(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// The seat of a slot's node, as far as is known.
    pub fn known(&self, slot: u16) -> Option<Arc<Seat>> {
        let map = self.map.read();
        map.seats.get(map.slots.get(&slot)?).cloned()
    }

    async fn refresh(&self, dialer: &Dialer) -> Result<(), Failure> {
        let _fetching = self.fetching.lock().await;
        if !self.stale.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let mut failure = None;
        for host in self.candidates() {
            match fetch(&host, dialer).await {
                Ok(slots) => {
                    let mut map = self.map.write();
                    // Nodes that went away take their connections with them.
                    map.seats.retain(|host, _| slots.values().any(|serving| serving == host));
                    for host in slots.values() {
                        map.seat(host);
                    }
                    map.slots = slots;
                    return Ok(());
                }
                Err(other @ Failure::Refused(_)) => failure = Some(other),
                Err(other) => failure = failure.or(Some(other)),
            }
        }
        self.doubt();
        Err(failure.unwrap_or_else(|| Failure::NotRun("no node of the cluster is known".to_owned())))
    }

    /// All nodes that are known, beginning with another each time.
    fn candidates(&self) -> Vec<Host> {
        let mut hosts: Vec<Host> = self.map.read().seats.keys().cloned().collect();
        hosts.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
        for seed in &self.seeds {
            if !hosts.contains(seed) {
                hosts.push(seed.clone());
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(hosts.len()).unwrap_or(0);
        hosts.rotate_left(first);
        hosts
    }
}

async fn fetch(host: &Host, dialer: &Dialer) -> Result<HashMap<u16, Host>, Failure> {
    let mut ask = Cmd::new();
    ask.arg("CLUSTER").arg("SLOTS");
    let reply = dialer.ask(host, &ask).await.map_err(|failure| match failure {
        Failure::Refused(error) if error.to_string().contains("cluster support disabled") => {
            Failure::Refused(StoreError::Unsuitable(format!(
                "the Redis server at {host} does not run in cluster mode; connect by redis://"
            )))
        }
        failure => failure,
    })?;
    parse(reply, host).ok_or_else(|| Failure::NotRun(format!("{host} sent an unexpected map of the cluster")))
}

/// Takes a reply `[[first, last, [name, port, ..], replicas..], ..]` apart that came from `asked`.
fn parse(reply: Value, asked: &Host) -> Option<HashMap<u16, Host>> {
    let Value::Array(ranges) = reply else { return None };
    let mut slots = HashMap::new();
    for range in ranges {
        let Value::Array(range) = range else { return None };
        let mut range = range.into_iter();
        let first = number(range.next()?)?;
        let last = number(range.next()?)?;
        let Value::Array(node) = range.next()? else { return None };
        let mut node = node.into_iter();
        // A node that does not know its own name leaves it out.
        let name = Option::<String>::from_redis_value(node.next()?).ok()?.filter(|name| !name.is_empty());
        let port = number(node.next()?)?;
        let host = Host { name: name.unwrap_or_else(|| asked.name.clone()), port };
        if last >= SLOTS {
            return None;
        }
        slots.extend((first..=last).map(|slot| (slot, host.clone())));
    }
    Some(slots)
}

/// The library would cut off what is too large.
fn number(value: Value) -> Option<u16> {
    if let Value::Int(number) = value { u16::try_from(number).ok() } else { None }
}

/// The slot of a hash tag: CRC-16 (polynomial 0x1021, from 0) over its bytes, modulo the number of slots.
pub(crate) fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0u16, |crc, &byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    crc % SLOTS
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The specification's check value, and answers of CLUSTER KEYSLOT.
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!((slot(b"foo"), slot(b"bar"), slot(b"")), (12_182, 5061, 0));
    }

    #[test]
    fn maps_are_taken_apart_and_damaged_ones_refused() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, name, port| {
            Value::Array(vec![
                Value::Int(first),
                Value::Int(last),
                Value::Array(vec![name, Value::Int(port), text("id")]),
            ])
        };
        let asked = Host { name: "asked".to_owned(), port: 1 };
        let reply = Value::Array(vec![range(0, 1, text("a"), 7000), range(5, 5, Value::Nil, 7001)]);
        let slots = parse(reply, &asked).unwrap();
        assert_eq!(slots.len(), 3);
        assert_eq!((slots[&1].to_string(), slots[&5].to_string()), ("a:7000".to_owned(), "asked:7001".to_owned()));
        for damaged in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(0, 16_384, text("a"), 7000)]),
            Value::Array(vec![range(0, 70_000, text("a"), 7000)]),
            Value::Array(vec![range(0, 1, text("a"), 70_000)]),
        ] {
            assert!(parse(damaged, &asked).is_none());
        }
    }
}
