//! etcd: one range for each read, one transaction for each commit.
//!
//! The transaction compares what Rome's commit compares: the sequence of the client (that it is not a resend), the revision of the schema and
//! of each row.

use super::{account, credited, key};
use crate::subject::{ACCOUNTS, HOSTS, Subject, ZONES, expect_rows};
use crate::{Failure, Result};
use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, GetOptions, KvClient, Txn, TxnOp};
use std::sync::atomic::{AtomicI64, Ordering};

/// Writes of one request that fills: etcd's default limit is 128.
const ROWS_AT_ONCE: i64 = 100;

/// An etcd cluster through the `etcd-client` crate.
pub struct RawEtcd {
    client: KvClient,
    /// Begins every key.
    prefix: String,
    /// How many commits this client has made: the version of its lane's key.
    commits: AtomicI64,
}

/// A row as it was read.
struct Row {
    key: Vec<u8>,
    /// 0 where the row is absent.
    revision: i64,
    value: Vec<u8>,
}

impl RawEtcd {
    /// Connects and writes the rows under keys that begin with the prefix.
    ///
    /// # Errors
    /// The client's.
    pub async fn fill(endpoints: &[String], prefix: String) -> Result<Self> {
        let mut client = Client::connect(endpoints, None).await?.kv_client();
        client.put(format!("{prefix}schema"), "1", None).await?;
        for (table, rows) in [("account", ACCOUNTS), ("host", HOSTS), ("zone", ZONES)] {
            for first in (0..rows).step_by(usize::try_from(ROWS_AT_ONCE)?) {
                let ids = first..rows.min(first + ROWS_AT_ONCE);
                let puts: Vec<TxnOp> =
                    ids.map(|id| TxnOp::put(key(&prefix, table, id), account(id, 0), None)).collect();
                client.txn(Txn::new().and_then(puts)).await?;
            }
        }
        Ok(Self { client, prefix, commits: AtomicI64::new(0) })
    }

    async fn read(&self, id: i64) -> Result<Row> {
        let key = key(&self.prefix, "account", id);
        let answer = self.client.clone().get(key.clone(), None).await?;
        let row = answer.kvs().first().ok_or("a raw row is missing")?;
        Ok(Row { key, revision: row.mod_revision(), value: row.value().to_vec() })
    }

    /// Writes the new values of the first rows, if all are as they were read.
    async fn write(&self, rows: Vec<Row>, values: Vec<Vec<u8>>) -> Result<()> {
        let sequence = self.commits.fetch_add(1, Ordering::Relaxed);
        let lane = format!("{}lane", self.prefix);
        let mut puts = vec![TxnOp::put(lane.clone(), "", None)];
        puts.extend(rows.iter().zip(values).map(|(row, value)| TxnOp::put(row.key.clone(), value, None)));
        let mut compares = vec![
            Compare::version(lane, CompareOp::Equal, sequence),
            Compare::version(format!("{}schema", self.prefix), CompareOp::Equal, 1),
        ];
        compares.extend(rows.into_iter().map(|row| Compare::mod_revision(row.key, CompareOp::Equal, row.revision)));
        match self.client.clone().txn(Txn::new().when(compares).and_then(puts)).await?.succeeded() {
            true => Ok(()),
            false => Err(Failure::from("a raw commit was refused")),
        }
    }
}

#[async_trait]
impl Subject for RawEtcd {
    async fn select(&self, id: i64) -> Result<()> {
        self.read(id).await.map(drop)
    }

    async fn insert(&self, id: i64) -> Result<()> {
        let absent = Row { key: key(&self.prefix, "entry", id), revision: 0, value: Vec::new() };
        self.write(vec![absent], vec![account(id, 0)]).await
    }

    async fn update(&self, id: i64) -> Result<()> {
        let row = self.read(id).await?;
        let value = credited(&row.value);
        self.write(vec![row], vec![value]).await
    }

    async fn join(&self) -> Result<()> {
        let mut found = 0;
        for table in ["host", "zone"] {
            let all = GetOptions::new().with_prefix();
            found += self.client.clone().get(format!("{}{table}/", self.prefix), Some(all)).await?.kvs().len();
        }
        expect_rows(found, HOSTS + ZONES)
    }

    async fn transaction(&self, [first, second, third]: [i64; 3]) -> Result<()> {
        let rows = vec![self.read(first).await?, self.read(second).await?, self.read(third).await?];
        let values = rows.iter().take(2).map(|row| credited(&row.value)).collect();
        self.write(rows, values).await
    }
}
