//! A client at a site that a test kills: it runs random transfers in some tasks and prints the reference of each that was acknowledged, one to a
//! line and at once.
//!
//! ```text
//! branch URLS SITE PREFIX
//! ```

#![allow(clippy::expect_used, clippy::print_stdout)]

use rome_core::database::{Database, RomeDatabase};
use rome_tests::sites::{SITES, Stop, Told, Urls, bank, options};
use std::io::Write;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Transactions at a time.
const TASKS: usize = 2;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, urls, site, prefix] = arguments.as_slice() else {
        eprintln!("usage: branch URLS SITE PREFIX");
        std::process::exit(2);
    };
    let site = SITES.into_iter().find(|name| name == site).expect("a site of the test");
    let sites = Arc::new(Urls::parse(urls));
    let db = RomeDatabase::open_sites(site, sites, options()).await.expect("the local store is there");
    let db: Arc<dyn Database> = Arc::new(db);
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    for task in 0..TASKS {
        let work = bank::transfer(Arc::clone(&db), site, format!("{prefix}-{task}"), Stop::default(), sender.clone());
        tokio::spawn(work);
    }
    while let Some((reference, told)) = outcomes.recv().await {
        if told == Told::Done {
            acknowledge(&reference);
        }
    }
}

/// One write to the pipe, so that a line is there whole or not at all.
fn acknowledge(reference: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{reference}\n").as_bytes()).and_then(|()| out.flush()).expect("the test listens");
}
