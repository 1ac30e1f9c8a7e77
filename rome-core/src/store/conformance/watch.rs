//! Change streams: in commit order, without gaps, or an explicit "compacted".

use super::rig::*;
use crate::store::{Commit, Guard, StoreError, Version, WatchEvent, WatchStream};
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;

/// How long an event that must come may take.
const PATIENCE: Duration = Duration::from_secs(10);

async fn watch(rig: &Rig, stream: &str, after: Option<Version>) -> WatchStream {
    let stream = Bytes::copy_from_slice(stream.as_bytes());
    rig.store.watch(&rig.home, stream, after).await.expect("a watch begins")
}

async fn tell(rig: &Rig, stream: &str, payload: &str) -> Version {
    version(rig.commit(Commit { changes: vec![change(stream, payload)], ..Commit::default() }).await)
}

async fn next(events: &mut WatchStream) -> Result<WatchEvent, StoreError> {
    let event = tokio::time::timeout(PATIENCE, events.next()).await;
    event.expect("an event that was committed does not come").expect("a watch does not end by itself")
}

async fn expect(events: &mut WatchStream, version: Version, payload: &str) {
    let event = next(events).await.expect("an event");
    assert_eq!((event.version, &event.payload[..]), (version, payload.as_bytes()), "the next event of the stream");
}

/// What is kept comes first, beginning right after the cursor.
pub async fn a_watch_from_a_cursor_sees_all_after_it(rig: Rig) {
    let start = rig.snapshot().await;
    let first = tell(&rig, "s", "1").await;
    rig.put(&key("between"), "1").await;
    let second = tell(&rig, "s", "").await;
    let third = tell(&rig, "s", "\u{0}3\u{ff}").await;
    let mut events = watch(&rig, "s", Some(start)).await;
    expect(&mut events, first, "1").await;
    expect(&mut events, second, "").await;
    expect(&mut events, third, "\u{0}3\u{ff}").await;
    let mut events = watch(&rig, "s", Some(first)).await;
    expect(&mut events, second, "").await;
    let mut events = watch(&rig, "s", Some(second - 1)).await;
    expect(&mut events, second, "").await;
}

/// Without a cursor, neither what was before nor less than all that comes after.
pub async fn a_watch_without_a_cursor_begins_with_the_next_commit(rig: Rig) {
    tell(&rig, "s", "before").await;
    let mut events = watch(&rig, "s", None).await;
    // The stream has not been polled yet: what counts is when the call returned.
    let version = tell(&rig, "s", "after").await;
    expect(&mut events, version, "after").await;
    let mut unborn = watch(&rig, "unborn", None).await;
    let version = tell(&rig, "unborn", "1").await;
    expect(&mut unborn, version, "1").await;
}

/// A watcher that has caught up waits, and goes on.
pub async fn a_watch_goes_on_as_commits_come(rig: Rig) {
    let mut events = watch(&rig, "s", Some(rig.snapshot().await)).await;
    for round in 0..20 {
        let waiting = tokio::spawn(async move {
            let event = next(&mut events).await;
            (events, event)
        });
        tokio::task::yield_now().await;
        let version = tell(&rig, "s", &round.to_string()).await;
        let (rest, event) = waiting.await.expect("the watcher goes on");
        let event = event.expect("an event");
        assert_eq!((event.version, event.payload), (version, Bytes::from(round.to_string())));
        events = rest;
    }
}

/// Each stream of each home has its own events; one commit may write to several.
pub async fn streams_and_homes_are_separate(rig: Rig) {
    let other = rig.another_home();
    let mut a = watch(&rig, "a", None).await;
    let mut b = watch(&rig, "b", None).await;
    let mut there = watch(&other, "a", None).await;
    tell(&other, "b", "noise").await;
    let both = Commit { changes: vec![change("a", "1"), change("b", "2")], ..Commit::default() };
    let first = version(rig.commit(both).await);
    let elsewhere = tell(&other, "a", "3").await;
    let second = tell(&rig, "b", "4").await;
    let third = tell(&rig, "a", "5").await;
    expect(&mut a, first, "1").await;
    expect(&mut a, third, "5").await;
    expect(&mut b, first, "2").await;
    expect(&mut b, second, "4").await;
    expect(&mut there, elsewhere, "3").await;
}

/// Refused commits leave no event; a resend leaves no second one.
pub async fn only_what_was_committed_is_seen_and_once(rig: Rig) {
    let mut events = watch(&rig, "s", None).await;
    let said = |payload: &str| Commit { changes: vec![change("s", payload)], ..Commit::default() };
    rig.commit(Commit { guards: vec![Guard::Present(key("never"))], ..said("refused") }).await;
    let sent = Commit { ticket: ticket(1, 1), ..said("once") };
    let first = version(rig.commit(sent.clone()).await);
    version(rig.commit(sent.clone()).await);
    let second = tell(&rig, "s", "last").await;
    version(rig.commit(Commit { ticket: ticket(1, 2), ..said("third") }).await);
    assert!(matches!(rig.try_commit(sent).await, Err(StoreError::LaneClosed)));
    expect(&mut events, first, "once").await;
    expect(&mut events, second, "last").await;
    assert_eq!(next(&mut events).await.expect("an event").payload, "third");
}

/// Several writers and watchers at once: every watcher sees every event once, in the order of versions.
pub async fn concurrent_writers_leave_no_gap(rig: Rig) {
    const WRITERS: usize = 4;
    const EACH: usize = 25;
    let start = rig.snapshot().await;
    let early = watch(&rig, "s", None).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let rig = rig.clone();
            tokio::spawn(async move {
                let mut told = Vec::new();
                for round in 0..EACH {
                    let payload = format!("{writer}/{round}");
                    told.push((tell(&rig, "s", &payload).await, Bytes::from(payload)));
                }
                told
            })
        })
        .collect();
    let late = watch(&rig, "s", Some(start)).await;
    let collect = |mut events: WatchStream| {
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < WRITERS * EACH {
                let event = next(&mut events).await.expect("an event");
                seen.push((event.version, event.payload));
            }
            seen
        })
    };
    let (early, late) = (collect(early), collect(late));
    let mut told = Vec::new();
    for writer in writers {
        told.extend(writer.await.expect("a writer ends"));
    }
    told.sort();
    assert_eq!(early.await.expect("the early watcher ends"), told, "a watcher from before the writers");
    assert_eq!(late.await.expect("the late watcher ends"), told, "a watcher that began in between");
}

/// A cursor far behind gives everything or says that it can't; never something in between.
pub async fn many_commits_are_complete_or_compacted(rig: Rig) {
    const COMMITS: usize = 400;
    let start = rig.snapshot().await;
    let mut told = Vec::new();
    for round in 0..COMMITS {
        told.push((tell(&rig, "s", &round.to_string()).await, Bytes::from(round.to_string())));
    }
    let stream = Bytes::from_static(b"s");
    let mut events = match rig.store.watch(&rig.home, stream, Some(start)).await {
        Ok(events) => events,
        Err(error) => return assert!(matches!(error, StoreError::Compacted), "{error:?}"),
    };
    for (index, expected) in told.iter().enumerate() {
        match next(&mut events).await {
            Ok(event) => assert_eq!((event.version, event.payload), *expected, "event {index} of {COMMITS}"),
            Err(StoreError::Compacted) => {
                assert!(events.next().await.is_none(), "a watch ends after its first error");
                return;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
