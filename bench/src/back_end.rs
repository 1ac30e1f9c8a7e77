//! The subjects by name, each opened on a fresh namespace, schema or file.

use crate::raw::etcd::RawEtcd;
use crate::raw::redb::RawRedb;
use crate::raw::redis::RawRedis;
use crate::relational::Relational;
use crate::subject::Subject;
use crate::{Failure, Result};
use rome::Queryable;
use std::env;
use tempfile::TempDir;
use uuid::Uuid;

/// What a subject stands on. The name says how durable an acknowledged write is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum BackEnd {
    /// This process's memory
    Memory,
    /// A redb file
    Embedded,
    /// A Redis server that flushes once a second
    RedisEverySecond,
    /// A Redis server with `appendfsync always`
    RedisFsync,
    /// An etcd server
    Etcd,
    /// A MariaDB server
    MariaDb,
    /// A PostgreSQL server
    Postgres,
}

impl BackEnd {
    /// All, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::Memory,
        Self::Embedded,
        Self::RedisEverySecond,
        Self::RedisFsync,
        Self::Etcd,
        Self::MariaDb,
        Self::Postgres,
    ];

    /// The name in benchmarks and tables, with the durability of a write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory (none)",
            Self::Embedded => "embedded (fsync)",
            Self::RedisEverySecond => "redis (fsync each second)",
            Self::RedisFsync => "redis (fsync)",
            Self::Etcd => "etcd (fsync)",
            Self::MariaDb => "mariadb (fsync)",
            Self::Postgres => "postgres (fsync)",
        }
    }

    /// The variable that says where its server is.
    #[must_use]
    pub fn variable(self) -> Option<&'static str> {
        match self {
            Self::Memory | Self::Embedded => None,
            Self::RedisEverySecond | Self::RedisFsync => Some("ROME_TEST_REDIS_URL"),
            Self::Etcd => Some("ROME_TEST_ETCD_URL"),
            Self::MariaDb => Some("ROME_TEST_MARIADB_URL"),
            Self::Postgres => Some("ROME_TEST_POSTGRES_URL"),
        }
    }

    /// Whether this is a SQL server rather than Rome.
    #[must_use]
    pub fn is_sql(self) -> bool {
        matches!(self, Self::MariaDb | Self::Postgres)
    }

    /// Makes the server as durable as the name says. The two Redis back ends are one server, so that they take turns.
    ///
    /// # Errors
    /// Where the server refuses, or its variable is not set.
    pub async fn prepare(self) -> Result<()> {
        let setting = match self {
            Self::RedisEverySecond => "everysec",
            Self::RedisFsync => "always",
            _ => return Ok(()),
        };
        let mut connection = crate::raw::redis::connect(&server_url(self)?).await?;
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("appendonly").arg("yes").arg("appendfsync").arg(setting);
        Ok(set.query_async(&mut connection).await?)
    }
}

/// A subject, and the directory that lives as long.
pub struct Opened {
    /// What the operations run on.
    pub subject: Box<dyn Subject>,
    _directory: Option<TempDir>,
}

/// A database that is empty, and the directory that lives as long.
pub struct Empty {
    /// The database.
    pub database: std::sync::Arc<dyn rome::Database>,
    /// Of a file.
    pub directory: Option<TempDir>,
}

/// An empty database on the back end.
///
/// # Errors
/// The database's; where the back end's variable is not set.
pub async fn empty(back_end: BackEnd) -> Result<Empty> {
    let name = format!("bench_{}", Uuid::new_v4().simple());
    let mut directory = None;
    let url = match back_end {
        BackEnd::Memory => "memory:".to_owned(),
        BackEnd::Embedded => {
            let made = TempDir::new()?;
            let url = format!("embedded:{}/bench.rome", made.path().display());
            directory = Some(made);
            url
        }
        BackEnd::RedisEverySecond | BackEnd::RedisFsync | BackEnd::Etcd => {
            format!("{}?namespace={name}", server_url(back_end)?)
        }
        BackEnd::MariaDb => {
            let url = server_url(back_end)?;
            rome::connect(&url).await?.execute(format!("CREATE DATABASE {name}")).await?;
            let (server, _) = url.rsplit_once('/').ok_or("the URL of MariaDB has no database")?;
            format!("{server}/{name}")
        }
        BackEnd::Postgres => {
            let url = server_url(back_end)?;
            rome::connect(&url).await?.execute(format!("CREATE SCHEMA {name}")).await?;
            format!("{url}?options[search_path]={name}")
        }
    };
    Ok(Empty { database: rome::connect(&url).await?, directory })
}

/// The operations as statements.
///
/// # Errors
/// As [`empty`].
pub async fn relational(back_end: BackEnd) -> Result<Opened> {
    let Empty { database, directory } = empty(back_end).await?;
    Ok(Opened { subject: Box::new(Relational::fill(database).await?), _directory: directory })
}

/// The operations as commands of the store's own client; None where the back end is none or a SQL server.
///
/// # Errors
/// The client's; where the back end's variable is not set.
pub async fn raw(back_end: BackEnd) -> Result<Option<Opened>> {
    let prefix = format!("raw_{}/", Uuid::new_v4().simple());
    let mut directory = None;
    let subject: Box<dyn Subject> = match back_end {
        BackEnd::Memory | BackEnd::MariaDb | BackEnd::Postgres => return Ok(None),
        BackEnd::Embedded => {
            let made = TempDir::new()?;
            let subject = RawRedb::fill(&made.path().join("raw.redb"))?;
            directory = Some(made);
            Box::new(subject)
        }
        BackEnd::RedisEverySecond | BackEnd::RedisFsync => {
            Box::new(RawRedis::fill(&server_url(back_end)?, prefix).await?)
        }
        BackEnd::Etcd => {
            let url = server_url(back_end)?;
            let endpoints: Vec<String> = url.trim_start_matches("etcd://").split(',').map(str::to_owned).collect();
            Box::new(RawEtcd::fill(&endpoints, prefix).await?)
        }
    };
    Ok(Some(Opened { subject, _directory: directory }))
}

/// Where the back end's server is.
///
/// # Errors
/// Where its variable is not set.
pub fn server_url(back_end: BackEnd) -> Result<String> {
    let variable = back_end.variable().ok_or("this back end has no server")?;
    env::var(variable).map_err(|_| {
        Failure::from(format!("{variable} is not set: run `scripts/servers run -- ...` around this command"))
    })
}

/// Whether the back end can be measured here; says so where it cannot.
#[must_use]
pub fn is_available(back_end: BackEnd) -> bool {
    let missing = back_end.variable().filter(|variable| env::var(variable).is_err());
    if let Some(variable) = missing {
        eprintln!("{} is left out: {variable} is not set", back_end.name());
    }
    missing.is_none()
}
