//! A load that notices every lost, repeated and torn commit.

use bytes::Bytes;
use futures::future::join_all;
use rome_core::store::{
    Change, Commit, CommitOutcome, HomeId, LaneTicket, Read, ReadOutcome, ReadRequest, Store, StoreError, Write,
};
use rome_redis::RedisStore;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Workers that commit to homes until they are told to stop. A commit adds one to the home's counter, sets the worker's own key
/// to its sequence number, and says so on a stream; it is sent again, with the same ticket, until its outcome is known.
#[derive(Default)]
pub struct Load {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    /// Calls that ended without an outcome.
    unresolved: AtomicU64,
}

pub fn counter() -> Bytes {
    Bytes::from_static(b"\0\0\0\x01n")
}

fn own_key(worker: u128) -> Bytes {
    format!("\0\0\0\x02w{worker}").into()
}

pub const STREAM: Bytes = Bytes::from_static(b"s");

impl Load {
    /// Runs `workers` for each home, and checks what they left behind once they have stopped.
    pub async fn run(&self, store: &RedisStore, homes: &[HomeId], workers: u128) {
        let worker = async |home: &HomeId, worker: u128| {
            let mut done = 0;
            while !self.stop.load(Ordering::Relaxed) {
                let next = done + 1;
                let version = self.commit(store, home, worker, next).await;
                done = next;
                let read = read(store, home, own_key(worker)).await;
                assert_eq!(read, next, "a commit at version {version} of {home} is not there");
            }
            done
        };
        let all = homes.iter().flat_map(|home| (0..workers).map(move |number| (home, number)));
        let done = join_all(all.map(async |(home, number)| (home, number, worker(home, number).await))).await;
        for home in homes {
            let of_home = done.iter().filter(|(other, ..)| *other == home);
            let total: u64 = of_home.clone().map(|(.., done)| done).sum();
            assert_eq!(read(store, home, counter()).await, total, "increments of {home}");
            for (_, number, done) in of_home {
                assert_eq!(read(store, home, own_key(*number)).await, *done, "worker {number} of {home}");
            }
        }
    }

    async fn commit(&self, store: &RedisStore, home: &HomeId, client: u128, sequence: u64) -> u64 {
        let writes = vec![
            Write::Add { key: counter(), delta: 1, min: 0, max: i64::MAX },
            Write::Put(own_key(client), sequence.to_string().into()),
        ];
        let changes = vec![Change { stream: STREAM, payload: format!("{client} {sequence}").into() }];
        let ticket = Some(LaneTicket { client, lane: 0, sequence });
        let commit = Commit { writes, changes, ticket, ..Commit::default() };
        loop {
            match store.commit(home, commit.clone()).await {
                Ok(CommitOutcome::Committed { version }) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return version;
                }
                Err(StoreError::Unavailable { .. } | StoreError::Undetermined { .. }) => {
                    self.unresolved.fetch_add(1, Ordering::Relaxed);
                }
                other => panic!("{home}, worker {client}, {sequence}: {other:?}"),
            }
        }
    }

    /// Waits until so many more commits were acknowledged.
    pub async fn progress(&self, commits: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + commits;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            assert!(std::time::Instant::now() < deadline, "work does not go on");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The number under a key, zero where it is absent.
pub async fn read(store: &RedisStore, home: &HomeId, key: Bytes) -> u64 {
    let request = || ReadRequest { reads: vec![Read::Point(key.clone())], ..ReadRequest::default() };
    let response = loop {
        match store.read(home, request()).await {
            Ok(ReadOutcome::Answer(response)) => break response,
            Err(StoreError::Unavailable { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    response.results[0].entries.first().map_or(0, |e| std::str::from_utf8(&e.value).unwrap().parse().unwrap())
}
