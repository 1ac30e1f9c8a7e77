//! Whether a server can hold homes, and how durable it is, told from `INFO`, which managed servers allow too.

use crate::failure::Failure;
use rome_core::store::{Durability, StoreError};

/// The oldest major version that will do: earlier ones run scripts by other rules.
const MAJOR_VERSION_MIN: u32 = 7;

/// What a server is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nothing: there is one server.
    Single,
    /// A primary and replicas that Sentinels watch.
    Sentinel,
    /// A cluster.
    Cluster,
}

/// Checks the text of `INFO` of the server at `address`.
pub(crate) fn check(info: &str, address: &str, place: Place) -> Result<(), Failure> {
    let unsuitable =
        |text: String| Err(Failure::Refused(StoreError::Unsuitable(format!("the Redis server at {address} {text}"))));
    let version = field(info, "redis_version").unwrap_or("of unknown version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < MAJOR_VERSION_MIN) {
        return unsuitable(format!("is {version}; use version {MAJOR_VERSION_MIN} or newer"));
    }
    match field(info, "redis_mode") {
        Some("sentinel") => {
            return unsuitable("is a Sentinel, which holds no data; connect by redis-sentinel://".into());
        }
        Some("cluster") if place != Place::Cluster => {
            return unsuitable("runs in cluster mode; connect by redis-cluster://".into());
        }
        Some("cluster") => {}
        _ if place == Place::Cluster => {
            return unsuitable("does not run in cluster mode; connect by redis://".into());
        }
        _ => {}
    }
    if field(info, "role") != Some("master") {
        return match place {
            Place::Single => unsuitable("is a replica and can't be written; connect to its primary".into()),
            // Whoever named it knew something old, and will know better.
            Place::Sentinel | Place::Cluster => Err(Failure::NotRun(format!("{address} is a replica"))),
        };
    }
    let unlimited = field(info, "maxmemory") == Some("0");
    match field(info, "maxmemory_policy") {
        Some("noeviction") => Ok(()),
        _ if unlimited => Ok(()),
        Some(policy) => unsuitable(format!(
            "would evict data when its memory is full (maxmemory-policy {policy}); set maxmemory-policy to noeviction"
        )),
        None => unsuitable("does not say whether it evicts data; allow the user to run INFO".into()),
    }
}

/// Whether a server with this `INFO` is still reading its files. It answers few commands then, and says that its log is off.
pub(crate) fn is_loading(info: &str) -> bool {
    field(info, "loading") == Some("1")
}

/// What a server with this `INFO` calls its history: another after each failover and restart.
pub(crate) fn history(info: &str) -> Option<&str> {
    field(info, "master_replid")
}

/// How many replicas follow a server with this `INFO`.
pub(crate) fn replicas(info: &str) -> u32 {
    field(info, "connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The tier of a server with this `INFO` and this `appendfsync`, where that could be read.
pub(crate) fn durability(info: &str, appendfsync: Option<&str>) -> Durability {
    if field(info, "aof_enabled") == Some("1") && appendfsync == Some("always") {
        Durability::Fsync
    } else {
        Durability::Async
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Memory\r\nmaxmemory:0\r\n\
        maxmemory_policy:allkeys-lru\r\nrole:master\r\naof_enabled:1\r\n";

    #[test]
    fn says_what_does_not_fit() {
        check(GOOD, "a:1", Place::Single).unwrap();
        check(&GOOD.replace("standalone", "cluster"), "a:1", Place::Cluster).unwrap();
        let failure = check(&GOOD.replace("role:master", "role:slave"), "a:1", Place::Sentinel).unwrap_err();
        assert!(matches!(failure, Failure::NotRun(_)), "{failure:?}");
        for (from, to, expected) in [
            ("7.0.15", "6.2.7", "use version 7"),
            ("redis_version:7.0.15", "", "use version 7"),
            ("standalone", "cluster", "redis-cluster://"),
            ("standalone", "sentinel", "redis-sentinel://"),
            ("role:master", "role:slave", "replica"),
            ("maxmemory:0", "maxmemory:1000000", "noeviction"),
        ] {
            let failure = check(&GOOD.replace(from, to), "a:1", Place::Single).unwrap_err();
            let Failure::Refused(error) = failure else { panic!("{failure:?}") };
            let error = error.to_string();
            assert!(error.contains(expected) && error.contains("a:1"), "{error}");
        }
    }

    #[test]
    fn knows_a_server_that_is_starting() {
        assert!(!is_loading(GOOD));
        assert!(!is_loading(&format!("{GOOD}loading:0\r\n")));
        assert!(is_loading(&format!("{GOOD}loading:1\r\n")));
    }

    #[test]
    fn promises_disk_only_where_it_is_certain() {
        assert_eq!(durability(GOOD, Some("always")), Durability::Fsync);
        assert_eq!(durability(GOOD, Some("everysec")), Durability::Async);
        assert_eq!(durability(GOOD, None), Durability::Async);
        assert_eq!(durability(&GOOD.replace("aof_enabled:1", "aof_enabled:0"), Some("always")), Durability::Async);
    }
}
