//! Three sites with a server each, what connects them, and work for clients at all of them.
//!
//! Clients reach the store of their own site directly and the others through a [`Network`] that delays and cuts. What each part of the work
//! promises is checked by its own module, at any time and at the end:
//!
//! | module | work | what must hold |
//! |---|---|---|
//! | `bank` | transfers within and between sites, audits of all sites | every committed audit finds the right sum; acknowledged transfers stay |
//! | `lists` | appends to lists and reads of several, at several sites | the history is strictly serializable |
//! | `machines` | rows that are inserted, changed, moved and deleted, with foreign keys and indexes | each row is as its owner was told |
//! | `probe` | changes of rows that only their own site's clients touch | they succeed while the site is cut off |
//!
//! `shapes` has four sites with servers of other shapes, for the same work.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

pub mod astray;
pub mod bank;
pub mod full;
pub mod gate;
pub mod lists;
pub mod load;
pub mod machines;
pub mod probe;
pub mod roller;
pub mod shapes;

use crate::server::{Program, Server};
use async_trait::async_trait;
use rome_core::database::{Options, RomeDatabase, Sites};
use rome_core::store::{HomeId, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, Store};
use rome_core::txn::{MARKS_SPACE, Patience, RECORDS_SPACE};
use rome_core::{Error, Result, SqlState};
use rome_etcd::{EtcdConfig, EtcdStore};
use rome_proxy::Network;
use rome_redis::{RedisOptions, RedisStore};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The sites.
pub const SITES: [&str; 3] = ["pisa", "rome", "turin"];
/// Between any two of them.
pub const ROUND_TRIP: Duration = Duration::from_millis(10);
/// How long the stores try to reach their servers.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(700);

/// The sites at which work goes on in this process, where these are not [`SITES`].
static AT_WORK: OnceLock<&'static [&'static str]> = OnceLock::new();

/// The sites at which the work goes on.
pub fn at_work() -> &'static [&'static str] {
    AT_WORK.get().copied().unwrap_or(&SITES)
}

/// Has all work of this process go on at these sites. To be said before any begins.
///
/// # Panics
/// Where other sites were named before.
pub fn work_at(sites: &'static [&'static str]) {
    assert_eq!(*AT_WORK.get_or_init(|| sites), sites);
}

/// Patience for tests, which wait for its end.
pub fn options() -> Options {
    let patience = Patience {
        recovery_after: Duration::from_millis(500),
        ending: Duration::from_secs(5),
        record_kept: Duration::from_secs(5),
        sweep_every: Some(Duration::from_secs(1)),
        ..Patience::default()
    };
    Options { patience, ..Options::default() }
}

/// Where a client finds each site's store. As text, for the arguments of a program: `name=url name=url`.
#[derive(Clone, Debug)]
pub struct Urls(Vec<(String, String)>);

impl Urls {
    /// From text.
    pub fn parse(text: &str) -> Self {
        let pair = |pair: &str| pair.split_once('=').map(|(site, url)| (site.to_owned(), url.to_owned()));
        Self(text.split(' ').map(|text| pair(text).expect("name=url")).collect())
    }

    /// As text.
    pub fn text(&self) -> String {
        self.0.iter().map(|(site, url)| format!("{site}={url}")).collect::<Vec<_>>().join(" ")
    }
}

#[async_trait]
impl Sites for Urls {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(site, _)| site.clone()).collect()
    }

    async fn store(&self, site: &str) -> Result<Arc<dyn Store>> {
        let (_, url) = self.0.iter().find(|(name, _)| name == site).expect("a site of the test");
        let store: Arc<dyn Store> = if url.starts_with("etcd:") {
            let config = EtcdConfig { call_timeout: CALL_TIMEOUT, ..EtcdConfig::parse(url)? };
            Arc::new(EtcdStore::open(config).await?)
        } else {
            let options = RedisOptions {
                call_timeout: CALL_TIMEOUT,
                attempt_timeout: ATTEMPT_TIMEOUT,
                ..RedisOptions::default()
            };
            Arc::new(RedisStore::connect_with(url, options).await?)
        };
        Ok(store)
    }
}

