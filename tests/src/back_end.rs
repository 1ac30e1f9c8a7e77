//! The back ends, each opened for one test as a database of its own, so that tests run side by side.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crate::server::shared::Shared;
use crate::server::source::Kind;
use futures::future::BoxFuture;
use rome_core::database::{Database, Features, Queryable};
use rome_sql::SqlDatabase;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Something that implements [`Database`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackEnd {
    /// Rome in memory
    Memory,
    /// Rome in a file
    Embedded,
    /// Rome on a Redis server
    Redis,
    /// Rome on an etcd server
    Etcd,
    /// A SQLite file
    Sqlite,
    /// A MariaDB server
    MariaDb,
    /// A PostgreSQL server: the reference
    Postgres,
}

/// A portable test.
pub type Case = for<'d> fn(&'d dyn Database) -> BoxFuture<'d, ()>;

/// Runs a case on a back end, unless the back end lacks what the case requires.
pub async fn run(back_end: BackEnd, requires: fn(&Features) -> bool, case: Case) {
    let opened = Opened::new(back_end).await;
    if requires(&opened.db.features()) {
        case(opened.db.as_ref()).await;
    } else {
        println!("{back_end:?} lacks what this case requires");
    }
    opened.remove().await;
}

/// An empty database on a back end.
struct Opened {
    db: Arc<dyn Database>,
    /// What undoes it on a server.
    removal: Option<(SqlDatabase, String)>,
    /// The directory of a file.
    directory: Option<Directory>,
    /// The server.
    server: Option<Shared>,
}

impl Opened {
    async fn new(back_end: BackEnd) -> Self {
        let name = format!("case_{}", Uuid::new_v4().simple());
        match back_end {
            BackEnd::Memory => Self::of_rome("memory:", None).await,
            BackEnd::Embedded => {
                let directory = Directory::new(&name);
                Self::of_rome(&format!("embedded:{}/test.redb", directory.0.display()), Some(directory)).await
            }
            BackEnd::Redis => Self::on_server(Shared::new(Kind::Redis), &name).await,
            BackEnd::Etcd => Self::on_server(Shared::new(Kind::Etcd), &name).await,
            BackEnd::Sqlite => {
                let directory = Directory::new(&name);
                let db = sql(&format!("sqlite:{}/test.db", directory.0.display())).await;
                Self { db: Arc::new(db), removal: None, directory: Some(directory), server: None }
            }
            BackEnd::MariaDb => {
                let server = Shared::new(Kind::MariaDb);
                let admin = sql(&server.url).await;
                admin.execute(format!("CREATE DATABASE {name}")).await.unwrap();
                let (base, _) = server.url.rsplit_once('/').expect("a URL with a database");
                let db = sql(&format!("{base}/{name}")).await;
                let removal = Some((admin, format!("DROP DATABASE {name}")));
                Self { db: Arc::new(db), removal, directory: None, server: Some(server) }
            }
            BackEnd::Postgres => {
                let server = Shared::new(Kind::Postgres);
                let admin = sql(&server.url).await;
                admin.execute(format!("CREATE SCHEMA {name}")).await.unwrap();
                let db = sql(&format!("{}?options[search_path]={name}", server.url)).await;
                let removal = Some((admin, format!("DROP SCHEMA {name} CASCADE")));
                Self { db: Arc::new(db), removal, directory: None, server: Some(server) }
            }
        }
    }

    async fn of_rome(url: &str, directory: Option<Directory>) -> Self {
        let db = rome::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        Self { db, removal: None, directory, server: None }
    }

    async fn on_server(server: Shared, namespace: &str) -> Self {
        let opened = Self::of_rome(&format!("{}?namespace={namespace}", server.url), None).await;
        Self { server: Some(server), ..opened }
    }

    async fn remove(self) {
        drop(self.db);
        if let Some((admin, command)) = self.removal {
            admin.execute(command).await.expect("a case leaves nothing open");
            admin.close().await;
        }
        drop(self.directory);
        drop(self.server);
    }
}

async fn sql(url: &str) -> SqlDatabase {
    SqlDatabase::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// A directory that goes with its value, also when a case fails.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
