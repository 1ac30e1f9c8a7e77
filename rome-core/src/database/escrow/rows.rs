//! The two tables, and every statement on them. Statements are sea-query's, so that each database gets them in its own dialect.

use super::{Entry, Escrow};
use crate::database::{Dialect, Executor, IntoStatement};
use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use sea_query::{Expr, ExprTrait, Func, Query, SelectStatement};
use std::collections::BTreeMap;

const ALLOTMENTS: &str = "rome_escrow_allotments";
pub(super) const LEDGER: &str = "rome_escrow_ledger";

/// The part of a site's allotment that other sites take from. Its purses follow.
pub(super) const RESERVE: i16 = 0;

/// What stands for the epoch where nobody tells one.
const NO_EPOCH: &str = "none";

/// One part of what a site was allotted: its reserve, or a purse that it spends from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) site: String,
    pub(super) number: i16,
    pub(super) unspent: i64,
    pub(super) spent: i64,
    /// The site's ledger was compared with those of the others in the present epoch of its home.
    pub(super) fresh: bool,
}

/// A line of a site's ledger: what has gone between it and a peer, ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Line {
    pub(super) site: String,
    pub(super) peer: String,
    pub(super) entry: Entry,
}

/// The statements that make the tables.
pub(super) fn ddl(dialect: Dialect, spread: bool) -> [String; 2] {
    // MySQL has no keys of type text, and compares names without regard to case unless told otherwise.
    let text = |bytes: u32| match dialect {
        Dialect::MySql => format!("varchar({bytes}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
        Dialect::Postgres | Dialect::Sqlite => "text".to_owned(),
    };
    let (site, counter) = (text(63), text(255));
    let placed = if spread { " WITH (placement = 'by_site(site)')" } else { "" };
    [
        format!(
            "CREATE TABLE IF NOT EXISTS {ALLOTMENTS} (site {site} NOT NULL, counter {counter} NOT NULL, \
             part smallint NOT NULL, unspent bigint NOT NULL, spent bigint NOT NULL, rebuilt_in {site} NOT NULL, \
             PRIMARY KEY (site, counter, part)){placed}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {LEDGER} (site {site} NOT NULL, counter {counter} NOT NULL, peer {site} NOT NULL, \
             entry {site} NOT NULL, total bigint NOT NULL CHECK (total >= 0), \
             PRIMARY KEY (site, counter, peer, entry)){placed}"
        ),
    ]
}

async fn run<E: Executor + ?Sized>(on: &E, statement: impl IntoStatement) -> Result<u64> {
    Ok(on.run(statement.into_statement()).await?.affected)
}

impl Escrow {
    /// The epoch of a row's site as the transaction that evaluates it has read it.
    fn epoch(&self) -> Expr {
        match self.shared.spread {
            true => Func::cust("rome_epoch").arg(Expr::col("site")).into(),
            false => Expr::val(NO_EPOCH),
        }
    }

    /// Moves `amount` of a purse from unspent to spent, where it has so much and may be spent from; whether it has.
    pub(super) async fn draw<E: Executor + ?Sized>(
        &self,
        on: &E,
        counter: &str,
        purse: i16,
        amount: i64,
    ) -> Result<bool> {
        let mut update = Query::update();
        update
            .table(ALLOTMENTS)
            .value("unspent", Expr::col("unspent").sub(amount))
            .value("spent", Expr::col("spent").add(amount))
            .and_where(Expr::col("site").eq(&self.shared.site))
            .and_where(Expr::col("counter").eq(counter))
            .and_where(Expr::col("part").eq(purse))
            .and_where(Expr::col("rebuilt_in").eq(self.epoch()));
        if amount > 0 {
            update.and_where(Expr::col("unspent").gte(amount));
        }
        Ok(run(on, update).await? > 0)
    }

    /// The parts of a counter at some sites, all of them or these.
    pub(super) async fn parts<E: Executor + ?Sized>(
        &self,
        on: &E,
        counter: &str,
        sites: &[String],
        numbers: Option<&[i16]>,
    ) -> Result<Vec<Part>> {
        let mut select = Query::select();
        select
            .columns(["site", "part", "unspent", "spent", "rebuilt_in"])
            .expr(self.epoch())
            .from(ALLOTMENTS)
            .and_where(Expr::col("site").is_in(sites))
            .and_where(Expr::col("counter").eq(counter));
        if let Some(numbers) = numbers {
            select.and_where(Expr::col("part").is_in(numbers.iter().copied()));
        }
        type Found = (String, i16, i64, i64, String, Option<String>);
        let found: Vec<Found> = rows(on, select).await?;
        let part = |(site, number, unspent, spent, rebuilt_in, epoch): Found| {
            let fresh = epoch.is_some_and(|epoch| epoch == rebuilt_in);
            Part { site, number, unspent, spent, fresh }
        };
        Ok(found.into_iter().map(part).collect())
    }

    /// Writes a part that is not there yet. The transaction must have read at its site.
    pub(super) async fn insert_part<E: Executor + ?Sized>(&self, on: &E, counter: &str, part: &Part) -> Result<()> {
        let epoch = match self.shared.spread {
            true => Func::cust("rome_epoch").arg(Expr::val(&part.site)).into(),
            false => Expr::val(NO_EPOCH),
        };
        let mut insert = Query::insert();
        insert.into_table(ALLOTMENTS).columns(["site", "counter", "part", "unspent", "spent", "rebuilt_in"]);
        let values = [
            Expr::val(&part.site),
            Expr::val(counter),
            Expr::val(part.number),
            Expr::val(part.unspent),
            Expr::val(part.spent),
            epoch,
        ];
        insert.values(values).map_err(Error::internal)?;
        run(on, insert).await.map(drop)
    }

    /// Changes a part that was read, by these amounts.
    pub(super) async fn change_part<E: Executor + ?Sized>(
        &self,
        on: &E,
        counter: &str,
        (site, number): (&str, i16),
        (unspent, spent): (i64, i64),
    ) -> Result<()> {
        let mut update = Query::update();
        update
            .table(ALLOTMENTS)
            .value("unspent", Expr::col("unspent").add(unspent))
            .value("spent", Expr::col("spent").add(spent))
            .and_where(Expr::col("site").eq(site))
            .and_where(Expr::col("counter").eq(counter))
            .and_where(Expr::col("part").eq(number));
        match run(on, update).await? {
            1 => Ok(()),
            _ => Err(Error::internal("a part of an allotment is gone that was read")),
        }
    }

    /// Removes a part that was read.
    pub(super) async fn delete_part<E: Executor + ?Sized>(&self, on: &E, counter: &str, part: &Part) -> Result<()> {
        let mut delete = Query::delete();
        delete
            .from_table(ALLOTMENTS)
            .and_where(Expr::col("site").eq(&part.site))
            .and_where(Expr::col("counter").eq(counter))
            .and_where(Expr::col("part").eq(part.number));
        run(on, delete).await.map(drop)
    }

    /// Notes that what a site was allotted is right in the present epoch of its home.
    pub(super) async fn freshen<E: Executor + ?Sized>(&self, on: &E, counter: &str, site: &str) -> Result<()> {
        let mut update = Query::update();
        update
            .table(ALLOTMENTS)
            .value("rebuilt_in", self.epoch())
            .and_where(Expr::col("site").eq(site))
            .and_where(Expr::col("counter").eq(counter));
        run(on, update).await.map(drop)
    }

    /// The lines of some sites' ledgers: all of them, or by their keys those of these entries among the sites, which are then not read again when
    /// they are raised.
    pub(super) async fn ledger<E: Executor + ?Sized>(
        &self,
        on: &E,
        counter: &str,
        sites: &[String],
        among: Option<&[Entry]>,
    ) -> Result<BTreeMap<Line, i64>> {
        let mut select = Query::select();
        select
            .columns(["site", "peer", "entry", "total"])
            .from(LEDGER)
            .and_where(Expr::col("site").is_in(sites))
            .and_where(Expr::col("counter").eq(counter));
        if let Some(entries) = among {
            select
                .and_where(Expr::col("peer").is_in(sites))
                .and_where(Expr::col("entry").is_in(entries.iter().map(|entry| entry.name())));
        }
        let found: Vec<(String, String, String, i64)> = rows(on, select).await?;
        let line = |(site, peer, entry, total): (String, String, String, i64)| {
            let entry = Entry::of_name(&entry).ok_or_else(|| {
                Error::new(SqlState::DATA_CORRUPTED, format!("the ledger of \"{counter}\" has an entry \"{entry}\""))
            })?;
            Ok((Line { site, peer, entry }, total))
        };
        found.into_iter().map(line).collect()
    }

    /// Raises lines of ledgers, which the transaction has read, by these amounts.
    pub(super) async fn book<E: Executor + ?Sized>(
        &self,
        on: &E,
        counter: &str,
        known: &BTreeMap<Line, i64>,
        raised: impl IntoIterator<Item = (Line, i64)>,
    ) -> Result<()> {
        for (line, amount) in raised {
            let Line { site, peer, entry } = &line;
            if known.contains_key(&line) {
                let mut update = Query::update();
                update
                    .table(LEDGER)
                    .value("total", Expr::col("total").add(amount))
                    .and_where(Expr::col("site").eq(site))
                    .and_where(Expr::col("counter").eq(counter))
                    .and_where(Expr::col("peer").eq(peer))
                    .and_where(Expr::col("entry").eq(entry.name()));
                run(on, update).await?;
            } else {
                let mut insert = Query::insert();
                insert.into_table(LEDGER).columns(["site", "counter", "peer", "entry", "total"]);
                let values =
                    [Expr::val(site), Expr::val(counter), Expr::val(peer), Expr::val(entry.name()), Expr::val(amount)];
                insert.values(values).map_err(Error::internal)?;
                run(on, insert).await?;
            }
        }
        Ok(())
    }

    /// Removes all that some sites have of a counter; how many parts there were.
    pub(super) async fn erase<E: Executor + ?Sized>(&self, on: &E, counter: &str, sites: &[String]) -> Result<u64> {
        let mut affected = 0;
        for table in [LEDGER, ALLOTMENTS] {
            let mut delete = Query::delete();
            delete
                .from_table(table)
                .and_where(Expr::col("site").is_in(sites))
                .and_where(Expr::col("counter").eq(counter));
            affected = run(on, delete).await?;
        }
        Ok(affected)
    }

    /// The names of the sites; as the tables that a transaction reads know them, where it is asked.
    pub(super) async fn sites<E: Executor + ?Sized>(&self, on: &E) -> Result<Vec<String>> {
        if !self.shared.spread {
            return Ok(vec![self.shared.site.clone()]);
        }
        let found: Vec<(Vec<String>,)> = rows(on, "SELECT rome_sites()").await?;
        Ok(found.into_iter().flat_map(|(sites,)| sites).collect())
    }
}

/// Checks that the tables are there and, in a database of several sites, at the sites.
pub(super) async fn check_tables<E: Executor + ?Sized>(on: &E, site: &str, alone: &str) -> Result<()> {
    let probe = |of: &str| -> SelectStatement {
        let mut select = Query::select();
        select.column("part").from(ALLOTMENTS).and_where(Expr::col("site").eq(of)).limit(1);
        select
    };
    let found = rows::<(i16,), _>(on, probe(alone)).await.map_err(|error| match error.state() {
        SqlState::UNDEFINED_TABLE => {
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "the tables of escrowed counters are not there")
                .with_hint("Make them by Escrow::install, once.")
        }
        _ => error,
    })?;
    if site != alone && !found.is_empty() {
        return Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the tables of escrowed counters were made before the database had several sites",
        )
        .with_hint("Drop both rome_escrow_ tables, make them again by Escrow::install, and then the counters."));
    }
    Ok(())
}

/// The local site, where the database has several.
pub(super) async fn local_site<E: Executor + ?Sized>(on: &E) -> Result<Option<String>> {
    match on.run("SELECT rome_site()".into_statement()).await {
        Ok(result) => Ok(match result.rows.first().and_then(|row| row.values().first()) {
            Some(Value::Text(site)) if !site.is_empty() => Some(site.to_string()),
            _ => None,
        }),
        // A SQL server.
        Err(error) if error.state() == SqlState::UNDEFINED_FUNCTION => Ok(None),
        Err(error) => Err(error),
    }
}

async fn rows<T: crate::database::FromRow, E: Executor + ?Sized>(
    on: &E,
    statement: impl IntoStatement,
) -> Result<Vec<T>> {
    on.run(statement.into_statement()).await?.rows.iter().map(T::from_row).collect()
}
