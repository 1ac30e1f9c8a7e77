//! kill -9 of a client in the middle of a hundred concurrent transactions: what it was told is done is there, and nothing is half there.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use rand::Rng;
use rome_tests::audit::audit;
use rome_tests::bank;
use rome_tests::place::{Engine, Place, database};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Clients that are started and killed, one after the other.
const ROUNDS: usize = 4;

/// Kills clients after a random number of acknowledgements, when a hundred tasks are each somewhere in a transaction.
async fn client_is_killed(engine: Engine) {
    let place = Place::new(engine);
    bank::open(&place.database().await).await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let enough = rand::rng().random_range(1..=150);
        let mut client = Command::new(env!("CARGO_BIN_EXE_teller"))
            .args([place.url.as_str(), &format!("round{round}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the teller was built with the tests");
        let heard = listen(&mut client, enough);
        assert!(heard.len() >= enough, "round {round}: the client ended by itself after {}", heard.len());
        acknowledged.extend(heard);

        let store = place.store().await;
        let found = bank::inspect(&database(store.clone()).await).await;
        let lost: Vec<&String> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged transfers are lost: {lost:?}");
        audit(store.as_ref()).await;
        println!("round {round}: {} transfers, of which {} were acknowledged", found.len(), acknowledged.len());
    }
}

/// Everything that the client printed until it was killed after `enough` lines.
fn listen(client: &mut Child, enough: usize) -> BTreeSet<String> {
    let mut lines = BufReader::new(client.stdout.take().expect("the output is a pipe")).lines().map_while(Result::ok);
    let mut heard: BTreeSet<String> = lines.by_ref().take(enough).collect();
    client.kill().expect("the client is a child of this process");
    // What it had printed before it died is acknowledged, too.
    heard.extend(lines);
    client.wait().expect("the client is a child of this process");
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    client_is_killed(Engine::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    client_is_killed(Engine::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() {
    client_is_killed(Engine::Etcd).await;
}
