//! Creating the tables that [`define`](super::define) defines.
//!
//! Several processes may start on the same empty store at once: every step is repeatable, and "already there" is success.

use super::define::{indexes, tables};
use super::tables::SchemaVersions;
use crate::clock;
use rome_core::database::{Database, Dialect, Queryable};
use rome_core::{Result, SqlState};
use sea_query::Query;

/// The version of the tables that this program knows.
const VERSION: i64 = 1;

/// Creates the tables where they are absent.
///
/// # Errors
/// What the database says, and [`SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE`] where the store holds another version of the tables.
pub async fn create(database: &dyn Database) -> Result<()> {
    for table in tables() {
        ignore_duplicate(database.execute(table).await)?;
    }
    if let Some(found) = version(database).await? {
        return if found == VERSION {
            Ok(())
        } else {
            Err(rome_core::Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the store holds version {found} of the tables, this program knows version {VERSION}"),
            )
            .with_hint("Use the program that made it, or an empty store."))
        };
    }
    for mut index in indexes() {
        // sea-query renders no IF NOT EXISTS for MySQL.
        if database.features().dialect != Dialect::MySql {
            index.if_not_exists();
        }
        ignore_duplicate(database.execute(index).await)?;
    }
    let insert = Query::insert()
        .into_table(SchemaVersions::Table)
        .columns([SchemaVersions::Version, SchemaVersions::CreatedAt])
        .values_panic([VERSION.into(), clock::now().into()])
        .to_owned();
    ignore_duplicate(database.execute(insert).await)
}

async fn version(database: &dyn Database) -> Result<Option<i64>> {
    let select = Query::select().column(SchemaVersions::Version).from(SchemaVersions::Table).to_owned();
    Ok(database.query_opt::<(i64,), _>(select).await?.map(|(version,)| version))
}

fn ignore_duplicate(done: Result<u64>) -> Result<()> {
    match done {
        Err(error)
            if !matches!(
                error.state(),
                SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT | SqlState::UNIQUE_VIOLATION
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}
