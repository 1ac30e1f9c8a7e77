//! The operations as sea-query statements, on anything that implements [`Database`].

use crate::Result;
use crate::subject::{ACCOUNTS, HOSTS, Subject, ZONES, expect_rows, owner};
use async_trait::async_trait;
use rome::{Database, DatabaseExt, Executor, Queryable};
use sea_query::{ColumnDef, Expr, ExprTrait, Index, JoinType, Query, SelectStatement, Table, UpdateStatement};
use std::sync::Arc;

/// Rows of one INSERT that fills a table: with their index entries they fit the smallest atomic batch, which is etcd's.
const ROWS_AT_ONCE: i64 = 400;

/// A database with the tables.
pub struct Relational {
    database: Arc<dyn Database>,
}

impl Relational {
    /// Makes and fills the tables in an empty database.
    ///
    /// # Errors
    /// The database's.
    pub async fn fill(database: Arc<dyn Database>) -> Result<Self> {
        let subject = Self { database };
        subject.create_tables().await?;
        fill_accounts(subject.database.as_ref(), "account", 0, ACCOUNTS).await?;
        subject.fill_hosts().await?;
        Ok(subject)
    }

    async fn create_tables(&self) -> Result<()> {
        for name in ["account", "entry"] {
            self.database.execute(account_table(name)).await?;
        }
        let zone = Table::create()
            .table("zone")
            .col(ColumnDef::new("id").big_integer().not_null().primary_key())
            .col(ColumnDef::new("name").string_len(64).not_null())
            .to_owned();
        let host = Table::create()
            .table("host")
            .col(ColumnDef::new("id").big_integer().not_null().primary_key())
            .col(ColumnDef::new("zone_id").big_integer().not_null())
            .col(ColumnDef::new("name").string_len(64).not_null())
            .to_owned();
        self.database.execute(zone).await?;
        self.database.execute(host).await?;
        self.database.execute(Index::create().name("host_zone_id").table("host").col("zone_id").to_owned()).await?;
        Ok(())
    }

    async fn fill_hosts(&self) -> Result<()> {
        let mut zones = Query::insert().into_table("zone").columns(["id", "name"]).to_owned();
        for id in 0..ZONES {
            zones.values([id.into(), format!("zone {id}").into()])?;
        }
        self.database.execute(zones).await?;
        for first in (0..HOSTS).step_by(usize::try_from(ROWS_AT_ONCE)?) {
            let mut hosts = Query::insert().into_table("host").columns(["id", "zone_id", "name"]).to_owned();
            for id in first..Ord::min(HOSTS, first + ROWS_AT_ONCE) {
                hosts.values([id.into(), (id % ZONES).into(), format!("host {id}").into()])?;
            }
            self.database.execute(hosts).await?;
        }
        Ok(())
    }
}

/// A table of accounts.
#[must_use]
pub fn account_table(name: &'static str) -> sea_query::TableCreateStatement {
    Table::create()
        .table(name)
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("owner").string_len(64).not_null())
        .col(ColumnDef::new("balance").big_integer().not_null())
        .to_owned()
}

/// Inserts the accounts from one id to before another.
///
/// # Errors
/// The database's.
pub async fn fill_accounts<D: Executor + ?Sized>(database: &D, table: &'static str, from: i64, to: i64) -> Result<()> {
    let mut first = from;
    while first < to {
        let end = Ord::min(to, first + ROWS_AT_ONCE);
        let mut insert = Query::insert().into_table(table).columns(["id", "owner", "balance"]).to_owned();
        for id in first..end {
            insert.values([id.into(), owner(id).into(), (id % 1000).into()])?;
        }
        database.execute(insert).await?;
        first = end;
    }
    Ok(())
}

/// One account by its key.
#[must_use]
pub fn select_account(id: i64) -> SelectStatement {
    Query::select().columns(["owner", "balance"]).from("account").and_where(Expr::col("id").eq(id)).to_owned()
}

fn update_account(id: i64) -> UpdateStatement {
    Query::update()
        .table("account")
        .value("balance", Expr::col("balance").add(1))
        .and_where(Expr::col("id").eq(id))
        .to_owned()
}

#[async_trait]
impl Subject for Relational {
    async fn select(&self, id: i64) -> Result<()> {
        expect_rows(self.database.query(select_account(id)).await?.len(), 1)
    }

    async fn insert(&self, id: i64) -> Result<()> {
        let insert = Query::insert()
            .into_table("entry")
            .columns(["id", "owner", "balance"])
            .values([id.into(), owner(id).into(), 0.into()])?
            .to_owned();
        expect_rows(usize::try_from(self.database.execute(insert).await?)?, 1)
    }

    async fn update(&self, id: i64) -> Result<()> {
        expect_rows(usize::try_from(self.database.execute(update_account(id)).await?)?, 1)
    }

    async fn join(&self) -> Result<()> {
        let join = Query::select()
            .columns([("host", "id"), ("host", "name"), ("zone", "name")])
            .from("host")
            .join(JoinType::InnerJoin, "zone", Expr::col(("zone", "id")).equals(("host", "zone_id")))
            .to_owned();
        expect_rows(self.database.query(join).await?.len(), HOSTS)
    }

    async fn transaction(&self, ids: [i64; 3]) -> Result<()> {
        let [first, second, _] = ids;
        let touched = self
            .database
            .transaction(|tx| {
                Box::pin(async move {
                    let mut touched = 0;
                    for id in ids {
                        touched += tx.query(select_account(id)).await?.len() as u64;
                    }
                    touched += tx.execute(update_account(first)).await?;
                    touched += tx.execute(update_account(second)).await?;
                    Ok::<_, rome::Error>(touched)
                })
            })
            .await?;
        expect_rows(usize::try_from(touched)?, 5)
    }
}
