//! The connection URL and what it says.
//!
//! ```text
//! etcd://[user:password@]host[:port]{,host[:port]}[/][?option=value{&option=value}]
//! etcds://...   the same over TLS
//!
//! option     meaning
//! namespace  the prefix of every key, `rome` where none is given
//! cacert     etcds only: a PEM file with the certificates to trust, instead of those that the system trusts
//! cert, key  etcds only: PEM files with the client's own certificate (and those that lead to its CA) and its private key
//! ```
//!
//! The files' options are named as `etcdctl` names them. The port is 2379 where none is given. User, password and
//! values may be percent-encoded. Where etcd runs with `--client-cert-auth` and authentication is enabled, the common
//! name of a client certificate is the user, so that the URL needs no other.
//!
//! Credentials never appear in an error, a log line or `Debug`: errors about the URL say what is wrong without quoting
//! the part before `@`.

use crate::tls::EtcdTls;
use rome_core::store::StoreError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The port of an endpoint that names none.
const DEFAULT_PORT: u16 = 2379;
/// The namespace where the URL names none.
const DEFAULT_NAMESPACE: &str = "rome";
/// How long a call may take, resends included, before it fails.
const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a deletion stays visible to range guards.
const DEFAULT_TOMBSTONE_RETENTION: Duration = Duration::from_secs(120);

/// Where etcd is and how to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
    /// User and password, where the server has authentication enabled.
    pub user: Option<(String, String)>,
    /// Encryption, where the members speak TLS to their clients.
    pub tls: Option<EtcdTls>,
    /// The prefix of every key, so that many applications share one etcd.
    pub namespace: String,
    /// How long a call may take, resends included, before it fails.
    pub call_timeout: Duration,
    /// How long at least a deletion stays visible to range guards. A transaction that takes longer than this between
    /// reading a range and committing may meet a false conflict, never a missed one.
    pub tombstone_retention: Duration,
}

impl EtcdConfig {
    /// Reads an `etcd://` or `etcds://` URL.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let mut options = match scheme {
            "etcd" => Options { namespace: DEFAULT_NAMESPACE.to_owned(), tls: None },
            "etcds" => Options { namespace: DEFAULT_NAMESPACE.to_owned(), tls: Some(TlsOptions::default()) },
            _ => return Err(invalid("an etcd URL begins with etcd://, or etcds:// for TLS")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The last `@`: a password may hold one unescaped.
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(parse_credentials(credentials)?), hosts),
            None => (None, rest),
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        if hosts.contains('/') {
            return Err(invalid("an etcd URL has no path; choose a prefix for the keys with ?namespace="));
        }
        let endpoints = hosts.split(',').map(parse_endpoint).collect::<Result<Vec<_>, _>>()?;
        options.read(query)?;
        Ok(Self {
            endpoints,
            user,
            tls: options.tls.map(TlsOptions::check).transpose()?,
            namespace: options.namespace,
            call_timeout: DEFAULT_CALL_TIMEOUT,
            tombstone_retention: DEFAULT_TOMBSTONE_RETENTION,
        })
    }

    /// The endpoints as messages name them.
    pub(crate) fn address(&self) -> String {
        self.endpoints.join(",")
    }
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .field("namespace", &self.namespace)
            .field("call_timeout", &self.call_timeout)
            .field("tombstone_retention", &self.tombstone_retention)
            .finish()
    }
}

fn invalid(message: &str) -> StoreError {
    StoreError::Invalid(message.to_owned())
}

fn parse_credentials(text: &str) -> Result<(String, String), StoreError> {
    let (user, password) =
        text.split_once(':').ok_or_else(|| invalid("credentials in an etcd URL are written user:password@"))?;
    if user.is_empty() {
        return Err(invalid("the user in the etcd URL is empty"));
    }
    Ok((percent_decode(user)?, percent_decode(password)?))
}

