//! Rome: keep your query builder and your ORM, drop the SQL server.
//!
//! [`connect`] opens a database by its URL; what is behind it is the only thing that changes:
//!
//! | URL | where the rows live | feature |
//! |---|---|---|
//! | `memory:` | in this process, gone with it | |
//! | `embedded:PATH` | in one file, durable when acknowledged | `embedded` |
//! | `redis://[user:password@]host:port[/db]`, `rediss://` | on a Redis 7 server | `redis` |
//! | `redis-sentinel://[user:password@]a:26379,b:26379[/db]?master=NAME`, `rediss-sentinel://` | on the Redis 7 server that these Sentinels name | `redis` |
//! | `redis-cluster://[user:password@]a:6379,b:6379`, `rediss-cluster://` | on a Redis 7 cluster | `redis` |
//! | `etcd://[user:password@]a:2379,b:2379`, `etcds://` | on an etcd cluster | `etcd` |
//! | `postgres://`, `mysql://`, `mariadb://`, `sqlite:` | on that SQL server, through sqlx | `sql` |
//! | `topology:PATH[?local=SITE]` | at several sites, each with a store of its own, as a file names them ([`TopologyFile`]) | those of the stores |
//!
//! Redis and etcd URLs take `?namespace=NAME`, so that many applications share one server. etcd's take `cacert`, `cert` and `key` with
//! `etcds://`: PEM files of the trusted CA, the client's certificate and its key, named as `etcdctl` names them.
//!
//! ```
//! use rome::{DatabaseExt, Queryable};
//! use sea_query::{Expr, ExprTrait, Query};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> rome::Result<()> {
//! let db = rome::connect("memory:").await?; // the only line that a change of engine changes
//! db.execute("CREATE TABLE host (name text PRIMARY KEY, zone text NOT NULL, free_ram_mb bigint NOT NULL)").await?;
//! db.execute(Query::insert().into_table("host").columns(["name", "zone", "free_ram_mb"])
//!     .values_panic(["h1".into(), "paris".into(), 4096.into()])
//!     .values_panic(["h2".into(), "rennes".into(), 8192.into()])).await?;
//! db.transaction(|tx| Box::pin(async move {
//!     tx.execute(Query::update().table("host").value("free_ram_mb", Expr::col("free_ram_mb").sub(1024))
//!         .and_where(Expr::col("name").eq("h1"))).await
//! })).await?;
//! let (left,): (i64,) = db.query_one(("SELECT free_ram_mb FROM host WHERE name = $1", ["h1".into()])).await?;
//! assert_eq!(left, 3072);
//! # Ok(()) }
//! ```

pub use rome_core::database::{
    AsRomeError, Database, DatabaseExt, Dialect, Escrow, Executor, Features, FromRow, FromValue, IntoStatement,
    Options, QueryResult, Queryable, ReadMode, ReadReport, RetryPolicy, RomeDatabase, Row, RowChange, RowStream,
    Statement, Transaction, TransactionOptions, Watch, WatchCursor, WatchItem,
};
mod topology;
mod url;

pub use rome_core::{DataType, Error, Result, SqlState, Value, error, store};

#[cfg(any(feature = "redis", feature = "etcd"))]
use rome_core::store::StoreError;
use rome_core::store::{MemoryStore, Store};
use std::sync::Arc;
pub use topology::TopologyFile;
pub use url::hide_credentials;

/// Opens the database at a URL.
///
/// # Errors
/// 08001 for a URL that names no engine, or one that this build leaves out; 08006 where the server can't be reached; 57P03 where it is
/// not fit for the purpose (too old, evicting keys), each with what to do about it.
pub async fn connect(url: &str) -> Result<Arc<dyn Database>> {
    connect_with(url, Options::default()).await
}

