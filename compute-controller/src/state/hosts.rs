//! Hosts: what they have, what is claimed on them, in which zone they are.

use crate::clock;
use crate::model::{Host, Program, Resources, ZONE_KEY};
use crate::schema::{AggregateHosts, AggregateMetadata, HostUsages, Hosts, Services};
use crate::state::counters;
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Executor, Queryable};
use sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

fn select() -> SelectStatement {
    let mut select = Query::select();
    for column in [Hosts::Id, Hosts::Number, Hosts::Name, Hosts::Site, Hosts::Vcpus, Hosts::RamMb, Hosts::DiskGb] {
        select.column((Hosts::Table, column));
    }
    for (column, alias) in [
        (HostUsages::Vcpus, "vcpus_used"),
        (HostUsages::RamMb, "ram_mb_used"),
        (HostUsages::DiskGb, "disk_gb_used"),
        (HostUsages::Instances, "instances"),
    ] {
        select.expr_as(Expr::col((HostUsages::Table, column)), Alias::new(alias));
    }
    for (column, alias) in [
        (Services::Id, "service_id"),
        (Services::Number, "service_number"),
        (Services::Status, "service_status"),
        (Services::DisabledReason, "disabled_reason"),
        (Services::ForcedDown, "forced_down"),
        (Services::HeartbeatAt, "heartbeat_at"),
    ] {
        select.expr_as(Expr::col((Services::Table, column)), Alias::new(alias));
    }
    select
        .from(Hosts::Table)
        .inner_join(
            HostUsages::Table,
            Expr::col((HostUsages::Table, HostUsages::HostId)).equals((Hosts::Table, Hosts::Id)),
        )
        .inner_join(
            Services::Table,
            Expr::col((Services::Table, Services::Host))
                .equals((Hosts::Table, Hosts::Name))
                .and(Expr::col((Services::Table, Services::Program)).eq(Program::Agent.as_str())),
        );
    select
}

/// The hosts of a site, by number, with usage and heartbeat.
///
/// # Errors
/// What the database says.
pub async fn of_site<E: Executor + ?Sized>(on: &E, site: &str) -> Result<Vec<Host>> {
    let mut select = select();
    select
        .and_where(Expr::col((Hosts::Table, Hosts::Site)).eq(site))
        .order_by((Hosts::Table, Hosts::Number), Order::Asc);
    on.query_as(select).await
}

/// All hosts of all sites.
///
/// # Errors
/// What the database says.
pub async fn all<E: Executor + ?Sized>(on: &E) -> Result<Vec<Host>> {
    on.query_as(select().order_by((Hosts::Table, Hosts::Number), Order::Asc)).await
}

/// The id of the host of this name.
///
/// # Errors
/// What the database says.
pub async fn id_of<E: Executor + ?Sized>(on: &E, name: &str) -> Result<Option<String>> {
    let select =
        Query::select().column(Hosts::Id).from(Hosts::Table).and_where(Expr::col(Hosts::Name).eq(name)).to_owned();
    Ok(on.query_opt::<(String,), _>(select).await?.map(|(id,)| id))
}

/// From a host's id to its availability zone, for the hosts that are in one.
///
/// # Errors
/// What the database says.
pub async fn zones<E: Executor + ?Sized>(on: &E) -> Result<HashMap<String, String>> {
    let select = Query::select()
        .column((AggregateHosts::Table, AggregateHosts::HostId))
        .column((AggregateMetadata::Table, AggregateMetadata::MetaValue))
        .from(AggregateMetadata::Table)
        .inner_join(
            AggregateHosts::Table,
            Expr::col((AggregateHosts::Table, AggregateHosts::AggregateId))
                .equals((AggregateMetadata::Table, AggregateMetadata::AggregateId)),
        )
        .and_where(Expr::col((AggregateMetadata::Table, AggregateMetadata::MetaKey)).eq(ZONE_KEY))
        .to_owned();
    Ok(on.query_as::<(String, String), _>(select).await?.into_iter().collect())
}

/// Makes a host known with what it has, and gives its id. One transaction.
///
/// # Errors
/// What the database says.
pub async fn register(database: &dyn Database, name: &str, site: &str, capacity: Resources) -> Result<String> {
    let name: Arc<str> = name.into();
    let site: Arc<str> = site.into();
    database
        .transaction(move |tx| {
            let (name, site) = (Arc::clone(&name), Arc::clone(&site));
            Box::pin(async move {
                if let Some(id) = id_of(tx, &name).await? {
                    let update = Query::update()
                        .table(Hosts::Table)
                        .value(Hosts::Site, &*site)
                        .value(Hosts::Vcpus, capacity.vcpus)
                        .value(Hosts::RamMb, capacity.ram_mb)
                        .value(Hosts::DiskGb, capacity.disk_gb)
                        .and_where(Expr::col(Hosts::Id).eq(id.as_str()))
                        .to_owned();
                    tx.execute(update).await?;
                    return Ok::<_, rome_core::Error>(id);
                }
                let id = Uuid::now_v7().to_string();
                let number = counters::next(tx, "hosts").await?;
                let insert = Query::insert()
                    .into_table(Hosts::Table)
                    .columns([
                        Hosts::Id,
                        Hosts::Number,
                        Hosts::Name,
                        Hosts::Site,
                        Hosts::Vcpus,
                        Hosts::RamMb,
                        Hosts::DiskGb,
                        Hosts::CreatedAt,
                    ])
                    .values_panic([
                        id.as_str().into(),
                        number.into(),
                        (&*name).into(),
                        (&*site).into(),
                        capacity.vcpus.into(),
                        capacity.ram_mb.into(),
                        capacity.disk_gb.into(),
                        clock::now().into(),
                    ])
                    .to_owned();
                tx.execute(insert).await?;
                let insert = Query::insert()
                    .into_table(HostUsages::Table)
                    .columns([
                        HostUsages::HostId,
                        HostUsages::Vcpus,
                        HostUsages::RamMb,
                        HostUsages::DiskGb,
                        HostUsages::Instances,
                    ])
                    .values_panic([id.as_str().into(), 0i64.into(), 0i64.into(), 0i64.into(), 0i64.into()])
                    .to_owned();
                tx.execute(insert).await?;
                Ok(id)
            })
        })
        .await
}
