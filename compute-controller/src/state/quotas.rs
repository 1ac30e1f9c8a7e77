//! What projects may use and do use.

use crate::model::{QuotaNumbers, Resources};
use crate::schema::{QuotaUsages, Quotas};
use rome_core::Result;
use rome_core::database::{Executor, Queryable, Transaction};
use sea_query::{Expr, ExprTrait, Query};

/// The limits of a project that nobody has set others for.
pub const DEFAULT: QuotaNumbers = QuotaNumbers { instances: 10_000, cores: 20_000, ram_mb: 51_200_000 };

/// The limits of a project.
///
/// # Errors
/// What the database says.
pub async fn limits<E: Executor + ?Sized>(on: &E, project_id: &str) -> Result<QuotaNumbers> {
    let select = Query::select()
        .columns([Quotas::Instances, Quotas::Cores, Quotas::RamMb])
        .from(Quotas::Table)
        .and_where(Expr::col(Quotas::ProjectId).eq(project_id))
        .to_owned();
    Ok(on.query_opt(select).await?.unwrap_or(DEFAULT))
}

/// What a project uses.
///
/// # Errors
/// What the database says.
pub async fn usage<E: Executor + ?Sized>(on: &E, project_id: &str) -> Result<QuotaNumbers> {
    usage_row(on, project_id, false).await.map(Option::unwrap_or_default)
}

/// What a project uses, kept from changing until the transaction ends; `None` where it has never used anything.
///
/// # Errors
/// What the database says.
pub async fn usage_for_update(tx: &dyn Transaction, project_id: &str) -> Result<Option<QuotaNumbers>> {
    usage_row(tx, project_id, true).await
}

async fn usage_row<E: Executor + ?Sized>(on: &E, project_id: &str, lock: bool) -> Result<Option<QuotaNumbers>> {
    let mut select = Query::select();
    select
        .columns([QuotaUsages::Instances, QuotaUsages::Cores, QuotaUsages::RamMb])
        .from(QuotaUsages::Table)
        .and_where(Expr::col(QuotaUsages::ProjectId).eq(project_id));
    if lock {
        select.lock_exclusive();
    }
    on.query_opt(select).await
}

/// Adds to what a project uses; negative numbers give back. False where the project has no row yet.
///
/// # Errors
/// What the database says.
pub async fn add_usage(tx: &dyn Transaction, project_id: &str, instances: i64, sum: Resources) -> Result<bool> {
    let update = Query::update()
        .table(QuotaUsages::Table)
        .value(QuotaUsages::Instances, Expr::col(QuotaUsages::Instances).add(instances))
        .value(QuotaUsages::Cores, Expr::col(QuotaUsages::Cores).add(sum.vcpus))
        .value(QuotaUsages::RamMb, Expr::col(QuotaUsages::RamMb).add(sum.ram_mb))
        .and_where(Expr::col(QuotaUsages::ProjectId).eq(project_id))
        .to_owned();
    Ok(tx.execute(update).await? > 0)
}

/// The first row of what a project uses.
///
/// # Errors
/// What the database says.
pub async fn insert_usage(tx: &dyn Transaction, project_id: &str, instances: i64, sum: Resources) -> Result<()> {
    let insert = Query::insert()
        .into_table(QuotaUsages::Table)
        .columns([QuotaUsages::ProjectId, QuotaUsages::Instances, QuotaUsages::Cores, QuotaUsages::RamMb])
        .values_panic([project_id.into(), instances.into(), sum.vcpus.into(), sum.ram_mb.into()])
        .to_owned();
    tx.execute(insert).await.map(drop)
}

/// Sets a project's limits.
///
/// # Errors
/// What the database says.
pub async fn set_limits(tx: &dyn Transaction, project_id: &str, limits: QuotaNumbers) -> Result<()> {
    clear_limits(tx, project_id).await?;
    let insert = Query::insert()
        .into_table(Quotas::Table)
        .columns([Quotas::ProjectId, Quotas::Instances, Quotas::Cores, Quotas::RamMb])
        .values_panic([project_id.into(), limits.instances.into(), limits.cores.into(), limits.ram_mb.into()])
        .to_owned();
    tx.execute(insert).await.map(drop)
}

/// Back to [`DEFAULT`].
///
/// # Errors
/// What the database says.
pub async fn clear_limits<E: Executor + ?Sized>(on: &E, project_id: &str) -> Result<()> {
    let delete =
        Query::delete().from_table(Quotas::Table).and_where(Expr::col(Quotas::ProjectId).eq(project_id)).to_owned();
    on.execute(delete).await.map(drop)
}
