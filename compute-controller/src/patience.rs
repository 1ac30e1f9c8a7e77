//! How long a part waits before it looks at the state again.
//!
//! A part that found work looks again at once, one that found none waits twice as long as the last time, within bounds, so that an idle cloud
//! costs little and a busy one answers quickly. Where a [`Doorbell`] tells when there is work, a part that has none only looks to be sure.

use crate::doorbell::Doorbell;
use std::time::Duration;

/// The pause of a part that has nothing to do and hears when it has.
const LONGEST_BESIDE_BELL: Duration = Duration::from_secs(5);

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

    /// The next pause of a part that hears a bell, or does not.
    pub fn next_pause_beside(&mut self, bell: &Doorbell) -> Duration {
        let idle = self.current >= self.longest;
        let pause = self.next_pause();
        if idle && bell.is_heard() { LONGEST_BESIDE_BELL } else { pause }
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.current;
        self.current = pause.saturating_mul(2).min(self.longest);
        pause
    }
}
