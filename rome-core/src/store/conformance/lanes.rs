//! Lanes: exactly once. Each case is a row, or two, of the table in the text of [`store`](crate::store).

use super::rig::*;
use crate::store::{Commit, CommitOutcome, Guard, LaneTicket, StoreError, Write};
use futures::future::join_all;

/// A commit that adds one to the counter `n` and says so on the stream `s`.
fn step(ticket: Option<LaneTicket>) -> Commit {
    Commit { writes: vec![add(&key("n"), 1)], changes: vec![change("s", "step")], ticket, ..Commit::default() }
}

async fn steps(rig: &Rig) -> i64 {
    rig.value(&key("n")).await.map_or(0, |text| text.parse().expect("a counter"))
}

async fn closed(rig: &Rig, commit: Commit, why: &str) {
    let before = steps(rig).await;
    let outcome = rig.try_commit(commit).await;
    assert!(matches!(outcome, Err(StoreError::LaneClosed)), "{why}: {outcome:?}");
    assert_eq!(steps(rig).await, before, "{why}, and yet it changed something");
}

/// An unknown lane takes 1 and nothing else.
pub async fn a_lane_begins_at_one(rig: Rig) {
    closed(&rig, step(ticket(1, 2)), "the second commit of an unknown lane").await;
    closed(&rig, step(ticket(1, 1_000_000)), "a late commit of an unknown lane").await;
    version(rig.commit(step(ticket(1, 1))).await);
    version(rig.commit(step(ticket(1, 2))).await);
    assert_eq!(steps(&rig).await, 2);
}

/// The first outcome, however much happened since.
pub async fn a_resend_finds_its_outcome(rig: Rig) {
    let first = rig.commit(step(ticket(1, 1))).await;
    for _ in 0..3 {
        assert_eq!(rig.commit(step(ticket(1, 1))).await, first, "a resend at once");
    }
    rig.put(&key("else"), "1").await;
    version(rig.commit(step(ticket(2, 1))).await);
    assert_eq!(rig.commit(step(ticket(1, 1))).await, first, "a resend after other commits");
    assert_eq!(steps(&rig).await, 2, "a resend took effect again");

    let guarded =
        Commit { guards: vec![Guard::Absent(key("once"))], writes: vec![put(&key("once"), "1")], ..step(ticket(1, 2)) };
    let second = rig.commit(guarded.clone()).await;
    version(second);
    assert_eq!(rig.commit(guarded).await, second, "a resend whose guards its original has broken");

    let empty = Commit { ticket: ticket(3, 1), ..Commit::default() };
    let outcome = rig.commit(empty.clone()).await;
    rig.put(&key("else"), "2").await;
    assert_eq!(rig.commit(empty).await, outcome, "a resend of a commit without writes");
}

/// A failed outcome is an outcome: the resend does not get a second chance.
pub async fn a_resend_finds_a_conflict(rig: Rig) {
    let guards = vec![Guard::Absent(key("other")), Guard::Present(key("gate"))];
    let commit = Commit { guards, ..step(ticket(1, 1)) };
    assert_eq!(rig.commit(commit.clone()).await, CommitOutcome::Conflict { guard: 1 });
    rig.put(&key("gate"), "open").await;
    let resent = rig.commit(commit).await;
    assert_eq!(resent, CommitOutcome::Conflict { guard: 1 }, "the resend of a failed commit was tried anew");
    assert_eq!(steps(&rig).await, 0, "the resend of a failed commit took effect");
    version(rig.commit(step(ticket(1, 2))).await);
    let again = Commit { guards: vec![Guard::Absent(key("gate"))], ..step(ticket(1, 3)) };
    assert_eq!(rig.commit(again).await, CommitOutcome::Conflict { guard: 0 });
    closed(&rig, step(ticket(1, 2)), "the failed commit moved the lane on").await;
}

