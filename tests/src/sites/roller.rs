//! A client process that is replaced by that of another build while it works.
//!
//! ```text
//! roller work URLS SITE PREFIX    transfers and audits at a site: see below
//! roller upgrade URLS SITE        raises the database to the newest format of this build
//! roller inspect URLS SITE        checks the books and, in the stores themselves, rows and index entries of all sites
//! ```
//!
//! It says what happens on the standard output, one line each and at once, the first word being what:
//!
//! | line | |
//! |---|---|
//! | `speaks` OLDEST NEWEST | the formats of this build |
//! | `format` NUMBER | that of the database, now that it is opened or has changed |
//! | `done`, `failed`, `unknown` REFERENCE | what a transfer was told |
//! | `audited` | a sum over all sites was right |
//! | `refused` SQLSTATE MESSAGE | a statement was, since this build does not speak the format; everything else is tried then |
//! | `wrote` STATEMENT | one of these was not |
//! | `quiet` | nothing is begun any more, as the standard input has asked for; what others leave is still ended |
//! | `raised` FROM TO | |
//! | `found` REFERENCE | a transfer that is there |
//!
//! It ends when its standard input does, or by itself, with status 3, when it was refused.

#![allow(clippy::expect_used, clippy::print_stdout)]

use super::{SITES, Stop, Urls, bank, is_usual, options};
use crate::audit::audit_site;
use rome_core::catalog::Format;
use rome_core::database::{Queryable, RomeDatabase, Sites};
use rome_core::{Error, SqlState};
use std::io::{BufRead, Write};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;

/// Transfers at a time.
const TASKS: usize = 3;
/// What a client tries that was refused.
const ELSE: [&str; 7] = [
    "SELECT count(*) FROM account",
    "UPDATE account SET balance = balance",
    "INSERT INTO ledger VALUES ('rome', 'never', 0, 'rome', 0, 0)",
    "INSERT INTO ticket (holder) VALUES ('nobody')",
    "CREATE TABLE never (id bigint PRIMARY KEY)",
    "ALTER TABLE account ADD COLUMN never text",
    "DROP TABLE ledger",
];

/// What a build that does not speak the database's format is told.
pub fn is_refusal(error: &Error) -> bool {
    error.state() == SqlState::CANNOT_CONNECT_NOW
}

/// Does what the arguments say.
pub async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    say(&format!("speaks {} {}", Format::OLDEST, Format::NEWEST));
    match arguments.as_slice() {
        ["work", urls, site, prefix] => work(Arc::new(open(urls, site).await), site_named(site), prefix).await,
        ["upgrade", urls, site] => match open(urls, site).await.upgrade().await {
            Ok(upgraded) => say(&format!("raised {} {}", upgraded.from, upgraded.to)),
            Err(error) => refused(&error),
        },
        ["inspect", urls, site] => {
            for reference in bank::inspect(&open(urls, site).await).await {
                say(&format!("found {reference}"));
            }
            for site in SITES {
                let store = Urls::parse(urls).store(site).await.expect("the store is there");
                audit_site(store.as_ref(), site).await;
            }
        }
        _ => {
            eprintln!("usage: roller work URLS SITE PREFIX | upgrade URLS SITE | inspect URLS SITE");
            exit(2);
        }
    }
}

fn site_named(site: &str) -> &'static str {
    SITES.into_iter().find(|name| *name == site).expect("a site of the test")
}

async fn open(urls: &str, site: &str) -> RomeDatabase {
    match RomeDatabase::open_existing_sites(site, Arc::new(Urls::parse(urls)), options()).await {
        Ok(db) => {
            say(&format!("format {}", db.format()));
            db
        }
        Err(error) => {
            refused(&error);
            exit(3)
        }
    }
}

fn refused(error: &Error) {
    say(&format!("refused {} {}", error.state(), error.message()));
}

async fn work(db: Arc<RomeDatabase>, site: &'static str, prefix: &str) {
    let (sender, mut refusals) = unbounded_channel();
    let stop = Stop::default();
    let mut tasks = vec![];
    for task in 0..TASKS {
        let prefix = format!("{prefix}-{task}");
        tasks.push(tokio::spawn(transfer(Arc::clone(&db), site, prefix, stop.clone(), sender.clone())));
    }
    tasks.push(tokio::spawn(audit(Arc::clone(&db), stop.clone(), sender)));
    let (told, mut orders) = unbounded_channel();
    // Ends the process with the standard input, whatever else goes on.
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).for_each(|order| drop(told.send(order)));
        exit(0);
    });
    let mut format = db.format();
    loop {
        tokio::select! {
            Some(error) = refusals.recv() => {
                refused(&error);
                try_everything(&db).await;
                exit(3);
            }
            Some(_) = orders.recv() => {
                stop.now();
                for task in tasks.drain(..) {
                    task.await.expect("no task panics");
                }
                say("quiet");
            }
            () = sleep(Duration::from_millis(10)) => {
                if std::mem::replace(&mut format, db.format()) != format {
                    say(&format!("format {format}"));
                }
            }
        }
    }
}

async fn transfer(
    db: Arc<RomeDatabase>,
    near: &'static str,
    prefix: String,
    stop: Stop,
    refusals: UnboundedSender<Error>,
) {
    for number in 0.. {
        if stop.is_now() {
            return;
        }
        let reference = format!("{prefix}-{number}");
        let word = match bank::transfer_once(db.as_ref(), near, &reference).await {
            Ok(()) => "done",
            Err(error) if error.is_undetermined() => "unknown",
            Err(error) => {
                assert!(is_usual(&error) || is_refusal(&error), "{error}");
                if is_refusal(&error) {
                    let _ = refusals.send(error);
                }
                "failed"
            }
        };
        say(&format!("{word} {reference}"));
        // Numbers are handed out without relying on a table.
        let ticket = ("INSERT INTO ticket (holder) VALUES ($1)", [reference.into()]);
        if let Err(error) = db.execute(ticket).await {
            assert!(is_usual(&error) || error.is_undetermined() || is_refusal(&error), "{error}");
        }
        // Slowly: an audit has to find a moment in which no account changes.
        sleep(Duration::from_millis(rand::random_range(100..300))).await;
    }
}

async fn audit(db: Arc<RomeDatabase>, stop: Stop, refusals: UnboundedSender<Error>) {
    while !stop.is_now() {
        match db.query_one::<i64, _>("SELECT sum(balance)::bigint FROM account").await {
            Ok(sum) => {
                assert_eq!(sum, bank::total(), "one statement saw half a transfer");
                say("audited");
            }
            Err(error) if is_refusal(&error) => drop(refusals.send(error)),
            Err(error) => assert!(is_usual(&error), "{error}"),
        }
        sleep(Duration::from_millis(rand::random_range(50..200))).await;
    }
}

/// What was refused once stays so, whatever is asked for.
async fn try_everything(db: &RomeDatabase) {
    for statement in ELSE {
        match db.execute(statement).await {
            Ok(_) => say(&format!("wrote {statement}")),
            Err(error) => refused(&error),
        }
    }
    if db.upgrade().await.is_ok() {
        say("wrote another format");
    }
}

/// One write to the pipe, so that a line is there whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the test listens");
}
