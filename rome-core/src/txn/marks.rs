//! Marks: how a home keeps what transactions over several homes have prepared, as bytes.
//!
//! | where | key | value |
//! |---|---|---|
//! | a written key | the key itself | a *write mark*: the bytes `ff 6d`, then [`WriteMark`]: the old and the new value |
//! | [`MARKS_SPACE`] | `r` key transaction | a *read mark*: the key stays as it was read |
//! | | `k` key transaction | a *keep mark*: the key stays present, whatever its value |
//! | | `d` key transaction | a *presence mark*: the key's write mark makes or removes it, so that it may be absent in the end (a guard that only asks for presence can't see that) |
//! | | `g` space transaction number | a *range mark*: nothing in the interval changes; the value is the [`Interval`] |
//! | [`RECORDS_SPACE`] | `p` transaction | the home's promise: [`Promise`] |
//! | | `c` transaction | the transaction's record, at its first participant: [`Record`] |
//! | | `x` number of a home | the site of a home that is gone for good: what had its record there is ended by who forgets it, and by nobody else |
//!
//! `key` is escaped as a string column of a key is, so that all marks of one key and no others form a range; a transaction is 16 bytes. No
//! row, no index entry and no text begins with `ff`, so a write mark is known by its first bytes. Values are in postcard's format.

use super::client::Link;
use super::protocol::Decision;
use crate::encoding::put_string;
use crate::error::{Error, Result, SqlState};
use crate::store::{Key, KeyRange, LaneTicket, SPACE_LEN};
use crate::topology::HomeNo;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The space of marks on what was read.
pub const MARKS_SPACE: u32 = 2;

/// The space of promises and records.
pub const RECORDS_SPACE: u32 = 3;

/// How a write mark begins: unlike any key, so that whoever takes it for an index entry finds nothing.
const WRITE_MARK: [u8; 2] = [0xff, b'm'];

/// A transaction over several homes, by a number that no other has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TxnId(pub u128);

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that a transaction means to write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct WriteMark {
    pub(super) txn: TxnId,
    pub(super) old: Option<Blob>,
    pub(super) new: Option<Blob>,
}

/// An interval that a transaction has read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Interval {
    pub(super) txn: TxnId,
    pub(super) from: Blob,
    pub(super) to: Blob,
}

/// One home of a transaction, with the ticket of its prepare. Says where it is, too: whoever ends the transaction may not know the home, where it is the
/// sites that change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Participant {
    pub(super) home: HomeNo,
    /// The site's name.
    pub(super) site: String,
    /// The home's name in the site's store.
    pub(super) name: String,
    pub(super) client: u128,
    pub(super) lane: u32,
    pub(super) sequence: u64,
}

impl Participant {
    pub(super) fn new(link: &Link, ticket: LaneTicket) -> Self {
        let (site, name) = (link.site().to_owned(), link.home().as_str().to_owned());
        Self { home: link.no, site, name, client: ticket.client, lane: ticket.lane, sequence: ticket.sequence }
    }

    /// That of its prepare.
    pub(super) fn ticket(&self) -> LaneTicket {
        LaneTicket { client: self.client, lane: self.lane, sequence: self.sequence }
    }

    /// That of what undoes it: used only where the transaction is aborted, so that the lane tells of that afterwards.
    pub(super) fn undoing(&self) -> LaneTicket {
        LaneTicket { sequence: self.sequence + 1, ..self.ticket() }
    }
}

/// What a home has prepared: everything that anybody needs to end the transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Promise {
    pub(super) participants: Vec<Participant>,
    /// Keys that hold write marks.
    pub(super) written: Vec<Blob>,
    /// Keys in [`MARKS_SPACE`].
    pub(super) marks: Vec<Blob>,
    /// Streams with the positions in `written` of the keys that they tell of.
    pub(super) streams: Vec<(Blob, Vec<u32>)>,
}

/// Whether a transaction takes effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// `None` while it is being prepared.
    pub(super) committed: Option<bool>,
    pub(super) participants: Vec<Participant>,
}

impl Record {
    pub(super) fn decision(&self) -> Option<Decision> {
        self.committed.map(|committed| if committed { Decision::Committed } else { Decision::Aborted })
    }
}

/// Bytes that serde writes as bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Blob(pub(super) Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: &[u8] = Deserialize::deserialize(deserializer)?;
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }
}

fn space(space: u32) -> Vec<u8> {
    space.to_be_bytes().to_vec()
}

fn marks_of(letter: u8, key: &[u8]) -> Vec<u8> {
    let mut bytes = space(MARKS_SPACE);
    bytes.push(letter);
    put_string(&mut bytes, key);
    bytes
}

fn with_txn(mut bytes: Vec<u8>, txn: TxnId) -> Key {
    bytes.extend_from_slice(&txn.0.to_be_bytes());
    bytes.into()
}

/// Every mark of the home except those on written keys.
pub(super) fn all_marks() -> KeyRange {
    KeyRange::prefix(&space(MARKS_SPACE))
}

