//! A client at a site whose clock a test has set wrong. It works until it is killed and says what it was told, a line each and at once; it ends by itself only
//! when it has found a mistake.
//!
//! ```text
//! astray URLS SITE PREFIX
//!
//! transfer REFERENCE             a transfer that was acknowledged
//! id UUID MILLIS                 an identifier that was inserted, and now() as the database gave it, since 1970
//! read UPTIME STALENESS N        what a copy of the global table held, how stale it was said to be, and when it was asked; in milliseconds
//! ```
//!
//! The machine's uptime is the clock that all processes agree on.

#![allow(clippy::expect_used, clippy::print_stdout)]

use rome_core::database::{Database, Executor, IntoStatement, Queryable, ReadMode, RomeDatabase};
use rome_tests::sites::astray::{self, uptime};
use rome_tests::sites::{SITES, Stop, Told, Urls, bank, options};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, urls, site, prefix] = arguments.as_slice() else {
        eprintln!("usage: astray URLS SITE PREFIX");
        std::process::exit(2);
    };
    let site = SITES.into_iter().find(|name| name == site).expect("a site of the test");
    let sites = Arc::new(Urls::parse(urls));
    let db = Arc::new(RomeDatabase::open_sites(site, sites, options()).await.expect("the local store is there"));
    let any = || Arc::clone(&db) as Arc<dyn Database>;
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(bank::transfer(any(), site, prefix.clone(), Stop::default(), sender));
    tasks.spawn(bank::audit(any(), Arc::new(AtomicU64::new(0)), Stop::default()));
    tasks.spawn(identifiers(any(), site));
    tasks.spawn(stale_reads(Arc::clone(&db)));
    tasks.spawn(async move {
        while let Some((reference, told)) = outcomes.recv().await {
            if told == Told::Done {
                say(&format!("transfer {reference}"));
            }
        }
    });
    // A task that has found a mistake has said so.
    tasks.join_next().await;
    std::process::exit(1);
}

/// Inserts rows whose identifiers the database makes.
async fn identifiers(db: Arc<dyn Database>, site: &'static str) {
    loop {
        let insert = "INSERT INTO tick VALUES ($1, rome_id(), now()) RETURNING id, at";
        let inserted = db.query_one::<astray::Tick, _>((insert, [site.into()])).await;
        // No two are ever the same: that is an error which this does not accept.
        if Told::by(&inserted) == Told::Done
            && let Ok((id, at)) = inserted
        {
            say(&format!("id {id} {}", at.timestamp_millis()));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reads the copy at this site.
async fn stale_reads(db: Arc<RomeDatabase>) {
    loop {
        let asked = uptime();
        let mode = ReadMode::Stale { max: Duration::from_secs(10) };
        let read = db.run_reading("SELECT n FROM beat WHERE id = 0".into_statement(), mode).await;
        if Told::by(&read) == Told::Done
            && let Ok(result) = read
            && let Some(staleness) = result.report.staleness
        {
            let n: Option<i64> = result.rows.first().and_then(|row| row.get_at(0).ok());
            say(&format!("read {asked} {} {}", staleness.as_millis(), n.expect("the table has one row")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// One write to the pipe, so that a line is there whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the test listens");
}
