//! A cluster for tests.

use super::{Server, free_port, raw};
use redis::Cmd;
use redis::aio::MultiplexedConnection;
use std::time::{Duration, Instant};

/// Masters that serve a third of the slots each, and perhaps a replica for each of them.
pub struct Cluster {
    pub masters: Vec<Server>,
    pub replicas: Vec<Server>,
}

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];

impl Cluster {
    pub async fn start(with_replicas: bool, arguments: &[&str]) -> Self {
        let mut masters = Vec::new();
        let mut replicas = Vec::new();
        let mut first = None;
        for slots in SLOTS {
            let (master, bus) = node(arguments).await;
            let mut connection = raw(&master.url()).await;
            run(&mut connection, &["CLUSTER", "ADDSLOTSRANGE", &slots.0.to_string(), &slots.1.to_string()]).await;
            match first {
                None => first = Some((master.port(), bus)),
                Some(first) => meet(&mut connection, first).await,
            }
            masters.push(master);
        }
        let cluster = Self { masters, replicas: Vec::new() };
        cluster.until_ok().await;
        if with_replicas {
            for master in &cluster.masters {
                let id = id(master).await;
                let (replica, _) = node(arguments).await;
                let mut connection = raw(&replica.url()).await;
                meet(&mut connection, first.unwrap()).await;
                until(&mut connection, &["CLUSTER", "NODES"], |nodes| nodes.contains(&id)).await;
                let deadline = Instant::now() + Duration::from_secs(20);
                let mut follow = command(&["CLUSTER", "REPLICATE", &id]);
                while let Err(error) = follow.query_async::<()>(&mut connection).await {
                    assert!(Instant::now() < deadline, "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    follow = command(&["CLUSTER", "REPLICATE", &id]);
                }
                master.until(&format!("ip=127.0.0.1,port={},state=online", replica.port())).await;
                replicas.push(replica);
            }
        }
        let cluster = Self { replicas, ..cluster };
        cluster.until_ok().await;
        cluster
    }

    /// A URL that names one node.
    pub fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}", self.masters[0].port())
    }

    /// A URL that names all nodes.
    pub fn url_of_all(&self) -> String {
        let nodes: Vec<_> =
            self.masters.iter().chain(&self.replicas).map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://{}", nodes.join(","))
    }

    /// Which master served a slot when the cluster began.
    pub fn owner(slot: u16) -> usize {
        SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap()
    }

    async fn until_ok(&self) {
        for node in self.masters.iter().chain(&self.replicas) {
            let mut connection = raw(&node.url()).await;
            until(&mut connection, &["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })
            .await;
        }
    }

    /// Moves a slot from one master to another, key by key, with a pause after each.
    pub async fn reshard(&self, slot: u16, from: usize, to: usize, pause: Duration) {
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let (source_id, target_id) = (id(source).await, id(target).await);
        let (mut from, mut to) = (raw(&source.url()).await, raw(&target.url()).await);
        let number = slot.to_string();
        run(&mut to, &["CLUSTER", "SETSLOT", &number, "IMPORTING", &source_id]).await;
        run(&mut from, &["CLUSTER", "SETSLOT", &number, "MIGRATING", &target_id]).await;
        loop {
            let keys: Vec<Vec<u8>> =
                command(&["CLUSTER", "GETKEYSINSLOT", &number, "1"]).query_async(&mut from).await.unwrap();
            let Some(key) = keys.first() else { break };
            let mut migrate = Cmd::new();
            migrate.arg("MIGRATE").arg("127.0.0.1").arg(target.port()).arg(key).arg(0).arg(5000);
            let _: redis::Value = migrate.query_async(&mut from).await.unwrap();
            tokio::time::sleep(pause).await;
        }
        run(&mut to, &["CLUSTER", "SETSLOT", &number, "NODE", &target_id]).await;
        run(&mut from, &["CLUSTER", "SETSLOT", &number, "NODE", &target_id]).await;
    }
}

async fn node(arguments: &[&str]) -> (Server, u16) {
    let bus = free_port();
    let port = bus.to_string();
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &port];
    all.extend(arguments);
    (Server::start(&all).await, bus)
}

async fn meet(connection: &mut MultiplexedConnection, (port, bus): (u16, u16)) {
    run(connection, &["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus.to_string()]).await;
}

async fn id(server: &Server) -> String {
    command(&["CLUSTER", "MYID"]).query_async(&mut raw(&server.url()).await).await.unwrap()
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

async fn run(connection: &mut MultiplexedConnection, words: &[&str]) {
    let _: redis::Value = command(words).query_async(connection).await.unwrap();
}

async fn until(connection: &mut MultiplexedConnection, words: &[&str], holds: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text: String = command(words).query_async(connection).await.unwrap();
        if holds(&text) {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
