//! What Compute tells of the machines below: availability zones, hypervisors, services.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, ApiResult};
use super::input::{Body, Fields, MAX_NAME, QueryString};
use crate::clock;
use crate::model::{DEFAULT_ZONE, DISABLED, ENABLED, Host, Program, Service};
use crate::state::services::{ServiceChange, ServiceFilter};
use crate::state::{hosts, servers, services};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The zone of schedulers.
const INTERNAL_ZONE: &str = "internal";

/// The routes under `/compute/v2.1`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/os-availability-zone", get(zones))
        .route("/os-availability-zone/detail", get(zones_detail))
        .route("/os-hypervisors", get(hypervisors))
        .route("/os-hypervisors/detail", get(hypervisors_detail))
        .route("/os-hypervisors/statistics", get(statistics))
        .route("/os-hypervisors/{id}", get(show_hypervisor))
        .route("/os-services", get(list_services))
        .route("/os-services/{id}", put(change_service).merge(delete(delete_service)))
}

fn zone_of<'z>(zones: &'z HashMap<String, String>, host: &Host) -> &'z str {
    zones.get(&host.id).map_or(DEFAULT_ZONE, String::as_str)
}

async fn zones(_: Caller, State(app): State<Arc<App>>) -> ApiResult<Json<Value>> {
    let all = hosts::of_site(app.database.as_ref(), &app.site).await?;
    let zones = hosts::zones(app.database.as_ref()).await?;
    let mut available: BTreeMap<&str, bool> = BTreeMap::from([(DEFAULT_ZONE, all.is_empty())]);
    for host in &all {
        *available.entry(zone_of(&zones, host)).or_default() |= host.is_enabled();
    }
    // The default zone is not shown once all hosts are in others.
    let in_default = all.is_empty() || all.iter().any(|host| zone_of(&zones, host) == DEFAULT_ZONE);
    let shown: Vec<Value> = available
        .into_iter()
        .filter(|(zone, _)| *zone != DEFAULT_ZONE || in_default)
        .map(|(zone, available)| json!({"zoneName": zone, "zoneState": {"available": available}, "hosts": null}))
        .collect();
    Ok(Json(json!({"availabilityZoneInfo": shown})))
}

async fn zones_detail(caller: Caller, State(app): State<Arc<App>>) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-availability-zone:detail")?;
    let now = clock::now();
    let all = hosts::of_site(app.database.as_ref(), &app.site).await?;
    let zones = hosts::zones(app.database.as_ref()).await?;
    let mut shown: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for host in &all {
        let state = json!({Program::Agent.as_str(): {
            "active": host.is_enabled(),
            "available": host.is_alive(now),
            "updated_at": clock::to_micros_text(host.heartbeat_at),
        }});
        shown.entry(zone_of(&zones, host)).or_default().insert(host.name.clone(), state);
    }
    let filter = ServiceFilter {
        site: Some(app.site.to_string()),
        program: Some(Program::Scheduler.as_str().to_owned()),
        ..ServiceFilter::default()
    };
    for service in services::list(app.database.as_ref(), &filter).await? {
        let state = json!({service.program.clone(): {
            "active": service.status == ENABLED,
            "available": service.is_alive(now),
            "updated_at": clock::to_micros_text(service.heartbeat_at),
        }});
        shown.entry(INTERNAL_ZONE).or_default().insert(service.host, state);
    }
    let shown: Vec<Value> = shown
        .into_iter()
        .map(|(zone, hosts)| json!({"zoneName": zone, "zoneState": {"available": true}, "hosts": hosts}))
        .collect();
    Ok(Json(json!({"availabilityZoneInfo": shown})))
}

/// From 2.53 hypervisors and services have UUIDs for ids.
fn hypervisor_id(caller: &Caller, host: &Host) -> Value {
    if caller.version.at_least(53) { json!(host.id) } else { json!(host.number) }
}

fn brief(caller: &Caller, host: &Host, now: i64) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".into(), hypervisor_id(caller, host));
    shown.insert("hypervisor_hostname".into(), json!(host.name));
    shown.insert("state".into(), json!(if host.is_alive(now) { "up" } else { "down" }));
    shown.insert("status".into(), json!(if host.is_enabled() { ENABLED } else { DISABLED }));
    shown
}