/// The same for counters.
pub async fn a_resend_finds_out_of_bounds(rig: Rig) {
    let full = |ticket| {
        let writes = vec![add(&key("n"), 1), Write::Add { key: key("quota"), delta: 1, min: 0, max: 0 }];
        Commit { writes, ticket, ..Commit::default() }
    };
    assert_eq!(rig.commit(full(ticket(1, 1))).await, CommitOutcome::OutOfBounds { write: 1 });
    rig.put(&key("quota"), "-1").await;
    assert_eq!(rig.commit(full(ticket(1, 1))).await, CommitOutcome::OutOfBounds { write: 1 }, "a resend");
    assert_eq!(steps(&rig).await, 0, "a resend took effect that was out of bounds");
    version(rig.commit(full(ticket(1, 2))).await);
}

/// After a newer sequence, an older one is refused: the message that took the long way round does no harm.
pub async fn a_late_original_changes_nothing(rig: Rig) {
    for sequence in 1..=3 {
        version(rig.commit(step(ticket(1, sequence))).await);
    }
    for late in 1..=2 {
        closed(&rig, step(ticket(1, late)), "a late original").await;
        let delete = Commit { writes: vec![Write::Delete(key("n"))], ticket: ticket(1, late), ..Commit::default() };
        closed(&rig, delete, "a late original with other contents").await;
    }
    assert!(matches!(rig.commit(step(ticket(1, 3))).await, CommitOutcome::Committed { .. }), "a resend of the newest");
    assert_eq!(steps(&rig).await, 3);
}

/// A sequence number may be left out (its commit was given up before it was sent); it stays closed.
pub async fn a_sequence_may_jump(rig: Rig) {
    version(rig.commit(step(ticket(1, 1))).await);
    version(rig.commit(step(ticket(1, 7))).await);
    closed(&rig, step(ticket(1, 6)), "a sequence that was jumped over").await;
    let high = 1 << 53;
    version(rig.commit(step(ticket(1, high + 1))).await);
    closed(&rig, step(ticket(1, high)), "sequences beyond 2^53 are exact").await;
    assert_eq!(steps(&rig).await, 3);
}

/// By client, by lane number and by home.
pub async fn lanes_are_independent(rig: Rig) {
    let other = rig.another_home();
    for sequence in 1..=2 {
        for client in [1, 2, u128::MAX] {
            for lane in [0, 1, u32::MAX] {
                let ticket = Some(LaneTicket { client, lane, sequence });
                version(rig.commit(step(ticket)).await);
                version(other.commit(step(ticket)).await);
            }
        }
    }
    assert_eq!((steps(&rig).await, steps(&other).await), (18, 18));
}

/// A commit that is refused as malformed has no outcome; the same number may be used for a good one.
pub async fn a_refused_commit_leaves_the_lane_alone(rig: Rig) {
    version(rig.commit(step(ticket(1, 1))).await);
    let malformed = Commit { writes: vec![put(&key("a"), "1"), put(&key("a"), "2")], ..step(ticket(1, 2)) };
    let outcome = rig.try_commit(malformed).await;
    assert!(matches!(outcome, Err(StoreError::Invalid(_))), "a key written twice: {outcome:?}");
    version(rig.commit(step(ticket(1, 2))).await);
    assert_eq!(steps(&rig).await, 2);
}

/// The original and its resends arrive at once, over and over.
pub async fn simultaneous_resends_take_effect_once(rig: Rig) {
    const ROUNDS: u64 = 10;
    for sequence in 1..=ROUNDS {
        let sends = (0..8).map(|_| {
            let rig = rig.clone();
            tokio::spawn(async move { rig.commit(step(ticket(1, sequence))).await })
        });
        let outcomes: Vec<_> = join_all(sends).await.into_iter().map(|sent| sent.expect("a send ends")).collect();
        version(outcomes[0]);
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "resends differ: {outcomes:?}");
    }
    assert_eq!(steps(&rig).await, ROUNDS as i64);
}
