//! A client that a test kills: it runs random transfers in a hundred tasks and prints the reference of each that was acknowledged, one to a
//! line and at once.
//!
//! ```text
//! teller URL PREFIX
//! ```

#![allow(clippy::expect_used, clippy::print_stdout)]

use rome_core::database::{Options, RomeDatabase};
use rome_tests::bank::{Transfer, transfer};
use std::io::Write;
use std::sync::Arc;

/// Transactions at a time.
const TASKS: i64 = 100;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, url, prefix] = arguments.as_slice() else {
        eprintln!("usage: teller URL PREFIX");
        std::process::exit(2);
    };
    let store = rome::open_store(url).await.expect("the store is there");
    let db = RomeDatabase::open(store, Options::default()).await.expect("the store holds a bank");
    let db = Arc::new(db);
    let tasks = (0..TASKS).map(|task| tokio::spawn(work(Arc::clone(&db), format!("{prefix}-{task}"), task)));
    for ended in futures::future::join_all(tasks).await {
        ended.expect("no task panics");
    }
}

/// Transfers until the process is killed.
async fn work(db: Arc<RomeDatabase>, prefix: String, teller: i64) {
    for number in 0.. {
        let reference = format!("{prefix}-{number}");
        match transfer(db.as_ref(), &Transfer::random(reference.clone(), teller)).await {
            Ok(()) => acknowledge(&reference),
            Err(error) => eprintln!("{reference}: {error}"),
        }
    }
}

/// One write to the pipe, so that a line is there whole or not at all.
fn acknowledge(reference: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{reference}\n").as_bytes()).and_then(|()| out.flush()).expect("the test listens");
}
