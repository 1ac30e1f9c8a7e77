//! The names of a home's keys; the grammar is in the crate's documentation.

use crate::cluster;
use rome_core::store::{HomeId, SPACE_LEN};

/// The field of the home's version in its data. Shorter than a space's name, so no key.
pub(crate) const VERSION_FIELD: &[u8] = b"v";

/// The part that all keys of a home begin with, `{namespace/home}:`.
#[derive(Clone)]
pub(crate) struct HomeKeys {
    tag: Vec<u8>,
}

impl HomeKeys {
    /// The keys of a home.
    pub fn new(namespace: &str, home: &HomeId) -> Self {
        let home = home.as_str();
        let mut tag = Vec::with_capacity(namespace.len() + home.len() + 12);
        tag.push(b'{');
        tag.extend_from_slice(namespace.as_bytes());
        tag.push(b'/');
        for &byte in home.as_bytes() {
            match byte {
                // A brace would end the hash tag, and with it what tells one home from another.
                b'{' => tag.extend_from_slice(b"%7B"),
                b'}' => tag.extend_from_slice(b"%7D"),
                b'%' => tag.extend_from_slice(b"%25"),
                _ => tag.push(byte),
            }
        }
        tag.extend_from_slice(b"}:");
        Self { tag }
    }

    /// The slot of a cluster in which all of them lie.
    pub fn slot(&self) -> u16 {
        // What stands between the braces; names of homes have none.
        cluster::slot(self.tag.strip_prefix(b"{").and_then(|tag| tag.strip_suffix(b"}:")).unwrap_or(&self.tag))
    }

    /// The hash of the data.
    pub fn data(&self) -> RedisKey {
        self.key(b'd', &[])
    }

    /// The hash of what is known about spaces, streams and lanes.
    pub fn meta(&self) -> RedisKey {
        self.key(b'm', &[])
    }

    /// The sorted set of a space's keys.
    pub fn order(&self, space: [u8; SPACE_LEN]) -> RedisKey {
        self.key(b'o', &space)
    }

    /// A change stream.
    pub fn stream(&self, name: &[u8]) -> RedisKey {
        self.key(b'c', name)
    }

    fn key(&self, kind: u8, rest: &[u8]) -> RedisKey {
        let mut key = Vec::with_capacity(self.tag.len() + 1 + rest.len());
        key.extend_from_slice(&self.tag);
        key.push(kind);
        key.extend_from_slice(rest);
        RedisKey(key)
    }
}

/// The name of a key in Redis.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RedisKey(pub Vec<u8>);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn no_name_reaches_into_another_home() {
        let plain = HomeKeys::new("n", &HomeId::new("x"));
        let tricky = HomeKeys::new("n", &HomeId::new("x}:c"));
        assert_eq!(plain.data().0, b"{n/x}:d");
        assert_eq!(tricky.data().0, b"{n/x%7D:c}:d");
        assert_ne!(HomeKeys::new("n", &HomeId::new("%7D")).data(), HomeKeys::new("n", &HomeId::new("}")).data());
    }
}
