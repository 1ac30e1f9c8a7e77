//! Redis: `MGET` for reads, one script for each commit.
//!
//! The script checks what Rome's commit checks: that it is not a resend (a sequence kept for each client), the version of the schema, and for
//! each row that it is still at the version read, or absent. Then it writes rows, each with its new version in front, keeps
//! the order of the keys for range reads, and raises the table's version.

use super::{Row, account, credited, key};
use crate::subject::{ACCOUNTS, HOSTS, Subject, ZONES, expect_rows};
use crate::{Failure, Result};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Script, cmd, pipe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// KEYS: schema, lane, version, order, rows. ARGV: the schema's version, the sequence, how many rows are written (the first
/// ones); the version that each row must have ('' for absent); the new rows.
const COMMIT: &str = r"
local schema, lane = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if schema ~= ARGV[1] or (lane and tonumber(lane) >= tonumber(ARGV[2])) then return 0 end
for row = 5, #KEYS do
  local stored = redis.call('GET', KEYS[row])
  if (stored and stored:sub(1, 8) or '') ~= ARGV[row - 1] then return 0 end
end
local version = struct.pack('>I8', redis.call('INCR', KEYS[3]))
for row = 5, 4 + tonumber(ARGV[3]) do
  redis.call('SET', KEYS[row], version .. ARGV[#KEYS + row - 5])
  redis.call('ZADD', KEYS[4], 0, KEYS[row])
end
redis.call('SET', KEYS[2], ARGV[2])
return 1";

/// Bytes of a stored version.
const VERSION_BYTES: usize = 8;

/// How long an answer may take: a pipeline that fills a server takes longer than the client would wait by itself.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that waits for slow answers.
///
/// # Errors
/// The client's.
pub async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
    Ok(Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?)
}

/// A Redis server through the `redis` crate.
pub struct RawRedis {
    connection: MultiplexedConnection,
    /// Begins every key.
    prefix: String,
    commit: Script,
    sequence: AtomicU64,
}

impl RawRedis {
    /// Connects and writes the rows under keys that begin with the prefix.
    ///
    /// # Errors
    /// The client's.
    pub async fn fill(url: &str, prefix: String) -> Result<Self> {
        let mut connection = connect(url).await?;
        connection.set::<_, _, ()>(format!("{prefix}schema"), "1").await?;
        for (table, rows) in [("account", ACCOUNTS), ("host", HOSTS), ("zone", ZONES)] {
            let mut fill = pipe();
            for id in 0..rows {
                let row = [[0; VERSION_BYTES].as_slice(), &account(id, 0)].concat();
                fill.set(key(&prefix, table, id), row).ignore();
            }
            fill.query_async::<()>(&mut connection).await?;
        }
        Ok(Self { connection, prefix, commit: Script::new(COMMIT), sequence: AtomicU64::new(1) })
    }

    fn key(&self, table: &str, id: i64) -> Vec<u8> {
        key(&self.prefix, table, id)
    }

    /// An account, beside the schema's version, by which Rome knows that its plan is still good.
    async fn read(&self, id: i64) -> Result<Row> {
        let mut get = cmd("MGET");
        get.arg(format!("{}schema", self.prefix)).arg(self.key("account", id));
        let (_, stored): (Vec<u8>, Vec<u8>) = get.query_async(&mut self.connection.clone()).await?;
        let (version, row) = stored.split_at_checked(VERSION_BYTES).ok_or("a raw row without version")?;
        Ok(Row { key: self.key("account", id), version: version.to_vec(), value: row.to_vec() })
    }

    /// Writes the new values of the first rows, if all are as they were read.
    async fn write(&self, rows: &[Row], values: &[Vec<u8>]) -> Result<()> {
        let mut call = self.commit.prepare_invoke();
        for name in ["schema", "lane", "version", "order"] {
            call.key(format!("{}{name}", self.prefix));
        }
        call.arg("1").arg(self.sequence.fetch_add(1, Ordering::Relaxed)).arg(values.len());
        for row in rows {
            call.key(row.key.as_slice()).arg(row.version.as_slice());
        }
        for value in values {
            call.arg(value.as_slice());
        }
        match call.invoke_async(&mut self.connection.clone()).await? {
            1 => Ok(()),
            _ => Err(Failure::from("a raw commit was refused")),
        }
    }
}

#[async_trait]
impl Subject for RawRedis {
    async fn select(&self, id: i64) -> Result<()> {
        self.read(id).await.map(drop)
    }

    async fn insert(&self, id: i64) -> Result<()> {
        let absent = Row { key: self.key("entry", id), version: Vec::new(), value: Vec::new() };
        self.write(&[absent], &[account(id, 0)]).await
    }

    async fn update(&self, id: i64) -> Result<()> {
        let row = self.read(id).await?;
        let value = credited(&row.value);
        self.write(&[row], &[value]).await
    }

    async fn join(&self) -> Result<()> {
        let mut found = 0;
        for (table, rows) in [("host", HOSTS), ("zone", ZONES)] {
            let keys: Vec<Vec<u8>> = (0..rows).map(|id| self.key(table, id)).collect();
            let values: Vec<Vec<u8>> = cmd("MGET").arg(keys).query_async(&mut self.connection.clone()).await?;
            found += values.len();
        }
        expect_rows(found, HOSTS + ZONES)
    }

    async fn transaction(&self, [first, second, third]: [i64; 3]) -> Result<()> {
        let rows = [self.read(first).await?, self.read(second).await?, self.read(third).await?];
        let [a, b, _] = &rows;
        let values = [credited(&a.value), credited(&b.value)];
        self.write(&rows, &values).await
    }
}
