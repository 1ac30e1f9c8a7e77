//! Who calls: the token of a request, checked, and the version of Compute that it wants.

use super::App;
use super::error::{ApiError, ApiResult};
use super::identity::tokens::Claims;
use super::version::{self, Microversion};
use axum::extract::FromRequestParts;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use uuid::Uuid;

/// The id under which a request is logged and its actions are recorded: `req-<uuid>`.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// Middleware: gives each request an id and says it in the answer.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let id: Arc<str> = format!("req-{}", Uuid::new_v4()).into();
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-openstack-request-id", value.clone());
        response.headers_mut().insert("x-compute-request-id", value);
    }
    response
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What the token says.
    pub claims: Claims,
    /// The version of Compute that the request wants.
    pub version: Microversion,
    /// The request.
    pub request_id: Arc<str>,
}

impl Caller {
    /// The project that the token is for.
    ///
    /// # Errors
    /// 403 for a token without one.
    pub fn project_id(&self) -> ApiResult<&str> {
        self.claims.project_id.as_deref().ok_or_else(|| ApiError::forbidden("The token is not scoped to a project."))
    }

    /// `None` for administrators, who see all projects' servers by id; otherwise the project.
    ///
    /// # Errors
    /// 403 for a token without a project.
    pub fn visible_project(&self) -> ApiResult<Option<&str>> {
        if self.claims.is_admin { Ok(None) } else { self.project_id().map(Some) }
    }

    /// Refuses whoever is no administrator.
    ///
    /// # Errors
    /// 403
    pub fn require_admin(&self, policy: &str) -> ApiResult<()> {
        if self.claims.is_admin {
            Ok(())
        } else {
            Err(ApiError::forbidden(format!("Policy doesn't allow {policy} to be performed.")))
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = parts.headers.get("x-auth-token").and_then(|value| value.to_str().ok());
        let claims = token.and_then(|token| app.tokens.verify(token)).ok_or_else(ApiError::unauthorized)?;
        let version = parts.extensions.get::<Microversion>().copied().unwrap_or(version::MIN);
        let request_id = parts.extensions.get::<RequestId>().map_or_else(|| Arc::from(""), |id| Arc::clone(&id.0));
        Ok(Self { claims, version, request_id })
    }
}
