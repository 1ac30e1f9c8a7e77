//! Quotas and limits of Compute.
//!
//! Instances, cores and memory are counted and limited. The other names are part of the answer's shape; they are printed as fixed limits of
//! this program, where it has one, or as unlimited.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, ApiResult};
use super::input::{Body, MAX_INTEGER};
use super::servers::request::MAX_METADATA;
use super::version::Microversion;
use crate::model::{QuotaNumbers, UNLIMITED};
use crate::state::identity::{self, Naming};
use crate::state::quotas;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use rome_core::database::DatabaseExt;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The routes under `/compute/v2.1`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/os-quota-sets/{project}", get(show).put(update).delete(reset))
        .route("/os-quota-sets/{project}/detail", get(detail))
        .route("/os-quota-sets/{project}/defaults", get(defaults))
        .route("/limits", get(limits))
}

/// The names of a version with their limits and usage.
fn rows(version: Microversion, limits: QuotaNumbers, used: QuotaNumbers) -> Vec<(&'static str, i64, i64)> {
    let mut rows = vec![
        ("instances", limits.instances, used.instances),
        ("cores", limits.cores, used.cores),
        ("ram", limits.ram_mb, used.ram_mb),
        ("metadata_items", i64::try_from(MAX_METADATA).unwrap_or(UNLIMITED), 0),
        ("key_pairs", 0, 0),
        ("server_groups", 0, 0),
        ("server_group_members", 0, 0),
    ];
    // Networks went in 2.36, injected files in 2.57.
    if !version.at_least(36) {
        for name in ["fixed_ips", "floating_ips", "security_groups", "security_group_rules"] {
            rows.push((name, UNLIMITED, 0));
        }
    }
    if !version.at_least(57) {
        for name in ["injected_files", "injected_file_content_bytes", "injected_file_path_bytes"] {
            rows.push((name, 0, 0));
        }
    }
    rows
}

/// A project sees its own numbers, an administrator all.
async fn known_project(app: &App, caller: &Caller, project: &str) -> ApiResult<()> {
    if !caller.claims.is_admin && caller.claims.project_id.as_deref() != Some(project) {
        return Err(ApiError::forbidden("Policy doesn't allow os_compute_api:os-quota-sets:show to be performed."));
    }
    match identity::project(app.database.as_ref(), Naming::Id(project)).await? {
        Some(_) => Ok(()),
        None => Err(ApiError::bad_request(format!("Project ID {project} is not a valid project."))),
    }
}

fn document(version: Microversion, id: Option<&str>, limits: QuotaNumbers) -> Json<Value> {
    let mut fields: Map<String, Value> = rows(version, limits, QuotaNumbers::default())
        .into_iter()
        .map(|(name, limit, _)| (name.to_owned(), json!(limit)))
        .collect();
    if let Some(id) = id {
        fields.insert("id".into(), json!(id));
    }
    Json(json!({"quota_set": fields}))
}

async fn show(caller: Caller, State(app): State<Arc<App>>, Path(project): Path<String>) -> ApiResult<Json<Value>> {
    known_project(&app, &caller, &project).await?;
    let limits = quotas::limits(app.database.as_ref(), &project).await?;
    Ok(document(caller.version, Some(&project), limits))
}

async fn defaults(caller: Caller, State(app): State<Arc<App>>, Path(project): Path<String>) -> ApiResult<Json<Value>> {
    known_project(&app, &caller, &project).await?;
    Ok(document(caller.version, Some(&project), quotas::DEFAULT))
}

async fn detail(caller: Caller, State(app): State<Arc<App>>, Path(project): Path<String>) -> ApiResult<Json<Value>> {
    known_project(&app, &caller, &project).await?;
    let limits = quotas::limits(app.database.as_ref(), &project).await?;
    let used = quotas::usage(app.database.as_ref(), &project).await?;
    let mut fields: Map<String, Value> = rows(caller.version, limits, used)
        .into_iter()
        .map(|(name, limit, used)| (name.to_owned(), json!({"limit": limit, "in_use": used, "reserved": 0})))
        .collect();
    fields.insert("id".into(), json!(project));
    Ok(Json(json!({"quota_set": fields})))
}