fn parse_endpoint(text: &str) -> Result<String, StoreError> {
    if text.is_empty() {
        return Err(invalid("an etcd URL names at least one host, and none of them is empty"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
    if !text.chars().all(plain) {
        return Err(invalid("a host in the etcd URL has characters that no host name has"));
    }
    // The colons inside an IPv6 address's brackets are not the port's.
    let after_host = text.rsplit_once(']').map_or(text, |(_, after)| after);
    match after_host.rsplit_once(':') {
        None => Ok(format!("{text}:{DEFAULT_PORT}")),
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(text.to_owned()),
        Some(_) => Err(invalid("a port in the etcd URL is not a number from 1 to 65535")),
    }
}

/// What follows the `?`.
struct Options {
    namespace: String,
    /// None where the scheme is without TLS.
    tls: Option<TlsOptions>,
}

impl Options {
    fn read(&mut self, query: &str) -> Result<(), StoreError> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "namespace" => self.namespace = percent_decode(value)?,
                "cacert" | "cert" | "key" => {
                    let file = PathBuf::from(percent_decode(value)?);
                    let tls = self.tls.as_mut().ok_or_else(|| {
                        invalid("cacert, cert and key in an etcd URL are for TLS: write etcds:// instead of etcd://")
                    })?;
                    tls.set(name, file)?;
                }
                _ => return Err(invalid("the options of an etcd URL are namespace, cacert, cert and key")),
            }
        }
        if self.namespace.is_empty() || self.namespace.contains('\0') {
            return Err(invalid("the namespace in the etcd URL must not be empty or contain a zero byte"));
        }
        Ok(())
    }
}

/// The files of TLS as they are met.
#[derive(Default)]
struct TlsOptions {
    cacert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl TlsOptions {
    fn set(&mut self, name: &str, file: PathBuf) -> Result<(), StoreError> {
        if file.as_os_str().is_empty() {
            return Err(invalid("cacert, cert and key in an etcd URL each name a file"));
        }
        let option = match name {
            "cacert" => &mut self.cacert,
            "cert" => &mut self.cert,
            _ => &mut self.key,
        };
        *option = Some(file);
        Ok(())
    }

    fn check(self) -> Result<EtcdTls, StoreError> {
        let identity = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(invalid("an etcd URL with cert= needs key= too, and the other way round")),
        };
        Ok(EtcdTls { ca: self.cacert, identity })
    }
}

fn percent_decode(text: &str) -> Result<String, StoreError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => {
                return Err(invalid("a % in the etcd URL is not followed by two hexadecimal digits"));
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid("a percent-encoded part of the etcd URL is not UTF-8"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_part() {
        let config = EtcdConfig::parse("etcd://me:p%40ss:w@a,b:1234,[::1],[::1]:99/?namespace=prod%2Fapp").unwrap();
        assert_eq!(config.endpoints, ["a:2379", "b:1234", "[::1]:2379", "[::1]:99"]);
        assert_eq!(config.user, Some(("me".to_owned(), "p@ss:w".to_owned())));
        assert_eq!(config.namespace, "prod/app");
        assert_eq!(config.tls, None);
        assert_eq!(EtcdConfig::parse("etcd://h").unwrap().namespace, DEFAULT_NAMESPACE);
        let config = EtcdConfig::parse("etcds://a,b?cacert=/a%20b/ca.pem&cert=c.pem&key=k.pem&namespace=n").unwrap();
        let identity = Some((PathBuf::from("c.pem"), PathBuf::from("k.pem")));
        assert_eq!(config.tls, Some(EtcdTls { ca: Some(PathBuf::from("/a b/ca.pem")), identity }));
        assert_eq!((config.endpoints.len(), &config.namespace[..]), (2, "n"));
        assert_eq!(EtcdConfig::parse("etcds://h").unwrap().tls, Some(EtcdTls::default()));
    }

    #[test]
    fn refuses_what_it_does_not_understand_without_quoting_credentials() {
        for url in [
            "redis://h",
            "etcd://",
            "etcd://a,,b",
            "etcd://a:0",
            "etcd://a:x",
            "etcd://a/path",
            "etcd://a?db=1",
            "etcd://a?namespace=",
            "etcd://user-s3cret@a",
            "etcd://u:s3cret@a b",
            "etcd://u:s3cret%2@a",
            "etcd://:s3cret@a",
            "etcd://u:s3cret@a?x=1",
            "etcd://u:s3cret@a?cacert=ca.pem",
            "etcds://u:s3cret@a?cacert=",
            "etcds://u:s3cret@a?cert=c.pem",
            "etcds://u:s3cret@a?key=k.pem",
            "etcds://u:s3cret@a?s3cret",
            "https://u:s3cret@a",
        ] {
            let error = EtcdConfig::parse(url).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn debug_hides_credentials() {
        let text = format!("{:?}", EtcdConfig::parse("etcd://alice:s3cret@a").unwrap());
        assert!(!text.contains("s3cret") && !text.contains("alice"), "{text}");
    }
}
