//! Running programs: registration, heartbeats, and what operators set.

use crate::clock;
use crate::model::{ENABLED, Program, Service};
use crate::schema::Services;
use crate::state::counters;
use rome_core::Result;
use rome_core::database::{Database, DatabaseExt, Executor, Queryable};
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};
use std::sync::Arc;
use uuid::Uuid;

/// Which services.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "columns of `services`")]
pub struct ServiceFilter {
    pub site: Option<String>,
    pub program: Option<String>,
    pub host: Option<String>,
    pub id: Option<String>,
}

fn select() -> SelectStatement {
    Query::select()
        .columns([
            Services::Id,
            Services::Number,
            Services::Program,
            Services::Host,
            Services::Site,
            Services::Status,
            Services::DisabledReason,
            Services::ForcedDown,
            Services::HeartbeatAt,
            Services::UpdatedAt,
        ])
        .from(Services::Table)
        .take()
}

/// The services that match, by number.
///
/// # Errors
/// What the database says.
pub async fn list<E: Executor + ?Sized>(on: &E, filter: &ServiceFilter) -> Result<Vec<Service>> {
    let mut select = select();
    for (column, wanted) in [
        (Services::Site, &filter.site),
        (Services::Program, &filter.program),
        (Services::Host, &filter.host),
        (Services::Id, &filter.id),
    ] {
        if let Some(wanted) = wanted {
            select.and_where(Expr::col(column).eq(wanted.as_str()));
        }
    }
    on.query_as(select.order_by(Services::Number, Order::Asc)).await
}

/// Registers a starting program under a new incarnation, which replaces the one before, and gives the service's id. One transaction.
///
/// # Errors
/// What the database says.
pub async fn register(
    database: &dyn Database,
    program: Program,
    host: &str,
    site: &str,
    incarnation: Uuid,
) -> Result<String> {
    let host: Arc<str> = host.into();
    let site: Arc<str> = site.into();
    let incarnation: Arc<str> = incarnation.to_string().into();
    database
        .transaction(move |tx| {
            let (host, site, incarnation) = (Arc::clone(&host), Arc::clone(&site), Arc::clone(&incarnation));
            Box::pin(async move {
                let now = clock::now();
                let select = Query::select()
                    .column(Services::Id)
                    .from(Services::Table)
                    .and_where(Expr::col(Services::Host).eq(&*host))
                    .and_where(Expr::col(Services::Program).eq(program.as_str()))
                    .to_owned();
                if let Some((id,)) = tx.query_opt::<(String,), _>(select).await? {
                    let update = Query::update()
                        .table(Services::Table)
                        .value(Services::Site, &*site)
                        .value(Services::Incarnation, &*incarnation)
                        .value(Services::HeartbeatAt, now)
                        .and_where(Expr::col(Services::Id).eq(id.as_str()))
                        .to_owned();
                    tx.execute(update).await?;
                    return Ok::<_, rome_core::Error>(id);
                }
                let id = Uuid::now_v7().to_string();
                let number = counters::next(tx, "services").await?;
                let insert = Query::insert()
                    .into_table(Services::Table)
                    .columns([
                        Services::Id,
                        Services::Number,
                        Services::Program,
                        Services::Host,
                        Services::Site,
                        Services::Status,
                        Services::ForcedDown,
                        Services::Incarnation,
                        Services::HeartbeatAt,
                        Services::UpdatedAt,
                    ])
                    .values_panic([
                        id.as_str().into(),
                        number.into(),
                        program.as_str().into(),
                        (&*host).into(),
                        (&*site).into(),
                        ENABLED.into(),
                        0i64.into(),
                        (&*incarnation).into(),
                        now.into(),
                        now.into(),
                    ])
                    .to_owned();
                tx.execute(insert).await?;
                Ok(id)
            })
        })
        .await
}

/// A heartbeat; false where a newer incarnation has taken over, so that this one must end.
///
/// # Errors
/// What the database says.
pub async fn beat<E: Executor + ?Sized>(on: &E, id: &str, incarnation: Uuid) -> Result<bool> {
    let update = Query::update()
        .table(Services::Table)
        .value(Services::HeartbeatAt, clock::now())
        .and_where(Expr::col(Services::Id).eq(id))
        .and_where(Expr::col(Services::Incarnation).eq(incarnation.to_string()))
        .to_owned();
    Ok(on.execute(update).await? > 0)
}

/// A program that ends in order says so, so that nobody waits for its heartbeat to grow old.
///
/// # Errors
/// What the database says.
pub async fn leave<E: Executor + ?Sized>(on: &E, id: &str, incarnation: Uuid) -> Result<()> {
    let update = Query::update()
        .table(Services::Table)
        .value(Services::HeartbeatAt, 0i64)
        .and_where(Expr::col(Services::Id).eq(id))
        .and_where(Expr::col(Services::Incarnation).eq(incarnation.to_string()))
        .to_owned();
    on.execute(update).await.map(drop)
}

/// What an operator changes; `None` leaves it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "columns of `services`")]
pub struct ServiceChange {
    pub status: Option<&'static str>,
    pub disabled_reason: Option<Option<String>>,
    pub forced_down: Option<bool>,
}

/// Changes a service; false where there is none of this id.
///
/// # Errors
/// What the database says.
pub async fn change<E: Executor + ?Sized>(on: &E, id: &str, change: &ServiceChange) -> Result<bool> {
    let mut update = Query::update();
    update.table(Services::Table).value(Services::UpdatedAt, clock::now());
    if let Some(status) = change.status {
        update.value(Services::Status, status);
    }
    if let Some(reason) = &change.disabled_reason {
        update.value(Services::DisabledReason, reason.as_deref());
    }
    if let Some(forced_down) = change.forced_down {
        update.value(Services::ForcedDown, i64::from(forced_down));
    }
    update.and_where(Expr::col(Services::Id).eq(id));
    Ok(on.execute(update).await? > 0)
}
