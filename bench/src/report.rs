//! criterion's results as one Markdown table.

use crate::Result;
use crate::back_end::BackEnd;
use crate::subject::Operation;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Begins the names of benchmarks of a store's own client.
pub const RAW: &str = "raw ";

/// Median times in nanoseconds by operation and subject, both as in [`Operation::name`] and [`BackEnd::name`].
pub type Medians = HashMap<(String, String), f64>;

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    value_str: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Reads the newest results from criterion's directory, usually `target/criterion`.
///
/// # Errors
/// Where a file of criterion's is not as it writes them.
pub fn read(criterion: &Path) -> Result<Medians> {
    let mut medians = Medians::new();
    for group in fs::read_dir(criterion).map_err(|error| format!("{}: {error}", criterion.display()))? {
        let group = group?.path();
        if !group.is_dir() {
            continue;
        }
        for benchmark in fs::read_dir(group)? {
            let newest = benchmark?.path().join("new");
            let (benchmark, estimates) = (newest.join("benchmark.json"), newest.join("estimates.json"));
            if !benchmark.is_file() || !estimates.is_file() {
                continue;
            }
            let benchmark: Benchmark = serde_json::from_slice(&fs::read(benchmark)?)?;
            let estimates: Estimates = serde_json::from_slice(&fs::read(estimates)?)?;
            if let Some(subject) = benchmark.value_str {
                medians.insert((benchmark.group_id, subject), estimates.median.point_estimate);
            }
        }
    }
    Ok(medians)
}

/// The table: how long each operation takes, and how many times faster (above 1) or slower (below 1) that is than the others.
#[must_use]
pub fn table(medians: &Medians) -> String {
    let mut table = String::from(
        "| operation | back end (a write survives) | median µs | raw client, µs | speed / raw | speed / MariaDB | speed / PostgreSQL |\n\
         |---|---|---:|---:|---:|---:|---:|\n",
    );
    for operation in Operation::ALL {
        let median = |subject: &str| medians.get(&(operation.name().to_owned(), subject.to_owned())).copied();
        for back_end in BackEnd::ALL {
            let Some(own) = median(back_end.name()) else { continue };
            let raw = median(&format!("{RAW}{}", back_end.name()));
            let against = |other: BackEnd| if back_end.is_sql() { None } else { ratio(median(other.name()), own) };
            let _ = writeln!(
                table,
                "| {} | {} | {:.1} | {} | {} | {} | {} |",
                operation.name(),
                back_end.name(),
                own / 1000.0,
                raw.map_or_else(String::new, |raw| format!("{:.1}", raw / 1000.0)),
                shown(ratio(raw, own)),
                shown(against(BackEnd::MariaDb)),
                shown(against(BackEnd::Postgres)),
            );
        }
    }
    table
}

fn ratio(other: Option<f64>, own: f64) -> Option<f64> {
    other.map(|other| other / own)
}

fn shown(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_with_the_raw_client_and_the_sql_servers() {
        let select = Operation::Select.name().to_owned();
        let medians = Medians::from([
            ((select.clone(), "redis (fsync)".to_owned()), 50_000.0),
            ((select.clone(), "raw redis (fsync)".to_owned()), 40_000.0),
            ((select, "postgres (fsync)".to_owned()), 100_000.0),
        ]);
        let table = table(&medians);
        assert!(table.contains("| point select | redis (fsync) | 50.0 | 40.0 | 0.80 |  | 2.00 |"), "{table}");
        assert!(table.contains("| point select | postgres (fsync) | 100.0 |  |  |  |  |"), "{table}");
    }
}
