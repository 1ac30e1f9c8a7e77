//! Which server goes to which host. No I/O: the hosts as they were read, the servers, and a source of randomness.
//!
//! Filters, in this order: the operator has enabled the host and its agent is alive; the host is in the zone (and is the host) that the server asks
//! for; processors, memory and disk suffice. The rest are weighed by free memory, and one of the best `BEST` is drawn. Every placement counts
//! against its host for the servers that follow, so that one round spreads by itself.

use crate::clock::Micros;
use crate::model::{DEFAULT_ZONE, Host, Resources, WaitingServer};
use rand::Rng;
use std::collections::{BTreeMap, HashMap};

/// Among how many of the best hosts one is drawn.
const BEST: usize = 3;

/// What a round is to claim.
#[derive(Debug, Default)]
pub struct Plan {
    /// From a host's id to its new servers.
    pub by_host: BTreeMap<String, Vec<WaitingServer>>,
    /// Servers that no host could take even if the rest of the round came to nothing.
    pub hopeless: Vec<String>,
}

/// What a server asks for in `availability_zone`: `zone`, or `zone:host` by an administrator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Where<'a> {
    pub zone: Option<&'a str>,
    pub host: Option<&'a str>,
}

impl<'a> Where<'a> {
    /// Reads `zone[:host[:node]]`; empty parts ask for nothing.
    pub fn parse(text: &'a str) -> Self {
        let mut parts = text.split(':').map(|part| Some(part).filter(|part| !part.is_empty()));
        Self { zone: parts.next().flatten(), host: parts.next().flatten() }
    }
}

struct Candidate<'h> {
    host: &'h Host,
    zone: &'h str,
    /// As read.
    free: Resources,
    /// Less what this round has placed.
    left: Resources,
}

/// Places servers on hosts; `zones` is from a host's id to its zone.
pub fn place<R: Rng>(
    hosts: &[Host],
    zones: &HashMap<String, String>,
    servers: Vec<WaitingServer>,
    now: Micros,
    random: &mut R,
) -> Plan {
    let mut candidates: Vec<Candidate<'_>> = hosts
        .iter()
        .filter(|host| host.is_enabled() && host.is_alive(now))
        .map(|host| {
            let free = host.capacity() - host.used();
            let zone = zones.get(&host.id).map_or(DEFAULT_ZONE, String::as_str);
            Candidate { host, zone, free, left: free }
        })
        .collect();
    let mut plan = Plan::default();
    for server in servers {
        let needs = server.needs();
        let wanted = server.availability_zone.as_deref().map(Where::parse).unwrap_or_default();
        let mut hope = false;
        let mut fitting: Vec<&mut Candidate<'_>> = Vec::new();
        for candidate in &mut candidates {
            let in_zone = wanted.zone.is_none_or(|zone| zone == candidate.zone);
            let is_host = wanted.host.is_none_or(|host| host == candidate.host.name);
            if !in_zone || !is_host || !needs.fits(candidate.free) {
                continue;
            }
            hope = true;
            if needs.fits(candidate.left) {
                fitting.push(candidate);
            }
        }
        fitting.sort_by_key(|candidate| std::cmp::Reverse(candidate.left.ram_mb));
        fitting.truncate(BEST);
        if fitting.is_empty() {
            if !hope {
                plan.hopeless.push(server.id);
            }
            continue;
        }
        let drawn = random.random_range(0..fitting.len());
        if let Some(candidate) = fitting.into_iter().nth(drawn) {
            candidate.left = candidate.left - needs;
            plan.by_host.entry(candidate.host.id.clone()).or_default().push(server);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::clock;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn host(name: &str, ram_mb: i64) -> Host {
        Host {
            id: name.into(),
            number: 1,
            name: name.into(),
            site: "here".into(),
            vcpus: 8,
            ram_mb,
            disk_gb: 100,
            vcpus_used: 0,
            ram_mb_used: 0,
            disk_gb_used: 0,
            instances: 0,
            service_id: name.into(),
            service_number: 1,
            service_status: "enabled".into(),
            disabled_reason: None,
            forced_down: 0,
            heartbeat_at: clock::now(),
        }
    }

    fn servers(count: usize, zone: Option<&str>) -> Vec<WaitingServer> {
        (0..count)
            .map(|number| WaitingServer {
                id: format!("{number}"),
                vcpus: 1,
                ram_mb: 1024,
                disk_gb: 1,
                availability_zone: zone.map(str::to_owned),
            })
            .collect()
    }

    fn place_on(hosts: &[Host], zones: &[(&str, &str)], servers: Vec<WaitingServer>) -> Plan {
        let zones = zones.iter().map(|(host, zone)| ((*host).to_owned(), (*zone).to_owned())).collect();
        place(hosts, &zones, servers, clock::now(), &mut StdRng::seed_from_u64(7))
    }

    #[test]
    fn equal_hosts_get_equal_shares() {
        let hosts: Vec<Host> = (0..6).map(|number| host(&format!("h{number}"), 8192)).collect();
        let plan = place_on(&hosts, &[], servers(36, None));
        assert_eq!(plan.by_host.len(), 6);
        assert!(plan.by_host.values().all(|servers| (4..=8).contains(&servers.len())));
    }

    #[test]
    fn a_full_round_leaves_the_rest_waiting_and_fails_none() {
        let plan = place_on(&[host("small", 2048)], &[], servers(3, None));
        assert_eq!(plan.by_host["small"].len(), 2);
        assert!(plan.hopeless.is_empty());
    }

    #[test]
    fn without_a_fitting_host_there_is_no_hope() {
        let mut disabled = host("disabled", 8192);
        disabled.service_status = "disabled".into();
        let mut dead = host("dead", 8192);
        dead.heartbeat_at -= 3_600_000_000;
        let mut down = host("down", 8192);
        down.forced_down = 1;
        let mut full = host("full", 8192);
        full.disk_gb_used = full.disk_gb;
        let mut busy = host("busy", 8192);
        busy.vcpus_used = busy.vcpus;
        let plan = place_on(&[disabled, dead, down, full, busy, host("tiny", 512)], &[], servers(1, None));
        assert_eq!(plan.hopeless, ["0"]);
    }

    #[test]
    fn zone_and_host_are_obeyed() {
        let hosts = [host("a", 8192), host("b", 8192), host("c", 8192)];
        let zones = [("a", "east"), ("b", "east")];
        let plan = place_on(&hosts, &zones, servers(4, Some("east")));
        assert!(!plan.by_host.contains_key("c"));
        let plan = place_on(&hosts, &zones, servers(4, Some("east:b")));
        assert_eq!(plan.by_host["b"].len(), 4);
        let plan = place_on(&hosts, &zones, servers(4, Some("nova")));
        assert_eq!(plan.by_host["c"].len(), 4);
        let plan = place_on(&hosts, &zones, servers(1, Some("west")));
        assert_eq!(plan.hopeless, ["0"]);
    }
}
