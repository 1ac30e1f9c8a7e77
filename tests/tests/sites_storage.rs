//! Databases at three sites on real servers whose storage fails them: memory and disks that are full under load, clocks an hour apart, a home that is
//! restored from a backup. (The embedded store has a file of its own, `sites_full_disk.rs`: its limit is the process's.)

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../histories/checker.rs"]
mod checker;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions};
use rome_core::database::{Database, Sites};
use rome_tests::server::{Program, Server};
use rome_tests::sites::astray::{self, Astray, Said};
use rome_tests::sites::full::{Fill, Scene};
use rome_tests::sites::load::Load;
use rome_tests::sites::{SITES, Stop, Told, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The site whose store is full.
const FULL: usize = 1;

fn seen_from_each(world: &World) -> Vec<Arc<dyn Sites>> {
    SITES.into_iter().map(|site| Arc::new(world.urls(site)) as Arc<dyn Sites>).collect()
}

/// Sets a limit of a running Redis.
async fn set_maxmemory(server: &Server, limit: &str) {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    connection.write_all(format!("CONFIG SET maxmemory {limit}\r\n").as_bytes()).await.unwrap();
    let mut reply = [0; 5];
    connection.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"+OK\r\n");
}

/// What an operator does with a full etcd: forget what was before, give the room back, end the alarm.
async fn make_room(server: &Server) {
    let mut client = Client::connect([server.address()], None).await.unwrap();
    let newest = client.get("none", None).await.unwrap().header().expect("a header").revision();
    client.compact(newest, Some(CompactionOptions::new().with_physical())).await.unwrap();
    client.defragment().await.unwrap();
    for alarm in client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap().alarms() {
        let mut options = AlarmOptions::new();
        options.with_member(alarm.member_id());
        client.alarm(AlarmAction::Deactivate, alarm.alarm(), Some(options)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_among_three_reaches_maxmemory() {
    let mut world = World::start([Program::Redis; 3]).await;
    let mut scene = Scene::start(seen_from_each(&world), FULL).await;
    sleep(Duration::from_secs(1)).await;
    let held = scene.hold().await;
    set_maxmemory(world.server(FULL), "1mb").await;
    scene.endure(held, true).await;
    set_maxmemory(world.server(FULL), "100mb").await;
    let history = scene.conclude().await;
    let problems = checker::problems(vec![("maxmemory".to_owned(), history)]);
    assert!(problems.is_empty(), "{problems}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_among_three_uses_up_its_quota() {
    let mut world = World::start([Program::Redis, Program::SmallEtcd, Program::Redis]).await;
    let mut scene = Scene::start(seen_from_each(&world), FULL).await;
    sleep(Duration::from_secs(1)).await;
    scene.prepare_to_fill(Fill::History, 12).await;
    let held = scene.hold().await;
    scene.fill(Fill::History).await;
    scene.endure(held, false).await;
    make_room(world.server(FULL)).await;
    let history = scene.conclude().await;
    let problems = checker::problems(vec![("quota".to_owned(), history)]);
    assert!(problems.is_empty(), "{problems}");
}

const HOUR_MS: i64 = 3_600_000;

/// How far a clock that was told of was off, in milliseconds, to within some seconds: the first and the last.
fn offsets(said: &Said, begun_ms: i64) -> (i64, i64) {
    let off = |at: Option<&(uuid::Uuid, i64)>| at.expect("it has inserted something").1 - begun_ms;
    (off(said.ids.first()), off(said.ids.last()))
}

/// Clients at three sites whose clocks are an hour before, an hour behind, and put back by an hour while they work, beside others whose clocks are right;
/// and a site is cut off, and a server killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_an_hour_apart_break_nothing() {
    let mut world = World::start([Program::Redis, Program::Etcd, Program::Redis]).await;
    let mut clients = vec![];
    for site in SITES {
        clients.push(world.client(site).await);
    }
    astray::open(clients[0].as_ref()).await;
    let load = Load::start(&clients).await;
    let stop = Stop::default();
    let beats = tokio::spawn(astray::beat(Arc::clone(&clients[0]) as Arc<dyn Database>, stop.clone()));
    let directory = TempDir::new().unwrap();
    let begun_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let start =
        |(site, offset)| (site, Astray::start(env!("CARGO_BIN_EXE_astray"), &world, site, offset, directory.path()));
    let astray: BTreeMap<&str, Astray> = SITES.into_iter().zip(["+3600", "-3600", "+0"]).map(start).collect();
    sleep(Duration::from_secs(4)).await;
    astray[SITES[2]].set("-3600");
    sleep(Duration::from_secs(2)).await;
    world.network.cut(SITES[0]);
    sleep(Duration::from_secs(2)).await;
    world.network.heal();
    sleep(Duration::from_secs(1)).await;
    world.server(2).kill();
    world.server(2).restart().await;
    sleep(Duration::from_secs(3)).await;
    load.check();
    let mut said = BTreeMap::new();
    for (site, astray) in astray {
        said.insert(site, astray.kill().await);
    }
    stop.now();
    let beats = beats.await.unwrap();
    let near = |off: i64, hours: i64| (off - hours * HOUR_MS).abs() < 60_000;
    for (site, before, after) in [(SITES[0], 1, 1), (SITES[1], -1, -1), (SITES[2], 0, -1)] {
        let (first, last) = offsets(&said[site], begun_ms);
        println!("{site}: its clock was off by {first} ms, and {last} ms in the end");
        assert!(near(first, before) && near(last, after), "the test is about wrong clocks");
    }
    assert!(said.values().any(|said| !said.reads.is_empty()), "no copy was seen to be fresh anywhere");
    astray::inspect(clients[1].as_ref(), &said, &beats).await;
    let told = said.values().flat_map(|said| said.transfers.iter().map(|name| (name.clone(), Told::Done))).collect();
    let killed: Vec<String> = SITES.into_iter().map(|site| format!("astray-{site}")).collect();
    let history = load.conclude(&seen_from_each(&world), told, &killed).await;
    let problems = checker::problems(vec![("clocks".to_owned(), history)]);
    assert!(problems.is_empty(), "{problems}");
}
