//! An etcd for tests (the one that `ROME_TEST_ETCD_URL` names, or one of this process's own), and short words for
//! commits and reads.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod certificates;
pub mod server;

use bytes::Bytes;
use rome_core::store::{
    Commit, CommitOutcome, Entry, Guard, HomeId, Key, KeyRange, LaneTicket, Read, ReadOutcome, ReadRequest,
    ReadResponse, Store, StoreError, Version, Write,
};
use rome_etcd::EtcdStore;
pub use server::Server;
use server::number;
use std::sync::Arc;

/// A store in a namespace of its own, and what keeps its server alive.
pub struct Fixture {
    pub store: EtcdStore,
    pub url: String,
    pub server: Option<Arc<Server>>,
}

/// A store on the shared server.
pub async fn fixture() -> Fixture {
    let namespace = format!("test-{}-{}-{}", std::process::id(), number(), rand::random::<u32>());
    let (server, url) = match std::env::var("ROME_TEST_ETCD_URL") {
        Ok(url) => (None, url),
        Err(_) => {
            let server = Server::shared();
            let url = format!("etcd://{}", server.endpoint());
            (Some(server), url)
        }
    };
    let url = format!("{}?namespace={namespace}", url.split('?').next().unwrap());
    Fixture { store: EtcdStore::connect(&url).await.unwrap(), url, server }
}

pub fn home() -> HomeId {
    HomeId::new("home/1")
}

/// A key of the space `spac`.
pub fn key(name: &str) -> Key {
    Bytes::from(format!("spac{name}"))
}

pub fn range(from: &str, to: &str) -> KeyRange {
    KeyRange { from: key(from), to: key(to) }
}

pub fn whole_space() -> KeyRange {
    KeyRange::prefix(b"spac")
}

pub fn put(name: &str, value: &str) -> Write {
    Write::Put(key(name), Bytes::copy_from_slice(value.as_bytes()))
}

pub fn delete(name: &str) -> Write {
    Write::Delete(key(name))
}

pub fn ticket(lane: u32, sequence: u64) -> Option<LaneTicket> {
    Some(LaneTicket { client: 7, lane, sequence })
}

pub async fn commit(store: &dyn Store, guards: Vec<Guard>, writes: Vec<Write>) -> CommitOutcome {
    store.commit(&home(), Commit { guards, writes, ..Commit::default() }).await.unwrap()
}

/// Commits and returns the version.
pub async fn committed(store: &dyn Store, guards: Vec<Guard>, writes: Vec<Write>) -> Version {
    match commit(store, guards, writes).await {
        CommitOutcome::Committed { version } => version,
        other => panic!("{other:?}"),
    }
}

pub async fn in_lane(
    store: &dyn Store,
    ticket: Option<LaneTicket>,
    guards: Vec<Guard>,
    writes: Vec<Write>,
) -> Result<CommitOutcome, StoreError> {
    store.commit(&home(), Commit { guards, writes, ticket, ..Commit::default() }).await
}

pub async fn answer(store: &dyn Store, request: ReadRequest) -> ReadResponse {
    match store.read(&home(), request).await.unwrap() {
        ReadOutcome::Answer(response) => response,
        other @ ReadOutcome::Conflict { .. } => panic!("{other:?}"),
    }
}

pub async fn get(store: &dyn Store, name: &str) -> Option<Entry> {
    let request = ReadRequest { reads: vec![Read::Point(key(name))], ..ReadRequest::default() };
    answer(store, request).await.results.remove(0).entries.pop()
}

pub async fn value(store: &dyn Store, name: &str) -> Option<String> {
    get(store, name).await.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

/// The store's version.
pub async fn now(store: &dyn Store) -> Version {
    answer(store, ReadRequest::default()).await.snapshot
}
