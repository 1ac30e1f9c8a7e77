//! Microversions: which form of Compute a request wants, and the headers that say which it got.
//!
//! `OpenStack-API-Version: compute 2.37`, or the older `X-OpenStack-Nova-API-Version: 2.37`; `latest` is the newest; without a header it is 2.1. Every
//! answer echoes both. Each field that appeared or went in a version up to [`MAX`] is gated where it is printed.

use super::error::ApiError;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;

/// A version 2.x of Compute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Microversion(u16);

/// What a request without a version gets.
pub const MIN: Microversion = Microversion(1);
/// The newest version.
pub const MAX: Microversion = Microversion(61);

const HEADER: HeaderName = HeaderName::from_static("openstack-api-version");
const LEGACY_HEADER: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");

impl Microversion {
    /// Whether 2.`minor` or newer.
    pub fn at_least(self, minor: u16) -> bool {
        self.0 >= minor
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let text = text.trim();
        if text == "latest" {
            return Ok(MAX);
        }
        let malformed = || {
            ApiError::bad_request(format!(
                "API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
            ))
        };
        let (major, minor) = text.split_once('.').ok_or_else(malformed)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(major) || !digits(minor) {
            return Err(malformed());
        }
        let unsupported = || {
            ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                format!("Version {text} is not supported by the API. Minimum is {MIN} and maximum is {MAX}."),
            )
        };
        let version = Self(minor.parse().map_err(|_| unsupported())?);
        if major == "2" && version >= MIN && version <= MAX { Ok(version) } else { Err(unsupported()) }
    }

    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        for value in headers.get_all(&HEADER) {
            for part in value.to_str().unwrap_or_default().split(',') {
                if let Some(version) = part.trim().strip_prefix("compute ") {
                    return Self::parse(version);
                }
            }
        }
        match headers.get(&LEGACY_HEADER) {
            Some(value) => Self::parse(value.to_str().unwrap_or_default()),
            None => Ok(MIN),
        }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}", self.0)
    }
}

/// Middleware of Compute: reads the version, hands it on as an extension, and echoes it.
pub async fn negotiate(mut request: Request, next: Next) -> Response {
    let (version, mut response) = match Microversion::of(request.headers()) {
        Ok(version) => {
            request.extensions_mut().insert(version);
            (version, next.run(request).await)
        }
        Err(error) => (MIN, error.into_response()),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("compute {version}")) {
        headers.insert(HEADER, value);
    }
    if let Ok(value) = HeaderValue::from_str(&version.to_string()) {
        headers.insert(LEGACY_HEADER, value);
    }
    headers.append(header::VARY, HeaderValue::from_static("OpenStack-API-Version, X-OpenStack-Nova-API-Version"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_both_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(Microversion::of(&headers).unwrap(), MIN);
        headers.insert(LEGACY_HEADER, HeaderValue::from_static("2.26"));
        assert!(Microversion::of(&headers).unwrap().at_least(26));
        headers.insert(HEADER, HeaderValue::from_static("volume 3.1, compute latest"));
        assert_eq!(Microversion::of(&headers).unwrap(), MAX);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (text, status) in
            [("2", 400), ("two.one", 400), ("2.-1", 400), ("", 400), ("2.9999", 406), ("3.1", 406), ("2.0", 406)]
        {
            assert_eq!(Microversion::parse(text).unwrap_err().status().as_u16(), status, "{text}");
        }
        assert_eq!(Microversion::parse("2.99999999999999").unwrap_err().status().as_u16(), 406);
    }
}
