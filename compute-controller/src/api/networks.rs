//! Network v2.0, as far as clients ask before they talk to Compute: this cloud has no networks and no extensions.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, PlainError};
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// The routes under `/network`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(versions))
        .route("/v2.0", get(resources))
        .route("/v2.0/", get(resources))
        .route("/v2.0/networks", get(networks))
        .route("/v2.0/networks/{id}", get(network))
        .route("/v2.0/extensions", get(extensions))
}

/// The versions.
pub async fn versions(State(app): State<Arc<App>>) -> Json<Value> {
    let links = json!([{"rel": "self", "href": format!("{}/network/v2.0/", app.url)}]);
    Json(json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}))
}

async fn resources(State(app): State<Arc<App>>) -> Json<Value> {
    let links = json!([{"rel": "self", "href": format!("{}/network/v2.0/networks", app.url)}]);
    Json(json!({"resources": [{"name": "network", "collection": "networks", "links": links}]}))
}

async fn networks(_: Caller) -> Result<Json<Value>, PlainError> {
    Ok(Json(json!({"networks": []})))
}

async fn network(_: Caller, Path(id): Path<String>) -> Result<Json<Value>, PlainError> {
    Err(ApiError::not_found("Network", id).into())
}

async fn extensions(_: Caller) -> Result<Json<Value>, PlainError> {
    Ok(Json(json!({"extensions": []})))
}
