//! The API's answers: their shapes, version by version, against golden files; every kind of bad input; quota.
//!
//! Golden files lie in `tests/golden`, with ids, times and digests masked. `UPDATE_GOLDEN=1` rewrites them; the difference is read in review.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use compute_controller::api::App;
use compute_controller::api::servers::request::MAX_SERVERS;
use compute_controller::model::{Project, QuotaNumbers, ServerState, User};
use compute_controller::scheduler;
use compute_controller::secrets;
use compute_controller::state::{identity, quotas, servers};
use http_body_util::BodyExt;
use regex::Regex;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use support::{Opened, PASSWORD, SITE, host, room_for};
use tower::ServiceExt;

const URL: &str = "http://cloud.test";
const COMPUTE: &str = "/compute/v2.1";

/// A site's API with one host below, and tokens for it.
struct Site {
    opened: Opened,
    app: Arc<App>,
    router: Router,
    admin: String,
    member: String,
    image: String,
}

struct Reply {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Site {
    async fn new() -> Self {
        let opened = Opened::memory().await;
        let db = opened.db.as_ref();
        host(db, "host1", room_for(20)).await;
        let project = Project { id: "lab".into(), name: "lab".into(), description: None, enabled: 1 };
        identity::insert_project(db, &project).await.unwrap();
        let user = User {
            id: "ann".into(),
            name: "ann".into(),
            project_id: "lab".into(),
            password_hash: secrets::hash_password(PASSWORD).unwrap(),
            is_admin: 0,
            enabled: 1,
        };
        identity::insert_user(db, &user).await.unwrap();
        let app = App::new(Arc::clone(&opened.db), SITE, URL).await.unwrap();
        let router = app.router();
        let mut site = Self { opened, app, router, admin: String::new(), member: String::new(), image: String::new() };
        site.admin = site.log_in("admin", "admin").await;
        site.member = site.log_in("ann", "lab").await;
        let images = site.get("/image/v2/images", None).await.body;
        site.image = images["images"][0]["id"].as_str().unwrap().to_owned();
        site
    }

    async fn log_in(&self, user: &str, project: &str) -> String {
        let body = login(user, PASSWORD, project);
        let reply = self.send(Method::POST, "/identity/v3/auth/tokens", None, None, body.to_string()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        reply.headers["x-subject-token"].to_str().unwrap().to_owned()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        version: Option<&str>,
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        if let Some(version) = version {
            request = request.header("openstack-api-version", format!("compute {version}"));
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Reply { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// As administrator.
    async fn get(&self, path: &str, version: Option<&str>) -> Reply {
        self.send(Method::GET, path, Some(&self.admin), version, Body::empty()).await
    }

    /// As administrator, of Compute.
    async fn post(&self, path: &str, version: Option<&str>, body: Value) -> Reply {
        self.send(Method::POST, &format!("{COMPUTE}{path}"), Some(&self.admin), version, body.to_string()).await
    }

    fn server(&self, name: &str) -> Value {
        json!({"server": {"name": name, "flavorRef": "1", "imageRef": self.image, "networks": "none"}})
    }

    /// A server as administrator; gives its id.
    async fn create(&self, name: &str) -> String {
        let reply = self.post("/servers", Some("2.37"), self.server(name)).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.body);
        reply.body["server"]["id"].as_str().unwrap().to_owned()
    }
}

fn login(user: &str, password: &str, project: &str) -> Value {
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": user, "password": password, "domain": {"name": "Default"},
        }}},
        "scope": {"project": {"name": project, "domain": {"id": "default"}}},
    }})
}

/// Replaces what differs from run to run.
fn mask(body: &Value) -> String {
    let mut text = format!("{body:#}\n");
    for (pattern, mask) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z?", "<time>"),
        (r"\b[0-9a-f]{56}\b", "<digest>"),
        (r"\b[0-9a-f]{32}\b", "<id>"),
        (r"instance-[0-9a-f]{12}", "instance-<end>"),
        (r#""audit_ids": \[\s*"[^"]*"\s*\]"#, r#""audit_ids": ["<audit>"]"#),
        (r#""adminPass": "[^"]*""#, r#""adminPass": "<password>""#),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, mask).into_owned();
    }
    text
}

fn assert_golden(name: &str, body: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let masked = mask(body);
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, &masked).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(masked, expected, "{name}: run with UPDATE_GOLDEN=1 and read the difference");
}