/// The servers and the network.
pub struct World {
    servers: Vec<Server>,
    /// Between the sites.
    pub network: Network,
}

impl World {
    /// Starts a server at each site and opens the network.
    pub async fn start(programs: [Program; 3]) -> Self {
        let mut servers = vec![];
        for program in programs {
            servers.push(Server::start(program).await);
        }
        let addresses: Vec<String> = servers.iter().map(|server| address(&server.url()).to_owned()).collect();
        let pairs: Vec<(&str, &str)> = SITES.into_iter().zip(addresses.iter().map(String::as_str)).collect();
        let network = Network::start(&pairs).await.expect("the loopback interface has free ports");
        network.set_round_trip(ROUND_TRIP);
        Self { servers, network }
    }

    /// What a client at a site needs to know.
    pub fn urls(&self, local: &str) -> Urls {
        let url = |(site, server): (&str, &Server)| {
            let address = self.network.endpoint(local, site);
            let scheme = server.url().split_once("://").expect("a URL").0.to_owned();
            (site.to_owned(), format!("{scheme}://{address}"))
        };
        Urls(SITES.into_iter().zip(&self.servers).map(url).collect())
    }

    /// A client at a site.
    pub async fn client(&self, local: &str) -> Arc<RomeDatabase> {
        let opened = RomeDatabase::open_sites(local, Arc::new(self.urls(local)), options()).await;
        Arc::new(opened.unwrap_or_else(|error| panic!("{local}: {error}")))
    }

    /// The store of a site, without any network between.
    pub async fn store(&self, site: &str) -> Arc<dyn Store> {
        self.urls(site).store(site).await.unwrap_or_else(|error| panic!("{site}: {error}"))
    }

    /// The server of a site.
    pub fn server(&mut self, site: usize) -> &mut Server {
        &mut self.servers[site]
    }

    /// What a site holds of transactions over several: promises, records, and marks besides those on rows.
    pub async fn left(&self, site: &str) -> usize {
        let store = self.store(site).await;
        keys(store.as_ref(), MARKS_SPACE).await.len() + keys(store.as_ref(), RECORDS_SPACE).await.len()
    }
}

fn address(url: &str) -> &str {
    url.split_once("://").expect("a URL").1
}

/// What a space of a store holds, up to one answer's limits.
pub async fn keys(store: &dyn Store, space: u32) -> Vec<(bytes::Bytes, bytes::Bytes)> {
    let range = KeyRange::prefix(&space.to_be_bytes());
    let reads = vec![Read::Range { range, limit: None, reverse: false }];
    let request = ReadRequest { reads, limits: ReadLimits::default(), ..ReadRequest::default() };
    match store.read(&HomeId::new(&Options::default().home), request).await.expect("the store answers") {
        ReadOutcome::Answer(answer) => {
            answer.results.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key, entry.value)).collect()
        }
        ReadOutcome::Conflict { .. } => unreachable!("a read without guards has no conflict"),
    }
}

/// What a client was told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Told {
    /// It has taken effect.
    Done,
    /// It has not and will not.
    Failed,
    /// It may.
    Unknown,
}

impl Told {
    /// What a result tells. An error that neither a conflict nor a fault explains is a mistake of the database.
    ///
    /// # Panics
    /// On such an error.
    pub fn by<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) if error.is_undetermined() => Self::Unknown,
            Err(error) => {
                assert!(is_usual(error), "{error}");
                Self::Failed
            }
        }
    }
}

/// Whether conflicts and faults of networks and servers explain an error.
pub fn is_usual(error: &Error) -> bool {
    let faults = [SqlState::CONNECTION_FAILURE, SqlState::CONNECTION_REJECTED, SqlState::DISK_FULL];
    error.is_retryable() || faults.contains(&error.state())
}

/// When to stop, and whether it is time.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// It is time.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is time.
    pub fn is_now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A site drawn at random: this one, more often than not.
fn draw_site(near: &'static str) -> &'static str {
    if rand::random_bool(0.6) { near } else { any_site() }
}

/// Any site.
fn any_site() -> &'static str {
    let sites = at_work();
    sites[rand::random_range(0..sites.len())]
}

/// A pause between two transactions.
async fn breathe() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(10..100))).await;
}
