//! Epochs: what relies on another one is refused. How an epoch begins is the engine's own matter and tested there.

use super::rig::*;
use crate::store::{Commit, Guard, Read, ReadRequest, StoreError};

/// Every answer has an epoch, the same as long as nothing is taken back; a request that relies on another is not answered.
pub async fn a_read_names_its_epoch_and_keeps_to_it(rig: Rig) {
    let before = rig.read(vec![Read::Point(key("a"))]).await.epoch;
    rig.put(&key("a"), "1").await;
    for reads in [vec![Read::Point(key("a"))], vec![range(under(""))], Vec::new()] {
        let request = |epoch| ReadRequest { reads: reads.clone(), epoch: Some(epoch), ..ReadRequest::default() };
        let response = rig.request(request(before)).await;
        assert_eq!(response.epoch, before, "the epoch changed though nothing was taken back");
        let guards = vec![Guard::Absent(key("a"))];
        for guards in [Vec::new(), guards] {
            let stale = rig.store.read(&rig.home, ReadRequest { guards, ..request(before ^ 1) }).await;
            assert!(matches!(stale, Err(StoreError::EpochChanged)), "a read in another epoch: {stale:?}");
        }
    }
}

/// Neither writes nor outcomes: the lane takes the same sequence number again.
pub async fn a_commit_of_another_epoch_writes_nothing(rig: Rig) {
    let epoch = rig.read(Vec::new()).await.epoch;
    let commit = |epoch, ticket| Commit {
        guards: vec![Guard::Absent(key("a"))],
        writes: vec![put(&key("a"), "1")],
        changes: vec![change("s", "1")],
        epoch,
        ticket,
    };
    for ticket in [None, ticket(1, 1)] {
        let stale = rig.try_commit(commit(Some(epoch ^ 1), ticket)).await;
        assert!(matches!(stale, Err(StoreError::EpochChanged)), "a commit in another epoch: {stale:?}");
    }
    assert_eq!(rig.get(&key("a")).await, None, "a refused commit wrote");
    let empty = Commit { epoch: Some(epoch ^ 1), ..Commit::default() };
    assert!(matches!(rig.try_commit(empty).await, Err(StoreError::EpochChanged)), "a commit without writes");
    version(rig.commit(commit(Some(epoch), ticket(1, 1))).await);
    let after = rig.read(vec![Read::Point(key("a"))]).await;
    assert_eq!((after.epoch, after.results[0].entries.len()), (epoch, 1));
}
