//! A site's store as one client sees it whose commits can be held back, so that its transactions stand still between the homes: prepared at some and not
//! at others.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::Result;
use rome_core::database::Sites;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchStream,
};
use std::sync::Arc;
use tokio::sync::watch;

/// Stores of sites, of which that of one lets commits pass or not.
#[derive(Debug)]
pub struct Gated {
    sites: Arc<dyn Sites>,
    held: &'static str,
    open: watch::Sender<bool>,
}

impl Gated {
    /// All commits pass at first.
    pub fn new(sites: Arc<dyn Sites>, held: &'static str) -> Arc<Self> {
        Arc::new(Self { sites, held, open: watch::Sender::new(true) })
    }

    /// Holds commits at the one site back from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets them go, those that wait first.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

#[async_trait]
impl Sites for Gated {
    fn names(&self) -> Vec<String> {
        self.sites.names()
    }

    async fn store(&self, site: &str) -> Result<Arc<dyn Store>> {
        let store = self.sites.store(site).await?;
        if site != self.held {
            return Ok(store);
        }
        Ok(Arc::new(Gate { store, open: self.open.subscribe() }))
    }
}

#[derive(Debug)]
struct Gate {
    store: Arc<dyn Store>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl Store for Gate {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let mut open = self.open.clone();
        open.wait_for(|open| *open).await.expect("the gate outlives its store");
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}
