//! Reading at an older version.

use super::rig::*;
use crate::store::{Read, ReadRequest, StoreError, Write};

/// Points and ranges as they were; without the capability the request is refused.
pub async fn a_read_at_an_old_version_sees_the_old_state(rig: Rig) {
    rig.write(vec![put(&key("a"), "1"), put(&key("b"), "1"), put(&key("c"), "1")]).await;
    let old = rig.snapshot().await;
    let reads = vec![Read::Point(key("a")), Read::Point(key("d")), range(under(""))];
    let at = |at| ReadRequest { reads: reads.clone(), at: Some(at), ..ReadRequest::default() };
    if !rig.capabilities().snapshots {
        let outcome = rig.store.read(&rig.home, at(old)).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "a store without snapshots refuses: {outcome:?}");
        return;
    }
    let before = rig.request(at(old)).await;
    rig.write(vec![put(&key("a"), "2"), Write::Delete(key("b")), put(&key("d"), "2")]).await;
    let after = rig.request(at(old)).await;
    assert_eq!(after.results, before.results, "a snapshot changed under its reader");
    assert_eq!(names(&after.results[2].entries), ["a", "b", "c"]);
    assert_eq!(after.snapshot, old, "a read at a version is answered at that version");
    let now = rig.read(reads.clone()).await;
    assert_eq!(names(&now.results[2].entries), ["a", "c", "d"]);
}
