//! Change streams: what a commit says of the keys that it changed.
//!
//! A table that is watched or replicated names a stream, the same at each of its homes. Whatever changes its keys says so in that stream, in the
//! same commit: one event for each commit and stream, with each key's value before and after. At a commit over several homes that is the commit which puts
//! values in the place of marks, whoever makes it; marks themselves are in no stream.
//!
//! **Whenever keys of a space with a stream get other versions, an event follows**, an empty one where no value differs, or where a transaction that had
//! prepared is undone. So whoever has heard all events can ask whether anything has changed since the last one.

use super::marks::{Blob, decode, encode};
use crate::error::Result;
use crate::store::{Change, Key, SPACE_LEN};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A key that a commit changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyChange {
    /// The key.
    pub key: Key,
    /// What it held before; `None` where it was not there.
    pub old: Option<Bytes>,
    /// What it holds now; `None` where it is gone.
    pub new: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    key: Blob,
    old: Option<Blob>,
    new: Option<Blob>,
}

/// The changes of an event, in the order of their keys.
///
/// # Errors
/// XX001 where the payload is none of an event.
pub fn decode_event(payload: &Bytes) -> Result<Vec<KeyChange>> {
    let stored: Vec<Stored> = decode(payload)?;
    let changes = stored.into_iter().map(|change| KeyChange {
        key: change.key.0,
        old: change.old.map(|value| value.0),
        new: change.new.map(|value| value.0),
    });
    Ok(changes.collect())
}

/// By which stream the changes of keys are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    spaces: BTreeMap<[u8; SPACE_LEN], Bytes>,
    keys: BTreeMap<Key, Bytes>,
}

impl Streams {
    /// Tells the changes of a whole space.
    pub(super) fn add_space(&mut self, space: u32, stream: &Bytes) {
        self.spaces.entry(space.to_be_bytes()).or_insert_with(|| stream.clone());
    }

    /// Tells the changes of one key.
    pub(super) fn add_key(&mut self, key: Key, stream: Bytes) {
        self.keys.insert(key, stream);
    }

    /// The stream that tells of a key.
    pub(super) fn of(&self, key: &[u8]) -> Option<&Bytes> {
        self.keys.get(key).or_else(|| self.spaces.get(key.first_chunk::<SPACE_LEN>()?))
    }
}

/// A key that was written, with its stream if it has one: stream, key, old value, new value.
pub(super) type Told<'a> = (Option<&'a Bytes>, &'a Key, Option<&'a Bytes>, Option<&'a Bytes>);

/// The events of a commit, without changes that are none.
pub(super) fn events<'a>(written: impl Iterator<Item = Told<'a>>) -> Result<Vec<Change>> {
    let mut streams: BTreeMap<&Bytes, Vec<Stored>> = BTreeMap::new();
    let blob = |value: Option<&Bytes>| value.cloned().map(Blob);
    for (stream, key, old, new) in written {
        let Some(stream) = stream else { continue };
        let changes = streams.entry(stream).or_default();
        if old != new {
            changes.push(Stored { key: Blob(key.clone()), old: blob(old), new: blob(new) });
        }
    }
    let events =
        streams.into_iter().map(|(stream, changes)| Ok(Change { stream: stream.clone(), payload: encode(&changes)? }));
    events.collect()
}
