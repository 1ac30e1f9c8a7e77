//! Servers of Compute.
//!
//! [`request`] reads what a user asks for, [`create`] saves it (many requests in one transaction), [`list`] answers queries, [`action`] moves servers
//! from state to state, [`view`] prints them.

pub mod action;
pub mod create;
pub mod list;
pub mod request;
pub mod view;

use super::App;
use super::caller::Caller;
use super::error::{ApiError, ApiResult};
use super::input::Body;
use crate::clock;
use crate::model::{Server, ServerState};
use crate::state::{actions, hosts, servers};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// The routes under `/compute/v2.1`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/servers", get(list::list).post(create))
        .route("/servers/detail", get(list::detail))
        .route("/servers/{id}", get(show).put(update).delete(action::delete))
        .route("/servers/{id}/action", post(action::act))
        .route("/servers/{id}/os-instance-actions", get(list_actions))
        .route("/servers/{id}/metadata", get(show_metadata))
}

async fn create(caller: Caller, State(app): State<Arc<App>>, body: Body) -> ApiResult<Response> {
    let request = request::read(&caller, &app.site, &body)?;
    let zone = request.availability_zone.as_deref();
    request::check_zone(app.database.as_ref(), &app.site, zone).await?;
    let (by_reservation, admin_pass) = (request.by_reservation, request.admin_pass.clone());
    let created = app.creator.create(request).await?;
    if by_reservation {
        return Ok((StatusCode::ACCEPTED, Json(json!({"reservation_id": created.reservation_id}))).into_response());
    }
    let links = view::links(&app.url, &created.first_id);
    let location = format!("{}/compute/v2.1/servers/{}", app.url, created.first_id);
    let document = json!({"server": {
        "id": created.first_id,
        "links": links,
        "OS-DCF:diskConfig": "MANUAL",
        "security_groups": [{"name": "default"}],
        "adminPass": admin_pass,
    }});
    Ok((StatusCode::ACCEPTED, [("location", location)], Json(document)).into_response())
}

/// A server that the caller may see.
async fn visible(app: &App, caller: &Caller, id: &str) -> ApiResult<Server> {
    let project = caller.visible_project()?;
    servers::find(app.database.as_ref(), &app.site, project, id)
        .await?
        .ok_or_else(|| ApiError::not_found("Instance", id))
}

async fn show(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let server = visible(&app, &caller, &id).await?;
    document(&app, &caller, server).await
}

async fn document(app: &App, caller: &Caller, server: Server) -> ApiResult<Json<Value>> {
    let context = context(app, caller, std::slice::from_ref(&server)).await?;
    Ok(Json(json!({"server": context.detail(&server)})))
}

/// What is needed to print these servers besides themselves.
async fn context(app: &App, caller: &Caller, shown: &[Server]) -> ApiResult<view::Context> {
    let database = app.database.as_ref();
    let zones = hosts::zones(database).await?;
    let failed: Vec<String> =
        shown.iter().filter(|server| server.status == ServerState::Error).map(|server| server.id.clone()).collect();
    let faults = actions::faults(database, &failed).await?;
    let hosts = if caller.claims.is_admin && caller.version.at_least(16) {
        hosts::of_site(database, &app.site).await?
    } else {
        Vec::new()
    };
    Ok(view::Context::new(&app.url, caller, zones, faults, hosts, clock::now()))
}

async fn update(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<Json<Value>> {
    let fields = body.object("server")?;
    let mut known = vec!["name", "OS-DCF:diskConfig", "accessIPv4", "accessIPv6"];
    if caller.version.at_least(19) {
        known.push("description");
    }
    fields.only_known(&known)?;
    let name = fields.name("name")?;
    let description = match fields.raw("description") {
        None => None,
        Some(_) => Some(fields.text("description")?),
    };
    let mut server = visible(&app, &caller, &id).await?;
    servers::rename(app.database.as_ref(), &id, name, description).await?;
    if let Some(name) = name {
        server.name = name.to_owned();
    }
    if let Some(description) = description {
        server.description = description.map(str::to_owned);
    }
    document(&app, &caller, server).await
}

async fn show_metadata(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let server = visible(&app, &caller, &id).await?;
    Ok(Json(json!({"metadata": view::metadata(&server)})))
}

async fn list_actions(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let server = visible(&app, &caller, &id).await?;
    let shown: Vec<Value> = actions::of_server(app.database.as_ref(), &server.id)
        .await?
        .into_iter()
        .map(|action| {
            let mut document = json!({
                "action": action.action,
                "instance_uuid": action.server_id,
                "request_id": action.request_id,
                "user_id": action.user_id,
                "project_id": action.project_id,
                "start_time": clock::to_micros_text(action.started_at),
                "message": action.result.filter(|result| result == "Error"),
            });
            if let (true, Some(fields)) = (caller.version.at_least(58), document.as_object_mut()) {
                let updated = action.finished_at.unwrap_or(action.started_at);
                fields.insert("updated_at".into(), json!(clock::to_micros_text(updated)));
            }
            document
        })
        .collect();
    Ok(Json(json!({"instanceActions": shown})))
}
