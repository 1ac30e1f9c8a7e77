//! The results as Markdown, with everything said that they depend on.

use super::dialect::System;
use super::mix;
use super::operations::{self, Operation};
use super::settings::{MARKER, Settings};
use crate::{Failure, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What was measured on.
#[must_use]
pub fn machine(settings: &Settings) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let build = if cfg!(debug_assertions) { "debug build: worth nothing" } else { "release build" };
    format!(
        "Measured on {cores} cores of {model}, which clients, network and servers share; load average before: {load}; {build}.\n\
         {} sites. Each point: the median of {} runs of {:.1} s. Delays are round trips between any two sites.\n\
         Durability: {}. Data on {} (TMPDIR says where; on tmpfs flushing costs nothing, on any side).\n",
        settings.sites,
        settings.runs,
        settings.time.as_secs_f64(),
        "Rome on Redis with `appendfsync always` at each site; PostgreSQL with `fsync` and `synchronous_commit` on; MariaDB with \
         `innodb_flush_log_at_trx_commit=1`: each commit is flushed before it is acknowledged. All transactions are serializable",
        file_system()
    )
}

/// What kind of file system the servers that this program starts write to.
fn file_system() -> String {
    let directory = std::env::temp_dir();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        directory.starts_with(place).then_some((place.len(), kind))
    });
    mounted.max().map_or("?", |(_, kind)| kind).to_owned()
}

/// The versions of the servers' programs on this machine.
#[must_use]
pub fn versions() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    };
    let known: Vec<String> = ["redis-server", "psql", "/usr/sbin/mariadbd"].into_iter().filter_map(version).collect();
    format!("Programs: {}.\n", known.join("; "))
}

/// Single operations.
#[must_use]
pub fn operations(points: &[operations::Point], settings: &Settings) -> String {
    let centrals = [System::Postgres, System::MariaDb];
    let centrals: Vec<System> =
        centrals.into_iter().filter(|system| points.iter().any(|point| point.system == *system)).collect();
    let mut text = format!(
        "One client at each of the {} sites where the central server is not. Round trips: what the delay adds to Rome's p50, divided by it. \
         Requests: of Rome to other sites for each operation, those after the answer among them. Ratio: the central server's p50 divided by Rome's.\n\n",
        settings.sites - 1
    );
    text += "| operation | delay, ms round trip | Rome p50 ms | p99 ms | per s | round trips | at most | requests |";
    let mut line = "|---|---:|---:|---:|---:|---:|---:|---:|".to_owned();
    for central in &centrals {
        let _ = write!(text, " {} p50 ms | p99 ms | per s | ratio |", central.name());
        line += "---:|---:|---:|---:|";
    }
    let _ = writeln!(text, "\n{line}");
    for operation in Operation::ALL {
        for delay in &settings.delays {
            let find = |system: System, delay: Duration| {
                points.iter().find(|point| (point.system, point.operation, point.delay) == (system, operation, delay))
            };
            let Some(rome) = find(System::Rome, *delay) else { continue };
            let base = settings.delays.first().and_then(|base| find(System::Rome, *base));
            let trips = base.filter(|base| base.delay != *delay).map(|base| {
                let added = rome.p50_ms - base.p50_ms;
                format!("{:.2}", added / (*delay - base.delay).as_secs_f64() / 1e3)
            });
            let _ = write!(
                text,
                "| {} | {} | {:.2} | {:.2} | {:.0} | {} | {} | {:.2} |",
                operation.name(),
                delay.as_millis(),
                rome.p50_ms,
                rome.p99_ms,
                rome.per_second,
                trips.unwrap_or_default(),
                operation.budget(),
                rome.far_requests
            );
            for central in &centrals {
                if let Some(point) = find(*central, *delay) {
                    let ratio = point.p50_ms / rome.p50_ms;
                    let _ = write!(
                        text,
                        " {:.2} | {:.2} | {:.0} | {ratio:.2} |",
                        point.p50_ms, point.p99_ms, point.per_second
                    );
                }
            }
            text.push('\n');
        }
    }
    text + &local_work(points, settings)
}

