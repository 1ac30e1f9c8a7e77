//! The URL of a store: where its servers are, how to get in, and what its commits promise. The grammar is in the crate's documentation.
//!
//! Errors never repeat the URL, since it may hold a password.

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

const GRAMMAR: &str = "it must have the form redis[s]://[user:password@]host[:port][/database][?parameters]";

/// A parsed URL.
pub(crate) struct Address {
    /// Where the server is.
    pub host: Host,
    /// How to get in.
    pub access: Access,
    /// The prefix of all keys.
    pub namespace: String,
    /// What was asked of commits, if anything.
    pub tier: Option<Tier>,
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
                "ssl_ca_certs" => found.authority = Some(read_file("ssl_ca_certs", value)?),
                "ssl_certfile" => found.certificate = Some(read_file("ssl_certfile", value)?),
                "ssl_keyfile" => found.key = Some(read_file("ssl_keyfile", value)?),
                _ => {
                    return Err(invalid(
                        "its parameters are `namespace`, `durability`, `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`",
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
}

impl Address {
    /// Parses a URL, and reads the files that it names.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let url = redis::parse_redis_url(url)
            .filter(|url| matches!(url.scheme(), "redis" | "rediss"))
            .ok_or_else(|| invalid(GRAMMAR))?;
        let mut parameters = Parameters::read(url.query_pairs())?;
        let mut plain = url;
        plain.set_query(None);
        let connection: ConnectionInfo = plain.into_connection_info().map_err(|error| invalid(error.category()))?;
        let (host, tls) = match connection.addr() {
            ConnectionAddr::Tcp(name, port) => (Host { name: name.clone(), port: *port }, false),
            ConnectionAddr::TcpTls { host, port, .. } => (Host { name: host.clone(), port: *port }, true),
            _ => return Err(invalid(GRAMMAR)),
        };
        if tls {
            // Fails where the program has chosen a provider already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // Version 3 of the protocol tells at once when a connection is lost.
        let settings = connection.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let access = Access { settings, tls: parameters.certificates(tls)? };
        // Damaged certificates are an error of the URL, not of the first call.
        access.client(&host)?;
        let namespace = parameters.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        Ok(Self { host, access, namespace, tier: parameters.tier })
    }
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
        assert_eq!((&address.host.to_string()[..], &address.namespace[..]), ("example.org:7000", "app-1"));
        assert_eq!(address.tier, Some(Tier::Fsync));
        assert_eq!(address.access.settings.db(), 3);
        assert_eq!(address.access.settings.username(), Some("me"));
        assert_eq!(address.access.settings.password(), Some("secret"));
        let address = Address::parse("rediss://example.org").unwrap();
        assert_eq!((&address.host.to_string()[..], &address.namespace[..]), ("example.org:6379", DEFAULT_NAMESPACE));
        assert!(address.access.tls.is_some() && address.tier.is_none());
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
