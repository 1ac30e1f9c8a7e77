//! The stock OpenStack client from PyPI, unchanged, against a cloud: see `scripts/openstack-client`.
//!
//! `ROME_SKIP_OPENSTACK_CLIENT=1` skips it where PyPI can't be reached; nothing else does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use compute_controller::cli::cloud::{Cloud, CloudConfig, HostSize};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use support::{Opened, PASSWORD, SITE, room_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_openstack_client_is_content() {
    if std::env::var("ROME_SKIP_OPENSTACK_CLIENT").is_ok_and(|skip| skip == "1") {
        eprintln!("skipped, as ROME_SKIP_OPENSTACK_CLIENT asks");
        return;
    }
    let opened = Opened::memory().await;
    let config = CloudConfig {
        sites: 1,
        hosts: 2,
        schedulers: 1,
        port_base: None,
        host: HostSize { capacity: room_for(100), boot_time: Duration::from_millis(20) },
    };
    let cloud = Cloud::start(Arc::clone(&opened.db), &config).await.unwrap();
    let (_, url) = cloud.apis().first().unwrap().clone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/openstack-client");
    let output = tokio::task::spawn_blocking(move || {
        Command::new(script)
            .env("OS_AUTH_URL", format!("{url}/identity/v3"))
            .env("OS_IDENTITY_API_VERSION", "3")
            .env("OS_REGION_NAME", SITE)
            .env("OS_USERNAME", "admin")
            .env("OS_PASSWORD", PASSWORD)
            .env("OS_PROJECT_NAME", "admin")
            .env("OS_USER_DOMAIN_ID", "default")
            .env("OS_PROJECT_DOMAIN_ID", "default")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("the OpenStack client is content"));
    cloud.stop().await.unwrap();
}
