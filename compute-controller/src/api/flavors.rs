//! Flavors of Compute and their extra specs.

use super::App;
use super::caller::Caller;
use super::error::{ApiError, ApiResult};
use super::input::{Body, Fields, MAX_INTEGER, MAX_NAME, QueryString};
use super::version::Microversion;
use crate::model::Flavor;
use crate::state::flavors;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use rome_core::SqlState;
use rome_core::database::DatabaseExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// Pairs in one request.
const MAX_SPECS: usize = 128;

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 65_535;

/// The routes under `/compute/v2.1`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/flavors", get(list).post(create))
        .route("/flavors/detail", get(detail))
        .route("/flavors/{id}", get(show).put(update).delete(delete))
        .route("/flavors/{id}/os-extra_specs", get(list_specs).post(set_specs))
        .route("/flavors/{id}/os-extra_specs/{key}", get(show_spec).put(set_spec).delete(delete_spec))
}

fn links(url: &str, id: &str) -> Value {
    json!([
        {"rel": "self", "href": format!("{url}/compute/v2.1/flavors/{id}")},
        {"rel": "bookmark", "href": format!("{url}/compute/flavors/{id}")},
    ])
}

fn brief(url: &str, version: Microversion, flavor: &Flavor) -> Value {
    let mut shown = json!({"id": flavor.id, "name": flavor.name, "links": links(url, &flavor.id)});
    if let (true, Some(fields)) = (version.at_least(55), shown.as_object_mut()) {
        fields.insert("description".into(), json!(flavor.description));
    }
    shown
}

fn full(url: &str, version: Microversion, flavor: &Flavor, specs: Option<&BTreeMap<String, String>>) -> Value {
    let swap = if flavor.swap_mb == 0 { json!("") } else { json!(flavor.swap_mb) };
    let mut shown = json!({
        "ram": flavor.ram_mb,
        "disk": flavor.disk_gb,
        "vcpus": flavor.vcpus,
        "swap": swap,
        "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "OS-FLV-DISABLED:disabled": false,
        "os-flavor-access:is_public": flavor.is_public != 0,
    });
    if let (Some(fields), Value::Object(more)) = (shown.as_object_mut(), brief(url, version, flavor)) {
        fields.extend(more);
        if version.at_least(61) {
            fields.insert("extra_specs".into(), json!(specs.cloned().unwrap_or_default()));
        }
    }
    shown
}

/// The flavors that the query asks for, one page, and the marker of the next.
async fn page(app: &App, caller: &Caller, query: &QueryString) -> ApiResult<(Vec<Flavor>, Option<String>)> {
    let min_ram = query.integer("minRam", 0..=MAX_INTEGER)?.unwrap_or(0);
    let min_disk = query.integer("minDisk", 0..=MAX_INTEGER)?.unwrap_or(0);
    let limit = query.integer("limit", 0..=i64::MAX)?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1000);
    // `None` is both; only administrators see flavors that are not public.
    let is_public = match query.get("is_public") {
        _ if !caller.claims.is_admin => Some(true),
        Some(word) if word.eq_ignore_ascii_case("none") => None,
        Some(_) => Some(
            query
                .boolean("is_public")
                .ok_or_else(|| ApiError::bad_request("Invalid is_public filter: it must be true, false or none."))?,
        ),
        None => Some(true),
    };
    let mut all = flavors::all(app.database.as_ref()).await?;
    if let Some(marker) = query.get("marker") {
        let position = all.iter().position(|flavor| flavor.id == marker);
        let position = position.ok_or_else(|| ApiError::bad_request(format!("marker [{marker}] not found")))?;
        all.drain(..=position);
    }
    all.retain(|flavor| {
        is_public.is_none_or(|wanted| wanted == (flavor.is_public != 0))
            && flavor.ram_mb >= min_ram
            && flavor.disk_gb >= min_disk
    });
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|flavor| flavor.id.clone());
    Ok((all, next))
}

fn document(app: &App, query: &QueryString, path: &str, shown: Vec<Value>, next: Option<String>) -> Json<Value> {
    let mut document = json!({"flavors": shown});
    if let (Some(marker), Some(fields)) = (next, document.as_object_mut()) {
        let href = format!("{}/compute/v2.1/{path}?{}", app.url, query.with("marker", &marker));
        fields.insert("flavors_links".into(), json!([{"rel": "next", "href": href}]));
    }
    Json(document)
}

