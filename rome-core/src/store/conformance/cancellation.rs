//! Callers that go away in the middle of a call: their futures are dropped after some polls.

use super::rig::*;
use crate::store::{Commit, Read};
use bytes::Bytes;
use futures::StreamExt;
use std::pin::pin;

/// Futures are dropped after 0 to this many polls.
const POLLS: usize = 24;

/// Polls up to `polls` times, letting others run in between, then drops the future.
async fn abandon<T>(future: impl Future<Output = T>, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if futures::poll!(future.as_mut()).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A commit that was abandoned is there as a whole or not at all, and its resend settles which, once.
pub async fn a_dropped_commit_is_done_or_not_as_a_whole(rig: Rig) {
    for polls in 0..POLLS {
        let sequence = polls as u64 + 1;
        let (a, b) = (key(&format!("a{polls}")), key_in(SPACE + 3, format!("b{polls}").as_bytes()));
        let writes = vec![put(&a, "1"), put(&b, "1"), add(&key("n"), 1)];
        let commit = Commit { writes, ticket: ticket(1, sequence), ..Commit::default() };
        abandon(rig.store.commit(&rig.home, commit.clone()), polls).await;
        let response = rig.read(vec![Read::Point(a.clone()), Read::Point(b.clone()), Read::Point(key("n"))]).await;
        let [a_found, b_found, n] = &response.results[..] else { panic!("three results") };
        let count = n.entries.first().map_or("0".into(), |entry| String::from_utf8_lossy(&entry.value).into_owned());
        let done = !a_found.entries.is_empty();
        assert_eq!(done, !b_found.entries.is_empty(), "after {polls} polls a dropped commit is half there");
        assert_eq!(count, (polls + usize::from(done)).to_string(), "the counter goes with the rest");

        version(rig.commit(commit).await);
        let count = rig.value(&key("n")).await;
        assert_eq!(count, Some((polls + 1).to_string()), "after {polls} polls and a resend it is done once");
    }
}

/// Dropped reads, watches and commits without a ticket leave a store that works.
pub async fn dropped_reads_and_watches_do_no_harm(rig: Rig) {
    rig.write((0..50).map(|i| put(&key(&format!("r{i:02}")), "1")).collect()).await;
    for polls in 0..POLLS {
        let request = || crate::store::ReadRequest { reads: vec![range(under(""))], ..Default::default() };
        let put = Commit { writes: vec![put(&key_in(SPACE + 1, b"x"), "1")], ..Commit::default() };
        abandon(rig.store.read(&rig.home, request()), polls).await;
        abandon(rig.store.commit(&rig.home, put), polls).await;
        let watching = async {
            let events = rig.store.watch(&rig.home, Bytes::from_static(b"s"), Some(0)).await;
            events.expect("a watch begins").next().await
        };
        abandon(watching, polls).await;
        assert_eq!(rig.read_one(range(under(""))).await.entries.len(), 50, "after {polls} polls a read is wrong");
    }
    rig.put(&key("last"), "1").await;
    assert_eq!(rig.value(&key("last")).await.as_deref(), Some("1"));
}
