//! The URL of a store: where its servers are, how to get in, and what its commits promise. The grammar is in the crate's documentation.
//!
//! Errors never repeat the URL, since it may hold a password.

use crate::server::Place;
use crate::tier::Tier;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates,
};
use rome_core::store::StoreError;
use std::fmt;

/// The namespace where the URL names none.
const DEFAULT_NAMESPACE: &str = "rome";

/// Longest allowed namespace in bytes: it is part of every key.
const NAMESPACE_LEN_MAX: usize = 64;

const GRAMMAR: &str = "it must have the form redis[s]://[user:password@]host[:port][/database][?parameters], or \
    redis[s]-sentinel://[user:password@]host[:port],..[/database]?master=name, or redis[s]-cluster://[user:password@]host[:port],..";

/// The port of servers, and that of Sentinels, where the URL names none.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// A parsed URL.
pub(crate) struct Address {
    /// How servers are found.
    pub topology: Topology,
    /// How to get in.
    pub access: Access,
    /// The prefix of all keys.
    pub namespace: String,
    /// What was asked of commits, if anything.
    pub tier: Option<Tier>,
}

/// How the servers of a store are found.
#[derive(Clone)]
pub(crate) enum Topology {
    /// There is one, here.
    Single(Host),
    /// Sentinels know it.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<Host>,
        /// What they call the server.
        master: String,
        /// How to get in at the Sentinels.
        access: Access,
    },
    /// Any of the cluster's nodes knows them all; these are some.
    Cluster(Vec<Host>),
}

impl Topology {
    /// What each server is part of.
    pub fn place(&self) -> Place {
        match self {
            Self::Single(_) => Place::Single,
            Self::Sentinel { .. } => Place::Sentinel,
            Self::Cluster(_) => Place::Cluster,
        }
    }
}

/// A server's name and port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Host {
    pub name: String,
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// What connections need apart from where they go: credentials, database, certificates.
#[derive(Clone)]
pub(crate) struct Access {
    settings: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
}

impl Access {
    /// A client of the server at `host`.
    pub fn client(&self, host: &Host) -> Result<Client, StoreError> {
        let unusable = |error: redis::RedisError| invalid(&error.to_string());
        let (name, port) = (host.name.clone(), host.port);
        let addr = match &self.tls {
            None => ConnectionAddr::Tcp(name, port),
            Some(_) => ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None },
        };
        let info = addr.into_connection_info().map_err(unusable)?.set_redis_settings(self.settings.clone());
        match &self.tls {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
        .map_err(unusable)
    }
}

