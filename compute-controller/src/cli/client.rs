//! A client of an API, as any other program would be: logs in, finds the sites in the catalog, sends requests.

use super::{CliError, CliResult};
use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);

/// Who logs in.
pub struct Credentials {
    /// Name of the user.
    pub username: String,
    /// Never printed.
    pub password: String,
    /// Name of the project.
    pub project: String,
}

/// An endpoint of the catalog.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "Keystone's names")]
pub struct Endpoint {
    pub service: String,
    pub region: String,
    pub url: String,
}

/// A client that has logged in.
#[derive(Clone)]
pub struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    token: Arc<str>,
    endpoints: Arc<[Endpoint]>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null where it is empty or no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// With the message that the API gave.
    pub fn success(self, doing: &str) -> CliResult<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let fault = self.body.as_object().and_then(|fields| fields.values().next());
        let message = fault.and_then(|fault| fault.get("message")).and_then(Value::as_str).unwrap_or("no message");
        let error = CliError::new(format!("{doing}: the API answered {}: {message}", self.status));
        Err(match self.status {
            StatusCode::UNAUTHORIZED => error.with_hint("Check --username, --password and --project."),
            _ => error,
        })
    }
}

impl Client {
    /// Logs in at the API of any site.
    ///
    /// # Errors
    /// Where the API can't be reached or refuses.
    pub async fn log_in(api: &str, credentials: &Credentials) -> CliResult<Self> {
        let api = api.trim_end_matches('/');
        if !api.starts_with("http://") {
            return Err(CliError::new(format!("\"{api}\" is no URL of an API"))
                .with_hint("Give a URL like http://127.0.0.1:8774; https is not spoken yet."));
        }
        let http = Http::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build_http();
        let mut client = Self { http, token: "".into(), endpoints: Arc::new([]) };
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": credentials.username, "password": credentials.password, "domain": domain,
            }}},
            "scope": {"project": {"name": credentials.project, "domain": domain}},
        }});
        let (answer, token) =
            client.exchange(Method::POST, &format!("{api}/identity/v3/auth/tokens"), Some(body)).await?;
        let body = answer.success("log in")?;
        client.token = token.ok_or_else(|| CliError::new("log in: the API gave no token"))?.into();
        client.endpoints = endpoints(&body).into();
        Ok(client)
    }

    /// The endpoints of a kind of service, one for each region.
    pub fn endpoints(&self, service: &str) -> Vec<Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.service == service).cloned().collect()
    }

    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// Where the API can't be reached or does not answer in time.
    pub async fn request(&self, method: Method, url: &str, body: Option<Value>) -> CliResult<Answer> {
        Ok(self.exchange(method, url, body).await?.0)
    }

    /// A GET that must succeed.
    ///
    /// # Errors
    /// As [`Client::request`], and with the API's message.
    pub async fn get(&self, url: &str) -> CliResult<Value> {
        self.request(Method::GET, url, None).await?.success(url)
    }

    async fn exchange(&self, method: Method, url: &str, body: Option<Value>) -> CliResult<(Answer, Option<String>)> {
        let uri: Uri = url.parse().map_err(|_| CliError::new(format!("\"{url}\" is no URL")))?;
        let mut request = Request::builder().method(method).uri(uri).header("accept", "application/json");
        if !self.token.is_empty() {
            request = request.header("x-auth-token", &*self.token).header("openstack-api-version", "compute 2.37");
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.body(Full::new(bytes)).map_err(|error| CliError::new(error.to_string()))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| {
                CliError::new(format!("can't reach {url}: {}", root_cause(&error)))
                    .with_hint("Is the API running there? `compute-controller up` starts a whole cloud.")
            })?;
            let status = response.status();
            let token =
                response.headers().get("x-subject-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|error| CliError::new(format!("the answer of {url} broke off: {error}")))?;
            let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            Ok((Answer { status, body }, token))
        };
        timeout(REQUEST_WITHIN, exchange).await.unwrap_or_else(|_| {
            Err(CliError::new(format!("{url} did not answer within {} s", REQUEST_WITHIN.as_secs())))
        })
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn endpoints(body: &Value) -> Vec<Endpoint> {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let catalog = body.get("token").map(|token| list(token, "catalog")).unwrap_or_default();
    catalog
        .iter()
        .flat_map(|service| {
            list(service, "endpoints").into_iter().filter(|endpoint| text(endpoint, "interface") == "public").map(
                |endpoint| Endpoint {
                    service: text(service, "type"),
                    region: text(&endpoint, "region"),
                    url: text(&endpoint, "url"),
                },
            )
        })
        .collect()
}
