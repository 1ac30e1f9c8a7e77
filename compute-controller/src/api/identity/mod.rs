//! Identity v3: password tokens, the catalog, and the projects.

pub mod tokens;

use super::App;
use super::caller::Caller;
use super::error::{ApiError, ApiResult, PlainError};
use super::input::{Body, Fields, QueryString};
use crate::clock;
use crate::model::{Project, User};
use crate::secrets;
use crate::state::identity::{self, Naming};
use crate::state::sites::{self, Site};
use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use tokens::{Claims, LIFETIME};

/// The only domain.
const DOMAIN: &str = "default";

/// The routes under `/identity`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(versions))
        .route("/v3", get(version))
        .route("/v3/", get(version))
        .route("/v3/auth/tokens", get(show_token).head(show_token).post(create_token))
        .route("/v3/auth/catalog", get(show_catalog))
        .route("/v3/auth/projects", get(list_projects))
        .route("/v3/projects", get(list_projects))
        .route("/v3/projects/{id}", get(show_project))
        .route("/v3/users/{id}", get(show_user))
}

fn version_document(app: &App) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{}/identity/v3/", app.url)}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

/// The versions, with the status that tells clients to choose one.
pub async fn versions(State(app): State<Arc<App>>) -> Response {
    (StatusCode::MULTIPLE_CHOICES, Json(json!({"versions": {"values": [version_document(&app)]}}))).into_response()
}

async fn version(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"version": version_document(&app)}))
}

/// A hash that no password has, so that an unknown user takes as long to refuse as a wrong password.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| secrets::hash_password(&secrets::random_text(32)).unwrap_or_default());

async fn create_token(State(app): State<Arc<App>>, body: Body) -> Result<Response, PlainError> {
    let auth = body.object("auth")?;
    let identity =
        auth.object("identity")?.ok_or_else(|| ApiError::bad_request("'identity' is a required property"))?;
    let methods = identity.list("methods")?.unwrap_or_default();
    let by = |name: &str| methods.iter().any(|method| method == name);
    let (user, method, previous) = if by("password") {
        (by_password(&app, identity).await?, "password", None)
    } else if by("token") {
        let (user, claims) = by_token(&app, identity).await?;
        (user, "token", Some(claims))
    } else {
        return Err(ApiError::unauthorized().into());
    };
    let project = scope(&app, auth, &user).await?;
    let now = clock::now();
    // A token got with a token lives no longer than that.
    let expires_at = previous.map_or(now.saturating_add(clock::to_micros(LIFETIME)), |claims| claims.expires_at);
    let claims = Claims {
        user_id: user.id,
        user_name: user.name,
        project_id: project.as_ref().map(|project| project.id.clone()),
        project_name: project.map(|project| project.name),
        is_admin: user.is_admin != 0,
        issued_at: now,
        expires_at,
        audit_id: secrets::random_text(16),
        method: method.to_owned(),
    };
    let token = app.tokens.sign(&claims)?;
    let catalog = catalog(&sites::all(app.database.as_ref()).await?, &claims);
    let headers = [("x-subject-token", token), ("vary", "X-Auth-Token".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(json!({"token": token_document(&claims, Some(catalog))}))).into_response())
}

async fn by_password(app: &App, identity: Fields<'_>) -> ApiResult<User> {
    let user = identity.object("password")?.and_then(|password| password.object("user").transpose()).transpose()?;
    let user = user.ok_or_else(|| ApiError::bad_request("'user' is a required property"))?;
    let password = user
        .long_text("password", secrets::MAX_PASSWORD_BYTES)?
        .ok_or_else(|| ApiError::bad_request("'password' is a required property"))?
        .to_owned();
    let naming = naming(user, "user")?;
    let found = identity::user(app.database.as_ref(), naming).await?;
    let hash = found.as_ref().map(|user| user.password_hash.clone());
    // One core's worth of hashing at a time for each permit: logins must not starve the rest.
    let _permit = app.logins.acquire().await.map_err(|_| ApiError::unauthorized())?;
    let genuine = tokio::task::spawn_blocking(move || {
        secrets::verify_password(&password, hash.as_deref().unwrap_or(NOBODY.as_str()))
    })
    .await
    .unwrap_or(false);
    found.filter(|user| genuine && user.enabled != 0).ok_or_else(ApiError::unauthorized)
}

