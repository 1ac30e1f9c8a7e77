//! Agents that die: at any point, and however often, the servers of the host end in the right state and the guests with them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use compute_controller::agent::{self, AgentConfig, End};
use compute_controller::cli::audit;
use compute_controller::driver::{Driver, FakeDriver, FakeHypervisor, Power};
use compute_controller::model::{ServerState, WaitingServer};
use compute_controller::state::{claims, hosts, servers};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rome_core::database::Database;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{NEEDS, Opened, SITE, connect, host, of_host, room_for, set_state, waiting_servers};
use tokio::sync::watch;
use tokio::time::sleep;

const HOST: &str = "mortal";

/// How long an agent that is left alone may take to bring everything in order.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

fn config() -> AgentConfig {
    AgentConfig { site: SITE.into(), host: HOST.into(), capacity: room_for(1000) }
}

/// New servers on the host.
async fn place(db: &dyn Database, host_id: &str, count: usize) {
    let waiting = waiting_servers(db, count).await.into_iter().map(|id| WaitingServer {
        id,
        vcpus: NEEDS.vcpus,
        ram_mb: NEEDS.ram_mb,
        disk_gb: NEEDS.disk_gb,
        availability_zone: None,
    });
    assert_eq!(claims::claim(db, host_id, waiting.collect()).await.unwrap().len(), count);
}

/// Asks some of the servers for something, as users would.
async fn ask(db: &dyn Database, host_id: &str, random: &mut StdRng) {
    for server in of_host(db, host_id).await {
        let wish = match (server.status, random.random_range(0..10)) {
            (ServerState::Active | ServerState::Building, 0..2) => ServerState::Deleting,
            (ServerState::Active, 2..4) => ServerState::Stopping,
            (ServerState::Active, 4) => ServerState::Rebooting,
            (ServerState::Stopped, 0..5) => ServerState::Starting,
            _ => continue,
        };
        set_state(db, &server.id, wish).await;
    }
}