/// The parameters of a URL.
#[derive(Default)]
struct Parameters {
    namespace: Option<String>,
    tier: Option<Tier>,
    master: Option<String>,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    authority: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Parameters {
    fn read(pairs: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>) -> Result<Self, StoreError> {
        let mut found = Self::default();
        for (name, value) in pairs {
            let value = value.as_ref();
            match name.as_ref() {
                "namespace" => found.namespace = Some(check_namespace(value)?),
                "durability" => found.tier = Some(Tier::parse(value).map_err(|reason| invalid(&reason))?),
                "master" => found.master = Some(value.to_owned()),
                "sentinel_username" => found.sentinel_username = Some(value.to_owned()),
                "sentinel_password" => found.sentinel_password = Some(value.to_owned()),
                "ssl_ca_certs" => found.authority = Some(read_file("ssl_ca_certs", value)?),
                "ssl_certfile" => found.certificate = Some(read_file("ssl_certfile", value)?),
                "ssl_keyfile" => found.key = Some(read_file("ssl_keyfile", value)?),
                _ => {
                    return Err(invalid(
                        "its parameters are `namespace`, `durability`, `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, and with \
                         Sentinels `master`, `sentinel_username` and `sentinel_password`",
                    ));
                }
            }
        }
        Ok(found)
    }

    /// The certificates, where the URL asks for TLS.
    fn certificates(&mut self, tls: bool) -> Result<Option<TlsCertificates>, StoreError> {
        let client_tls = match (self.certificate.take(), self.key.take()) {
            (None, None) => None,
            (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
            _ => return Err(invalid("`ssl_certfile` and `ssl_keyfile` go together")),
        };
        let root_cert = self.authority.take();
        if !tls && (client_tls.is_some() || root_cert.is_some()) {
            return Err(invalid("certificates need TLS; write rediss:// instead of redis://"));
        }
        Ok(tls.then_some(TlsCertificates { client_tls, root_cert }))
    }

    /// How the servers are found, where the URL's scheme says so and names these.
    fn topology(&mut self, kind: &str, servers: Vec<Host>, access: &Access) -> Result<Topology, StoreError> {
        let (username, password) = (self.sentinel_username.take(), self.sentinel_password.take());
        if kind == "sentinel" {
            let master = self.master.take().filter(|name| !name.is_empty());
            let master =
                master.ok_or_else(|| invalid("it must say what the Sentinels call the server: `?master=name`"))?;
            let mut settings = RedisConnectionInfo::default();
            if let Some(username) = username {
                settings = settings.set_username(username);
            }
            if let Some(password) = password {
                settings = settings.set_password(password);
            }
            let access = Access { settings, tls: access.tls.clone() };
            return Ok(Topology::Sentinel { sentinels: servers, master, access });
        }
        if self.master.is_some() || username.is_some() || password.is_some() {
            return Err(invalid("`master`, `sentinel_username` and `sentinel_password` need redis-sentinel://"));
        }
        match (kind, <[Host; 1]>::try_from(servers)) {
            ("cluster", Ok([server])) => Self::cluster(vec![server], access),
            ("cluster", Err(servers)) => Self::cluster(servers, access),
            (_, Ok([server])) => Ok(Topology::Single(server)),
            _ => Err(invalid("several servers need redis-sentinel:// or redis-cluster://")),
        }
    }

    fn cluster(servers: Vec<Host>, access: &Access) -> Result<Topology, StoreError> {
        if access.settings.db() == 0 {
            Ok(Topology::Cluster(servers))
        } else {
            Err(invalid("a cluster has no databases beside 0"))
        }
    }
}

impl Address {
    /// Parses a URL, and reads the files that it names.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(GRAMMAR))?;
        let (tls, kind) = match scheme {
            "redis" => (false, ""),
            "rediss" => (true, ""),
            _ => match scheme.split_once('-') {
                Some(("redis", kind @ ("sentinel" | "cluster"))) => (false, kind),
                Some(("rediss", kind @ ("sentinel" | "cluster"))) => (true, kind),
                _ => return Err(invalid(GRAMMAR)),
            },
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let (user, hosts, path) = take_apart(rest);
        // The parser of URLs knows one host in each.
        let urls = hosts
            .split(',')
            .map(|host| redis::parse_redis_url(&format!("redis://{user}{host}{path}")).ok_or_else(|| invalid(GRAMMAR)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut servers = Vec::with_capacity(urls.len());
        for url in &urls {
            let name = url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| invalid(GRAMMAR))?;
            // As in `[::1]`; connections take it without.
            let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
            servers.push(Host { name, port: url.port().unwrap_or(port) });
        }
        let mut plain = urls.into_iter().next().ok_or_else(|| invalid(GRAMMAR))?;
        let mut parameters = Parameters::read(plain.query_pairs())?;
        plain.set_query(None);
        let connection: ConnectionInfo = plain.into_connection_info().map_err(|error| invalid(error.category()))?;
        if tls {
            // Fails where the program has chosen a provider already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // Version 3 of the protocol tells at once when a connection is lost.
        let settings = connection.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let access = Access { settings, tls: parameters.certificates(tls)? };
        for server in &servers {
            // Damaged certificates are an error of the URL, not of the first call.
            access.client(server)?;
        }
        let topology = parameters.topology(kind, servers, &access)?;
        let namespace = parameters.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        Ok(Self { topology, access, namespace, tier: parameters.tier })
    }
}

/// Takes what follows the scheme apart: user and password with their `@`, hosts, and the rest.
fn take_apart(rest: &str) -> (&str, &str, &str) {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    (user, hosts, path)
}

fn read_file(parameter: &str, path: &str) -> Result<Vec<u8>, StoreError> {
    let bytes =
        std::fs::read(path).map_err(|error| invalid(&format!("the file of `{parameter}` can't be read: {error}")))?;
    // A file without any would silently mean nobody to trust, or nobody to be.
    if bytes.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN) {
        Ok(bytes)
    } else {
        Err(invalid(&format!("the file of `{parameter}` is not in PEM format")))
    }
}

/// How each section of a PEM file begins.
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

fn check_namespace(name: &str) -> Result<String, StoreError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && name.len() <= NAMESPACE_LEN_MAX && name.bytes().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err(invalid("its namespace must be 1 to 64 letters, digits, `-`, `_` or `.`"))
    }
}

fn invalid(reason: &str) -> StoreError {
    StoreError::Invalid(format!("the Redis URL can't be used: {reason}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        let address = Address::parse("redis://me:secret@example.org:7000/3?namespace=app-1&durability=fsync").unwrap();
        assert_eq!((&servers(&address)[..], &address.namespace[..]), (&["example.org:7000".to_owned()][..], "app-1"));
        assert_eq!(address.tier, Some(Tier::Fsync));
        assert_eq!(address.access.settings.db(), 3);
        assert_eq!(address.access.settings.username(), Some("me"));
        assert_eq!(address.access.settings.password(), Some("secret"));
        let address = Address::parse("rediss://example.org").unwrap();
        assert_eq!(
            (servers(&address).join(","), &address.namespace[..]),
            ("example.org:6379".into(), DEFAULT_NAMESPACE)
        );
        assert!(address.access.tls.is_some() && address.tier.is_none());
    }

    #[test]
    fn takes_lists_of_servers_apart() {
        let address = Address::parse(
            "redis-sentinel://me:se%40cret@a,b:7000,[::1]:7001/2?master=shop&sentinel_username=s&sentinel_password=p&namespace=x",
        )
        .unwrap();
        assert_eq!(servers(&address), ["a:26379", "b:7000", "::1:7001"]);
        let Topology::Sentinel { master, access, .. } = &address.topology else { panic!("no Sentinels") };
        assert_eq!(
            (&master[..], access.settings.username(), access.settings.password()),
            ("shop", Some("s"), Some("p"))
        );
        assert_eq!((address.access.settings.db(), address.access.settings.password()), (2, Some("se@cret")));
        let address = Address::parse("rediss-cluster://:secret@a:1,b?durability=replicated(2)").unwrap();
        assert_eq!(servers(&address), ["a:1", "b:6379"]);
        assert!(matches!(address.topology, Topology::Cluster(_)) && address.access.tls.is_some());
        assert_eq!(address.tier, Some(Tier::Replicated(2)));
    }

    fn servers(address: &Address) -> Vec<String> {
        let servers = match &address.topology {
            Topology::Single(server) => std::slice::from_ref(server),
            Topology::Sentinel { sentinels: servers, .. } | Topology::Cluster(servers) => servers,
        };
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn refuses_other_urls_without_repeating_them() {
        for url in [
            "",
            "secret",
            "http://me:secret@example.org",
            "redis+unix:///secret",
            "redis://",
            "redis://me:secret@example.org/first",
            "redis://me:secret@example.org:99999",
            "redis://me:secret@example.org?namespace=",
            "redis://me:secret@example.org?namespace=a/b",
            "redis://me:secret@example.org?namespaces=a",
            "redis://me:secret@a,b",
            "redis://me:secret@a?master=m",
            "redis-sentinel://me:secret@a,b",
            "redis-sentinel://me:secret@a,,b?master=m",
            "redis-sentinel://me:secret@?master=m",
            "redis-cluster://me:secret@a,b/1",
            "redis-cluster://me:secret@a:b",
            "redis-shop://me:secret@a",
            "redis://me:secret@example.org?durability=secret",
            "redis://me:secret@example.org?durability=replicated(0)",
            "rediss://me:secret@example.org?ssl_ca_certs=/does/not/exist",
            "rediss://me:secret@example.org?ssl_ca_certs=/proc/self/cmdline",
            "redis://me:secret@example.org?ssl_ca_certs=/proc/self/cmdline",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was accepted"));
            assert!(matches!(error, StoreError::Invalid(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
