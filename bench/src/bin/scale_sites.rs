//! What operations cost with 3, 10, 30 and 100 sites of 10,000 rows each: the tables of `docs/scale.md`, counted on memory stores (see [`bench::sites`]).
//!
//! ```text
//! cargo run --release -p bench --bin scale_sites -- --write docs/scale.md
//! cargo run --release -p bench --bin scale_sites -- 3 5                      # other numbers of sites
//! ```
//!
//! Nothing is timed: a debug build counts the same, in some minutes.

use bench::sites::world::{Cost, ROWS, World};
use bench::wide::tables;
use bench::{Failure, Result};
use std::fs;
use std::path::PathBuf;

const USAGE: &str = "usage: scale_sites [--write FILE] [SITES..], each 3 to 1,000";

/// Numbers of sites where the command line names none.
const SITES: [usize; 4] = [3, 10, 30, 100];

// One thread and virtual time: the clock moves on when everybody waits.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (mut named, mut file) = (vec![], None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), argument.parse::<usize>()) {
            ("--write", _) => file = Some(PathBuf::from(arguments.next().ok_or(USAGE)?)),
            (_, Ok(sites)) if (3..=1_000).contains(&sites) => named.push(sites),
            _ => return Err(Failure::from(USAGE)),
        }
    }
    let sites = if named.is_empty() { SITES.to_vec() } else { named };
    tokio::time::pause();
    let mut columns: Vec<(usize, Vec<Cost>)> = vec![];
    let mut held = vec![];
    for sites in sites {
        let world = World::fill(sites).await?;
        let rows = world.rows().await?;
        if rows != i64::try_from(sites)? * ROWS {
            return Err(Failure::from(format!("{rows} rows at {sites} sites")));
        }
        held.push(format!("| {sites} | {} | {rows} | {:.0} |", sites * 100, resident_mb()?));
        columns.push((sites, world.measure().await?));
        eprintln!("{sites} sites are done");
    }
    let mut text = "| sites | hosts | rows | resident memory of the process, MB |\n|---:|---:|---:|---:|\n".to_owned();
    text += &(held.join("\n") + "\n");
    for (title, figure) in TABLES {
        text += &format!("\n{title}\n\n{}", table(&columns, figure));
    }
    println!("{text}");
    match file {
        Some(file) => tables::write(&file, &text),
        None => Ok(()),
    }
}

/// What a table shows of a cost.
type Figure = fn(&Cost) -> String;

const TABLES: [(&str, Figure); 4] = [
    ("Round trips between sites until the answer:", |cost| format!("{}", cost.trips)),
    ("Other sites that are asked:", |cost| cost.passed.asked.len().to_string()),
    ("Requests, to this site's store and to others' (those that follow the answer among them):", |cost| {
        format!("{} + {}", cost.passed.near.requests, cost.passed.far.requests)
    }),
    ("Bytes of keys and values between sites, both ways:", |cost| cost.passed.far.bytes.to_string()),
];

fn table(columns: &[(usize, Vec<Cost>)], figure: Figure) -> String {
    let mut text = "| operation |".to_owned();
    columns.iter().for_each(|(sites, _)| text += &format!(" {sites} sites |"));
    text += &format!("\n|---|{}\n", "---:|".repeat(columns.len()));
    for (at, cost) in columns.first().map(|(_, costs)| costs.as_slice()).unwrap_or_default().iter().enumerate() {
        let figures = columns.iter().filter_map(|(_, costs)| costs.get(at)).map(figure);
        text += &format!("| {} | {} |\n", cost.operation, figures.collect::<Vec<_>>().join(" | "));
    }
    text
}

fn resident_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(held.trim().trim_end_matches(" kB").parse::<f64>()? / 1000.0)
}