/// Waits until nothing is left to do, and checks that guests and servers agree.
async fn settle(db: &dyn Database, host_id: &str, driver: &dyn Driver) {
    let give_up = Instant::now() + SETTLED_WITHIN;
    loop {
        let wrong = disagreements(db, host_id, driver).await;
        if wrong.is_empty() {
            break;
        }
        assert!(Instant::now() < give_up, "the agent has not settled: {wrong:?}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(audit::books_agree(db).await.unwrap(), Vec::<String>::new());
}

async fn disagreements(db: &dyn Database, host_id: &str, driver: &dyn Driver) -> Vec<String> {
    let mut guests: HashMap<String, Power> =
        driver.guests().await.unwrap().into_iter().map(|guest| (guest.id, guest.power)).collect();
    let mut wrong = Vec::new();
    for server in of_host(db, host_id).await {
        match (server.status, guests.remove(&server.id)) {
            (ServerState::Active, Some(Power::Running)) | (ServerState::Stopped, Some(Power::Off)) => {}
            other => wrong.push(format!("{}: {other:?}", server.id)),
        }
    }
    wrong.extend(guests.into_iter().map(|orphan| format!("{orphan:?} has no server")));
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_aborted_at_any_point_is_made_up_for_by_the_next() {
    for (store, opened) in Opened::everywhere().await {
        let db = opened.db.as_ref();
        let host_id = host(db, HOST, room_for(1000)).await;
        let driver = Arc::new(FakeDriver::new(FakeHypervisor::in_memory(), Duration::from_millis(15)));
        let (_stop, stopped) = watch::channel(false);
        let mut random = StdRng::seed_from_u64(11);
        for _ in 0..15 {
            place(db, &host_id, 6).await;
            let agent = tokio::spawn(agent::run(Arc::clone(&opened.db), config(), driver.clone(), stopped.clone()));
            sleep(Duration::from_millis(random.random_range(0..60))).await;
            ask(db, &host_id, &mut random).await;
            sleep(Duration::from_millis(random.random_range(0..60))).await;
            agent.abort();
            let _ = agent.await;
        }
        // A guest that no server knows, as a crash in the middle of a deletion could leave it.
        driver.spawn("stray").await.unwrap();
        let agent = tokio::spawn(agent::run(Arc::clone(&opened.db), config(), driver.clone(), stopped));
        settle(db, &host_id, driver.as_ref()).await;
        assert!(!of_host(db, &host_id).await.is_empty(), "{store}");
        agent.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guests_that_vanished_are_brought_back_and_strays_removed() {
    let opened = Opened::memory().await;
    let db = opened.db.as_ref();
    let host_id = host(db, HOST, room_for(10)).await;
    place(db, &host_id, 3).await;
    let driver = Arc::new(FakeDriver::new(FakeHypervisor::in_memory(), Duration::ZERO));
    let (stop, stopped) = watch::channel(false);
    let agent = tokio::spawn(agent::run(Arc::clone(&opened.db), config(), driver.clone(), stopped));
    settle(db, &host_id, driver.as_ref()).await;
    stop.send(true).unwrap();
    assert_eq!(agent.await.unwrap().unwrap(), End::Stopped);
    let victim = of_host(db, &host_id).await[0].id.clone();
    driver.destroy(&victim).await.unwrap();
    driver.spawn("stray").await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let agent = tokio::spawn(agent::run(Arc::clone(&opened.db), config(), driver.clone(), stopped));
    settle(db, &host_id, driver.as_ref()).await;
    agent.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_ends_when_another_of_its_host_starts() {
    let opened = Opened::memory().await;
    let driver = Arc::new(FakeDriver::new(FakeHypervisor::in_memory(), Duration::ZERO));
    let (_stop, stopped) = watch::channel(false);
    let start = || tokio::spawn(agent::run(Arc::clone(&opened.db), config(), driver.clone(), stopped.clone()));
    let first = start();
    while hosts::of_site(opened.db.as_ref(), SITE).await.unwrap().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let second = start();
    // Whichever registered later stays.
    let ended = tokio::select! {
        ended = first => ended,
        ended = second => ended,
    };
    assert_eq!(ended.unwrap().unwrap(), End::Replaced);
}

/// The variables that make [`agent_process`] run: the store and the directory of guests.
const STORE: &str = "AGENT_PROCESS_STORE";
const GUESTS: &str = "AGENT_PROCESS_GUESTS";

/// No test by itself: the agent that `an_agent_killed_with_signal_9_...` starts as a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_process() {
    let (Ok(store), Ok(guests)) = (std::env::var(STORE), std::env::var(GUESTS)) else { return };
    let db = connect(&store).await;
    let hypervisor = FakeHypervisor::in_directory(Path::new(&guests)).await.unwrap();
    let driver = Arc::new(FakeDriver::new(hypervisor, Duration::from_millis(15)));
    let (_stop, stopped) = watch::channel(false);
    agent::run(db, config(), driver, stopped).await.unwrap();
}

fn start_process(store: &str, guests: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "agent_process", "--nocapture"])
        .env(STORE, store)
        .env(GUESTS, guests)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_killed_with_signal_9_is_made_up_for_by_the_next() {
    // Stores that two processes can share.
    let shared = |store: &str| !["memory", "embedded"].contains(&store);
    for (_, opened) in Opened::everywhere().await.into_iter().filter(|(store, _)| shared(store)) {
        kill_and_restart(&opened).await;
    }
}

async fn kill_and_restart(opened: &Opened) {
    let db = opened.db.as_ref();
    let host_id = host(db, HOST, room_for(1000)).await;
    let guests = opened.directory.path().join("guests");
    let mut random = StdRng::seed_from_u64(9);
    for _ in 0..6 {
        place(db, &host_id, 10).await;
        let mut agent = start_process(&opened.url, &guests);
        sleep(Duration::from_millis(random.random_range(20..250))).await;
        ask(db, &host_id, &mut random).await;
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        // SIGKILL on Unix.
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    let mut agent = start_process(&opened.url, &guests);
    let hypervisor = FakeHypervisor::in_directory(&guests).await.unwrap();
    let driver = FakeDriver::new(hypervisor, Duration::ZERO);
    settle(db, &host_id, &driver).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let all = servers::of_host(db, &host_id, None).await.unwrap();
    assert!(all.iter().any(|server| server.status == ServerState::Active));
}
