//! What a new cloud starts with: a project, its administrator, flavors, an image, and the secret that signs tokens.

use crate::clock;
use crate::model::{Flavor, Image, Project, User};
use crate::secrets;
use crate::state::identity::{self, Naming};
use crate::state::{flavors, images};
use rome_core::database::{Database, DatabaseExt, Transaction};
use rome_core::{Error, Result, SqlState};
use std::sync::Arc;
use uuid::Uuid;

/// The name of the project that a new cloud has.
pub const ADMIN_PROJECT: &str = "admin";
/// The name of the user that a new cloud has.
pub const ADMIN_USER: &str = "admin";

/// Name, processors, megabytes of memory, gigabytes of disk; numbered from 1.
const FLAVORS: [(&str, i64, i64, i64); 5] = [
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("m1.large", 4, 8192, 80),
    ("m1.xlarge", 8, 16384, 160),
];

const IMAGE: &str = "cirros";

/// What seeding did.
#[derive(PartialEq, Eq)]
pub enum Seed {
    /// The cloud is new, and this is the administrator's password, made up because none was given.
    NewWithPassword(String),
    /// The cloud is new, and the administrator has the password that was given.
    New,
    /// The cloud was there.
    Known,
}

/// Fills an empty store. On a store with a cloud in it changes nothing but the administrator's password, and that only where one is given.
///
/// # Errors
/// What the database says.
pub async fn seed(database: &dyn Database, admin_password: Option<&str>) -> Result<Seed> {
    let known = identity::user(database, Naming::Name(ADMIN_USER)).await?;
    if let (Some(user), None) = (&known, admin_password) {
        let _ = user;
        return Ok(Seed::Known);
    }
    let password = admin_password.map_or_else(|| secrets::random_text(12), str::to_owned);
    let hash = hash(password.clone()).await?;
    if let Some(user) = known {
        identity::set_password_hash(database, &user.id, &hash).await?;
        return Ok(Seed::Known);
    }
    let hash: Arc<str> = hash.into();
    let filled = database
        .transaction(move |tx| {
            let hash = Arc::clone(&hash);
            Box::pin(async move { fill(tx, &hash).await })
        })
        .await;
    match filled {
        Ok(()) if admin_password.is_some() => Ok(Seed::New),
        Ok(()) => Ok(Seed::NewWithPassword(password)),
        // Another process filled the store at the same moment.
        Err(error) if error.state() == SqlState::UNIQUE_VIOLATION => Ok(Seed::Known),
        Err(error) => Err(error),
    }
}

async fn hash(password: String) -> Result<String> {
    tokio::task::spawn_blocking(move || secrets::hash_password(&password))
        .await
        .map_err(|_| Error::internal("hashing a password was interrupted"))?
}

async fn fill(tx: &dyn Transaction, hash: &str) -> Result<()> {
    let project = Project {
        id: Uuid::new_v4().simple().to_string(),
        name: ADMIN_PROJECT.to_owned(),
        description: Some("The first project of this cloud.".to_owned()),
        enabled: 1,
    };
    identity::insert_project(tx, &project).await?;
    let user = User {
        id: Uuid::new_v4().simple().to_string(),
        name: ADMIN_USER.to_owned(),
        project_id: project.id,
        password_hash: hash.to_owned(),
        is_admin: 1,
        enabled: 1,
    };
    identity::insert_user(tx, &user).await?;
    identity::insert_signing_key(tx, "first", &secrets::random_text(32)).await?;
    for (number, (name, vcpus, ram_mb, disk_gb)) in (1..).zip(FLAVORS) {
        let flavor = Flavor {
            id: format!("{number}"),
            name: name.to_owned(),
            vcpus,
            ram_mb,
            disk_gb,
            ephemeral_gb: 0,
            swap_mb: 0,
            is_public: 1,
            description: None,
            created_at: 0,
        };
        flavors::insert(tx, &flavor).await?;
    }
    let now = clock::now();
    let image = Image {
        id: Uuid::new_v4().to_string(),
        name: IMAGE.to_owned(),
        status: "active".to_owned(),
        visibility: "public".to_owned(),
        disk_format: "qcow2".to_owned(),
        container_format: "bare".to_owned(),
        size_bytes: 21_692_416,
        min_disk_gb: 0,
        min_ram_mb: 0,
        created_at: now,
        updated_at: now,
    };
    images::insert(tx, &image).await
}
