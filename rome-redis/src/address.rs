//! The URL of a server: `redis[s]://[user:password@]host[:port][/database][?namespace=name]`.
//!
//! Errors never repeat the URL, since it may hold a password.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use rome_core::store::StoreError;

/// The namespace where the URL names none.
const DEFAULT_NAMESPACE: &str = "rome";

/// Longest allowed namespace in bytes: it is part of every key.
const NAMESPACE_LEN_MAX: usize = 64;

/// A parsed URL.
pub(crate) struct Address {
    /// How to connect, credentials included.
    pub connection: ConnectionInfo,
    /// Host and port, for messages.
    pub display: String,
    /// The prefix of all keys.
    pub namespace: String,
}

impl Address {
    /// Parses a URL.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let url =
            redis::parse_redis_url(url).filter(|url| matches!(url.scheme(), "redis" | "rediss")).ok_or_else(|| {
                invalid("it must have the form redis://[user:password@]host[:port][/database][?namespace=name]")
            })?;
        let mut namespace = DEFAULT_NAMESPACE.to_owned();
        for (name, value) in url.query_pairs() {
            match &*name {
                "namespace" => namespace = check_namespace(&value)?,
                _ => return Err(invalid("its only parameter is `namespace`")),
            }
        }
        let mut plain = url;
        plain.set_query(None);
        let connection = plain.into_connection_info().map_err(|error| invalid(error.category()))?;
        // Version 3 of the protocol tells at once when a connection is lost.
        let settings = connection.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let connection = connection.set_redis_settings(settings);
        if matches!(connection.addr(), ConnectionAddr::TcpTls { .. }) {
            // Fails where the program has chosen a provider already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Self { display: connection.addr().to_string(), connection, namespace })
    }
}

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
        let address = Address::parse("redis://me:secret@example.org:7000/3?namespace=app-1").unwrap();
        assert_eq!((&address.display[..], &address.namespace[..]), ("example.org:7000", "app-1"));
        assert_eq!(address.connection.redis_settings().db(), 3);
        assert_eq!(address.connection.redis_settings().password(), Some("secret"));
        let address = Address::parse("rediss://example.org").unwrap();
        assert_eq!((&address.display[..], &address.namespace[..]), ("example.org:6379", DEFAULT_NAMESPACE));
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
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was accepted"));
            assert!(matches!(error, StoreError::Invalid(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
