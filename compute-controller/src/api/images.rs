//! Image v2: list and show.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, PlainError};
use super::input::QueryString;
use crate::clock;
use crate::model::Image;
use crate::state::images;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// The routes under `/image`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(versions))
        .route("/versions", get(versions))
        .route("/v2/images", get(list))
        .route("/v2/images/{id}", get(show))
}

/// The versions, with the status that tells clients to choose one.
pub async fn versions(State(app): State<Arc<App>>) -> Response {
    let links = json!([{"rel": "self", "href": format!("{}/image/v2/", app.url)}]);
    let document = json!({"versions": [{"id": "v2.9", "status": "CURRENT", "links": links}]});
    (StatusCode::MULTIPLE_CHOICES, Json(document)).into_response()
}

fn printed(image: &Image) -> Value {
    json!({
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size_bytes,
        "virtual_size": null,
        "min_disk": image.min_disk_gb,
        "min_ram": image.min_ram_mb,
        "checksum": null,
        "os_hash_algo": null,
        "os_hash_value": null,
        "os_hidden": false,
        "owner": null,
        "protected": false,
        "tags": [],
        "created_at": clock::to_seconds_text(image.created_at),
        "updated_at": clock::to_seconds_text(image.updated_at),
        "self": format!("/v2/images/{}", image.id),
        "file": format!("/v2/images/{}/file", image.id),
        "schema": "/v2/schemas/image",
    })
}

/// `value`, or one of several as `in:a,b`.
fn matches(wanted: Option<&str>, value: &str) -> bool {
    match wanted {
        None => true,
        Some(wanted) => match wanted.strip_prefix("in:") {
            Some(list) => list.split(',').any(|one| one.trim_matches('"') == value),
            None => wanted == value,
        },
    }
}

async fn list(_: Caller, State(app): State<Arc<App>>, query: QueryString) -> Result<Json<Value>, PlainError> {
    let mut all = images::all(app.database.as_ref()).await?;
    if let Some(marker) = query.get("marker") {
        let position = all.iter().position(|image| image.id == marker);
        let position = position
            .ok_or_else(|| ApiError::bad_request(format!("Invalid marker. Image {marker} could not be found.")))?;
        all.drain(..=position);
    }
    all.retain(|image| {
        matches(query.get("id"), &image.id)
            && matches(query.get("name"), &image.name)
            && matches(query.get("status"), &image.status)
            && matches(query.get("disk_format"), &image.disk_format)
            && matches(query.get("container_format"), &image.container_format)
            && query.get("visibility").is_none_or(|wanted| wanted == "all" || wanted == image.visibility)
    });
    let limit = query.integer("limit", 0..=i64::MAX)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1000);
    let more = all.len() > limit;
    all.truncate(limit);
    let shown: Vec<Value> = all.iter().map(printed).collect();
    let mut document = json!({"images": shown, "first": "/v2/images", "schema": "/v2/schemas/images"});
    if let (true, Some(last), Some(fields)) = (more, all.last(), document.as_object_mut()) {
        fields.insert("next".into(), json!(format!("/v2/images?{}", query.with("marker", &last.id))));
    }
    Ok(Json(document))
}

async fn show(_: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, PlainError> {
    let found = images::by_ids(app.database.as_ref(), std::slice::from_ref(&id)).await?;
    let image = found
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("Failed to find image {id} to show")))?;
    Ok(Json(printed(&image)))
}
