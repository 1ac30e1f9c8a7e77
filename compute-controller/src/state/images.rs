//! Images: what servers boot from. In this first form they are seeded, not uploaded.

use crate::model::Image;
use crate::schema::Images;
use crate::state::among;
use rome_core::Result;
use rome_core::database::{Executor, Queryable};
use sea_query::{Order, Query, SelectStatement};

fn select() -> SelectStatement {
    Query::select()
        .columns([
            Images::Id,
            Images::Name,
            Images::Status,
            Images::Visibility,
            Images::DiskFormat,
            Images::ContainerFormat,
            Images::SizeBytes,
            Images::MinDiskGb,
            Images::MinRamMb,
            Images::CreatedAt,
            Images::UpdatedAt,
        ])
        .from(Images::Table)
        .take()
}

/// All images by id.
///
/// # Errors
/// What the database says.
pub async fn all<E: Executor + ?Sized>(on: &E) -> Result<Vec<Image>> {
    on.query_as(select().order_by(Images::Id, Order::Asc)).await
}

/// The images of these ids.
///
/// # Errors
/// What the database says.
pub async fn by_ids<E: Executor + ?Sized>(on: &E, ids: &[String]) -> Result<Vec<Image>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    on.query_as(select().and_where(among(Images::Id, ids))).await
}

/// Adds an image.
///
/// # Errors
/// What the database says.
pub async fn insert<E: Executor + ?Sized>(on: &E, image: &Image) -> Result<()> {
    let insert = Query::insert()
        .into_table(Images::Table)
        .columns([
            Images::Id,
            Images::Name,
            Images::Status,
            Images::Visibility,
            Images::DiskFormat,
            Images::ContainerFormat,
            Images::SizeBytes,
            Images::MinDiskGb,
            Images::MinRamMb,
            Images::CreatedAt,
            Images::UpdatedAt,
        ])
        .values_panic([
            image.id.as_str().into(),
            image.name.as_str().into(),
            image.status.as_str().into(),
            image.visibility.as_str().into(),
            image.disk_format.as_str().into(),
            image.container_format.as_str().into(),
            image.size_bytes.into(),
            image.min_disk_gb.into(),
            image.min_ram_mb.into(),
            image.created_at.into(),
            image.updated_at.into(),
        ])
        .to_owned();
    on.execute(insert).await.map(drop)
}