/// Whether distance is felt by what does not leave its site.
fn local_work(points: &[operations::Point], settings: &Settings) -> String {
    let mut text =
        "\nLocal work beside itself without delays: p50 at the delay divided by p50 at the first one.\n\n".to_owned();
    text += "| operation | delay, ms round trip | p50 divided by p50 without | wanted |\n|---|---:|---:|---:|\n";
    for operation in Operation::ALL.into_iter().filter(|operation| operation.budget() == 0) {
        let mine = points.iter().filter(|point| (point.system, point.operation) == (System::Rome, operation));
        let base = mine.clone().find(|point| settings.delays.first() == Some(&point.delay));
        for point in mine.filter(|point| settings.delays.first() != Some(&point.delay)) {
            let ratio = point.p50_ms / base.map_or(f64::NAN, |base| base.p50_ms);
            let _ =
                writeln!(text, "| {} | {} | {ratio:.2} | at most 1.10 |", operation.name(), point.delay.as_millis());
        }
    }
    text
}

/// The mix.
#[must_use]
pub fn mix(points: &[mix::Point], settings: &Settings) -> String {
    let mut text = format!(
        "Clients at each of the {} sites where the central server is not. {} warehouses at each site; of all transactions a tenth has a part at another site. Kept: transactions a second at the delay divided by those \
         without, with as many clients. Attempts: for each transaction, 1 where none lost. Requests: of Rome to other sites for each transaction with \
         a part at another. The books balance after each row's runs.\n\n",
        settings.sites - 1,
        settings.warehouses
    );
    text += "| system | clients at each site | delay, ms round trip | per s | kept | local p50 ms | p99 ms | remote p50 ms | p99 ms | attempts | requests |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    let delays = mix::delays(settings);
    let rate = |system: System, clients: usize, delay: Duration| {
        points.iter().find(|at| (at.system, at.clients, at.delay) == (system, clients, delay)).map(|at| at.per_second)
    };
    for point in points {
        let kept = delays
            .first()
            .filter(|base| **base != point.delay)
            .and_then(|base| Some(format!("{:.2}", point.per_second / rate(point.system, point.clients, *base)?)));
        // A point in which there was none of a kind has no time for it.
        let ms = |ms: f64| if ms.is_nan() { "-".to_owned() } else { format!("{ms:.1}") };
        let [local_50, local_99] = point.local_ms.map(ms);
        let [remote_50, remote_99] = point.remote_ms.map(ms);
        let requests = if point.system == System::Rome { format!("{:.1}", point.far_requests) } else { String::new() };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} | {} | {local_50} | {local_99} | {remote_50} | {remote_99} | {:.2} | {requests} |",
            point.system.name(),
            point.clients,
            point.delay.as_millis(),
            point.per_second,
            kept.unwrap_or_default(),
            point.attempts
        );
    }
    text + &best(points, &delays)
}

/// The most that each system did at each delay, whatever number of clients that took.
fn best(points: &[mix::Point], delays: &[Duration]) -> String {
    let mut text =
        "\nThe most that each does, whatever number of clients it takes (kept: wanted of Rome is at least 0.80).\n\n"
            .to_owned();
    text += "| system | delay, ms round trip | most per s | clients at each site | kept | Rome's most divided by this |\n|---|---:|---:|---:|---:|---:|\n";
    let most = |system: System, delay: Duration| {
        let mine = points.iter().filter(|point| (point.system, point.delay) == (system, delay));
        mine.max_by(|one, other| one.per_second.total_cmp(&other.per_second))
    };
    for system in [System::Rome, System::Postgres, System::MariaDb] {
        for delay in delays {
            let (Some(point), Some(base)) = (most(system, *delay), delays.first().and_then(|base| most(system, *base)))
            else {
                continue;
            };
            let beside = most(System::Rome, *delay).map_or(f64::NAN, |rome| rome.per_second / point.per_second);
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} | {} | {:.2} | {beside:.2} |",
                system.name(),
                delay.as_millis(),
                point.per_second,
                point.clients,
                point.per_second / base.per_second
            );
        }
    }
    text
}

/// Puts the tables into a file, in place of what is below its marker.
///
/// # Errors
/// The file's; where it has no marker.
pub fn write(path: &Path, tables: &str) -> Result<()> {
    let before = fs::read_to_string(path)?;
    let (text, _) =
        before.split_once(MARKER).ok_or_else(|| Failure::from(format!("{} has no line {MARKER}", path.display())))?;
    Ok(fs::write(path, format!("{text}{MARKER}\n\n{tables}"))?)
}
