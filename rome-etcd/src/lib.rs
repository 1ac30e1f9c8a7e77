//! Rome on etcd 3.4 and newer: a [`Store`] whose reads and commits are one RPC each.
//!
//! A version is etcd's `mod_revision`, the snapshot of a read its header's revision. All homes of all namespaces share
//! one revision counter, which the contract allows: versions only rise.
//!
//! | module | what it decides |
//! |---|---|
//! | [`url`] | what a connection URL says |
//! | `keyspace` | where a home's keys lie |
//! | `tls` | certificates and keys |
//! | `connection`, `errors` | time limits, resends, what a failure means |
//! | `limits` | what one request may hold |
//! | `guard` | guards as comparisons and as probes |
//! | `read`, `state`, `page` | reads of one state |
//! | `commit`, `tree`, `lane`, `counter` | one transaction for each commit, exactly once |
//! | `watch` | change streams |
//! | `sweeper` | removal of old tombstones |
//!
//! Three things cost more here than elsewhere, because etcd has no cheaper way: a range guard makes the server visit
//! the range; a range read in descending order makes it read and sort the whole range; and an `Add` on a counter that
//! other processes also move may take several RPCs.
//!
//! # Several members
//!
//! A URL that names all members makes the loss of a minority of them a pause: all calls go to one member until a call
//! fails there, and then to the next (`connection`). One that has died costs next to nothing, one that hangs or was cut off in
//! silence costs one attempt of 2 s; a watch finds that out by pings, within 15 s, and goes on at another member where it
//! was. A commit whose reply was lost with its member is sent again under its ticket. Without a majority reads and
//! commits end with [`StoreError::Unavailable`] within the time-out of a call; only a commit that was sent before its
//! member noticed can be [`StoreError::Undetermined`]. Nothing is ever read from a member without its leader's word.
//!
//! # For operators
//!
//! What an operator decides: the history that watchers and snapshots can reach back to (`--auto-compaction-retention`,
//! without which the database only grows), and the space quota (`--quota-backend-bytes`, 2 GiB by default).

mod commit;
mod connection;
mod counter;
mod errors;
mod guard;
mod keyspace;
mod lane;
mod limits;
mod page;
mod read;
mod state;
mod sweeper;
mod tls;
mod tree;
pub mod url;
mod watch;

use async_trait::async_trait;
use bytes::Bytes;
use connection::Connection;
use counter::Counters;
use keyspace::Keyspace;
use page::PageSizes;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchStream,
};
use std::fmt;
use std::sync::Arc;
use sweeper::Sweeper;
use tokio::task::JoinHandle;

pub use tls::EtcdTls;
pub use url::EtcdConfig;

/// A store in one etcd cluster, under one namespace.
pub struct EtcdStore {
    connection: Arc<Connection>,
    namespace: String,
    counters: Counters,
    pages: PageSizes,
    sweeper: Arc<Sweeper>,
    sweeping: JoinHandle<()>,
}

impl EtcdStore {
    /// Connects to `etcd[s]://[user:password@]host[:port]{,host[:port]}[?namespace=name]`; [`url`] has all options.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for a URL that is not one or names unfit files, [`StoreError::Unavailable`] where no
    /// member answers, or no majority, within 5 s, [`StoreError::Denied`] for refused credentials,
    /// [`StoreError::Unsuitable`] for an etcd before 3.4 and for a server certificate that is not to be trusted.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(EtcdConfig::parse(url)?).await
    }

    /// Connects as `config` says. Must be called within a tokio runtime, which also runs the sweeper.
    pub async fn open(config: EtcdConfig) -> Result<Self, StoreError> {
        let connection = Arc::new(Connection::open(&config).await?);
        let sweeper = Arc::new(Sweeper::default());
        let (weak_connection, weak_sweeper) = (Arc::downgrade(&connection), Arc::downgrade(&sweeper));
        let period = config.tombstone_retention;
        let sweeping = tokio::spawn(sweeper::run(weak_connection, weak_sweeper, config.namespace.clone(), period));
        Ok(Self {
            connection,
            namespace: config.namespace,
            counters: Counters::default(),
            pages: PageSizes::default(),
            sweeper,
            sweeping,
        })
    }

    /// Removes the marks of deletions up to version `floor` in `home` and returns how many. Range guards with a `since`
    /// before `floor` conflict from then on. A store does this by itself in the background; an operator may want it
    /// before a backup.
    pub async fn sweep(&self, home: &HomeId, floor: Version) -> Result<usize, StoreError> {
        let keys = self.keyspace(home)?;
        sweeper::sweep(&self.connection, &keys, floor)
            .await
            .map_err(|failure| failure.into_read_error(self.connection.address()))
    }

    fn keyspace(&self, home: &HomeId) -> Result<Keyspace, StoreError> {
        Keyspace::new(&self.namespace, home)
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.sweeping.abort();
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("address", &self.connection.address())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn capabilities(&self) -> &Capabilities {
        &limits::CAPABILITIES
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        read::read(&self.connection, &self.pages, &self.keyspace(home)?, &request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let keys = self.keyspace(home)?;
        self.sweeper.visit(home);
        commit::commit(&self.connection, &self.counters, &keys, &commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        watch::watch(Arc::clone(&self.connection), &self.keyspace(home)?, &stream, after).await
    }
}
