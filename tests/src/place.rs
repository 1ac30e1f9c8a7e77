//! The stores, each opened for one test in a place of its own: a namespace of a shared server, a file, or memory.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crate::server::shared::Shared;
use crate::server::source::Kind;
use rome_core::database::{Options, RomeDatabase};
use rome_core::store::Store;
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

/// An engine that implements [`Store`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Memory of this process
    Memory,
    /// One file
    Embedded,
    /// The Redis that tests share
    Redis,
    /// The etcd that tests share
    Etcd,
}

/// Where one test keeps its data.
#[derive(Debug)]
pub struct Place {
    /// What [`rome::open_store`] takes.
    pub url: String,
    /// Goes with the value.
    _directory: Option<TempDir>,
    /// Stays as long as the value.
    _server: Option<Shared>,
}

impl Place {
    /// An empty place.
    pub fn new(engine: Engine) -> Self {
        match engine {
            Engine::Memory => Self { url: "memory:".to_owned(), _directory: None, _server: None },
            Engine::Embedded => {
                let directory = TempDir::new().expect("the temporary directory is writable");
                let url = format!("embedded:{}", directory.path().join("test.rome").display());
                Self { url, _directory: Some(directory), _server: None }
            }
            Engine::Redis => Self::on_shared(Kind::Redis),
            Engine::Etcd => Self::on_shared(Kind::Etcd),
        }
    }

    fn on_shared(kind: Kind) -> Self {
        let server = Shared::new(kind);
        Self { _server: Some(server.clone()), ..Self::on_server(&server.url) }
    }

    /// A namespace of its own on a server.
    pub fn on_server(url: &str) -> Self {
        Self { url: format!("{url}?namespace=test-{}", Uuid::new_v4().simple()), _directory: None, _server: None }
    }

    /// Opens the store. Memory begins empty each time; a file can be open once at a time.
    pub async fn store(&self) -> Arc<dyn Store> {
        rome::open_store(&self.url).await.unwrap_or_else(|error| panic!("{}: {error}", self.url))
    }

    /// Opens the store as a database.
    pub async fn database(&self) -> RomeDatabase {
        database(self.store().await).await
    }
}

/// The database that a store holds.
pub async fn database(store: Arc<dyn Store>) -> RomeDatabase {
    RomeDatabase::open(store, Options::default()).await.expect("a fresh store is a database without tables")
}
