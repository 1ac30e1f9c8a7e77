//! Aggregates of Compute, for administrators.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, ApiResult};
use super::input::{Body, Fields};
use crate::clock;
use crate::model::{Aggregate, ZONE_KEY};
use crate::state::{aggregates, hosts};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rome_core::SqlState;
use rome_core::database::{DatabaseExt, Transaction};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The routes under `/compute/v2.1`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/os-aggregates", get(list).post(create))
        .route("/os-aggregates/{id}", get(show).put(update).delete(delete))
        .route("/os-aggregates/{id}/action", post(act))
}

fn printed(caller: &Caller, aggregate: &Aggregate) -> Value {
    let mut shown = json!({
        "id": aggregate.id,
        "name": aggregate.name,
        "availability_zone": aggregate.zone(),
        "metadata": aggregate.metadata,
        "hosts": aggregate.hosts,
        "created_at": clock::to_micros_text(aggregate.created_at),
        "updated_at": aggregate.updated_at.map(clock::to_micros_text),
        "deleted": false,
        "deleted_at": null,
    });
    if let (true, Some(fields)) = (caller.version.at_least(41), shown.as_object_mut()) {
        fields.insert("uuid".into(), json!(aggregate.uuid));
    }
    shown
}

/// The number in the path; a name is a 404, which tells clients to look through the list.
fn number(id: &str) -> ApiResult<i64> {
    id.parse().map_err(|_| ApiError::not_found("Aggregate", id))
}

async fn list(caller: Caller, State(app): State<Arc<App>>) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-aggregates:index")?;
    let all = aggregates::list(app.database.as_ref(), None).await?;
    let shown: Vec<Value> = all.iter().map(|aggregate| printed(&caller, aggregate)).collect();
    Ok(Json(json!({"aggregates": shown})))
}

async fn show(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-aggregates:show")?;
    let found = aggregates::find(app.database.as_ref(), number(&id)?).await?;
    let aggregate = found.ok_or_else(|| ApiError::not_found("Aggregate", &id))?;
    Ok(Json(json!({"aggregate": printed(&caller, &aggregate)})))
}

/// A change to an aggregate.
#[derive(Clone, Debug)]
enum Change {
    Create { name: String, zone: Option<String> },
    Update { id: i64, name: Option<String>, zone: Option<Option<String>> },
    AddHost { id: i64, host: String },
    RemoveHost { id: i64, host: String },
    SetMetadata { id: i64, metadata: BTreeMap<String, Option<String>> },
    Delete { id: i64 },
}

/// Makes a change in a transaction and gives the aggregate as it is afterwards, or as it was before its deletion.
async fn apply(app: &App, change: Change) -> ApiResult<Aggregate> {
    let change = Arc::new(change);
    app.database
        .transaction(move |tx| {
            let change = Arc::clone(&change);
            Box::pin(async move { apply_in(tx, &change).await })
        })
        .await
}

async fn existing(tx: &dyn Transaction, id: i64) -> ApiResult<Aggregate> {
    aggregates::find(tx, id).await?.ok_or_else(|| ApiError::not_found("Aggregate", id))
}

async fn apply_in(tx: &dyn Transaction, change: &Change) -> ApiResult<Aggregate> {
    match change {
        Change::Create { name, zone } => {
            let id = aggregates::insert(tx, name).await.map_err(|error| name_taken(error, name))?;
            if let Some(zone) = zone {
                let metadata = BTreeMap::from([(ZONE_KEY.to_owned(), Some(zone.clone()))]);
                aggregates::set_metadata(tx, id, &metadata).await?;
            }
            existing(tx, id).await
        }
        Change::Update { id, name, zone } => {
            let before = existing(tx, *id).await?;
            if let Some(zone) = zone {
                check_zone(tx, &before, zone.as_deref()).await?;
                let metadata = BTreeMap::from([(ZONE_KEY.to_owned(), zone.clone())]);
                aggregates::set_metadata(tx, *id, &metadata).await?;
            }
            let taken = |error| name_taken(error, name.as_deref().unwrap_or_default());
            aggregates::touch(tx, *id, name.as_deref()).await.map_err(taken)?;
            existing(tx, *id).await
        }
        Change::SetMetadata { id, metadata } => {
            let before = existing(tx, *id).await?;
            if let Some(zone) = metadata.get(ZONE_KEY) {
                check_zone(tx, &before, zone.as_deref()).await?;
            }
            aggregates::set_metadata(tx, *id, metadata).await?;
            aggregates::touch(tx, *id, None).await?;
            existing(tx, *id).await
        }
        Change::AddHost { id, host } => {
            let before = existing(tx, *id).await?;
            let host_id = host_id(tx, host).await?;
            if before.hosts.contains(host) {
                return Err(ApiError::conflict(format!(
                    "Cannot add host {host} in aggregate {id}: the host is in it already"
                )));
            }
            if let Some(zone) = before.zone() {
                let zones = hosts::zones(tx).await?;
                if let Some(other) = zones.get(&host_id).filter(|other| *other != zone) {
                    return Err(ApiError::conflict(format!(
                        "Cannot add host {host} in aggregate {id}: host already in zone {other}"
                    )));
                }
            }
            aggregates::add_host(tx, *id, &host_id).await?;
            aggregates::touch(tx, *id, None).await?;
            existing(tx, *id).await
        }
        Change::RemoveHost { id, host } => {
            existing(tx, *id).await?;
            let host_id = host_id(tx, host).await?;
            if !aggregates::remove_host(tx, *id, &host_id).await? {
                return Err(ApiError::new(
                    StatusCode::NOT_FOUND,
                    format!("Cannot remove host {host} in aggregate {id}: the host is not in it"),
                ));
            }
            aggregates::touch(tx, *id, None).await?;
            existing(tx, *id).await
        }
        Change::Delete { id } => {
            let before = existing(tx, *id).await?;
            if !before.hosts.is_empty() {
                return Err(ApiError::bad_request(format!(
                    "Cannot delete aggregate {id}: there are hosts in it, remove them first"
                )));
            }
            aggregates::delete(tx, *id).await?;
            Ok(before)
        }
    }
}

