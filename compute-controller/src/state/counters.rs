//! Consecutive numbers, for the API versions that want integer ids. Hosts, services and aggregates take them, never servers.

use crate::schema::Counters;
use rome_core::Result;
use rome_core::database::{Queryable, Transaction};
use sea_query::{Expr, ExprTrait, Query};

/// The next number of `name`, from 1; it belongs to the transaction.
///
/// # Errors
/// What the database says.
pub async fn next(transaction: &dyn Transaction, name: &'static str) -> Result<i64> {
    let update = Query::update()
        .table(Counters::Table)
        .value(Counters::LastValue, Expr::col(Counters::LastValue).add(1))
        .and_where(Expr::col(Counters::Name).eq(name))
        .to_owned();
    if transaction.execute(update).await? == 0 {
        let insert = Query::insert()
            .into_table(Counters::Table)
            .columns([Counters::Name, Counters::LastValue])
            .values_panic([name.into(), 1i64.into()])
            .to_owned();
        transaction.execute(insert).await?;
        return Ok(1);
    }
    let select = Query::select()
        .column(Counters::LastValue)
        .from(Counters::Table)
        .and_where(Expr::col(Counters::Name).eq(name))
        .to_owned();
    Ok(transaction.query_one::<(i64,), _>(select).await?.0)
}
