//! The HTTP API of a site, in OpenStack's shapes: `/identity` (v3), `/compute` (v2.1), `/image` (v2), `/network` (v2.0) behind one port.
//!
//! One module for each kind of thing that is asked for. A handler reads the request with [`input`], calls [`crate::state`], prints JSON. Requests that
//! change something do it in one transaction. A mistake of the caller is a 4xx in words ([`error`]), never a 500.

pub mod aggregates;
pub mod caller;
pub mod error;
pub mod flavors;
pub mod identity;
pub mod images;
pub mod infrastructure;
pub mod input;
pub mod networks;
pub mod quotas;
pub mod servers;
pub mod version;

use crate::{state, stop};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use error::ApiError;
use identity::tokens::Signer;
use rome_core::database::Database;
use rome_core::{Error, Result, SqlState};
use serde_json::{Value, json};
use servers::create::Creator;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// The largest body.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Passwords checked at once.
const LOGINS: usize = 4;

/// What handlers share.
pub struct App {
    database: Arc<dyn Database>,
    site: Arc<str>,
    /// Without a slash at the end.
    url: String,
    tokens: Signer,
    creator: Creator,
    logins: Semaphore,
}

impl App {
    /// The API of a site, to be reached by clients at `url`. Registers the URL, so that all sites' catalogs name it.
    ///
    /// # Errors
    /// What the database says, and where the store has not been seeded.
    pub async fn new(database: Arc<dyn Database>, site: &str, url: &str) -> Result<Arc<Self>> {
        let secret = state::identity::signing_key(database.as_ref()).await?.ok_or_else(|| {
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "the store holds no cloud: it has not been seeded")
        })?;
        let url = url.trim_end_matches('/').to_owned();
        state::sites::register(database.as_ref(), site, Some(&url)).await?;
        Ok(Arc::new(Self {
            creator: Creator::start(Arc::clone(&database)),
            tokens: Signer::new(&secret)?,
            site: site.into(),
            url,
            database,
            logins: Semaphore::new(LOGINS),
        }))
    }

    /// All routes.
    pub fn router(self: &Arc<Self>) -> Router {
        let compute = Router::new()
            .merge(servers::routes())
            .merge(flavors::routes())
            .merge(aggregates::routes())
            .merge(infrastructure::routes())
            .merge(quotas::routes())
            .route("/extensions", get(no_extensions))
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method);
        // Nested routers do not answer for their own root with a slash.
        let compute = Router::new()
            .route("/compute", get(compute_versions))
            .route("/compute/", get(compute_versions))
            .route("/compute/v2.1", get(compute_version))
            .route("/compute/v2.1/", get(compute_version))
            .nest("/compute/v2.1", compute)
            .layer(middleware::from_fn(version::negotiate));
        Router::new()
            .route("/", get(root))
            .merge(compute)
            .route("/identity/", get(identity::versions))
            .route("/image/", get(images::versions))
            .route("/network/", get(networks::versions))
            .nest("/identity", identity::routes())
            .nest("/image", images::routes())
            .nest("/network", networks::routes())
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn(caller::identify))
            .with_state(Arc::clone(self))
    }
}

/// Serves until told to stop; requests under way are finished, and the catalog forgets this API.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let router = app.router();
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop::requested(&mut stop).await }).await;
    if let Err(error) = state::sites::leave(app.database.as_ref(), &app.site, &app.url).await {
        tracing::warn!(%error, "can't take this API out of the catalog");
    }
    served
}

async fn root(State(app): State<Arc<App>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", app.url);
    Json(json!({
        "site": &*app.site,
        "identity": at("/identity"),
        "compute": at("/compute/v2.1"),
        "image": at("/image"),
        "network": at("/network"),
    }))
}

fn version_document(app: &App) -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": version::MAX.to_string(),
        "min_version": version::MIN.to_string(),
        "updated": "2013-07-23T11:33:21Z",
        "links": [
            {"rel": "self", "href": format!("{}/compute/v2.1/", app.url)},
            {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"},
        ],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}],
    })
}

async fn compute_versions(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"versions": [version_document(&app)]}))
}

async fn compute_version(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"version": version_document(&app)}))
}

async fn no_extensions() -> Json<Value> {
    Json(json!({"extensions": []}))
}

async fn no_such_path() -> Response {
    ApiError::new(StatusCode::NOT_FOUND, "The resource could not be found.").into_response()
}

async fn no_such_method() -> Response {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed for this resource.").into_response()
}
