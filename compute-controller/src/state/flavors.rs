//! Flavors and their extra specs.

use crate::clock;
use crate::model::Flavor;
use crate::schema::{FlavorExtraSpecs, Flavors};
use crate::state::among;
use rome_core::Result;
use rome_core::database::{Executor, Queryable};
use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};
use std::collections::{BTreeMap, HashMap};

fn select() -> SelectStatement {
    Query::select()
        .columns([
            Flavors::Id,
            Flavors::Name,
            Flavors::Vcpus,
            Flavors::RamMb,
            Flavors::DiskGb,
            Flavors::EphemeralGb,
            Flavors::SwapMb,
            Flavors::IsPublic,
            Flavors::Description,
            Flavors::CreatedAt,
        ])
        .from(Flavors::Table)
        .take()
}

/// All flavors by id.
///
/// # Errors
/// What the database says.
pub async fn all<E: Executor + ?Sized>(on: &E) -> Result<Vec<Flavor>> {
    on.query_as(select().order_by(Flavors::Id, Order::Asc)).await
}

/// The flavors of these ids.
///
/// # Errors
/// What the database says.
pub async fn by_ids<E: Executor + ?Sized>(on: &E, ids: &[String]) -> Result<Vec<Flavor>> {
    on.query_as(select().and_where(among(Flavors::Id, ids))).await
}

/// One flavor.
///
/// # Errors
/// What the database says.
pub async fn find<E: Executor + ?Sized>(on: &E, id: &str) -> Result<Option<Flavor>> {
    on.query_opt(select().and_where(Expr::col(Flavors::Id).eq(id))).await
}

/// Adds a flavor.
///
/// # Errors
/// [`rome_core::SqlState::UNIQUE_VIOLATION`] where its id or name is taken.
pub async fn insert<E: Executor + ?Sized>(on: &E, flavor: &Flavor) -> Result<()> {
    let insert = Query::insert()
        .into_table(Flavors::Table)
        .columns([
            Flavors::Id,
            Flavors::Name,
            Flavors::Vcpus,
            Flavors::RamMb,
            Flavors::DiskGb,
            Flavors::EphemeralGb,
            Flavors::SwapMb,
            Flavors::IsPublic,
            Flavors::Description,
            Flavors::CreatedAt,
        ])
        .values_panic([
            flavor.id.as_str().into(),
            flavor.name.as_str().into(),
            flavor.vcpus.into(),
            flavor.ram_mb.into(),
            flavor.disk_gb.into(),
            flavor.ephemeral_gb.into(),
            flavor.swap_mb.into(),
            flavor.is_public.into(),
            flavor.description.as_deref().into(),
            clock::now().into(),
        ])
        .to_owned();
    on.execute(insert).await.map(drop)
}

/// Changes the description; false where there is no such flavor.
///
/// # Errors
/// What the database says.
pub async fn describe<E: Executor + ?Sized>(on: &E, id: &str, description: Option<&str>) -> Result<bool> {
    let update = Query::update()
        .table(Flavors::Table)
        .value(Flavors::Description, description)
        .and_where(Expr::col(Flavors::Id).eq(id))
        .to_owned();
    Ok(on.execute(update).await? > 0)
}

/// Removes a flavor with its extra specs; false where there is none.
///
/// # Errors
/// What the database says.
pub async fn delete<E: Executor + ?Sized>(on: &E, id: &str) -> Result<bool> {
    let delete = Query::delete().from_table(Flavors::Table).and_where(Expr::col(Flavors::Id).eq(id)).to_owned();
    Ok(on.execute(delete).await? > 0)
}

/// The extra specs of these flavors, by flavor's id.
///
/// # Errors
/// What the database says.
pub async fn extra_specs<E: Executor + ?Sized>(
    on: &E,
    ids: &[String],
) -> Result<HashMap<String, BTreeMap<String, String>>> {
    let mut specs: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    if ids.is_empty() {
        return Ok(specs);
    }
    let select = Query::select()
        .columns([FlavorExtraSpecs::FlavorId, FlavorExtraSpecs::SpecKey, FlavorExtraSpecs::SpecValue])
        .from(FlavorExtraSpecs::Table)
        .and_where(among(FlavorExtraSpecs::FlavorId, ids))
        .to_owned();
    for (id, key, value) in on.query_as::<(String, String, String), _>(select).await? {
        specs.entry(id).or_default().insert(key, value);
    }
    Ok(specs)
}

/// Sets extra specs, leaving the others.
///
/// # Errors
/// What the database says.
pub async fn set_extra_specs<E: Executor + ?Sized>(on: &E, id: &str, specs: &BTreeMap<String, String>) -> Result<()> {
    if specs.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = specs.keys().cloned().collect();
    delete_extra_specs(on, id, &keys).await?;
    let mut insert = Query::insert();
    insert.into_table(FlavorExtraSpecs::Table).columns([
        FlavorExtraSpecs::FlavorId,
        FlavorExtraSpecs::SpecKey,
        FlavorExtraSpecs::SpecValue,
    ]);
    for (key, value) in specs {
        insert.values_panic([id.into(), key.as_str().into(), value.as_str().into()]);
    }
    on.execute(insert).await.map(drop)
}

/// Removes extra specs; gives how many there were.
///
/// # Errors
/// What the database says.
pub async fn delete_extra_specs<E: Executor + ?Sized>(on: &E, id: &str, keys: &[String]) -> Result<u64> {
    let delete = Query::delete()
        .from_table(FlavorExtraSpecs::Table)
        .and_where(Expr::col(FlavorExtraSpecs::FlavorId).eq(id))
        .and_where(among(FlavorExtraSpecs::SpecKey, keys))
        .to_owned();
    on.execute(delete).await
}