fn full(caller: &Caller, host: &Host, now: i64) -> Map<String, Value> {
    let mut shown = brief(caller, host, now);
    let service_id = if caller.version.at_least(53) { json!(host.service_id) } else { json!(host.service_number) };
    // An object from 2.28, text before.
    let cpu_info = if caller.version.at_least(28) { json!({}) } else { json!("") };
    let free = host.capacity() - host.used();
    let more = json!({
        "cpu_info": cpu_info,
        "current_workload": 0,
        "disk_available_least": free.disk_gb,
        "free_disk_gb": free.disk_gb,
        "free_ram_mb": free.ram_mb,
        "host_ip": null,
        "hypervisor_type": "fake",
        "hypervisor_version": 1000,
        "local_gb": host.disk_gb,
        "local_gb_used": host.disk_gb_used,
        "memory_mb": host.ram_mb,
        "memory_mb_used": host.ram_mb_used,
        "running_vms": host.instances,
        "service": {"id": service_id, "host": host.name, "disabled_reason": host.disabled_reason},
        "vcpus": host.vcpus,
        "vcpus_used": host.vcpus_used,
    });
    if let Value::Object(more) = more {
        shown.extend(more);
    }
    shown
}

type Page = (Vec<Host>, Option<String>);

/// The hypervisors that the query asks for; pages from 2.33, patterns from 2.53.
async fn hypervisor_page(app: &App, caller: &Caller, query: &QueryString) -> ApiResult<Page> {
    let mut all = hosts::of_site(app.database.as_ref(), &app.site).await?;
    if let Some(pattern) = query.get("hypervisor_hostname_pattern").filter(|_| caller.version.at_least(53)) {
        all.retain(|host| host.name.contains(pattern));
        if all.is_empty() {
            return Err(ApiError::new(
                StatusCode::NOT_FOUND,
                format!("No hypervisor matching '{pattern}' could be found."),
            ));
        }
    }
    if !caller.version.at_least(33) {
        return Ok((all, None));
    }
    if let Some(marker) = query.get("marker") {
        let is_marker = |host: &Host| host.id == marker || host.number.to_string() == marker;
        let position = all.iter().position(is_marker);
        let position = position.ok_or_else(|| ApiError::bad_request(format!("marker [{marker}] not found")))?;
        all.drain(..=position);
    }
    let limit = query.integer("limit", 0..=i64::MAX)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1000);
    let more = all.len() > limit;
    all.truncate(limit);
    let id = |host: &Host| if caller.version.at_least(53) { host.id.clone() } else { host.number.to_string() };
    let next = all.last().filter(|_| more).map(id);
    Ok((all, next))
}

async fn hypervisor_list(
    app: &App,
    caller: &Caller,
    query: &QueryString,
    path: &str,
    print: fn(&Caller, &Host, i64) -> Map<String, Value>,
) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-hypervisors:list")?;
    let (page, next) = hypervisor_page(app, caller, query).await?;
    let with_servers = caller.version.at_least(53) && query.boolean("with_servers") == Some(true);
    let located =
        if with_servers { servers::names_on_hosts(app.database.as_ref(), &app.site).await? } else { Vec::new() };
    let now = clock::now();
    let shown: Vec<Value> = page
        .iter()
        .map(|host| {
            let mut shown = print(caller, host, now);
            let here: Vec<Value> = located
                .iter()
                .filter(|(host_id, ..)| *host_id == host.id)
                .map(|(_, id, name)| json!({"uuid": id, "name": name}))
                .collect();
            if !here.is_empty() {
                shown.insert("servers".into(), json!(here));
            }
            Value::Object(shown)
        })
        .collect();
    let mut document = json!({"hypervisors": shown});
    if let (Some(marker), Some(fields)) = (next, document.as_object_mut()) {
        let href = format!("{}/compute/v2.1/{path}?{}", app.url, query.with("marker", &marker));
        fields.insert("hypervisors_links".into(), json!([{"rel": "next", "href": href}]));
    }
    Ok(Json(document))
}

