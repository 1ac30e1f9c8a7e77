//! An etcd for tests: the one that `ROME_TEST_ETCD_URL` names, or one of this process's own on free ports in a
//! temporary directory.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod proxy;

use bytes::Bytes;
use rome_core::store::{
    Commit, CommitOutcome, Entry, Guard, HomeId, Key, KeyRange, LaneTicket, Read, ReadOutcome, ReadRequest,
    ReadResponse, Store, StoreError, Version, Write,
};
use rome_etcd::EtcdStore;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A number that no other call of this process gets.
pub fn number() -> u32 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// An etcd process. Killed when dropped.
pub struct Server {
    process: Mutex<Option<Child>>,
    directory: PathBuf,
    client_port: u16,
    peer_port: u16,
    options: Vec<String>,
}

impl Server {
    /// Starts an etcd of one's own.
    pub fn start(options: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("rome-etcd-{}-{}", std::process::id(), number()));
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let server =
            Self { process: Mutex::new(None), directory, client_port: free_port(), peer_port: free_port(), options };
        server.restart();
        server
    }

    /// The etcd that the tests of this process share.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Kills the process as a crash would (SIGKILL).
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts the process, on the same ports and data.
    pub fn restart(&self) {
        let client = format!("http://127.0.0.1:{}", self.client_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let process = Command::new("etcd")
            .args(["--name", "test", "--log-level", "error", "--heartbeat-interval", "20", "--election-timeout", "200"])
            .arg("--data-dir")
            .arg(&self.directory)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed and in PATH");
        *self.process.lock().unwrap() = Some(process);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

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
