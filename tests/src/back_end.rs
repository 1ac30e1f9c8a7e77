//! The back ends, each opened for one test as a database of its own, so that tests run side by side.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

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
            BackEnd::Redis => {
                Self::of_rome(&format!("{}?namespace={name}", server_url("ROME_TEST_REDIS_URL")), None).await
            }
            BackEnd::Etcd => {
                Self::of_rome(&format!("{}?namespace={name}", server_url("ROME_TEST_ETCD_URL")), None).await
            }
            BackEnd::Sqlite => {
                let directory = Directory::new(&name);
                let db = sql(&format!("sqlite:{}/test.db", directory.0.display())).await;
                Self { db: Arc::new(db), removal: None, directory: Some(directory) }
            }
            BackEnd::MariaDb => {
                let url = server_url("ROME_TEST_MARIADB_URL");
                let admin = sql(&url).await;
                admin.execute(format!("CREATE DATABASE {name}")).await.unwrap();
                let (server, _) = url.rsplit_once('/').expect("a URL with a database");
                let db = sql(&format!("{server}/{name}")).await;
                Self { db: Arc::new(db), removal: Some((admin, format!("DROP DATABASE {name}"))), directory: None }
            }
            BackEnd::Postgres => {
                let url = server_url("ROME_TEST_POSTGRES_URL");
                let admin = sql(&url).await;
                admin.execute(format!("CREATE SCHEMA {name}")).await.unwrap();
                let db = sql(&format!("{url}?options[search_path]={name}")).await;
                Self {
                    db: Arc::new(db),
                    removal: Some((admin, format!("DROP SCHEMA {name} CASCADE"))),
                    directory: None,
                }
            }
        }
    }

    async fn of_rome(url: &str, directory: Option<Directory>) -> Self {
        let db = rome::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        Self { db, removal: None, directory }
    }

    async fn remove(self) {
        drop(self.db);
        if let Some((admin, command)) = self.removal {
            admin.execute(command).await.expect("a case leaves nothing open");
            admin.close().await;
        }
        drop(self.directory);
    }
}

async fn sql(url: &str) -> SqlDatabase {
    SqlDatabase::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

pub(crate) fn server_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `./scripts/test`, or `scripts/servers run -- cargo test -p rome-tests`")
    })
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