async fn list(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    let (page, next) = page(&app, &caller, &query).await?;
    let shown = page.iter().map(|flavor| brief(&app.url, caller.version, flavor)).collect();
    Ok(document(&app, &query, "flavors", shown, next))
}

async fn detail(caller: Caller, State(app): State<Arc<App>>, query: QueryString) -> ApiResult<Json<Value>> {
    let (page, next) = page(&app, &caller, &query).await?;
    let specs = specs_for(&app, caller.version, &page).await?;
    let shown = page.iter().map(|flavor| full(&app.url, caller.version, flavor, specs.get(&flavor.id))).collect();
    Ok(document(&app, &query, "flavors/detail", shown, next))
}

/// The extra specs, where the version prints them.
async fn specs_for(
    app: &App,
    version: Microversion,
    shown: &[Flavor],
) -> ApiResult<HashMap<String, BTreeMap<String, String>>> {
    if !version.at_least(61) {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = shown.iter().map(|flavor| flavor.id.clone()).collect();
    Ok(flavors::extra_specs(app.database.as_ref(), &ids).await?)
}

async fn find(app: &App, caller: &Caller, id: &str) -> ApiResult<Flavor> {
    let found = flavors::find(app.database.as_ref(), id).await?;
    found
        .filter(|flavor| flavor.is_public != 0 || caller.claims.is_admin)
        .ok_or_else(|| ApiError::not_found("Flavor", id))
}

async fn show(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let flavor = find(&app, &caller, &id).await?;
    printed(&app, &caller, &flavor).await
}

async fn printed(app: &App, caller: &Caller, flavor: &Flavor) -> ApiResult<Json<Value>> {
    let specs = specs_for(app, caller.version, std::slice::from_ref(flavor)).await?;
    Ok(Json(json!({"flavor": full(&app.url, caller.version, flavor, specs.get(&flavor.id))})))
}

async fn create(caller: Caller, State(app): State<Arc<App>>, body: Body) -> ApiResult<Json<Value>> {
    caller.require_admin("os_compute_api:os-flavor-manage:create")?;
    body.fields().only_known(&["flavor"])?;
    let fields = body.object("flavor")?;
    let mut known = vec![
        "id",
        "name",
        "vcpus",
        "ram",
        "disk",
        "swap",
        "rxtx_factor",
        "OS-FLV-EXT-DATA:ephemeral",
        "os-flavor-access:is_public",
    ];
    if caller.version.at_least(55) {
        known.push("description");
    }
    fields.only_known(&known)?;
    let id = fields.name("id")?.filter(|id| *id != "auto");
    if id.is_some_and(|id| !id.chars().all(|letter| letter.is_ascii_alphanumeric() || " ._-".contains(letter))) {
        return Err(ApiError::bad_request(
            "Invalid input for field/attribute id: only letters, digits, blanks, '.', '-' and '_' are allowed",
        ));
    }
    let flavor = Flavor {
        id: id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned),
        name: fields.required_name("name")?.to_owned(),
        vcpus: fields.required_integer("vcpus", 1..=MAX_INTEGER)?,
        ram_mb: fields.required_integer("ram", 1..=MAX_INTEGER)?,
        disk_gb: fields.required_integer("disk", 0..=MAX_INTEGER)?,
        ephemeral_gb: fields.integer("OS-FLV-EXT-DATA:ephemeral", 0..=MAX_INTEGER)?.unwrap_or(0),
        swap_mb: fields.integer("swap", 0..=MAX_INTEGER)?.unwrap_or(0),
        is_public: i64::from(fields.boolean("os-flavor-access:is_public")?.unwrap_or(true)),
        description: fields.long_text("description", MAX_DESCRIPTION)?.map(str::to_owned),
        created_at: 0,
    };
    match flavors::insert(app.database.as_ref(), &flavor).await {
        Err(error) if error.state() == SqlState::UNIQUE_VIOLATION => {
            Err(ApiError::conflict(format!("Flavor with ID {} or name {} already exists.", flavor.id, flavor.name)))
        }
        Err(error) => Err(error.into()),
        Ok(()) => printed(&app, &caller, &flavor).await,
    }
}

