//! Counters: keys whose values are decimal integers.

use super::rig::*;
use crate::store::{Commit, CommitOutcome, Key, Write};

async fn bounded(rig: &Rig, key: &Key, delta: i64, min: i64, max: i64) -> bool {
    let writes = vec![Write::Add { key: key.clone(), delta, min, max }];
    match rig.commit(Commit { writes, ..Commit::default() }).await {
        CommitOutcome::Committed { .. } => true,
        CommitOutcome::OutOfBounds { write: 0 } => false,
        other => panic!("adding {delta} came to {other:?}"),
    }
}

/// Absent counts as zero, also after a delete; adding zero makes the key.
pub async fn a_counter_begins_at_zero(rig: Rig) {
    rig.write(vec![add(&key("n"), 0)]).await;
    assert_eq!(rig.value(&key("n")).await.as_deref(), Some("0"));
    rig.write(vec![add(&key("n"), 41)]).await;
    rig.delete(&key("n")).await;
    let version = rig.write(vec![add(&key("n"), -5)]).await;
    let entry = rig.get(&key("n")).await.expect("a counter is a key like others");
    assert_eq!((&entry.value[..], entry.version), (&b"-5"[..], version));
}

/// What was put as decimal text can be added to, and the sum reads as decimal text.
pub async fn a_counter_is_decimal_text(rig: Rig) {
    for (start, delta, sum) in [
        ("0", 7, "7"),
        ("12", -20, "-8"),
        ("-3", 3, "0"),
        ("9007199254740993", 1, "9007199254740994"),
        ("9223372036854775806", 1, "9223372036854775807"),
        ("-9223372036854775807", -1, "-9223372036854775808"),
    ] {
        rig.put(&key("n"), start).await;
        assert!(bounded(&rig, &key("n"), delta, i64::MIN, i64::MAX).await, "{start} plus {delta} is in bounds");
        assert_eq!(rig.value(&key("n")).await.as_deref(), Some(sum), "{start} plus {delta}");
    }
}

/// Exactly at the bounds is inside.
pub async fn bounds_are_inclusive(rig: Rig) {
    let n = key("n");
    assert!(bounded(&rig, &n, 10, 0, 10).await, "up to the upper bound");
    assert!(!bounded(&rig, &n, 1, 0, 10).await, "beyond the upper bound");
    assert!(bounded(&rig, &n, -10, 0, 10).await, "down to the lower bound");
    assert!(!bounded(&rig, &n, -1, 0, 10).await, "beyond the lower bound");
    assert_eq!(rig.value(&n).await.as_deref(), Some("0"), "refused additions leave the counter alone");
    assert!(!bounded(&rig, &n, 0, 1, 10).await, "the result counts, not the step");
    let large = 9_007_199_254_740_993;
    assert!(bounded(&rig, &n, large, large, large).await, "bounds beyond 2^53 are exact");
    assert!(!bounded(&rig, &n, 1, 0, large).await, "bounds beyond 2^53 are exact");
}

/// Sums that do not fit 64 bits.
pub async fn a_sum_beyond_the_integers_is_out_of_bounds(rig: Rig) {
    for (start, delta) in [(i64::MAX, 1), (i64::MIN, -1), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)] {
        rig.put(&key("n"), &start.to_string()).await;
        assert!(!bounded(&rig, &key("n"), delta, i64::MIN, i64::MAX).await, "{start} plus {delta} does not fit");
        assert_eq!(rig.value(&key("n")).await, Some(start.to_string()));
    }
}

/// An error, and nothing of the commit is written.
pub async fn what_is_no_counter_is_not_added_to(rig: Rig) {
    for text in ["", "x", "1.5", "0x10", " 1", "1e3", "9223372036854775808"] {
        rig.put(&key("n"), text).await;
        let writes = vec![put(&key("a"), "1"), add(&key("n"), 1)];
        let outcome = rig.try_commit(Commit { writes, ..Commit::default() }).await;
        assert!(outcome.is_err(), "adding to {text:?} came to {outcome:?}");
        assert_eq!(rig.value(&key("n")).await.as_deref(), Some(text));
        assert_eq!(rig.get(&key("a")).await, None, "a commit that was refused wrote in part");
    }
}
