//! Aggregates: named groups of hosts with metadata; one with a zone in its metadata makes its hosts that zone.

use crate::clock::{self, Micros};
use crate::model::Aggregate;
use crate::schema::{AggregateHosts, AggregateMetadata, Aggregates, Hosts};
use crate::state::counters;
use rome_core::Result;
use rome_core::database::{Executor, Queryable, Transaction};
use sea_query::{Expr, ExprTrait, Order, Query};
use std::collections::BTreeMap;
use uuid::Uuid;

/// All aggregates by id, or the one of this id, with metadata and hosts. Three statements.
///
/// # Errors
/// What the database says.
pub async fn list<E: Executor + ?Sized>(on: &E, id: Option<i64>) -> Result<Vec<Aggregate>> {
    let mut rows = Query::select();
    rows.columns([Aggregates::Id, Aggregates::Uuid, Aggregates::Name, Aggregates::CreatedAt, Aggregates::UpdatedAt])
        .from(Aggregates::Table)
        .order_by(Aggregates::Id, Order::Asc);
    let mut metadata = Query::select();
    metadata
        .columns([AggregateMetadata::AggregateId, AggregateMetadata::MetaKey, AggregateMetadata::MetaValue])
        .from(AggregateMetadata::Table);
    let mut hosts = Query::select();
    hosts
        .column((AggregateHosts::Table, AggregateHosts::AggregateId))
        .column((Hosts::Table, Hosts::Name))
        .from(AggregateHosts::Table)
        .inner_join(
            Hosts::Table,
            Expr::col((Hosts::Table, Hosts::Id)).equals((AggregateHosts::Table, AggregateHosts::HostId)),
        )
        .order_by((Hosts::Table, Hosts::Name), Order::Asc);
    if let Some(id) = id {
        rows.and_where(Expr::col(Aggregates::Id).eq(id));
        metadata.and_where(Expr::col(AggregateMetadata::AggregateId).eq(id));
        hosts.and_where(Expr::col((AggregateHosts::Table, AggregateHosts::AggregateId)).eq(id));
    }
    let rows: Vec<(i64, String, String, Micros, Option<Micros>)> = on.query_as(rows).await?;
    let mut all: BTreeMap<i64, Aggregate> = rows
        .into_iter()
        .map(|(id, uuid, name, created_at, updated_at)| {
            (id, Aggregate { id, uuid, name, created_at, updated_at, ..Aggregate::default() })
        })
        .collect();
    for (id, key, value) in on.query_as::<(i64, String, String), _>(metadata).await? {
        if let Some(aggregate) = all.get_mut(&id) {
            aggregate.metadata.insert(key, value);
        }
    }
    for (id, host) in on.query_as::<(i64, String), _>(hosts).await? {
        if let Some(aggregate) = all.get_mut(&id) {
            aggregate.hosts.push(host);
        }
    }
    Ok(all.into_values().collect())
}

/// One aggregate.
///
/// # Errors
/// What the database says.
pub async fn find<E: Executor + ?Sized>(on: &E, id: i64) -> Result<Option<Aggregate>> {
    Ok(list(on, Some(id)).await?.into_iter().next())
}

/// Adds an aggregate and gives its id.
///
/// # Errors
/// [`rome_core::SqlState::UNIQUE_VIOLATION`] where the name is taken.
pub async fn insert(tx: &dyn Transaction, name: &str) -> Result<i64> {
    let id = counters::next(tx, "aggregates").await?;
    let insert = Query::insert()
        .into_table(Aggregates::Table)
        .columns([Aggregates::Id, Aggregates::Uuid, Aggregates::Name, Aggregates::CreatedAt])
        .values_panic([id.into(), Uuid::now_v7().to_string().into(), name.into(), clock::now().into()])
        .to_owned();
    tx.execute(insert).await?;
    Ok(id)
}

/// Renames, or with `None` only notes that something of the aggregate has changed.
///
/// # Errors
/// [`rome_core::SqlState::UNIQUE_VIOLATION`] where the name is taken.
pub async fn touch(tx: &dyn Transaction, id: i64, name: Option<&str>) -> Result<()> {
    let mut update = Query::update();
    update
        .table(Aggregates::Table)
        .value(Aggregates::UpdatedAt, clock::now())
        .and_where(Expr::col(Aggregates::Id).eq(id));
    if let Some(name) = name {
        update.value(Aggregates::Name, name);
    }
    tx.execute(update).await.map(drop)
}

/// Removes an aggregate with its metadata.
///
/// # Errors
/// What the database says.
pub async fn delete(tx: &dyn Transaction, id: i64) -> Result<()> {
    let delete = Query::delete().from_table(Aggregates::Table).and_where(Expr::col(Aggregates::Id).eq(id)).to_owned();
    tx.execute(delete).await.map(drop)
}

/// Sets metadata, leaving the other keys; `None` removes the key.
///
/// # Errors
/// What the database says.
pub async fn set_metadata(tx: &dyn Transaction, id: i64, metadata: &BTreeMap<String, Option<String>>) -> Result<()> {
    if metadata.is_empty() {
        return Ok(());
    }
    let delete = Query::delete()
        .from_table(AggregateMetadata::Table)
        .and_where(Expr::col(AggregateMetadata::AggregateId).eq(id))
        .and_where(Expr::col(AggregateMetadata::MetaKey).is_in(metadata.keys().map(String::as_str)))
        .to_owned();
    tx.execute(delete).await?;
    let mut insert = Query::insert();
    insert.into_table(AggregateMetadata::Table).columns([
        AggregateMetadata::AggregateId,
        AggregateMetadata::MetaKey,
        AggregateMetadata::MetaValue,
    ]);
    let mut any = false;
    for (key, value) in metadata {
        if let Some(value) = value {
            insert.values_panic([id.into(), key.as_str().into(), value.as_str().into()]);
            any = true;
        }
    }
    if any {
        tx.execute(insert).await?;
    }
    Ok(())
}

/// Adds a host.
///
/// # Errors
/// [`rome_core::SqlState::UNIQUE_VIOLATION`] where it is in already.
pub async fn add_host(tx: &dyn Transaction, id: i64, host_id: &str) -> Result<()> {
    let insert = Query::insert()
        .into_table(AggregateHosts::Table)
        .columns([AggregateHosts::AggregateId, AggregateHosts::HostId])
        .values_panic([id.into(), host_id.into()])
        .to_owned();
    tx.execute(insert).await.map(drop)
}

/// Takes a host out; false where it was not in.
///
/// # Errors
/// What the database says.
pub async fn remove_host(tx: &dyn Transaction, id: i64, host_id: &str) -> Result<bool> {
    let delete = Query::delete()
        .from_table(AggregateHosts::Table)
        .and_where(Expr::col(AggregateHosts::AggregateId).eq(id))
        .and_where(Expr::col(AggregateHosts::HostId).eq(host_id))
        .to_owned();
    Ok(tx.execute(delete).await? > 0)
}
