//! Client processes whose clocks are wrong, and what must hold of what they say: see the program `astray`.
//!
//! ```text
//! tick  site, id, at      rows whose identifiers are made by rome_id(); unique over all sites
//! beat  id, n             one row of a global table: when it was written last, by the machine's uptime
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::{SITES, Stop, Told, World};
use chrono::{DateTime, Utc};
use rome_core::database::{Database, Queryable};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use uuid::Uuid;

/// Where Debian's package `faketime` has the library that shifts a process's clock.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// What the uptime may be off by: it is told in hundredths of a second.
const GRAIN_MS: u64 = 10;

/// An identifier with the time of its transaction.
pub type Tick = (Uuid, DateTime<Utc>);

/// How long the machine has been up, in milliseconds: a clock that nobody can set, the same for all processes.
///
/// # Panics
/// Where there is no `/proc`.
pub fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("Linux tells its uptime");
    let hundredths = text.split(' ').next().expect("a number").replace('.', "");
    hundredths.parse::<u64>().expect("a number with two decimals") * 10
}

/// Creates the tables.
pub async fn open(db: &dyn Database) {
    for statement in [
        "CREATE TABLE tick (site text NOT NULL, id uuid PRIMARY KEY, at timestamptz NOT NULL) WITH (placement = 'by_site(site)')",
        "CREATE TABLE beat (id bigint PRIMARY KEY, n bigint NOT NULL) WITH (placement = 'global(pisa)')",
        "INSERT INTO beat VALUES (0, 0)",
    ] {
        db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Writes the global table at its home until it is time to stop; returns when each write that was acknowledged began, which is what it wrote, and when it
/// was acknowledged.
pub async fn beat(db: Arc<dyn Database>, stop: Stop) -> Vec<(u64, u64)> {
    let mut beats = vec![];
    while !stop.is_now() {
        let begun = uptime();
        let update = "UPDATE beat SET n = $1 WHERE id = 0";
        let updated = db.execute((update, [i64::try_from(begun).expect("not that long").into()])).await;
        if Told::by(&updated) == Told::Done {
            beats.push((begun, uptime()));
        }
        // With pauses, in which a copy is seen to miss nothing.
        sleep(Duration::from_millis(800)).await;
    }
    beats
}

/// What a process has said.
#[derive(Debug, Default)]
pub struct Said {
    /// Acknowledged transfers.
    pub transfers: Vec<String>,
    /// Identifiers, and what its clock showed, in milliseconds since 1970.
    pub ids: Vec<(Uuid, i64)>,
    /// When it asked for the global table's row, how stale the answer was said to be, and what it was.
    pub reads: Vec<(u64, u64, u64)>,
}

/// A client process with a clock of its own.
pub struct Astray {
    child: Child,
    /// The clock's offset, which the library reads again each second.
    clock: PathBuf,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Astray {
    /// Starts the program with a clock that is off by so much, as in `+1h`; `directory` keeps the offset.
    ///
    /// # Panics
    /// Where the library is not installed.
    pub fn start(program: &str, world: &World, site: &str, offset: &str, directory: &Path) -> Self {
        assert!(Path::new(LIBRARY).exists(), "{LIBRARY} is missing (scripts/servers install)");
        let clock = directory.join(site);
        let mut astray = Command::new(program);
        astray.args([world.urls(site).text().as_str(), site, &format!("astray-{site}")]);
        astray.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", &clock);
        astray.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        set(&clock, offset);
        let mut child = astray.stdout(Stdio::piped()).spawn().expect("the program was built with the tests");
        let (sender, lines) = mpsc::unbounded_channel();
        let output = BufReader::new(child.stdout.take().expect("the output is a pipe")).lines();
        std::thread::spawn(move || output.map_while(std::io::Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, clock, lines }
    }

    /// Sets its clock.
    pub fn set(&self, offset: &str) {
        set(&self.clock, offset);
    }

    /// Kills it; returns all that it has said.
    ///
    /// # Panics
    /// Where it has ended before, because it had found a mistake.
    pub async fn kill(mut self) -> Said {
        let ended = self.child.try_wait().expect("it is a child of this process");
        assert!(ended.is_none(), "a client with a wrong clock has ended, it says why above: {ended:?}");
        self.child.kill().expect("it is a child of this process");
        self.child.wait().expect("it is a child of this process");
        let mut said = Said::default();
        while let Some(line) = self.lines.recv().await {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            match words[0] {
                "transfer" => said.transfers.push(words[1].to_owned()),
                "id" => said.ids.push((words[1].parse().expect("a uuid"), words[2].parse().expect("a number"))),
                "read" => said.reads.push((number(1), number(2), number(3))),
                other => panic!("it does not say {other}"),
            }
        }
        said
    }
}

impl Drop for Astray {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set(clock: &Path, offset: &str) {
    std::fs::write(clock, format!("{offset}\n")).expect("the directory is writable");
}

/// Checks that identifiers are there once each, and that copies were as current as they were said to be.
///
/// # Panics
/// Where they are not.
pub async fn inspect(db: &dyn Database, said: &BTreeMap<&str, Said>, beats: &[(u64, u64)]) {
    let found: Vec<(String, Uuid)> = db.query_as("SELECT site, id FROM tick").await.unwrap();
    let distinct: BTreeSet<Uuid> = found.iter().map(|row| row.1).collect();
    assert_eq!(distinct.len(), found.len(), "an identifier was made twice");
    let told: usize = said.values().map(|said| said.ids.len()).sum();
    println!("{} identifiers, {told} of them acknowledged; {} beats", found.len(), beats.len());
    for site in SITES {
        let Some(Said { ids, reads, .. }) = said.get(site) else { continue };
        assert!(ids.iter().all(|(id, _)| found.contains(&(site.to_owned(), *id))), "an identifier at {site} is gone");
        let mut worst = 0;
        for (asked, staleness, n) in reads {
            // What was acknowledged before this must have been seen.
            let since = asked.saturating_sub(*staleness + GRAIN_MS + 1);
            let newest = beats.iter().rev().find(|(_, acknowledged)| *acknowledged < since);
            let Some((newest, _)) = newest else { continue };
            assert!(n >= newest, "at {asked}, {site} saw {n}, said to be {staleness} ms stale, and {newest} was there");
            worst = worst.max(*staleness);
        }
        println!("{site}: {} identifiers, {} reads of the copy, at most {worst} ms stale", ids.len(), reads.len());
    }
}
