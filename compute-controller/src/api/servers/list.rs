//! `GET /servers` and `/servers/detail`: filters, order, pages.

use super::{context, view};
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, ApiResult};
use crate::api::input::QueryString;
use crate::clock;
use crate::model::{Server, ServerState};
use crate::state::servers::{self, ServerFilter, SortKey};
use axum::Json;
use axum::extract::State;
use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};
use std::sync::Arc;

/// Servers in one page.
pub const MAX_LIMIT: u64 = 1000;

/// A compiled name pattern takes no more memory.
const MAX_PATTERN_BYTES: usize = 64 * 1024;

/// `GET /servers`
pub async fn list(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    let page = page(&app, &caller, &query).await?;
    let shown: Vec<Value> = page.servers.iter().map(|server| view::brief(&app.url, server)).collect();
    Ok(document(&app, &query, "servers", shown, page.next))
}

/// `GET /servers/detail`
pub async fn detail(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    let page = page(&app, &caller, &query).await?;
    let context = context(&app, &caller, &page.servers).await?;
    let shown: Vec<Value> = page.servers.iter().map(|server| context.detail(server)).collect();
    Ok(document(&app, &query, "servers/detail", shown, page.next))
}

fn document(app: &App, query: &QueryString, path: &str, shown: Vec<Value>, next: Option<String>) -> Json<Value> {
    let mut document = json!({"servers": shown});
    if let (Some(marker), Some(fields)) = (next, document.as_object_mut()) {
        let href = format!("{}/compute/v2.1/{path}?{}", app.url, query.with("marker", &marker));
        fields.insert("servers_links".into(), json!([{"rel": "next", "href": href}]));
    }
    Json(document)
}

struct Page {
    servers: Vec<Server>,
    /// The marker of the next page, where this one is full.
    next: Option<String>,
}

async fn page(app: &App, caller: &Caller, query: &QueryString) -> ApiResult<Page> {
    let limit = query.integer("limit", 0..=i64::MAX)?.map_or(MAX_LIMIT, |limit| limit.unsigned_abs().min(MAX_LIMIT));
    let empty = Page { servers: Vec::new(), next: None };
    let Some(mut filter) = filter(app, caller, query).await? else { return Ok(empty) };
    if limit == 0 {
        return Ok(empty);
    }
    let pattern = query.get("name").map(pattern).transpose()?;
    filter.limit = pattern.is_none().then_some(limit);
    let mut found = servers::list(app.database.as_ref(), &filter).await?;
    if let Some(pattern) = pattern {
        found.retain(|server| pattern.is_match(&server.name));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    found.truncate(limit);
    let next = found.last().filter(|_| found.len() == limit).map(|server| server.id.clone());
    Ok(Page { servers: found, next })
}

/// Nova matches names by regular expression, anywhere in the name, unless anchored.
fn pattern(text: &str) -> ApiResult<Regex> {
    RegexBuilder::new(text)
        .size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|_| ApiError::bad_request("Invalid filter: name is no valid regular expression."))
}

/// What the query asks for; `None` where nothing can match.
async fn filter(app: &App, caller: &Caller, query: &QueryString) -> ApiResult<Option<ServerFilter>> {
    let all_projects = query.boolean("all_tenants").unwrap_or(false);
    let project_id = if all_projects {
        caller.require_admin("os_compute_api:servers:index:get_all_tenants")?;
        query.get("project_id").or(query.get("tenant_id")).map(str::to_owned)
    } else {
        Some(caller.project_id()?.to_owned())
    };
    // Deleted servers leave nothing behind.
    if query.boolean("deleted") == Some(true) && caller.claims.is_admin {
        return Ok(None);
    }
    let (mut states, mut deleting) = (None, None);
    if let Some(status) = query.get("status") {
        let (known, launched) = view::states_of_status(status);
        if known.is_empty() {
            return if caller.version.at_least(38) {
                Err(ApiError::bad_request(format!("Invalid status value: {status}")))
            } else {
                Ok(None)
            };
        }
        (states, deleting) = (Some(known), launched);
    } else if let Some(vm_state) = query.get("vm_state") {
        states = Some(match vm_state {
            "building" => vec![ServerState::Scheduling, ServerState::Building],
            "active" => vec![ServerState::Active, ServerState::Stopping, ServerState::Rebooting],
            "stopped" => vec![ServerState::Stopped, ServerState::Starting],
            "error" => vec![ServerState::Error],
            _ => return Ok(None),
        });
    }
    let changed_since = match query.get("changes-since") {
        None => None,
        Some(text) => Some(
            clock::parse(text)
                .ok_or_else(|| ApiError::bad_request("Invalid changes-since: it is no ISO 8601 time."))?,
        ),
    };
    let literal = query.get("name").filter(|name| regex::escape(name) == **name);
    Ok(Some(ServerFilter {
        site: app.site.to_string(),
        project_id,
        id: query.get("uuid").map(str::to_owned),
        states,
        deleting_launched: deleting,
        host_name: query.get("host").filter(|_| caller.claims.is_admin).map(str::to_owned),
        flavor_id: query.get("flavor").map(|flavor| flavor.rsplit('/').next().unwrap_or(flavor).to_owned()),
        image_id: query.get("image").map(|image| image.rsplit('/').next().unwrap_or(image).to_owned()),
        reservation_id: query.get("reservation_id").map(str::to_owned),
        changed_since,
        name_contains: literal.map(str::to_owned),
        sort: sort(query)?,
        ascending: query.get("sort_dir").is_some_and(|direction| direction.eq_ignore_ascii_case("asc")),
        after: marker(app, caller, query).await?,
        limit: None,
    }))
}

fn sort(query: &QueryString) -> ApiResult<SortKey> {
    match query.get("sort_key") {
        None | Some("created_at") => Ok(SortKey::CreatedAt),
        Some("updated_at") => Ok(SortKey::UpdatedAt),
        Some("display_name" | "name") => Ok(SortKey::Name),
        Some("uuid" | "id") => Ok(SortKey::Id),
        Some(_) => Err(ApiError::bad_request(
            "Invalid sort_key: servers are sorted by created_at, updated_at, display_name or uuid.",
        )),
    }
}

async fn marker(app: &App, caller: &Caller, query: &QueryString) -> ApiResult<Option<Server>> {
    let Some(marker) = query.get("marker") else { return Ok(None) };
    let project = caller.visible_project()?;
    let found = servers::find(app.database.as_ref(), &app.site, project, marker).await?;
    found.map(Some).ok_or_else(|| ApiError::bad_request(format!("marker [{marker}] not found")))
}
