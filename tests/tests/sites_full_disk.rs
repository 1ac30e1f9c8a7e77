//! A database at three sites, one of which is a file on a disk that is full. The limit is the process's (RLIMIT_FSIZE), which needs no privileges; so
//! this is a test binary of its own.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../histories/checker.rs"]
mod checker;

use rome_core::database::{FixedSites, Sites};
use rome_tests::server::{Program, Server};
use rome_tests::sites::SITES;
use rome_tests::sites::full::{Fill, Scene};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// The site whose store is a file.
const FULL: usize = 1;
/// Bytes that the file may have.
const SMALL: u64 = 12 << 20;
/// The signal of a write beyond the limit.
const SIGXFSZ: i32 = 25;

/// Limits the files that this process writes from now on.
fn set_file_limit(bytes: &str) {
    let process = std::process::id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:")]).status();
    assert!(limited.expect("prlimit is a part of every Linux").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_an_embedded_site_is_full() {
    // Else it kills the process.
    let _ignored = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("rome.redb");
    let servers = [Server::start(Program::Redis).await, Server::start(Program::Redis).await];
    let urls = [servers[0].url(), format!("embedded:{}", file.display()), servers[1].url()];
    let mut stores = vec![];
    for (site, url) in SITES.into_iter().zip(&urls) {
        stores.push((site.to_owned(), rome::open_store(url).await.unwrap()));
    }
    let sites: Arc<dyn Sites> = Arc::new(FixedSites::new(stores));
    let mut scene = Scene::start(vec![sites; SITES.len()], FULL).await;
    sleep(Duration::from_secs(1)).await;
    set_file_limit(&SMALL.to_string());
    scene.prepare_to_fill(Fill::Rows, 3).await;
    let held = scene.hold().await;
    scene.fill(Fill::Rows).await;
    scene.endure(held, false).await;
    set_file_limit("unlimited");
    let history = scene.conclude().await;
    let problems = checker::problems(vec![("full disk".to_owned(), history)]);
    assert!(problems.is_empty(), "{problems}");
}