async fn update(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<Json<Value>> {
    if !caller.version.at_least(55) {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "The resource could not be found."));
    }
    caller.require_admin("os_compute_api:os-flavor-manage:update")?;
    let fields = body.object("flavor")?;
    fields.only_known(&["description"])?;
    let description = fields.long_text("description", MAX_DESCRIPTION)?;
    if !flavors::describe(app.database.as_ref(), &id, description).await? {
        return Err(ApiError::not_found("Flavor", &id));
    }
    let flavor = find(&app, &caller, &id).await?;
    printed(&app, &caller, &flavor).await
}

async fn delete(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<StatusCode> {
    caller.require_admin("os_compute_api:os-flavor-manage:delete")?;
    if flavors::delete(app.database.as_ref(), &id).await? {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(ApiError::not_found("Flavor", &id))
    }
}

async fn specs(app: &App, id: &str) -> ApiResult<BTreeMap<String, String>> {
    let mut specs = flavors::extra_specs(app.database.as_ref(), &[id.to_owned()]).await?;
    Ok(specs.remove(id).unwrap_or_default())
}

async fn list_specs(caller: Caller, State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    find(&app, &caller, &id).await?;
    Ok(Json(json!({"extra_specs": specs(&app, &id).await?})))
}

async fn show_spec(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path((id, key)): Path<(String, String)>,
) -> ApiResult<Json<Value>> {
    find(&app, &caller, &id).await?;
    match specs(&app, &id).await?.remove(&key) {
        Some(value) => Ok(Json(json!({ key: value }))),
        None => Err(no_spec(&id, &key)),
    }
}

fn no_spec(id: &str, key: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("Flavor {id} has no extra specs with key {key}."))
}

/// Reads pairs, each key of the letters that Nova allows.
fn read_specs(fields: Fields<'_>) -> ApiResult<BTreeMap<String, String>> {
    let specs = fields.pairs()?;
    let allowed = |key: &String| key.chars().all(|letter| letter.is_ascii_alphanumeric() || " ._:-".contains(letter));
    if specs.is_empty() || specs.len() > MAX_SPECS || !specs.keys().all(allowed) {
        return Err(ApiError::bad_request(format!(
            "Invalid input for field/attribute extra_specs: 1 to {MAX_SPECS} keys of at most {MAX_NAME} letters, digits, blanks, '.', ':', '-' and '_' are allowed"
        )));
    }
    Ok(specs)
}

/// Writes pairs in a transaction, so that nobody sees a key without its value.
async fn write_specs(app: &App, caller: &Caller, id: &str, specs: BTreeMap<String, String>) -> ApiResult<()> {
    caller.require_admin("os_compute_api:os-flavor-extra-specs:create")?;
    find(app, caller, id).await?;
    let (id, specs): (Arc<str>, _) = (id.into(), Arc::new(specs));
    app.database
        .transaction(move |tx| {
            let (id, specs) = (Arc::clone(&id), Arc::clone(&specs));
            Box::pin(async move { Ok::<_, ApiError>(flavors::set_extra_specs(tx, &id, &specs).await?) })
        })
        .await
}

async fn set_specs(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Body,
) -> ApiResult<Json<Value>> {
    let specs = read_specs(body.object("extra_specs")?)?;
    write_specs(&app, &caller, &id, specs.clone()).await?;
    Ok(Json(json!({"extra_specs": specs})))
}

async fn set_spec(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path((id, key)): Path<(String, String)>,
    body: Body,
) -> ApiResult<Json<Value>> {
    let specs = read_specs(body.fields())?;
    if specs.len() != 1 || !specs.contains_key(&key) {
        return Err(ApiError::bad_request("Request body and URI mismatch"));
    }
    write_specs(&app, &caller, &id, specs.clone()).await?;
    Ok(Json(json!(specs)))
}

async fn delete_spec(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path((id, key)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    caller.require_admin("os_compute_api:os-flavor-extra-specs:delete")?;
    find(&app, &caller, &id).await?;
    match flavors::delete_extra_specs(app.database.as_ref(), &id, std::slice::from_ref(&key)).await? {
        0 => Err(no_spec(&id, &key)),
        _ => Ok(StatusCode::OK),
    }
}
