//! What a point select on Redis costs beside a million unrelated keys, and in a table of a million rows: time, and commands as the server counts them.
//!
//! Fails where a select takes more than one command. Takes the server of `ROME_TEST_REDIS_URL`; what it writes there it removes, except the table.

use bench::back_end::{self, BackEnd};
use bench::relational::{account_table, fill_accounts, select_account};
use bench::subject::expect_rows;
use bench::{Failure, Result};
use redis::aio::MultiplexedConnection;
use redis::{cmd, pipe};
use rome::{Database, Queryable};
use std::time::{Duration, Instant};

/// Rows of the table at first.
const FEW: i64 = 1_000;
/// Rows of the table at last, and unrelated keys.
const MANY: i64 = 1_000_000;
/// Selects of one measurement.
const SELECTS: i64 = 20_000;
/// Keys written by one pipeline.
const KEYS_AT_ONCE: i64 = 10_000;
/// How long the server is left alone before a measurement, once it has no work of its own.
const REST: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = back_end::server_url(BackEnd::RedisFsync)?;
    let mut server = bench::raw::redis::connect(&url).await?;
    let database = back_end::empty(BackEnd::RedisFsync).await?.database;
    database.execute(account_table("account")).await?;
    fill_accounts(database.as_ref(), "account", 0, FEW).await?;
    println!("| rows in the table | unrelated keys in the server | median µs | p99 µs | commands per select |");
    println!("|---:|---:|---:|---:|---:|");
    measure(database.as_ref(), &mut server, FEW, 0).await?;
    write_unrelated(&mut server).await?;
    measure(database.as_ref(), &mut server, FEW, MANY).await?;
    remove_unrelated(&mut server).await?;
    fill_accounts(database.as_ref(), "account", FEW, MANY).await?;
    measure(database.as_ref(), &mut server, MANY, 0).await?;
    Ok(())
}

async fn measure(database: &dyn Database, server: &mut MultiplexedConnection, rows: i64, unrelated: i64) -> Result<()> {
    let select = async |turn: i64| -> Result<()> {
        expect_rows(database.query(select_account(turn * 7_919 % rows)).await?.len(), 1)
    };
    rest(server).await?;
    for turn in 0..1_000 {
        select(turn).await?;
    }
    cmd("CONFIG").arg("RESETSTAT").exec_async(server).await?;
    let mut times_ns = Vec::new();
    for turn in 0..SELECTS {
        let begun = Instant::now();
        select(turn).await?;
        times_ns.push(begun.elapsed().as_nanos());
    }
    let commands = commands_served(server).await?;
    times_ns.sort_unstable();
    let percentile = |percent: usize| -> f64 {
        let nanoseconds = times_ns.get(times_ns.len() * percent / 100).copied().unwrap_or_default();
        nanoseconds as f64 / 1000.0
    };
    let per_select = commands as f64 / SELECTS as f64;
    println!("| {rows} | {unrelated} | {:.1} | {:.1} | {per_select} |", percentile(50), percentile(99));
    match i64::try_from(commands) {
        Ok(SELECTS) => Ok(()),
        _ => Err(Failure::from(format!("{commands} commands for {SELECTS} selects"))),
    }
}

/// Waits until the server has rewritten its log, which it does after many writes: processors that are awake anyway answer sooner.
async fn rest(server: &mut MultiplexedConnection) -> Result<()> {
    loop {
        tokio::time::sleep(REST).await;
        let state: String = cmd("INFO").arg("persistence").query_async(server).await?;
        if state.contains("aof_rewrite_in_progress:0") && state.contains("rdb_bgsave_in_progress:0") {
            return Ok(());
        }
    }
}

/// Calls since the counters were reset, without those that read and reset them.
async fn commands_served(server: &mut MultiplexedConnection) -> Result<u64> {
    let statistics: String = cmd("INFO").arg("commandstats").query_async(server).await?;
    let mut calls = 0;
    for line in statistics.lines() {
        let Some((command, figures)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':')) else {
            continue;
        };
        if command.starts_with("config") || command == "info" {
            continue;
        }
        let figure = figures.split(',').find_map(|figure| figure.strip_prefix("calls="));
        calls += figure.ok_or("INFO commandstats without calls")?.parse::<u64>()?;
    }
    Ok(calls)
}

fn unrelated_key(number: i64) -> String {
    format!("unrelated:{number}")
}

async fn write_unrelated(server: &mut MultiplexedConnection) -> Result<()> {
    for first in (0..MANY).step_by(usize::try_from(KEYS_AT_ONCE)?) {
        let mut write = pipe();
        for number in first..first + KEYS_AT_ONCE {
            write.set(unrelated_key(number), "a value of another application").ignore();
        }
        write.exec_async(server).await?;
    }
    Ok(())
}

async fn remove_unrelated(server: &mut MultiplexedConnection) -> Result<()> {
    for first in (0..MANY).step_by(usize::try_from(KEYS_AT_ONCE)?) {
        let keys: Vec<String> = (first..first + KEYS_AT_ONCE).map(unrelated_key).collect();
        pipe().unlink(keys).ignore().exec_async(server).await?;
    }
    Ok(())
}
