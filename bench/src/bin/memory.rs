//! What a process holds while it streams a scan of a million rows with a filter: the peak of its resident memory, as the kernel counts it.
//!
//! The table is filled by another process, this program again, so that only the scan is measured. Fails above the limit.

use bench::relational::{account_table, fill_accounts};
use bench::subject::expect_rows;
use bench::{Failure, Result};
use futures::TryStreamExt;
use rome::Queryable;
use std::env;
use std::fs;
use std::process::Command;
use tempfile::TempDir;
use uuid::Uuid;

/// Rows of the table.
const ROWS: i64 = 1_000_000;
/// Rows that pass the filter: balances are the ids modulo 1,000.
const PASSING: i64 = ROWS / 1_000 * 10;
/// The most that the process may hold.
const LIMIT_KB: u64 = 200_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => on_each_store(),
        ["fill", url] => fill(url).await,
        ["scan", url] => scan(url).await,
        _ => Err(Failure::from("usage: memory [fill URL | scan URL]")),
    }
}

fn on_each_store() -> Result<()> {
    let directory = TempDir::new()?;
    let mut urls = vec![("embedded", format!("embedded:{}/scan.rome", directory.path().display()))];
    match env::var("ROME_TEST_REDIS_URL") {
        Ok(url) => urls.push(("redis", format!("{url}?namespace=scan_{}", Uuid::new_v4().simple()))),
        Err(_) => eprintln!("redis is left out: ROME_TEST_REDIS_URL is not set"),
    }
    println!("| store | rows | passing the filter | peak resident memory, MB |");
    println!("|---|---:|---:|---:|");
    for (store, url) in urls {
        run(&["fill", &url])?;
        let peak_kb: u64 = run(&["scan", &url])?.trim().parse()?;
        println!("| {store} | {ROWS} | {PASSING} | {:.0} |", peak_kb as f64 / 1000.0);
        if peak_kb > LIMIT_KB {
            return Err(Failure::from(format!("{peak_kb} kB are more than {LIMIT_KB}")));
        }
    }
    Ok(())
}

/// Runs this program in a process of its own; its output.
fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env::current_exe()?).args(arguments).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(Failure::from(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

async fn fill(url: &str) -> Result<()> {
    let database = rome::connect(url).await?;
    database.execute(account_table("account")).await?;
    fill_accounts(database.as_ref(), "account", 0, ROWS).await
}

async fn scan(url: &str) -> Result<()> {
    let database = rome::connect(url).await?;
    let mut rows = database.stream("SELECT id, owner FROM account WHERE balance < 10").await?;
    let mut found = 0;
    while rows.try_next().await?.is_some() {
        found += 1;
    }
    expect_rows(found, PASSING)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    println!("{}", peak.trim().trim_end_matches(" kB"));
    Ok(())
}
