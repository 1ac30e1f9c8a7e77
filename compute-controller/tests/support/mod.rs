//! What the tests of the controller share: empty databases, hosts, servers.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use compute_controller::model::{HostedServer, Program, Resources, ServerState};
use compute_controller::schema;
use compute_controller::state::identity::{self, Naming};
use compute_controller::state::servers::{self, NewServer};
use compute_controller::state::{hosts, moves, quotas, services, sites};
use rome_core::database::{Database, DatabaseExt, Queryable};
use rome_sql::SqlDatabase;
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

/// The password of `admin` in tests.
pub const PASSWORD: &str = "open sesame";

/// The site of tests.
pub const SITE: &str = "site1";

/// What a test server takes.
pub const NEEDS: Resources = Resources { vcpus: 1, ram_mb: 512, disk_gb: 1 };

/// A database with an empty cloud in it.
pub struct Opened {
    /// The database.
    pub db: Arc<dyn Database>,
    /// Its URL, for other processes.
    pub url: String,
    /// Removed with the test.
    pub directory: TempDir,
}

impl Opened {
    /// In memory.
    pub async fn memory() -> Self {
        Self::at("memory:".to_owned(), tempfile::tempdir().unwrap()).await
    }

    /// In a SQLite file of its own, which other processes can open too.
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("cloud.db").display());
        Self::at(url, directory).await
    }

    /// On every store at hand: in memory, embedded, SQLite, and the servers that the environment names.
    pub async fn everywhere() -> Vec<(&'static str, Self)> {
        let directory = tempfile::tempdir().unwrap();
        let embedded = format!("embedded:{}", directory.path().join("cloud.rome").display());
        let mut all = vec![
            ("memory", Self::memory().await),
            ("embedded", Self::at(embedded, directory).await),
            ("sqlite", Self::sqlite().await),
        ];
        let name = format!("controller_{}", Uuid::new_v4().simple());
        let servers = ["ROME_TEST_REDIS_URL", "ROME_TEST_MARIADB_URL", "ROME_TEST_POSTGRES_URL"];
        for (store, variable) in ["redis", "mariadb", "postgres"].into_iter().zip(servers) {
            let Ok(url) = std::env::var(variable) else { continue };
            let url = match store {
                "redis" => format!("{url}?namespace={name}"),
                "mariadb" => {
                    let admin = SqlDatabase::connect(&url).await.unwrap();
                    admin.execute(format!("CREATE DATABASE {name}")).await.unwrap();
                    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
                }
                _ => {
                    let admin = SqlDatabase::connect(&url).await.unwrap();
                    admin.execute(format!("CREATE SCHEMA {name}")).await.unwrap();
                    format!("{url}?options[search_path]={name}")
                }
            };
            all.push((store, Self::at(url, tempfile::tempdir().unwrap()).await));
        }
        all
    }

    async fn at(url: String, directory: TempDir) -> Self {
        let db = connect(&url).await;
        fill(db.as_ref()).await;
        Self { db, url, directory }
    }
}

/// Opens a store of any kind: the program itself may have been built without SQL servers.
pub async fn connect(url: &str) -> Arc<dyn Database> {
    if ["memory:", "embedded:", "redis:"].iter().any(|scheme| url.starts_with(scheme)) {
        return compute_controller::store::open(url).await.unwrap();
    }
    Arc::new(SqlDatabase::connect(url).await.unwrap())
}

async fn fill(db: &dyn Database) {
    schema::create(db).await.unwrap();
    schema::create(db).await.expect("creating twice changes nothing");
    schema::seed(db, Some(PASSWORD)).await.unwrap();
}

/// A host that is alive; gives its id.
pub async fn host(db: &dyn Database, name: &str, capacity: Resources) -> String {
    sites::register(db, SITE, None).await.unwrap();
    services::register(db, Program::Agent, name, SITE, Uuid::new_v4()).await.unwrap();
    hosts::register(db, name, SITE, capacity).await.unwrap()
}

/// Room for so many test servers.
pub fn room_for(servers: i64) -> Resources {
    Resources { vcpus: NEEDS.vcpus * servers, ram_mb: NEEDS.ram_mb * servers, disk_gb: NEEDS.disk_gb * servers }
}

/// Servers that wait for a scheduler, quota included; gives their ids.
pub async fn waiting_servers(db: &dyn Database, count: usize) -> Vec<String> {
    let project = identity::project(db, Naming::Name("admin")).await.unwrap().unwrap();
    let new: Arc<[NewServer]> = (0..count)
        .map(|number| NewServer {
            id: Uuid::now_v7().to_string(),
            name: format!("test-{number}"),
            description: None,
            project_id: project.id.clone(),
            user_id: "tester".into(),
            site: SITE.into(),
            flavor_id: "1".into(),
            flavor: "{}".into(),
            needs: NEEDS,
            image_id: None,
            availability_zone: None,
            metadata: None,
            tags: None,
            user_data: None,
            config_drive: false,
            reservation_id: "r".into(),
            launch_index: 0,
        })
        .collect();
    let ids = new.iter().map(|server| server.id.clone()).collect();
    let project_id: Arc<str> = project.id.into();
    db.transaction(move |tx| {
        let (new, project_id) = (Arc::clone(&new), Arc::clone(&project_id));
        Box::pin(async move {
            servers::insert(tx, &new).await?;
            let (count, sum) = (new.len() as i64, room_for(new.len() as i64));
            if !quotas::add_usage(tx, &project_id, count, sum).await? {
                quotas::insert_usage(tx, &project_id, count, sum).await?;
            }
            Ok::<_, rome_core::Error>(())
        })
    })
    .await
    .unwrap();
    ids
}

/// Moves a server to a state, as an API would.
pub async fn set_state(db: &dyn Database, id: &str, state: ServerState) {
    let id: Arc<str> = id.into();
    db.transaction(move |tx| {
        let id = Arc::clone(&id);
        Box::pin(async move { moves::set_state(tx, &id, state).await })
    })
    .await
    .unwrap();
}

/// The servers of a host.
pub async fn of_host(db: &dyn Database, host_id: &str) -> Vec<HostedServer> {
    servers::of_host(db, host_id, None).await.unwrap()
}