async fn update(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(project): Path<String>,
    body: Body,
) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-quota-sets:update")?;
    known_project(&app, &caller, &project).await?;
    let fields = body.object("quota_set")?;
    let every = rows(caller.version, QuotaNumbers::default(), QuotaNumbers::default());
    let mut known: Vec<&str> = every.iter().map(|(name, ..)| *name).collect();
    known.extend(["force", "tenant_id"]);
    fields.only_known(&known)?;
    let force = fields.boolean("force")?.unwrap_or(false);
    let limit = |name| fields.integer(name, UNLIMITED..=MAX_INTEGER);
    let (instances, cores, ram_mb) = (limit("instances")?, limit("cores")?, limit("ram")?);
    for name in known.iter().filter(|name| !["instances", "cores", "ram", "force", "tenant_id"].contains(name)) {
        if limit(name)?.is_some() {
            return Err(ApiError::bad_request(format!(
                "Quota limit {name} can't be changed: this cloud limits instances, cores and ram."
            )));
        }
    }
    let project: Arc<str> = project.into();
    let limits = app
        .database
        .transaction(move |tx| {
            let project = Arc::clone(&project);
            Box::pin(async move {
                let before = quotas::limits(tx, &project).await?;
                let used = quotas::usage(tx, &project).await?;
                let limits = QuotaNumbers {
                    instances: instances.unwrap_or(before.instances),
                    cores: cores.unwrap_or(before.cores),
                    ram_mb: ram_mb.unwrap_or(before.ram_mb),
                };
                let rows = [
                    ("instances", instances, used.instances),
                    ("cores", cores, used.cores),
                    ("ram", ram_mb, used.ram_mb),
                ];
                for (name, wanted, used) in rows {
                    if let Some(wanted) = wanted.filter(|wanted| !force && *wanted != UNLIMITED && *wanted < used) {
                        return Err(ApiError::bad_request(format!(
                            "Quota limit {wanted} for {name} must be greater than or equal to already used and reserved {used}."
                        )));
                    }
                }
                quotas::set_limits(tx, &project, limits).await?;
                Ok::<_, ApiError>(limits)
            })
        })
        .await?;
    Ok(document(caller.version, None, limits))
}

async fn reset(caller: Caller, State(app): State<Arc<App>>, Path(project): Path<String>) -> ApiResult<StatusCode> {
    caller.require_admin("os_compute_api:os-quota-sets:delete")?;
    known_project(&app, &caller, &project).await?;
    quotas::clear_limits(app.database.as_ref(), &project).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn limits(caller: Caller, State(app): State<Arc<App>>) -> ApiResult<Json<Value>> {
    let project = caller.project_id()?;
    let limits = quotas::limits(app.database.as_ref(), project).await?;
    let used = quotas::usage(app.database.as_ref(), project).await?;
    let mut absolute = json!({
        "maxTotalInstances": limits.instances,
        "maxTotalCores": limits.cores,
        "maxTotalRAMSize": limits.ram_mb,
        "maxTotalKeypairs": 0,
        "maxServerMeta": MAX_METADATA,
        "maxServerGroups": 0,
        "maxServerGroupMembers": 0,
        "totalInstancesUsed": used.instances,
        "totalCoresUsed": used.cores,
        "totalRAMUsed": used.ram_mb,
        "totalServerGroupsUsed": 0,
    });
    if let Some(fields) = absolute.as_object_mut() {
        let mut put = |name: &str, value: i64| fields.insert(name.to_owned(), json!(value));
        if !caller.version.at_least(36) {
            put("maxTotalFloatingIps", UNLIMITED);
            put("maxSecurityGroups", UNLIMITED);
            put("maxSecurityGroupRules", UNLIMITED);
            put("totalFloatingIpsUsed", 0);
            put("totalSecurityGroupsUsed", 0);
        }
        if !caller.version.at_least(39) {
            put("maxImageMeta", 0);
        }
        if !caller.version.at_least(57) {
            put("maxPersonality", 0);
            put("maxPersonalitySize", 0);
        }
    }
    Ok(Json(json!({"limits": {"rate": [], "absolute": absolute}})))
}