async fn by_token(app: &App, identity: Fields<'_>) -> ApiResult<(User, Claims)> {
    let token = identity.object("token")?.and_then(|token| token.long_text("id", 8192).transpose()).transpose()?;
    let claims = token.and_then(|token| app.tokens.verify(token)).ok_or_else(ApiError::unauthorized)?;
    let user = identity::user(app.database.as_ref(), Naming::Id(&claims.user_id)).await?;
    let user = user.filter(|user| user.enabled != 0).ok_or_else(ApiError::unauthorized)?;
    Ok((user, claims))
}

/// By id, or by name and domain.
fn naming<'a>(fields: Fields<'a>, what: &str) -> ApiResult<Naming<'a>> {
    if let Some(id) = fields.text("id")? {
        return Ok(Naming::Id(id));
    }
    let name = fields
        .text("name")?
        .ok_or_else(|| ApiError::bad_request(format!("Expecting to find id or name of the {what}.")))?;
    let domain = fields.object("domain")?.ok_or_else(|| {
        ApiError::bad_request(format!("Expecting to find the domain of the {what}, which is named by name."))
    })?;
    let named = domain.text("id")?.or(domain.text("name")?).unwrap_or_default();
    if named.eq_ignore_ascii_case(DOMAIN) { Ok(Naming::Name(name)) } else { Err(ApiError::unauthorized()) }
}

/// The project that the token is to be for. A user has one project, an administrator all.
async fn scope(app: &App, auth: Fields<'_>, user: &User) -> ApiResult<Option<Project>> {
    let wanted = match auth.raw("scope") {
        None => Naming::Id(&user.project_id),
        Some(Value::String(word)) if word == "unscoped" => return Ok(None),
        Some(scope) => match Fields::of("scope", scope)?.object("project")? {
            Some(project) => naming(project, "project")?,
            None => return Err(ApiError::unauthorized()),
        },
    };
    let project = identity::project(app.database.as_ref(), wanted).await?;
    let allowed = |project: &Project| project.enabled != 0 && (user.is_admin != 0 || project.id == user.project_id);
    project.filter(allowed).map(Some).ok_or_else(ApiError::unauthorized)
}

fn roles(is_admin: bool) -> Vec<Value> {
    let names: &[&str] = if is_admin { &["admin", "manager", "member", "reader"] } else { &["member", "reader"] };
    names.iter().map(|name| json!({"id": name, "name": name})).collect()
}

fn token_document(claims: &Claims, catalog: Option<Value>) -> Value {
    let mut token = json!({
        "methods": [claims.method],
        "user": {
            "id": claims.user_id,
            "name": claims.user_name,
            "domain": {"id": DOMAIN, "name": "Default"},
            "password_expires_at": null,
        },
        "audit_ids": [claims.audit_id],
        "issued_at": clock::to_token_text(claims.issued_at),
        "expires_at": clock::to_token_text(claims.expires_at),
    });
    if let (Some(fields), Some(id)) = (token.as_object_mut(), &claims.project_id) {
        let project = json!({"id": id, "name": claims.project_name, "domain": {"id": DOMAIN, "name": "Default"}});
        fields.insert("project".into(), project);
        fields.insert("is_domain".into(), json!(false));
        fields.insert("roles".into(), json!(roles(claims.is_admin)));
        fields.insert("catalog".into(), catalog.unwrap_or_default());
    }
    token
}

