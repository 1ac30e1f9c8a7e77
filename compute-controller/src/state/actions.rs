//! What was asked of servers, how it went, and why a server is in error.

use crate::clock;
use crate::model::{Action, Fault};
use crate::schema::{ServerActions, ServerFaults};
use crate::state::among;
use rome_core::Result;
use rome_core::database::{Executor, Queryable};
use sea_query::{Expr, ExprTrait, Order, Query};

/// Who asked for what.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "columns of `server_actions`")]
pub struct NewAction {
    pub server_id: String,
    pub request_id: String,
    pub action: &'static str,
    pub user_id: String,
    pub project_id: String,
}

/// Records actions as begun; one statement.
///
/// # Errors
/// What the database says.
pub async fn begin<E: Executor + ?Sized>(on: &E, actions: &[NewAction]) -> Result<()> {
    if actions.is_empty() {
        return Ok(());
    }
    let now = clock::now();
    let mut insert = Query::insert();
    insert.into_table(ServerActions::Table).columns([
        ServerActions::ServerId,
        ServerActions::RequestId,
        ServerActions::Action,
        ServerActions::UserId,
        ServerActions::ProjectId,
        ServerActions::StartedAt,
    ]);
    for action in actions {
        insert.values_panic([
            action.server_id.as_str().into(),
            action.request_id.as_str().into(),
            action.action.into(),
            action.user_id.as_str().into(),
            action.project_id.as_str().into(),
            now.into(),
        ]);
    }
    on.execute(insert).await.map(drop)
}

/// Records that what was begun for these servers has ended.
///
/// # Errors
/// What the database says.
pub async fn finish<E: Executor + ?Sized>(on: &E, server_ids: &[String], result: &'static str) -> Result<()> {
    let update = Query::update()
        .table(ServerActions::Table)
        .value(ServerActions::FinishedAt, clock::now())
        .value(ServerActions::Result, result)
        .and_where(among(ServerActions::ServerId, server_ids))
        .and_where(Expr::col(ServerActions::FinishedAt).is_null())
        .to_owned();
    on.execute(update).await.map(drop)
}

/// A server's actions, the newest first.
///
/// # Errors
/// What the database says.
pub async fn of_server<E: Executor + ?Sized>(on: &E, server_id: &str) -> Result<Vec<Action>> {
    let select = Query::select()
        .columns([
            ServerActions::ServerId,
            ServerActions::RequestId,
            ServerActions::Action,
            ServerActions::UserId,
            ServerActions::ProjectId,
            ServerActions::StartedAt,
            ServerActions::FinishedAt,
            ServerActions::Result,
        ])
        .from(ServerActions::Table)
        .and_where(Expr::col(ServerActions::ServerId).eq(server_id))
        .order_by(ServerActions::StartedAt, Order::Desc)
        .to_owned();
    on.query_as(select).await
}

/// Records the same fault for several servers.
///
/// # Errors
/// What the database says.
pub async fn record_fault<E: Executor + ?Sized>(
    on: &E,
    server_ids: &[String],
    code: i64,
    message: &str,
    details: Option<&str>,
) -> Result<()> {
    if server_ids.is_empty() {
        return Ok(());
    }
    let now = clock::now();
    let mut insert = Query::insert();
    insert.into_table(ServerFaults::Table).columns([
        ServerFaults::ServerId,
        ServerFaults::CreatedAt,
        ServerFaults::Code,
        ServerFaults::Message,
        ServerFaults::Details,
    ]);
    for id in server_ids {
        insert.values_panic([id.as_str().into(), now.into(), code.into(), message.into(), details.into()]);
    }
    on.execute(insert).await.map(drop)
}

/// The faults of these servers, the oldest first.
///
/// # Errors
/// What the database says.
pub async fn faults<E: Executor + ?Sized>(on: &E, server_ids: &[String]) -> Result<Vec<Fault>> {
    if server_ids.is_empty() {
        return Ok(Vec::new());
    }
    let select = Query::select()
        .columns([
            ServerFaults::ServerId,
            ServerFaults::CreatedAt,
            ServerFaults::Code,
            ServerFaults::Message,
            ServerFaults::Details,
        ])
        .from(ServerFaults::Table)
        .and_where(among(ServerFaults::ServerId, server_ids))
        .order_by(ServerFaults::CreatedAt, Order::Asc)
        .to_owned();
    on.query_as(select).await
}
