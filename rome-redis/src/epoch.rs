//! The epoch of a home: what tells the versions of one history from those of another.
//!
//! A server names its history by `master_replid`, a random number that is another after each restart and each promotion. Asking for it in every
//! script would cost more than the script, so it is read when a connection opens, and every call carries it. The home keeps, in a
//! field of its data, the history in which it was last taken over and the epoch that began then; scripts compare, and plain reads
//! bring the field along. Where it differs from the connection's, either the connection is older than a failover, or the home was not yet
//! used since: the link asks the server again, opens another connection in the first case, and takes the home over in the second
//! (`scripts/adopt.lua`), which begins an epoch.
//!
//! The field is 16 bytes: history, epoch. An epoch is mixed from the history and the epoch before it, so that a home which comes back to
//! a server (a slot that moved away and back) is in a third one. Before the first take-over the epoch is the history, and
//! the first commit writes it.
//!
//! **What this does not see**: a connection that lives through its server's demotion and promotion without a call in between, where
//! nobody else has used the home either. Sentinels close the connections of a server that they demote; in a cluster, a call in
//! between is redirected, and the connection given up.

use rome_core::store::{Epoch, StoreError};

/// The field of the epoch in a home's data. Shorter than a space's name, so no key.
pub(crate) const EPOCH_FIELD: &[u8] = b"e";

/// The history of the server behind a connection; `None` where the server does not name it, and homes have no epochs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct History(Option<u64>);

/// Digits of a replication id that are kept: random enough to be met once.
const DIGITS: usize = 16;

impl History {
    /// The history that `INFO` names.
    pub fn of(replication_id: Option<&str>) -> Self {
        let digits = replication_id.and_then(|id| id.get(..DIGITS));
        Self(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(|id| id.max(1)))
    }

    /// As scripts take it: 8 bytes, or none.
    pub fn argument(self) -> Vec<u8> {
        self.0.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default()
    }

    /// The epoch of a home with this field, or `None` where the home was last taken over in another history.
    pub fn epoch_of(self, field: Option<&[u8]>) -> Result<Option<Epoch>, StoreError> {
        let (Some(own), Some(field)) = (self.0, field) else { return Ok(Some(self.0.unwrap_or(0))) };
        let (history, epoch) = split(field)?;
        Ok((history == own).then_some(epoch))
    }

    /// The field of a home that is taken over: `None` where it need not be.
    pub fn adopt(self, field: &[u8]) -> Result<Option<[u8; 16]>, StoreError> {
        let (history, epoch) = split(field)?;
        let Some(own) = self.0.filter(|own| *own != history) else { return Ok(None) };
        let next = u128::from(own) << 64 | u128::from(mix(own ^ epoch.rotate_left(32)).max(1));
        Ok(Some(next.to_be_bytes()))
    }
}

/// The argument for the epoch that a request relies on: none, or 8 bytes.
pub(crate) fn relied(epoch: Option<Epoch>, history: History) -> Result<Vec<u8>, StoreError> {
    match (epoch, history.0) {
        (None, _) | (Some(0), None) => Ok(Vec::new()),
        (Some(_), None) => Err(StoreError::EpochChanged),
        (Some(epoch), Some(_)) => Ok(epoch.to_be_bytes().to_vec()),
    }
}

fn split(field: &[u8]) -> Result<(u64, Epoch), StoreError> {
    let field: [u8; 16] =
        field.try_into().map_err(|_| StoreError::Corrupt(format!("an epoch of {} bytes", field.len())))?;
    let field = u128::from_be_bytes(field);
    Ok(((field >> 64) as u64, field as u64))
}

/// The finalizer of splitmix64: each bit of the result depends on all of `x`.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_comes_back_is_in_a_third_epoch() {
        let here = History::of(Some("00000000000000aa5b8e1f9e3c6d7a8b9c0d1e2f"));
        let there = History::of(Some("00000000000000bb5b8e1f9e3c6d7a8b9c0d1e2f"));
        assert_eq!(here.epoch_of(None).unwrap(), Some(0xaa));
        let first = [here.argument(), here.argument()].concat();
        assert_eq!(here.epoch_of(Some(&first)).unwrap(), Some(0xaa));
        assert_eq!(there.epoch_of(Some(&first)).unwrap(), None);
        assert_eq!(here.adopt(&first).unwrap(), None);
        let second = there.adopt(&first).unwrap().unwrap();
        let third = here.adopt(&second).unwrap().unwrap();
        let epochs = [there.epoch_of(Some(&second)).unwrap().unwrap(), here.epoch_of(Some(&third)).unwrap().unwrap()];
        assert!(epochs[0] != epochs[1] && !epochs.contains(&0xaa) && !epochs.contains(&0xbb));
        assert!(here.epoch_of(Some(b"short")).is_err() && here.adopt(b"").is_err());
    }

    #[test]
    fn servers_without_histories_have_the_epoch_zero() {
        for id in [None, Some(""), Some("none"), Some("zzzzzzzzzzzzzzzzzzzz")] {
            let history = History::of(id);
            assert_eq!(history.epoch_of(Some(b"whatever")).unwrap(), Some(0));
            assert!(history.argument().is_empty());
            assert!(relied(Some(0), history).unwrap().is_empty() && relied(Some(1), history).is_err());
        }
    }
}
