//! Servers on their way from state to state, where no claim is involved.
//!
//! Every move but a user's wish says from which state it moves, so that one that comes late changes nothing.

use crate::clock;
use crate::model::{Resources, ServerState};
use crate::schema::Servers;
use crate::state::claims::still_waiting;
use crate::state::parts::in_parts;
use crate::state::{actions, among};
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Queryable, Transaction};
use sea_query::{Expr, ExprTrait, Query};
use std::sync::Arc;

/// The state of a server, kept from changing until the transaction ends.
///
/// # Errors
/// What the database says.
pub async fn state_for_update(
    tx: &dyn Transaction,
    site: &str,
    project_id: Option<&str>,
    id: &str,
) -> Result<Option<(ServerState, Option<String>, String, Resources)>> {
    let mut select = Query::select();
    select
        .columns([
            Servers::Status,
            Servers::HostId,
            Servers::ProjectId,
            Servers::Vcpus,
            Servers::RamMb,
            Servers::DiskGb,
        ])
        .from(Servers::Table)
        .and_where(Expr::col(Servers::Id).eq(id))
        .and_where(Expr::col(Servers::Site).eq(site))
        .lock_exclusive();
    if let Some(project_id) = project_id {
        select.and_where(Expr::col(Servers::ProjectId).eq(project_id));
    }
    let found: Option<(ServerState, Option<String>, String, i64, i64, i64)> = tx.query_opt(select).await?;
    Ok(found.map(|(state, host_id, project_id, vcpus, ram_mb, disk_gb)| {
        (state, host_id, project_id, Resources { vcpus, ram_mb, disk_gb })
    }))
}

/// Moves a server to a state, whatever it was in.
///
/// # Errors
/// What the database says.
pub async fn set_state(tx: &dyn Transaction, id: &str, state: ServerState) -> Result<()> {
    let update = Query::update()
        .table(Servers::Table)
        .value(Servers::Status, state)
        .value(Servers::UpdatedAt, clock::now())
        .and_where(Expr::col(Servers::Id).eq(id))
        .to_owned();
    tx.execute(update).await.map(drop)
}

/// Removes the row of a server that has no host.
///
/// # Errors
/// What the database says.
pub async fn remove(tx: &dyn Transaction, id: &str) -> Result<()> {
    let delete = Query::delete().from_table(Servers::Table).and_where(Expr::col(Servers::Id).eq(id)).to_owned();
    tx.execute(delete).await.map(drop)
}

/// Marks servers that still wait as failed, with the fault. Gives how many. One transaction.
///
/// # Errors
/// What the database says.
pub async fn fail_waiting(database: &dyn Database, ids: Vec<String>, message: &'static str) -> Result<usize> {
    let failed = in_parts(ids, |part| fail_waiting_part(database, part, message)).await?;
    Ok(failed.into_iter().sum())
}

async fn fail_waiting_part(database: &dyn Database, ids: Arc<[String]>, message: &'static str) -> Result<usize> {
    database
        .transaction(move |tx| {
            let ids = Arc::clone(&ids);
            Box::pin(async move {
                let failed = still_waiting(tx, &ids).await?;
                if failed.is_empty() {
                    return Ok::<_, rome_core::Error>(0);
                }
                let update = Query::update()
                    .table(Servers::Table)
                    .value(Servers::Status, ServerState::Error)
                    .value(Servers::UpdatedAt, clock::now())
                    .and_where(among(Servers::Id, &failed))
                    .to_owned();
                tx.execute(update).await?;
                actions::record_fault(tx, &failed, 500, message, None).await?;
                actions::finish(tx, &failed, "Error").await?;
                Ok(failed.len())
            })
        })
        .await
}

/// An agent has done what the state `from` asked for: moves the servers that are still in it to `to`. One transaction of two statements.
///
/// # Errors
/// What the database says.
pub async fn advance(
    database: &dyn Database,
    host_id: &str,
    ids: Vec<String>,
    from: ServerState,
    to: ServerState,
) -> Result<()> {
    let host_id: Arc<str> = host_id.into();
    in_parts(ids, |part| advance_part(database, Arc::clone(&host_id), part, from, to)).await.map(drop)
}

async fn advance_part(
    database: &dyn Database,
    host_id: Arc<str>,
    ids: Arc<[String]>,
    from: ServerState,
    to: ServerState,
) -> Result<()> {
    database
        .transaction(move |tx| {
            let (host_id, ids) = (Arc::clone(&host_id), Arc::clone(&ids));
            Box::pin(async move {
                let now = clock::now();
                let mut update = Query::update();
                update
                    .table(Servers::Table)
                    .value(Servers::Status, to)
                    .value(Servers::UpdatedAt, now)
                    .and_where(among(Servers::Id, &ids))
                    .and_where(Expr::col(Servers::HostId).eq(&*host_id))
                    .and_where(Expr::col(Servers::Status).eq(from));
                if from == ServerState::Building {
                    update.value(Servers::LaunchedAt, now);
                }
                tx.execute(update).await?;
                actions::finish(tx, &ids, "Success").await
            })
        })
        .await
}

/// The driver could not do what the state `from` asked for: the servers that are still in it are in error. One transaction.
///
/// # Errors
/// What the database says.
pub async fn fail(database: &dyn Database, host_id: &str, id: &str, from: ServerState, reason: &str) -> Result<()> {
    let host_id: Arc<str> = host_id.into();
    let ids: Arc<[String]> = Arc::new([id.to_owned()]);
    let reason: Arc<str> = reason.into();
    database
        .transaction(move |tx| {
            let (host_id, ids, reason) = (Arc::clone(&host_id), Arc::clone(&ids), Arc::clone(&reason));
            Box::pin(async move {
                let update = Query::update()
                    .table(Servers::Table)
                    .value(Servers::Status, ServerState::Error)
                    .value(Servers::UpdatedAt, clock::now())
                    .and_where(among(Servers::Id, &ids))
                    .and_where(Expr::col(Servers::HostId).eq(&*host_id))
                    .and_where(Expr::col(Servers::Status).eq(from))
                    .to_owned();
                if tx.execute(update).await? > 0 {
                    let message = "The host's driver failed.";
                    actions::record_fault(tx, &ids, 500, message, Some(&reason)).await?;
                    actions::finish(tx, &ids, "Error").await?;
                }
                Ok::<_, rome_core::Error>(())
            })
        })
        .await
}
