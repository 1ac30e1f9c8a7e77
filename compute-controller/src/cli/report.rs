//! What is printed of a burst.

use super::burst::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A progress bar; invisible where the output is no terminal.
pub fn progress(total: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("  {msg:<9} [{bar:40}] {pos}/{len}  {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(doing);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The value below which `percent` of the sorted values lie, by nearest rank.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Prints how a burst went.
pub fn print_burst(outcome: &Outcome) {
    let seconds = outcome.took.as_secs_f64();
    let rate = if seconds > 0.0 { outcome.active as f64 / seconds } else { 0.0 };
    println!("  {} of {} servers ACTIVE after {seconds:.2} s ({rate:.0} a second)", outcome.active, outcome.count);
    for (message, count) in &outcome.errors {
        println!("  {count} failed: {message}");
    }
    println!();
    println!("  {:<18} {:>9} {:>9} {:>9} {:>9}", "", "p50", "p95", "p99", "max");
    for (what, values) in [("create to ACTIVE", &outcome.to_active), ("POST /servers", &outcome.requests)] {
        let [p50, p95, p99, max] = [50, 95, 99, 100].map(|percent| percentile(values, percent).as_secs_f64() * 1000.0);
        println!("  {what:<18} {p50:>6.0} ms {p95:>6.0} ms {p99:>6.0} ms {max:>6.0} ms");
    }
    println!();
    println!("  {:<18} {:>9} {:>9} {:>9} {:>9}", "spread", "servers", "hosts", "least", "most");
    for (site, hosts) in &outcome.spread {
        let servers: usize = hosts.values().sum();
        let least = hosts.values().min().copied().unwrap_or_default();
        let most = hosts.values().max().copied().unwrap_or_default();
        println!("  {site:<18} {servers:>9} {:>9} {least:>9} {most:>9}", hosts.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50), Duration::from_millis(100));
        assert_eq!(percentile(&values, 99), Duration::from_millis(198));
        assert_eq!(percentile(&values, 100), Duration::from_millis(200));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
