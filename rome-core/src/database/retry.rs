//! Retrying transactions that lost: jittered backoff, and a first-in-first-out queue for each contended key.
//!
//! Optimistic transactions livelock on a hot row when all losers come back at once. In one process the losers of a key therefore
//! take turns: a retry waits for the key's queue and holds its place until its attempt is over. Correctness does not rest on it.

use crate::error::Error;
use crate::store::Key;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The longest wait for a turn. Whoever holds one may himself wait for its waiter (an application that runs a statement of its own inside a
/// transaction's closure), which only this ends.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often and how fast to retry.
#[derive(Debug)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// The first pause is drawn from zero to this; it doubles with each attempt.
    pub base_pause: Duration,
    /// No pause is longer.
    pub max_pause: Duration,
    queues: Mutex<HashMap<Key, Weak<Turn<()>>>>,
    random: Mutex<StdRng>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(100, Duration::from_millis(1), Duration::from_millis(200))
    }
}

impl RetryPolicy {
    /// A policy with queues of its own.
    pub fn new(max_attempts: u32, base_pause: Duration, max_pause: Duration) -> Self {
        let random = Mutex::new(StdRng::from_rng(&mut rand::rng()));
        Self { max_attempts, base_pause, max_pause, queues: Mutex::new(HashMap::new()), random }
    }

    /// The usual pauses, with so many attempts.
    pub fn with_attempts(max_attempts: u32) -> Self {
        Self { max_attempts, ..Self::default() }
    }

    /// The same with its pauses drawn from a seed, so that a run can be repeated.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { random: Mutex::new(StdRng::seed_from_u64(seed)), ..self }
    }

    /// The state of one transaction's attempts.
    pub fn start(&self) -> Attempts<'_> {
        Attempts { policy: self, done: 0, turn: None }
    }

    fn queue(&self, key: &Key) -> Arc<Turn<()>> {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get(key).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Turn::new(()));
        queues.insert(key.clone(), Arc::downgrade(&queue));
        queue
    }
}

/// One transaction's attempts so far. Holds its place in a queue until it is dropped or loses again.
#[derive(Debug)]
pub struct Attempts<'p> {
    policy: &'p RetryPolicy,
    done: u32,
    turn: Option<(Key, OwnedMutexGuard<()>)>,
}

impl Attempts<'_> {
    /// Whether to try again after this failure; waits before it says yes.
    pub async fn retry_after(&mut self, failure: Option<&Error>) -> bool {
        self.done += 1;
        let Some(failure) = failure.filter(|failure| failure.is_retryable()) else {
            return false;
        };
        if self.done >= self.policy.max_attempts {
            return false;
        }
        match failure.contended() {
            // Keep the place: who lost in its turn lost to another process or to a first attempt.
            Some(key) if self.turn.as_ref().is_some_and(|(held, _)| held == key) => self.pause().await,
            Some(key) => {
                // Never hold one queue while waiting for another: that could deadlock.
                self.turn = None;
                let turn = self.policy.queue(key).lock_owned();
                self.turn = tokio::time::timeout(LONGEST_WAIT, turn).await.ok().map(|guard| (key.clone(), guard));
            }
            None => {
                self.turn = None;
                self.pause().await;
            }
        }
        true
    }

    async fn pause(&self) {
        let doubled = self.policy.base_pause.saturating_mul(1 << self.done.min(16));
        let longest = doubled.min(self.policy.max_pause);
        let pause = longest.mul_f64(self.policy.random.lock().random_range(0.0..=1.0));
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Error {
        Error::serialization_failure().with_contended(Key::from_static(b"0000key"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_losers_of_a_key_take_turns() {
        let policy = RetryPolicy::default();
        let (mut first, mut second) = (policy.start(), policy.start());
        assert!(first.retry_after(Some(&lost())).await);
        let waiting = async {
            assert!(second.retry_after(Some(&lost())).await);
            assert!(second.turn.is_some());
        };
        let done = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let begun = tokio::time::Instant::now();
        tokio::join!(waiting, done);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_inside_another_does_not_wait_for_it_for_ever() {
        let policy = RetryPolicy::default();
        let mut outer = policy.start();
        assert!(outer.retry_after(Some(&lost())).await);
        let mut inner = policy.start();
        assert!(inner.retry_after(Some(&lost())).await);
        assert!(inner.turn.is_none());
    }
}
