//! Closed loops: each client begins its next operation when the last one is answered.

use crate::Result;
use futures::future::{BoxFuture, try_join_all};
use std::time::{Duration, Instant};

/// What clients did in a given time.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// How long each operation took, in µs, in ascending order.
    latencies_us: Vec<u64>,
    time: Duration,
}

impl Samples {
    /// Of these latencies in µs, within a time.
    #[must_use]
    pub fn new(mut latencies_us: Vec<u64>, time: Duration) -> Self {
        latencies_us.sort_unstable();
        Self { latencies_us, time }
    }

    /// How many operations were answered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.latencies_us.len()
    }

    /// The time that so many percent of the operations did not exceed, in ms.
    #[must_use]
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.latencies_us.len() * percent / 100).min(self.latencies_us.len().saturating_sub(1));
        self.latencies_us.get(at).map_or(f64::NAN, |latency| *latency as f64 / 1e3)
    }

    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.time.as_secs_f64()
    }
}

/// One client: called again and again, it says what each call was.
pub type Client<K> = Box<dyn FnMut() -> BoxFuture<'static, Result<K>> + Send>;

/// Runs all clients side by side for a time. What was begun in time but answered later is left to end and not counted.
///
/// # Errors
/// The first of a client, which ends them all.
pub async fn run<K: Send + 'static>(clients: Vec<Client<K>>, time: Duration) -> Result<Vec<(K, u64)>> {
    let begun = Instant::now();
    let loops = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let mut done = vec![];
            loop {
                let started = Instant::now();
                let kind = client().await?;
                if begun.elapsed() > time {
                    return Ok::<_, crate::Failure>(done);
                }
                done.push((kind, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)));
            }
        })
    });
    let mut all = vec![];
    for done in try_join_all(loops).await? {
        all.extend(done?);
    }
    Ok(all)
}

/// The median.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians() {
        let samples = Samples::new((1..=200).rev().map(|number| number * 1_000).collect(), Duration::from_secs(2));
        assert_eq!((samples.percentile_ms(50), samples.percentile_ms(99), samples.rate()), (101.0, 199.0, 100.0));
        assert!(Samples::default().percentile_ms(50).is_nan());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_ends_all() {
        let failing: Client<()> = Box::new(|| Box::pin(async { Err("broken".into()) }));
        assert!(run(vec![failing], Duration::from_secs(1)).await.is_err());
    }
}
