//! Errors in the shapes that OpenStack's clients read.
//!
//! Compute says `{"itemNotFound": {"code": 404, "message": ".."}}`, Identity and the rest `{"error": {"code", "title", "message"}}`. A mistake of
//! the caller is always a 4xx with words that say what was wrong; what the database says is logged and never shown.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rome_core::database::AsRomeError;
use serde_json::json;
use std::fmt;

/// What handlers give.
pub type ApiResult<T> = Result<T, ApiError>;

/// An error for the caller.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    /// What the database said, for the log and for retries.
    cause: Option<rome_core::Error>,
}

impl ApiError {
    /// An error of this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), cause: None }
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401, in Keystone's words.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.")
    }

    /// 403
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: `Flavor 7 could not be found.`
    pub fn not_found(kind: &str, name: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{kind} {name} could not be found."))
    }

    /// 409
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the caller is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the database, not the caller, is the reason.
    pub fn is_of_database(&self) -> bool {
        self.cause.is_some()
    }

    /// The error in the shape of Identity, Image and Network.
    pub fn into_plain_response(self) -> Response {
        self.log();
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({"error": {"code": self.status.as_u16(), "title": title, "message": self.message}});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Keystone uri=\"/identity/v3\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn log(&self) {
        if let Some(cause) = &self.cause {
            tracing::error!(%cause, status = self.status.as_u16(), "a request failed");
        }
    }

    /// Nova's name of the fault.
    fn fault(&self) -> &'static str {
        match self.status.as_u16() {
            400 => "badRequest",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "itemNotFound",
            405 => "badMethod",
            409 => "conflictingRequest",
            413 | 429 => "overLimit",
            415 => "badMediaType",
            501 => "notImplemented",
            503 => "serviceUnavailable",
            _ => "computeFault",
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<rome_core::Error> for ApiError {
    fn from(cause: rome_core::Error) -> Self {
        let (status, message) = if cause.is_undetermined() {
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The connection to the database broke while the request was being saved: it may or may not have taken effect.",
            )
        } else if cause.is_retryable() {
            (StatusCode::SERVICE_UNAVAILABLE, "Too many requests change the same thing. Please try again.")
        } else if cause.state() == rome_core::SqlState::PROGRAM_LIMIT_EXCEEDED {
            (
                StatusCode::PAYLOAD_TOO_LARGE,
                "This is more than the store takes in one transaction. Please ask for less.",
            )
        } else if cause.state().code().starts_with("08") || cause.state().code().starts_with("57") {
            (StatusCode::SERVICE_UNAVAILABLE, "The database can't be reached. Please try again later.")
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, "Unexpected API Error. The log of the API says more.")
        };
        Self { status, message: message.to_owned(), cause: Some(cause) }
    }
}

impl AsRomeError for ApiError {
    fn as_rome_error(&self) -> Option<&rome_core::Error> {
        self.cause.as_ref()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // Whoever has no valid token meets the middleware of Identity in OpenStack, and so its shape.
        if self.status == StatusCode::UNAUTHORIZED {
            return self.into_plain_response();
        }
        self.log();
        let body = json!({ self.fault(): {"code": self.status.as_u16(), "message": self.message} });
        (self.status, Json(body)).into_response()
    }
}

/// An [`ApiError`] in the shape of Identity, Image and Network.
#[derive(Debug)]
pub struct PlainError(pub ApiError);

impl<E: Into<ApiError>> From<E> for PlainError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PlainError {
    fn into_response(self) -> Response {
        self.0.into_plain_response()
    }
}
