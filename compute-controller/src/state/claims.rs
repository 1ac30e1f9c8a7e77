//! Claims: room on a host for servers, taken and given back by transactions.
//!
//! A server's row with a host *is* its claim; `host_usages` holds the sum for each host. **Both change in the same transaction, always**, and a
//! claim checks the sum against the host's capacity in that transaction, so that whatever runs at the same time, no host is ever
//! overcommitted and no two schedulers give the same server a host.

use crate::clock;
use crate::model::{Resources, ServerState, WaitingServer};
use crate::schema::{HostUsages, Hosts, Servers};
use crate::state::parts::in_parts;
use crate::state::{among, quotas};
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Queryable, Transaction};
use sea_query::{Expr, ExprTrait, Query};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Claims room on one host for as many of these waiting servers as fit and still wait, and hands them to the host's agent. Gives the ids of
/// those that got it. One transaction of at most five statements, however many servers, unless the store takes only smaller ones.
///
/// # Errors
/// What the database says.
pub async fn claim(database: &dyn Database, host_id: &str, candidates: Vec<WaitingServer>) -> Result<Vec<String>> {
    let host_id: Arc<str> = host_id.into();
    let claimed = in_parts(candidates, |part| claim_part(database, Arc::clone(&host_id), part)).await?;
    Ok(claimed.concat())
}

async fn claim_part(
    database: &dyn Database,
    host_id: Arc<str>,
    candidates: Arc<[WaitingServer]>,
) -> Result<Vec<String>> {
    database
        .transaction(move |tx| {
            let (host_id, candidates) = (Arc::clone(&host_id), Arc::clone(&candidates));
            Box::pin(async move { claim_in(tx, &host_id, &candidates).await })
        })
        .await
}

/// Those of the servers that still wait for a host, locked.
pub(super) async fn still_waiting(tx: &dyn Transaction, ids: &[String]) -> Result<Vec<String>> {
    let select = Query::select()
        .column(Servers::Id)
        .from(Servers::Table)
        .and_where(among(Servers::Id, ids))
        .and_where(Expr::col(Servers::Status).eq(ServerState::Scheduling))
        .lock_exclusive()
        .to_owned();
    Ok(tx.query_as::<(String,), _>(select).await?.into_iter().map(|(id,)| id).collect())
}

async fn claim_in(tx: &dyn Transaction, host_id: &str, candidates: &[WaitingServer]) -> Result<Vec<String>> {
    let ids: Vec<String> = candidates.iter().map(|server| server.id.clone()).collect();
    let waiting: HashSet<String> = still_waiting(tx, &ids).await?.into_iter().collect();
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let Some(mut free) = free(tx, host_id).await? else { return Ok(Vec::new()) };
    let mut claimed = Vec::new();
    let mut sum = Resources::default();
    for server in candidates.iter().filter(|server| waiting.contains(&server.id)) {
        if server.needs().fits(free) {
            free = free - server.needs();
            sum = sum + server.needs();
            claimed.push(server.id.clone());
        }
    }
    if claimed.is_empty() {
        return Ok(claimed);
    }
    add_usage(tx, host_id, sum, i64::try_from(claimed.len()).unwrap_or(i64::MAX)).await?;
    let update = Query::update()
        .table(Servers::Table)
        .value(Servers::HostId, host_id)
        .value(Servers::Status, ServerState::Building)
        .value(Servers::UpdatedAt, clock::now())
        .and_where(among(Servers::Id, &claimed))
        .to_owned();
    tx.execute(update).await?;
    Ok(claimed)
}