async fn hypervisors(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    hypervisor_list(&app, &caller, &query, "os-hypervisors", brief).await
}

async fn hypervisors_detail(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    hypervisor_list(&app, &caller, &query, "os-hypervisors/detail", full).await
}

async fn show_hypervisor(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-hypervisors:show")?;
    let all = hosts::of_site(app.database.as_ref(), &app.site).await?;
    let is_it = |host: &&Host| {
        if caller.version.at_least(53) { host.id == id } else { host.number.to_string() == id }
    };
    let host = all.iter().find(is_it);
    let host = host.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, format!("Hypervisor with ID '{id}' could not be found."))
    })?;
    Ok(Json(json!({"hypervisor": full(&caller, host, clock::now())})))
}

async fn statistics(caller: Caller, State(app): State<Arc<App>>) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-hypervisors:statistics")?;
    let all = hosts::of_site(app.database.as_ref(), &app.site).await?;
    let sum = |of: fn(&Host) -> i64| all.iter().map(of).fold(0, i64::saturating_add);
    let free_disk_gb = sum(|host| host.disk_gb - host.disk_gb_used);
    Ok(Json(json!({"hypervisor_statistics": {
        "count": all.len(),
        "current_workload": 0,
        "disk_available_least": free_disk_gb,
        "free_disk_gb": free_disk_gb,
        "free_ram_mb": sum(|host| host.ram_mb - host.ram_mb_used),
        "local_gb": sum(|host| host.disk_gb),
        "local_gb_used": sum(|host| host.disk_gb_used),
        "memory_mb": sum(|host| host.ram_mb),
        "memory_mb_used": sum(|host| host.ram_mb_used),
        "running_vms": sum(|host| host.instances),
        "vcpus": sum(|host| host.vcpus),
        "vcpus_used": sum(|host| host.vcpus_used),
    }})))
}

fn print_service(caller: &Caller, service: &Service, zone: &str, now: i64) -> Value {
    let mut shown = json!({
        "id": if caller.version.at_least(53) { json!(service.id) } else { json!(service.number) },
        "binary": service.program,
        "host": service.host,
        "zone": zone,
        "status": service.status,
        "state": if service.is_alive(now) { "up" } else { "down" },
        "updated_at": clock::to_micros_text(service.heartbeat_at.max(service.updated_at)),
        "disabled_reason": service.disabled_reason,
    });
    if let (true, Some(fields)) = (caller.version.at_least(11), shown.as_object_mut()) {
        fields.insert("forced_down".into(), json!(service.forced_down != 0));
    }
    shown
}

async fn list_services(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-services:list")?;
    let filter = ServiceFilter {
        site: Some(app.site.to_string()),
        program: query.get("binary").map(str::to_owned),
        host: query.get("host").map(str::to_owned),
        id: None,
    };
    let now = clock::now();
    let all = services::list(app.database.as_ref(), &filter).await?;
    let zones = hosts::zones(app.database.as_ref()).await?;
    let at: HashMap<String, String> = hosts::of_site(app.database.as_ref(), &app.site)
        .await?
        .into_iter()
        .map(|host| (host.service_id.clone(), zone_of(&zones, &host).to_owned()))
        .collect();
    let zone = |service: &Service| at.get(&service.id).map_or(INTERNAL_ZONE, String::as_str);
    let shown: Vec<Value> = all.iter().map(|service| print_service(&caller, service, zone(service), now)).collect();
    Ok(Json(json!({"services": shown})))
}

fn disabled_reason(fields: Fields<'_>) -> ApiResult<Option<String>> {
    Ok(fields.name("disabled_reason")?.map(|reason| reason.chars().take(MAX_NAME).collect()))
}