#[tokio::test]
async fn identity_answers_in_keystones_shapes() {
    let site = Site::new().await;
    let versions = site.send(Method::GET, "/identity", None, None, Body::empty()).await;
    assert_eq!(versions.status, StatusCode::MULTIPLE_CHOICES);
    assert_golden("identity_versions", &versions.body);
    let body = login("ann", PASSWORD, "lab").to_string();
    let token = site.send(Method::POST, "/identity/v3/auth/tokens", None, None, body).await;
    assert_golden("identity_token", &token.body);
    for wrong in [login("ann", "wrong", "lab"), login("nobody", PASSWORD, "lab"), login("ann", PASSWORD, "admin")] {
        let refused = site.send(Method::POST, "/identity/v3/auth/tokens", None, None, wrong.to_string()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_golden("identity_unauthorized", &refused.body);
    }
    let anonymous = site.send(Method::GET, "/compute/v2.1/servers", None, None, Body::empty()).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    let forged = format!("{}x", site.member);
    let forged = site.send(Method::GET, "/compute/v2.1/servers", Some(&forged), None, Body::empty()).await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn compute_answers_in_novas_shapes_version_by_version() {
    let site = Site::new().await;
    let id = site.create("golden").await;
    let path = format!("{COMPUTE}/servers/{id}");
    assert_golden("compute_version", &site.get(COMPUTE, None).await.body);
    for version in ["2.1", "2.3", "2.9", "2.16", "2.19", "2.26", "2.47", "2.61"] {
        let shown = site.get(&path, Some(version)).await;
        assert_eq!(shown.headers["openstack-api-version"], format!("compute {version}"));
        assert_eq!(shown.headers["x-openstack-nova-api-version"], version);
        assert_golden(&format!("server_{version}"), &shown.body);
    }
    let listed = site.get(&format!("{COMPUTE}/servers"), None).await;
    assert_golden("servers", &listed.body);
    for (name, path, versions) in [
        ("flavors", "/flavors/detail", ["2.1", "2.55", "2.61"]),
        ("hypervisors", "/os-hypervisors/detail", ["2.1", "2.28", "2.53"]),
        ("services", "/os-services", ["2.1", "2.11", "2.53"]),
        ("limits", "/limits", ["2.1", "2.36", "2.57"]),
        ("zones", "/os-availability-zone/detail", ["2.1", "2.1", "2.1"]),
    ] {
        for version in versions {
            let reply = site.get(&format!("{COMPUTE}{path}"), Some(version)).await;
            assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
            assert_golden(&format!("{name}_{version}"), &reply.body);
        }
    }
    let created = site.post("/os-aggregates", Some("2.41"), json!({"aggregate": {"name": "racks"}})).await;
    assert_golden("aggregate_created_2.41", &created.body);
    for version in ["2.1", "2.41"] {
        let reply = site.get(&format!("{COMPUTE}/os-aggregates"), Some(version)).await;
        assert_golden(&format!("aggregates_{version}"), &reply.body);
    }
    // Who is no administrator does not learn where a server is.
    let body = site.server("mine").to_string();
    let mine = site.send(Method::POST, &format!("{COMPUTE}/servers"), Some(&site.member), Some("2.37"), body).await;
    assert_golden("server_created", &mine.body);
    let path = format!("{COMPUTE}/servers/{}", mine.body["server"]["id"].as_str().unwrap());
    let shown = site.send(Method::GET, &path, Some(&site.member), Some("2.61"), Body::empty()).await;
    assert_golden("server_2.61_member", &shown.body);
}

#[tokio::test]
async fn a_server_without_a_host_to_go_to_is_in_error_and_says_why() {
    let site = Site::new().await;
    let body = json!({"server": {"name": "big", "flavorRef": "5", "imageRef": site.image, "networks": "none"}});
    let id = site.post("/servers", Some("2.37"), body).await.body["server"]["id"].as_str().unwrap().to_owned();
    scheduler::round(site.opened.db.as_ref(), SITE).await.unwrap();
    let shown = site.get(&format!("{COMPUTE}/servers/{id}"), None).await;
    assert_golden("server_error", &shown.body);
    let path = format!("{COMPUTE}/servers/{id}");
    let gone = site.send(Method::DELETE, &path, Some(&site.admin), None, Body::empty()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let gone = site.get(&path, None).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert_eq!(gone.body["itemNotFound"]["code"], 404);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_cut_into_pages() {
    let site = Site::new().await;
    let mut ids = Vec::new();
    for name in ["web-1", "web-2", "db-1", "db-2", "db-10"] {
        ids.push(site.create(name).await);
    }
    let names = |body: &Value| -> Vec<String> {
        body["servers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", vec!["db-10", "db-2", "db-1", "web-2", "web-1"]),
        ("?name=web", vec!["web-2", "web-1"]),
        ("?name=%5Edb-1%24", vec!["db-1"]),
        ("?status=BUILD&limit=2", vec!["db-10", "db-2"]),
        ("?status=ACTIVE", vec![]),
        ("?status=nonsense", vec![]),
        ("?sort_key=display_name&sort_dir=asc", vec!["db-1", "db-10", "db-2", "web-1", "web-2"]),
        ("?deleted=True", vec![]),
        ("?deleted=False&limit=1", vec!["db-10"]),
        ("?changes-since=2999-01-01T00:00:00Z", vec![]),
        ("?flavor=2", vec![]),
        ("?limit=0", vec![]),
    ] {
        let reply = site.get(&format!("{COMPUTE}/servers{query}"), None).await;
        assert_eq!(reply.status, StatusCode::OK, "{query}: {}", reply.body);
        assert_eq!(names(&reply.body), expected, "{query}");
    }
    // Page by page, every server once.
    let mut seen = Vec::new();
    let mut path = format!("{COMPUTE}/servers?limit=2");
    loop {
        let reply = site.get(&path, None).await.body;
        seen.extend(names(&reply));
        match reply["servers_links"][0]["href"].as_str() {
            Some(next) => path = next.strip_prefix(URL).unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["db-10", "db-2", "db-1", "web-2", "web-1"]);
    // Another project sees nothing of it.
    let other = site.send(Method::GET, &format!("{COMPUTE}/servers"), Some(&site.member), None, Body::empty()).await;
    assert_eq!(names(&other.body), Vec::<String>::new());
    let other = format!("{COMPUTE}/servers/{}", ids[0]);
    let other = site.send(Method::GET, &other, Some(&site.member), None, Body::empty()).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn quota_is_exact_also_for_requests_that_come_together() {
    let site = Site::new().await;
    let path = format!("{COMPUTE}/os-quota-sets/lab");
    let body = json!({"quota_set": {"instances": 5, "cores": 4}}).to_string();
    let set = site.send(Method::PUT, &path, Some(&site.admin), None, body).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    let requests = (0..12).map(|number| {
        let body = site.server(&format!("burst-{number}")).to_string();
        site.send(Method::POST, "/compute/v2.1/servers", Some(&site.member), Some("2.37"), body)
    });
    let replies = futures::future::join_all(requests).await;
    let (granted, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status == StatusCode::ACCEPTED);
    assert_eq!((granted.len(), refused.len()), (4, 8));
    for reply in refused {
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        let expected = "Quota exceeded for cores: Requested 1, but already used 4 of 4 cores";
        assert_eq!(reply.body, json!({"forbidden": {"code": 403, "message": expected}}));
    }
    let db = site.opened.db.as_ref();
    let used = QuotaNumbers { instances: 4, cores: 4, ram_mb: 2048 };
    assert_eq!(quotas::usage(db, "lab").await.unwrap(), used);
    let detail = site.get(&format!("{path}/detail"), None).await;
    assert_eq!(detail.body["quota_set"]["cores"], json!({"limit": 4, "in_use": 4, "reserved": 0}));
    // Below what is used only by force.
    let lower = json!({"quota_set": {"cores": 1}}).to_string();
    let refused = site.send(Method::PUT, &path, Some(&site.admin), None, lower).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    // Deleting gives back, and only once.
    let filter = servers::ServerFilter { site: SITE.into(), ..servers::ServerFilter::default() };
    for server in servers::list(db, &filter).await.unwrap() {
        let path = format!("{COMPUTE}/servers/{}", server.id);
        let first = site.send(Method::DELETE, &path, Some(&site.member), None, Body::empty()).await;
        assert_eq!(first.status, StatusCode::NO_CONTENT);
        let second = site.send(Method::DELETE, &path, Some(&site.member), None, Body::empty()).await;
        assert_eq!(second.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(quotas::usage(db, "lab").await.unwrap(), QuotaNumbers::default());
}

#[tokio::test]
async fn several_servers_in_one_request_as_many_as_the_quota_allows() {
    let site = Site::new().await;
    let body = json!({"quota_set": {"instances": 3}}).to_string();
    site.send(Method::PUT, &format!("{COMPUTE}/os-quota-sets/lab"), Some(&site.admin), None, body).await;
    let ask = |min: i64, max: i64| {
        let mut body = site.server("many");
        body["server"]["min_count"] = json!(min);
        body["server"]["max_count"] = json!(max);
        site.send(Method::POST, "/compute/v2.1/servers", Some(&site.member), Some("2.37"), body.to_string())
    };
    assert_eq!(ask(4, 9).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask(2, 9).await.status, StatusCode::ACCEPTED);
    let filter = servers::ServerFilter { site: SITE.into(), ascending: true, ..servers::ServerFilter::default() };
    let made = servers::list(site.opened.db.as_ref(), &filter).await.unwrap();
    let names: Vec<&str> = made.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["many-1", "many-2", "many-3"]);
    assert!(made.iter().all(|server| server.status == ServerState::Scheduling));
}

#[tokio::test]
async fn every_bad_input_is_refused_with_words() {
    let site = Site::new().await;
    let id = site.create("victim").await;
    let with = |field: &str, value: Value| {
        let mut body = site.server("x");
        body["server"][field] = value;
        body.to_string()
    };
    let long = "n".repeat(256);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let flavor = |field: &str, value: Value| {
        let mut flavor = json!({"flavor": {"name": "f", "vcpus": 1, "ram": 1, "disk": 0}});
        flavor["flavor"][field] = value;
        flavor.to_string()
    };
    let action = format!("/servers/{id}/action");
    let post = Method::POST;
    let cases: Vec<(Method, &str, String, u16, &str)> = vec![
        (post.clone(), "/servers", "{".into(), 400, "Malformed"),
        (post.clone(), "/servers", String::new(), 400, "Malformed"),
        (post.clone(), "/servers", "[]".into(), 400, "object"),
        (post.clone(), "/servers", deep, 400, "recursion"),
        (post.clone(), "/servers", "{}".into(), 400, "'server' is a required"),
        (post.clone(), "/servers", json!({"server": 7}).to_string(), 400, "object"),
        (post.clone(), "/servers", with("name", json!("")), 400, "too short"),
        (post.clone(), "/servers", with("name", json!("  ")), 400, "too short"),
        (post.clone(), "/servers", with("name", json!(long)), 400, "too long"),
        (post.clone(), "/servers", with("name", json!("a\u{0}b")), 400, "NUL"),
        (post.clone(), "/servers", with("name", json!(null)), 400, "required"),
        (post.clone(), "/servers", with("name", json!(["x"])), 400, "string"),
        (post.clone(), "/servers", with("flavorRef", json!("nope")), 400, "Flavor nope could not be found"),
        (post.clone(), "/servers", with("flavorRef", json!(1)), 400, "string"),
        (post.clone(), "/servers", with("imageRef", json!("nope")), 400, "imageRef"),
        (post.clone(), "/servers", with("imageRef", json!("00000000-0000-4000-8000-000000000000")), 400, "Image"),
        (post.clone(), "/servers", with("imageRef", json!("")), 400, "nothing to boot from"),
        (post.clone(), "/servers", with("min_count", json!(-1)), 400, "minimum"),
        (post.clone(), "/servers", with("max_count", json!(0)), 400, "minimum"),
        (post.clone(), "/servers", with("max_count", json!(MAX_SERVERS + 1)), 400, "maximum"),
        (post.clone(), "/servers", with("max_count", json!(1e300)), 400, "integer"),
        (post.clone(), "/servers", with("min_count", json!("many")), 400, "integer"),
        (post.clone(), "/servers", with("networks", json!("auto")), 400, "none"),
        (post.clone(), "/servers", with("networks", json!([])), 400, "too short"),
        (post.clone(), "/servers", with("networks", json!([{"uuid": "n"}])), 400, "Network n"),
        (post.clone(), "/servers", with("networks", json!(null)), 400, "networks"),
        (post.clone(), "/servers", with("networks", json!([7])), 400, "object"),
        (post.clone(), "/servers", with("availability_zone", json!("mars")), 400, "not available"),
        (post.clone(), "/servers", with("availability_zone", json!("a:b:c:d")), 400, "parse"),
        (post.clone(), "/servers", with("metadata", json!({"k": long})), 400, "too long"),
        (post.clone(), "/servers", with("metadata", json!({"": "v"})), 400, "keys"),
        (post.clone(), "/servers", with("metadata", json!({"k": {}})), 400, "string"),
        (post.clone(), "/servers", with("user_data", json!("%%%")), 400, "base64"),
        (post.clone(), "/servers", with("key_name", json!("mykey")), 400, "key_name"),
        (post.clone(), "/servers", with("colour", json!("red")), 400, "Additional properties"),
        (post.clone(), "/servers", with("tags", json!(["t"])), 400, "Additional properties"),
        (post.clone(), "/servers", with("block_device_mapping_v2", json!([{"source_type": "volume"}])), 400, "volumes"),
        (post.clone(), "/servers", with("name", json!("y".repeat(2_000_000))), 413, "too large"),
        (post.clone(), "/servers/none/action", json!({"os-stop": null}).to_string(), 404, "Instance none"),
        (post.clone(), &action, json!({"os-stop": null}).to_string(), 409, "scheduling"),
        (post.clone(), &action, json!({"dance": null}).to_string(), 400, "dance"),
        (post.clone(), &action, json!({"os-stop": null, "os-start": null}).to_string(), 400, "one action"),
        (post.clone(), &action, json!({"reboot": {"type": "GENTLE"}}).to_string(), 400, "SOFT"),
        (post.clone(), &action, json!({"reboot": null}).to_string(), 400, "object"),
        (post.clone(), &action, "{}".into(), 400, "empty"),
        (Method::GET, "/servers?limit=-1", String::new(), 400, "limit"),
        (Method::GET, "/servers?limit=ten", String::new(), 400, "limit"),
        (Method::GET, "/servers?marker=nope", String::new(), 400, "marker"),
        (Method::GET, "/servers?sort_key=colour", String::new(), 400, "sort_key"),
        (Method::GET, "/servers?changes-since=yesterday", String::new(), 400, "ISO 8601"),
        (Method::GET, "/servers?name=%28", String::new(), 400, "regular expression"),
        (Method::GET, "/servers?name=%28a%7B1000%7D%29%7B1000%7D", String::new(), 400, "regular expression"),
        (Method::GET, "/servers/by-name", String::new(), 404, "Instance by-name"),
        (Method::DELETE, "/servers/none", String::new(), 404, "Instance none"),
        (Method::GET, "/flavors/by-name", String::new(), 404, "Flavor by-name"),
        (Method::GET, "/flavors/detail?minRam=lots", String::new(), 400, "minRam"),
        (post.clone(), "/flavors", flavor("vcpus", json!(0)), 400, "minimum"),
        (post.clone(), "/flavors", flavor("ram", json!(-5)), 400, "minimum"),
        (post.clone(), "/flavors", flavor("disk", json!(9_999_999_999_i64)), 400, "maximum"),
        (post.clone(), "/flavors", flavor("name", json!("m1.tiny")), 409, "already exists"),
        (post.clone(), "/flavors", flavor("id", json!("1")), 409, "already exists"),
        (post.clone(), "/flavors", flavor("id", json!("../x")), 400, "letters"),
        (post.clone(), "/flavors/1/os-extra_specs", json!({"extra_specs": {"a/b": "c"}}).to_string(), 400, "keys"),
        (post.clone(), "/flavors/9/os-extra_specs", json!({"extra_specs": {"a": "c"}}).to_string(), 404, "Flavor 9"),
        (Method::DELETE, "/flavors/9", String::new(), 404, "Flavor 9"),
        (Method::GET, "/os-aggregates/by-name", String::new(), 404, "Aggregate by-name"),
        (post.clone(), "/os-aggregates", json!({"aggregate": {"name": ""}}).to_string(), 400, "too short"),
        (
            post.clone(),
            "/os-aggregates",
            json!({"aggregate": {"name": "a", "availability_zone": "b:c"}}).to_string(),
            400,
            "colon",
        ),
        (post.clone(), "/os-aggregates/77/action", json!({"add_host": {"host": "host1"}}).to_string(), 404, "77"),
        (post.clone(), "/os-aggregates/77/action", json!({"explode": {}}).to_string(), 400, "no such action"),
        (Method::GET, "/os-hypervisors/by-name", String::new(), 404, "by-name"),
        (
            Method::PUT,
            "/os-services/enable",
            json!({"host": "nowhere", "binary": "nova-compute"}).to_string(),
            404,
            "nowhere",
        ),
        (Method::PUT, "/os-services/enable", json!({"host": "host1"}).to_string(), 400, "binary"),
        (Method::PUT, "/os-quota-sets/lab", json!({"quota_set": {"cores": -2}}).to_string(), 400, "minimum"),
        (Method::PUT, "/os-quota-sets/lab", json!({"quota_set": {"beer": 1}}).to_string(), 400, "Additional"),
        (Method::GET, "/os-quota-sets/nobody", String::new(), 400, "not a valid project"),
        (Method::GET, "/no/such/path", String::new(), 404, "could not be found"),
        (Method::PATCH, "/servers", String::new(), 405, "not allowed"),
    ];
    for (method, path, body, status, words) in cases {
        // Volatile forms of services change with 2.53; the older ones are asked here.
        let reply =
            site.send(method.clone(), &format!("{COMPUTE}{path}"), Some(&site.admin), Some("2.37"), body.clone()).await;
        let shown: String = body.chars().take(200).collect();
        assert_eq!(reply.status.as_u16(), status, "{method} {path} {shown}: {}", reply.body);
        let fault = reply.body.as_object().and_then(|fields| fields.values().next()).cloned().unwrap_or_default();
        assert_eq!(fault["code"], status, "{method} {path}: {}", reply.body);
        let message = fault["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{method} {path} {shown}: \"{message}\" lacks \"{words}\"");
    }
    for (version, status) in [("2.9999", 406), ("3.0", 406), ("abc", 400)] {
        assert_eq!(site.get(&format!("{COMPUTE}/servers"), Some(version)).await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn administrators_alone_manage_the_cloud() {
    let site = Site::new().await;
    for (method, path, body) in [
        (Method::GET, "/os-aggregates", String::new()),
        (Method::GET, "/os-hypervisors/detail", String::new()),
        (Method::GET, "/os-services", String::new()),
        (Method::GET, "/os-availability-zone/detail", String::new()),
        (Method::GET, "/servers?all_tenants=1", String::new()),
        (Method::GET, "/os-quota-sets/other", String::new()),
        (Method::PUT, "/os-quota-sets/lab", json!({"quota_set": {}}).to_string()),
        (Method::DELETE, "/flavors/1", String::new()),
        (Method::POST, "/flavors", json!({"flavor": {"name": "f", "vcpus": 1, "ram": 1, "disk": 0}}).to_string()),
    ] {
        let path = format!("{COMPUTE}{path}");
        let reply = site.send(method, &path, Some(&site.member), None, body).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}: {}", reply.body);
        assert_eq!(reply.body["forbidden"]["code"], 403);
    }
    // Keeps the API, whose task gathers requests, alive until here.
    drop(site.app);
}