/// [`connect`] with options, which SQL servers ignore.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(url: &str, options: Options) -> Result<Arc<dyn Database>> {
    match scheme(url)? {
        "postgres" | "postgresql" | "mysql" | "mariadb" | "sqlite" => connect_sql(url).await,
        "topology" => Ok(Arc::new(connect_sites(url, options).await?)),
        _ => Ok(Arc::new(RomeDatabase::open(open_store(url).await?, options).await?)),
    }
}

/// Opens the database at the sites that a `topology:` URL's file names.
///
/// # Errors
/// As [`connect`], and those of [`TopologyFile::read`].
pub async fn connect_sites(url: &str, options: Options) -> Result<RomeDatabase> {
    let path = url.strip_prefix("topology:").unwrap_or(url);
    let (path, local) = match path.split_once("?local=") {
        Some((path, local)) => (path, Some(local)),
        None => (path, None),
    };
    let file = TopologyFile::read(std::path::Path::new(path))?;
    let local = file.local(local)?;
    RomeDatabase::open_sites(&local, Arc::new(file), options).await
}

/// Opens the key/value store at a URL, without a database on it.
///
/// # Errors
/// As [`connect`].
pub async fn open_store(url: &str) -> Result<Arc<dyn Store>> {
    match scheme(url)? {
        "memory" => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "embedded")]
        "embedded" => {
            let path = url.trim_start_matches("embedded:");
            if path.is_empty() {
                return Err(invalid_url("an embedded store needs a path")
                    .with_hint("Write embedded:PATH, as in embedded:state.rome."));
            }
            Ok(Arc::new(rome_embedded::EmbeddedStore::open(std::path::Path::new(path))?))
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster" | "rediss-cluster" => {
            Ok(Arc::new(rome_redis::RedisStore::connect(url).await.map_err(opening)?))
        }
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => Ok(Arc::new(rome_etcd::EtcdStore::connect(url).await.map_err(opening)?)),
        #[cfg(not(feature = "embedded"))]
        "embedded" => Err(left_out("embedded")),
        #[cfg(not(feature = "redis"))]
        engine @ ("redis" | "rediss" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster" | "rediss-cluster") => {
            Err(left_out(engine))
        }
        #[cfg(not(feature = "etcd"))]
        engine @ ("etcd" | "etcds") => Err(left_out(engine)),
        unknown => Err(invalid_url(&format!("there is no store for \"{unknown}:\" URLs"))
            .with_hint(
                "Known are memory:, embedded:PATH, redis://, redis-sentinel://, redis-cluster://, etcd:// (with TLS rediss and etcds) and topology:PATH.",
            )),
    }
}

#[cfg(feature = "sql")]
async fn connect_sql(url: &str) -> Result<Arc<dyn Database>> {
    Ok(Arc::new(rome_sql::SqlDatabase::connect(url).await?))
}

#[cfg(not(feature = "sql"))]
async fn connect_sql(url: &str) -> Result<Arc<dyn Database>> {
    Err(left_out(scheme(url)?))
}

fn scheme(url: &str) -> Result<&str> {
    match url.split_once(':') {
        Some((scheme, _)) if !scheme.is_empty() => Ok(scheme),
        // The text itself is not repeated: it may hold a password.
        _ => Err(invalid_url("the URL does not begin with an engine's name and a colon")
            .with_hint("Write for instance memory:, embedded:PATH, redis://host:6379 or etcd://host:2379.")),
    }
}

fn invalid_url(message: &str) -> Error {
    Error::new(SqlState::CONNECTION_REJECTED, message)
}

/// A store that finds its URL malformed is not at fault itself.
#[cfg(any(feature = "redis", feature = "etcd"))]
fn opening(error: StoreError) -> Error {
    match error {
        StoreError::Invalid(reason) => invalid_url(&reason),
        error => error.into(),
    }
}

#[cfg(not(all(feature = "embedded", feature = "redis", feature = "etcd", feature = "sql")))]
fn left_out(engine: &str) -> Error {
    invalid_url(&format!("this build has no support for \"{engine}:\" URLs"))
        .with_hint("Build with the feature of that engine: embedded, redis, etcd or sql.")
}

/// The README's examples are compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