/// `PUT /os-services/{uuid}` from 2.53; before, `PUT /os-services/enable`, `disable`, `disable-log-reason` and `force-down`.
async fn change_service(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<Response> {
    caller.require_admin("os_compute_api:os-services:update")?;
    let fields = body.fields();
    if caller.version.at_least(53) {
        return change_by_uuid(&app, &caller, &id, fields).await;
    }
    let host = fields.required_name("host")?;
    let program = fields.required_name("binary")?;
    let mut answer = json!({"host": host, "binary": program});
    let change = match id.as_str() {
        "enable" => ServiceChange { status: Some(ENABLED), disabled_reason: Some(None), forced_down: None },
        "disable" => ServiceChange { status: Some(DISABLED), disabled_reason: Some(None), forced_down: None },
        "disable-log-reason" => {
            let reason = disabled_reason(fields)?
                .ok_or_else(|| ApiError::bad_request("Invalid input: 'disabled_reason' is a required property"))?;
            ServiceChange { status: Some(DISABLED), disabled_reason: Some(Some(reason)), forced_down: None }
        }
        "force-down" if caller.version.at_least(11) => {
            let forced_down = fields
                .boolean("forced_down")?
                .ok_or_else(|| ApiError::bad_request("Invalid input: 'forced_down' is a required property"))?;
            ServiceChange { forced_down: Some(forced_down), ..ServiceChange::default() }
        }
        _ => return Err(ApiError::new(StatusCode::NOT_FOUND, "Unknown action")),
    };
    let filter = ServiceFilter {
        site: Some(app.site.to_string()),
        program: Some(program.to_owned()),
        host: Some(host.to_owned()),
        id: None,
    };
    let found = services::list(app.database.as_ref(), &filter).await?.into_iter().next();
    let service = found.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, format!("Could not find binary {program} on host {host}."))
    })?;
    services::change(app.database.as_ref(), &service.id, &change).await?;
    if let Some(fields) = answer.as_object_mut() {
        if let Some(status) = change.status {
            fields.insert("status".into(), json!(status));
        }
        if let Some(Some(reason)) = change.disabled_reason {
            fields.insert("disabled_reason".into(), json!(reason));
        }
        if let Some(forced_down) = change.forced_down {
            fields.insert("forced_down".into(), json!(forced_down));
        }
    }
    Ok(Json(json!({"service": answer})).into_response())
}

async fn change_by_uuid(app: &App, caller: &Caller, id: &str, fields: Fields<'_>) -> ApiResult<Response> {
    fields.only_known(&["status", "disabled_reason", "forced_down"])?;
    let status = match fields.text("status")? {
        None => None,
        Some(ENABLED) => Some(ENABLED),
        Some(DISABLED) => Some(DISABLED),
        Some(_) => {
            return Err(ApiError::bad_request(
                "Invalid input for field/attribute status: it must be 'enabled' or 'disabled'",
            ));
        }
    };
    let reason = disabled_reason(fields)?;
    if reason.is_some() && status != Some(DISABLED) {
        return Err(ApiError::bad_request("Specifying disabled_reason is only valid with status 'disabled'."));
    }
    let forced_down = fields.boolean("forced_down")?;
    if status.is_none() && forced_down.is_none() {
        return Err(ApiError::bad_request(
            "No updates were requested. Fields 'status' or 'forced_down' should be specified.",
        ));
    }
    let change = ServiceChange { status, disabled_reason: status.map(|_| reason), forced_down };
    let filter =
        ServiceFilter { site: Some(app.site.to_string()), id: Some(id.to_owned()), ..ServiceFilter::default() };
    let missing = || ApiError::new(StatusCode::NOT_FOUND, format!("Service {id} could not be found."));
    if services::list(app.database.as_ref(), &filter).await?.is_empty() {
        return Err(missing());
    }
    services::change(app.database.as_ref(), id, &change).await?;
    let service = services::list(app.database.as_ref(), &filter).await?.into_iter().next().ok_or_else(missing)?;
    let all = hosts::of_site(app.database.as_ref(), &app.site).await?;
    let zones = hosts::zones(app.database.as_ref()).await?;
    let zone = all.iter().find(|host| host.service_id == id).map_or(INTERNAL_ZONE, |host| zone_of(&zones, host));
    Ok(Json(json!({"service": print_service(caller, &service, zone, clock::now())})).into_response())
}

async fn delete_service(caller: Caller, Path(id): Path<String>) -> ApiResult<StatusCode> {
    caller.require_admin("os_compute_api:os-services:delete")?;
    Err(ApiError::conflict(format!("Service {id} can't be deleted: stop it and disable it instead.")))
}
