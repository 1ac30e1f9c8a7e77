//! kill -9 of the server in the middle of a hundred concurrent transactions: the client survives and goes on by itself once the server is back; what
//! was acknowledged is there, what failed is not, nothing is half there. (The embedded store's server is the client's process: see
//! `crash_client`.)

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use rand::Rng;
use rome_core::database::RomeDatabase;
use rome_tests::audit::audit;
use rome_tests::bank::{self, Transfer};
use rome_tests::place::{Place, database};
use rome_tests::server::{Program, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Transactions at a time.
const TASKS: i64 = 100;
/// How often the server is killed.
const ROUNDS: usize = 3;

/// What a client was told about a transfer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Told {
    Done,
    Failed,
    Unknown,
}

async fn server_is_killed(program: Program) {
    let mut server = Server::start(program).await;
    let place = Place::on_server(&server.url());
    let store = place.store().await;
    let db = Arc::new(database(store.clone()).await);
    bank::open(db.as_ref()).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let tasks: Vec<_> = (0..TASKS)
        .map(|teller| tokio::spawn(work(Arc::clone(&db), teller, Arc::clone(&stop), sender.clone())))
        .collect();
    drop(sender);

    let mut told = BTreeMap::new();
    for _ in 0..ROUNDS {
        // A different moment each time, in the middle of the other transactions.
        let enough = rand::rng().random_range(1..=150);
        hear(&mut outcomes, &mut told, enough).await;
        server.kill();
        server.restart().await;
    }
    // The same client goes on.
    hear(&mut outcomes, &mut told, 100).await;
    stop.store(true, Ordering::Relaxed);
    while let Some((reference, outcome)) = outcomes.recv().await {
        told.insert(reference, outcome);
    }
    for ended in futures::future::join_all(tasks).await {
        ended.expect("no task panics");
    }

    check(db.as_ref(), &told).await;
    audit(store.as_ref()).await;
    // A client that comes new sees the same.
    check(&place.database().await, &told).await;
}

/// Transfers until it is told to stop.
async fn work(
    db: Arc<RomeDatabase>,
    teller: i64,
    stop: Arc<AtomicBool>,
    outcomes: mpsc::UnboundedSender<(String, Told)>,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let reference = format!("{teller}-{number}");
        let told = match bank::transfer(db.as_ref(), &Transfer::random(reference.clone(), teller)).await {
            Ok(()) => Told::Done,
            Err(error) if error.is_undetermined() => Told::Unknown,
            Err(error) => {
                assert!(["08006", "08001", "40001"].contains(&error.state().code()), "{error}");
                Told::Failed
            }
        };
        if outcomes.send((reference, told)).is_err() {
            return;
        }
    }
}

/// Listens until so many transfers more were acknowledged.
async fn hear(
    outcomes: &mut mpsc::UnboundedReceiver<(String, Told)>,
    told: &mut BTreeMap<String, Told>,
    mut enough: usize,
) {
    while enough > 0 {
        let (reference, outcome) = outcomes.recv().await.expect("no task ends by itself");
        told.insert(reference, outcome);
        enough -= usize::from(outcome == Told::Done);
    }
}

async fn check(db: &RomeDatabase, told: &BTreeMap<String, Told>) {
    let found = bank::inspect(db).await;
    let of = |outcome: Told| -> BTreeSet<String> {
        told.iter().filter(|(_, told)| **told == outcome).map(|(reference, _)| reference.clone()).collect()
    };
    let (done, failed, unknown) = (of(Told::Done), of(Told::Failed), of(Told::Unknown));
    println!("{} done, {} failed, {} of unknown outcome", done.len(), failed.len(), unknown.len());
    let lost: Vec<&String> = done.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged transfers are lost: {lost:?}");
    let undead: Vec<&String> = failed.intersection(&found).collect();
    assert!(undead.is_empty(), "transfers that failed are there: {undead:?}");
    let known: BTreeSet<String> = told.keys().cloned().collect();
    assert!(found.is_subset(&known), "transfers that nobody made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    server_is_killed(Program::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() {
    server_is_killed(Program::Etcd).await;
}