fn name_taken(error: rome_core::Error, name: &str) -> ApiError {
    if error.state() == SqlState::UNIQUE_VIOLATION {
        ApiError::conflict(format!("Aggregate {name} already exists."))
    } else {
        error.into()
    }
}

async fn host_id(tx: &dyn Transaction, name: &str) -> ApiResult<String> {
    hosts::id_of(tx, name)
        .await?
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("Compute host {name} could not be found.")))
}

/// A host is in one zone at most.
async fn check_zone(tx: &dyn Transaction, aggregate: &Aggregate, zone: Option<&str>) -> ApiResult<()> {
    let Some(zone) = zone else { return Ok(()) };
    let others: Vec<Aggregate> =
        aggregates::list(tx, None).await?.into_iter().filter(|other| other.id != aggregate.id).collect();
    for host in &aggregate.hosts {
        let elsewhere = others.iter().filter(|other| other.hosts.contains(host)).find_map(Aggregate::zone);
        if let Some(other) = elsewhere.filter(|other| *other != zone) {
            return Err(ApiError::conflict(format!("Host {host} is in zone {other} already")));
        }
    }
    Ok(())
}

/// A zone's name: Nova takes no colons, which separate zone and host.
fn zone(fields: Fields<'_>) -> ApiResult<Option<&str>> {
    match fields.name("availability_zone")? {
        Some(zone) if zone.contains(':') => {
            Err(ApiError::bad_request("Invalid input for field/attribute availability_zone: it contains a colon"))
        }
        zone => Ok(zone),
    }
}

async fn create(caller: Caller, State(app): State<Arc<App>>, body: Body) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-aggregates:create")?;
    let fields = body.object("aggregate")?;
    fields.only_known(&["name", "availability_zone"])?;
    let name = fields.required_name("name")?.to_owned();
    let zone = zone(fields)?.map(str::to_owned);
    let aggregate = apply(&app, Change::Create { name, zone }).await?;
    let mut shown = printed(&caller, &aggregate);
    // Nova's answer to this request alone has neither.
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("hosts");
        fields.remove("metadata");
    }
    Ok(Json(json!({"aggregate": shown})))
}

async fn update(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-aggregates:update")?;
    let fields = body.object("aggregate")?;
    fields.only_known(&["name", "availability_zone"])?;
    let name = fields.name("name")?.map(str::to_owned);
    let zone = match fields.raw("availability_zone") {
        None => None,
        Some(_) => Some(zone(fields)?.map(str::to_owned)),
    };
    if name.is_none() && zone.is_none() {
        return Err(ApiError::bad_request("Invalid input: there is nothing to change"));
    }
    let aggregate = apply(&app, Change::Update { id: number(&id)?, name, zone }).await?;
    Ok(Json(json!({"aggregate": printed(&caller, &aggregate)})))
}

async fn delete(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<StatusCode> {
    caller.require_admin("os_compute_api:os-aggregates:delete")?;
    apply(&app, Change::Delete { id: number(&id)? }).await?;
    Ok(StatusCode::OK)
}

async fn act(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<Json<Value>> {
    let id = number(&id)?;
    let (action, details) = body.only()?;
    let fields = Fields::of(action, details)?;
    let change = match action {
        "add_host" | "remove_host" => {
            caller.require_admin(&format!("os_compute_api:os-aggregates:{action}"))?;
            fields.only_known(&["host"])?;
            let host = fields.required_name("host")?.to_owned();
            if action == "add_host" { Change::AddHost { id, host } } else { Change::RemoveHost { id, host } }
        }
        "set_metadata" => {
            caller.require_admin("os_compute_api:os-aggregates:set_metadata")?;
            let metadata = fields
                .object("metadata")?
                .ok_or_else(|| ApiError::bad_request("Invalid input: 'metadata' is a required property"))?
                .nullable_pairs()?;
            Change::SetMetadata { id, metadata }
        }
        _ => {
            return Err(ApiError::bad_request(
                "There is no such action: aggregates know add_host, remove_host and set_metadata",
            ));
        }
    };
    let aggregate = apply(&app, change).await?;
    Ok(Json(json!({"aggregate": printed(&caller, &aggregate)})))
}
