//! How long a part waits before it looks at the state again.
//!
//! In this first form parts poll: the `Database` trait offers no watch yet. A part that found work looks again at once, one that found
//! none waits twice as long as the last time, within bounds, so that an idle cloud costs little and a busy one answers quickly.

use std::time::Duration;

/// A pause that doubles from `shortest` to `longest` while nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    shortest: Duration,
    longest: Duration,
    current: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_millis(120))
    }
}

impl Patience {
    /// A pause within these bounds.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, current: shortest }
    }

    /// Work was found.
    pub fn reset(&mut self) {
        self.current = self.shortest;
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.current;
        self.current = pause.saturating_mul(2).min(self.longest);
        pause
    }
}