/// What is free on a host; `None` where there is no such host.
async fn free(tx: &dyn Transaction, host_id: &str) -> Result<Option<Resources>> {
    let used = Query::select()
        .columns([HostUsages::Vcpus, HostUsages::RamMb, HostUsages::DiskGb])
        .from(HostUsages::Table)
        .and_where(Expr::col(HostUsages::HostId).eq(host_id))
        .lock_exclusive()
        .to_owned();
    let capacity = Query::select()
        .columns([Hosts::Vcpus, Hosts::RamMb, Hosts::DiskGb])
        .from(Hosts::Table)
        .and_where(Expr::col(Hosts::Id).eq(host_id))
        .to_owned();
    let Some(used) = tx.query_opt::<Resources, _>(used).await? else { return Ok(None) };
    let Some(capacity) = tx.query_opt::<Resources, _>(capacity).await? else { return Ok(None) };
    Ok(Some(capacity - used))
}

/// Adds to what is claimed on a host; negative numbers give back.
async fn add_usage(tx: &dyn Transaction, host_id: &str, sum: Resources, instances: i64) -> Result<()> {
    let update = Query::update()
        .table(HostUsages::Table)
        .value(HostUsages::Vcpus, Expr::col(HostUsages::Vcpus).add(sum.vcpus))
        .value(HostUsages::RamMb, Expr::col(HostUsages::RamMb).add(sum.ram_mb))
        .value(HostUsages::DiskGb, Expr::col(HostUsages::DiskGb).add(sum.disk_gb))
        .value(HostUsages::Instances, Expr::col(HostUsages::Instances).add(instances))
        .and_where(Expr::col(HostUsages::HostId).eq(host_id))
        .to_owned();
    tx.execute(update).await.map(drop)
}

#[derive(Deserialize)]
struct Leaving {
    id: String,
    project_id: String,
    vcpus: i64,
    ram_mb: i64,
    disk_gb: i64,
}

/// Removes servers of a host whose guests are destroyed, and gives back their claims and quota. Servers that are not (or no longer) being
/// deleted on this host are left alone. Gives how many went. One transaction, unless the store takes only smaller ones.
///
/// # Errors
/// What the database says.
pub async fn release(database: &dyn Database, host_id: &str, ids: Vec<String>) -> Result<usize> {
    let host_id: Arc<str> = host_id.into();
    let gone = in_parts(ids, |part| release_part(database, Arc::clone(&host_id), part)).await?;
    Ok(gone.into_iter().sum())
}

async fn release_part(database: &dyn Database, host_id: Arc<str>, ids: Arc<[String]>) -> Result<usize> {
    database
        .transaction(move |tx| {
            let (host_id, ids) = (Arc::clone(&host_id), Arc::clone(&ids));
            Box::pin(async move {
                let select = Query::select()
                    .columns([Servers::Id, Servers::ProjectId, Servers::Vcpus, Servers::RamMb, Servers::DiskGb])
                    .from(Servers::Table)
                    .and_where(among(Servers::Id, &ids))
                    .and_where(Expr::col(Servers::HostId).eq(&*host_id))
                    .and_where(Expr::col(Servers::Status).eq(ServerState::Deleting))
                    .lock_exclusive()
                    .to_owned();
                let leaving: Vec<Leaving> = tx.query_as(select).await?;
                if leaving.is_empty() {
                    return Ok::<_, rome_core::Error>(0);
                }
                let gone: Vec<String> = leaving.iter().map(|server| server.id.clone()).collect();
                let delete = Query::delete().from_table(Servers::Table).and_where(among(Servers::Id, &gone)).to_owned();
                tx.execute(delete).await?;
                let mut sum = Resources::default();
                let mut projects: BTreeMap<&str, (i64, Resources)> = BTreeMap::new();
                for server in &leaving {
                    let takes = Resources { vcpus: server.vcpus, ram_mb: server.ram_mb, disk_gb: server.disk_gb };
                    sum = sum + takes;
                    let project = projects.entry(&server.project_id).or_default();
                    *project = (project.0 + 1, project.1 + takes);
                }
                let count = i64::try_from(leaving.len()).unwrap_or(i64::MAX);
                add_usage(tx, &host_id, Resources::default() - sum, -count).await?;
                for (project, (count, takes)) in projects {
                    quotas::add_usage(tx, project, -count, Resources::default() - takes).await?;
                }
                Ok(leaving.len())
            })
        })
        .await
}