/// The services at all sites whose API has ever started.
fn catalog(sites: &[Site], claims: &Claims) -> Value {
    if claims.project_id.is_none() {
        return json!([]);
    }
    let services = [
        ("identity", "keystone", "/identity"),
        ("compute", "nova", "/compute/v2.1"),
        ("image", "glance", "/image"),
        ("network", "neutron", "/network"),
    ];
    let entry = |(kind, name, path): (&str, &str, &str)| {
        let endpoints: Vec<Value> = sites
            .iter()
            .filter_map(|site| Some((site, site.api_url.as_deref()?)))
            .flat_map(|(site, url)| {
                ["public", "internal", "admin"].map(|interface| {
                    json!({
                        "id": format!("{}-{kind}-{interface}", site.name),
                        "interface": interface,
                        "region": site.name,
                        "region_id": site.name,
                        "url": format!("{url}{path}"),
                    })
                })
            })
            .collect();
        json!({"id": kind, "type": kind, "name": name, "endpoints": endpoints})
    };
    services.into_iter().map(entry).collect()
}

async fn show_token(caller: Caller, State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, PlainError> {
    let subject = headers.get("x-subject-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let claims = app.tokens.verify(subject).ok_or_else(|| ApiError::not_found("Token", "of X-Subject-Token"))?;
    if !caller.claims.is_admin && claims.user_id != caller.claims.user_id {
        return Err(ApiError::forbidden("You are not authorized to look at this token.").into());
    }
    let catalog = catalog(&sites::all(app.database.as_ref()).await?, &claims);
    let headers = [("x-subject-token", subject.to_owned())];
    Ok((headers, Json(json!({"token": token_document(&claims, Some(catalog))}))).into_response())
}

async fn show_catalog(caller: Caller, State(app): State<Arc<App>>) -> Result<Json<Value>, PlainError> {
    let catalog = catalog(&sites::all(app.database.as_ref()).await?, &caller.claims);
    Ok(Json(json!({"catalog": catalog, "links": {"self": format!("{}/identity/v3/auth/catalog", app.url)}})))
}

fn project_document(app: &App, project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description.clone().unwrap_or_default(),
        "enabled": project.enabled != 0,
        "is_domain": false,
        "domain_id": DOMAIN,
        "parent_id": DOMAIN,
        "tags": [],
        "options": {},
        "links": {"self": format!("{}/identity/v3/projects/{}", app.url, project.id)},
    })
}

async fn list_projects(
    caller: Caller,
    State(app): State<Arc<App>>,
    query: QueryString,
) -> Result<Json<Value>, PlainError> {
    let visible = |project: &Project| {
        (caller.claims.is_admin || caller.claims.project_id.as_deref() == Some(project.id.as_str()))
            && query.get("name").is_none_or(|name| name == project.name)
    };
    let projects = identity::projects(app.database.as_ref()).await?;
    let shown: Vec<Value> =
        projects.iter().filter(|project| visible(project)).map(|project| project_document(&app, project)).collect();
    let links = json!({"self": format!("{}/identity/v3/projects", app.url), "next": null, "previous": null});
    Ok(Json(json!({"projects": shown, "links": links})))
}

async fn show_project(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, PlainError> {
    let project = identity::project(app.database.as_ref(), Naming::Id(&id)).await?;
    let visible =
        |project: &Project| caller.claims.is_admin || caller.claims.project_id.as_deref() == Some(project.id.as_str());
    let project = project.filter(visible).ok_or_else(|| ApiError::not_found("Project", &id))?;
    Ok(Json(json!({"project": project_document(&app, &project)})))
}

async fn show_user(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, PlainError> {
    let user = identity::user(app.database.as_ref(), Naming::Id(&id)).await?;
    let user = user
        .filter(|user| caller.claims.is_admin || user.id == caller.claims.user_id)
        .ok_or_else(|| ApiError::not_found("User", &id))?;
    Ok(Json(json!({"user": {
        "id": user.id,
        "name": user.name,
        "enabled": user.enabled != 0,
        "domain_id": DOMAIN,
        "default_project_id": user.project_id,
        "password_expires_at": null,
        "options": {},
        "links": {"self": format!("{}/identity/v3/users/{}", app.url, user.id)},
    }})))
}