/// A kind of mark on one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyMark {
    Read,
    Keep,
    Presence,
}

impl KeyMark {
    fn letter(self) -> u8 {
        match self {
            Self::Read => b'r',
            Self::Keep => b'k',
            Self::Presence => b'd',
        }
    }

    /// The marks of this kind on a key.
    pub(super) fn all_on(self, key: &[u8]) -> KeyRange {
        KeyRange::prefix(&marks_of(self.letter(), key))
    }

    /// A transaction's mark of this kind on a key.
    pub(super) fn on(self, key: &[u8], txn: TxnId) -> Key {
        with_txn(marks_of(self.letter(), key), txn)
    }
}

fn range_marks(key: &[u8]) -> Vec<u8> {
    let mut bytes = space(MARKS_SPACE);
    bytes.push(b'g');
    bytes.extend_from_slice(key.get(..SPACE_LEN).unwrap_or_default());
    bytes
}

/// The range marks of the space that a key lies in.
pub(super) fn range_marks_near(key: &[u8]) -> KeyRange {
    KeyRange::prefix(&range_marks(key))
}

/// A transaction's range mark of this number.
pub(super) fn range_mark(range: &KeyRange, txn: TxnId, number: u32) -> Key {
    let mut bytes = range_marks(&range.from);
    bytes.extend_from_slice(&txn.0.to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.into()
}

/// The transaction of a mark on a key, a promise or a record, which its key ends with.
pub(super) fn owner_of(mark: &[u8]) -> Result<TxnId> {
    let bytes = mark.last_chunk::<16>().ok_or_else(corrupt)?;
    Ok(TxnId(u128::from_be_bytes(*bytes)))
}

fn record_space(letter: u8, txn: TxnId) -> Key {
    let mut bytes = space(RECORDS_SPACE);
    bytes.push(letter);
    with_txn(bytes, txn)
}

/// The key of a home's promise.
pub(super) fn promise_key(txn: TxnId) -> Key {
    record_space(b'p', txn)
}

/// The key of a transaction's record.
pub(super) fn record_key(txn: TxnId) -> Key {
    record_space(b'c', txn)
}

/// A key that never exists: guarding its presence always fails.
pub(super) fn never_key() -> Key {
    let mut bytes = space(RECORDS_SPACE);
    bytes.push(b'0');
    bytes.into()
}

/// The key that fences a home which is gone for good.
pub(super) fn fence_key(gone: HomeNo) -> Key {
    let mut bytes = space(RECORDS_SPACE);
    bytes.push(b'x');
    bytes.extend_from_slice(&gone.0.to_be_bytes());
    bytes.into()
}

/// All fences.
pub(super) fn all_fences() -> KeyRange {
    KeyRange::prefix(&[&space(RECORDS_SPACE)[..], b"x"].concat())
}

/// The home that a fence is about.
pub(super) fn fenced_home(fence: &[u8]) -> Result<HomeNo> {
    let bytes = fence.last_chunk::<2>().ok_or_else(corrupt)?;
    Ok(HomeNo(u16::from_be_bytes(*bytes)))
}

/// All promises.
pub(super) fn all_promises() -> KeyRange {
    KeyRange::prefix(&[&space(RECORDS_SPACE)[..], b"p"].concat())
}

/// All records.
pub(super) fn all_records() -> KeyRange {
    KeyRange::prefix(&[&space(RECORDS_SPACE)[..], b"c"].concat())
}

/// The write mark that a value is, if it is one.
///
/// # Errors
/// XX001 where it begins like one and is none.
pub(super) fn write_mark(value: &[u8]) -> Result<Option<WriteMark>> {
    value.strip_prefix(&WRITE_MARK).map(decode).transpose()
}

/// What a value is, or is to become: where another transaction's mark stands in its place, the new value that it holds, or the old one where it
/// removes. For what must be known before marks can be resolved, since it says where their transactions' homes are.
///
/// # Errors
/// XX001 where it begins like a mark and is none.
pub fn value_or_intent(value: &Bytes) -> Result<Option<Bytes>> {
    Ok(match write_mark(value)? {
        None => Some(value.clone()),
        Some(mark) => mark.new.or(mark.old).map(|bytes| bytes.0),
    })
}

/// The bytes of a write mark.
pub(super) fn encode_write_mark(mark: &WriteMark) -> Result<Bytes> {
    let bytes = postcard::to_extend(mark, WRITE_MARK.to_vec()).map_err(|_| unencodable())?;
    Ok(bytes.into())
}

/// The bytes of a promise, record or interval.
pub(super) fn encode(what: &impl Serialize) -> Result<Bytes> {
    Ok(postcard::to_allocvec(what).map_err(|_| unencodable())?.into())
}

/// A promise, record or interval from its bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // Owned bytes: `Blob` borrows while it copies.
    postcard::from_bytes(bytes).map_err(|_| corrupt())
}

fn corrupt() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "a mark in the store is corrupt")
}

fn unencodable() -> Error {
    Error::internal("a mark can't be encoded")
}
