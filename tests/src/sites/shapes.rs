//! Four sites whose servers have other shapes:
//!
//! | site | servers |
//! |---|---|
//! | `milan` | Redis with a replica, `replicated(1)`, behind an address that moves with the primary |
//! | `pisa` | etcd with three members |
//! | `rome`, `turin` | Redis, one server each |

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::{ROUND_TRIP, Urls, options};
use crate::server::{Program, Server};
use rome_core::database::{RomeDatabase, Sites};
use rome_core::store::Store;
use rome_proxy::Network;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The sites.
pub const FOUR: [&str; 4] = ["milan", "pisa", "rome", "turin"];
/// The members of etcd as the network knows them; the first stands for the site where clients there ask others.
const MEMBERS: [&str; 3] = ["pisa", "pisa-1", "pisa-2"];
/// The longest that servers may take to find together.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that goes with the value.
struct Daemon {
    program: &'static str,
    arguments: Vec<String>,
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Daemon {
    fn start(program: &'static str, port: u16, arguments: Vec<String>, directory: TempDir) -> Self {
        let child = spawn(program, &arguments);
        Self { program, arguments, child, port, _directory: directory }
    }

    /// A Redis that keeps nothing on disk.
    fn redis(replica_of: Option<u16>) -> Self {
        let (directory, port) = (TempDir::new().expect("the temporary directory is writable"), free_port());
        let mut arguments: Vec<String> =
            ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy"]
                .into_iter()
                .chain(["noeviction", "--repl-diskless-sync-delay", "0", "--port"])
                .map(str::to_owned)
                .collect();
        arguments.extend([port.to_string(), "--dir".to_owned(), directory.path().display().to_string()]);
        if let Some(primary) = replica_of {
            arguments.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), primary.to_string()]);
        }
        Self::start("redis-server", port, arguments, directory)
    }

    fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server is a child of this process");
    }

    fn restart(&mut self) {
        self.child = spawn(self.program, &self.arguments);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &str, arguments: &[String]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program} is not installed (scripts/servers install): {error}"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// What a Redis answers to a command, as it comes.
async fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn until_told(port: u16, command: &str, wanted: &str) {
    let begun = Instant::now();
    loop {
        let answer = ask(port, command).await.unwrap_or_default();
        if answer.contains(wanted) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "\"{command}\" was answered by {answer:?}, not by {wanted:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// An address that stays while the server behind it is another, as operators move one from a primary to the next.
struct Front {
    port: u16,
    target: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Front {
    async fn start(target: u16) -> Self {
        let listener =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback interface has free ports");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let target = Arc::new(AtomicU16::new(target));
        let now = Arc::clone(&target);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = now.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = client.set_nodelay(true);
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = server.set_nodelay(true);
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, target, task }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The servers and the network.
pub struct Shapes {
    primary: Daemon,
    replica: Daemon,
    front: Front,
    members: Vec<Daemon>,
    plain: [Server; 2],
    /// Between the sites.
    pub network: Network,
}

impl Shapes {
    /// Starts all servers and opens the network.
    pub async fn start() -> Self {
        let primary = Daemon::redis(None);
        until_told(primary.port, "PING", "PONG").await;
        let replica = Daemon::redis(Some(primary.port));
        until_told(primary.port, "INFO replication", "state=online").await;
        let front = Front::start(primary.port).await;
        let members = start_members();
        let plain = [Server::start(Program::Redis).await, Server::start(Program::Redis).await];
        let host = |port: u16| format!("127.0.0.1:{port}");
        let mut addresses = vec![("milan", host(front.port))];
        addresses.extend(MEMBERS.into_iter().zip(members.iter().map(|member| host(member.port))));
        for (site, server) in ["rome", "turin"].into_iter().zip(&plain) {
            addresses.push((site, server.url().split_once("://").expect("a URL").1.to_owned()));
        }
        let pairs: Vec<(&str, &str)> = addresses.iter().map(|(name, address)| (*name, address.as_str())).collect();
        let network = Network::start(&pairs).await.expect("the loopback interface has free ports");
        network.set_round_trip(ROUND_TRIP);
        let shapes = Self { primary, replica, front, members, plain, network };
        shapes.until_served().await;
        shapes
    }

    /// Waits until the members have elected a leader, and a replica confirms what is written.
    async fn until_served(&self) {
        let begun = Instant::now();
        for site in FOUR {
            while let Err(error) = self.urls(site).store(site).await {
                assert!(begun.elapsed() < PATIENCE, "{site}: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// What a client at a site needs to know.
    pub fn urls(&self, local: &str) -> Urls {
        let members = MEMBERS.into_iter().zip(&self.members).map(|(name, member)| match local {
            "pisa" => format!("127.0.0.1:{}", member.port),
            _ => self.network.endpoint(local, name),
        });
        let members: Vec<String> = members.collect();
        let urls = FOUR.map(|site| match site {
            "milan" => format!("milan=redis://{}?durability=replicated(1)", self.network.endpoint(local, site)),
            "pisa" => format!("pisa=etcd://{}", members.join(",")),
            _ => format!("{site}=redis://{}", self.network.endpoint(local, site)),
        });
        Urls::parse(&urls.join(" "))
    }

    /// A client at a site.
    pub async fn client(&self, local: &str) -> Arc<RomeDatabase> {
        let opened = RomeDatabase::open_sites(local, Arc::new(self.urls(local)), options()).await;
        Arc::new(opened.unwrap_or_else(|error| panic!("{local}: {error}")))
    }

    /// The store of a site, without any network between.
    pub async fn store(&self, site: &str) -> Arc<dyn Store> {
        self.urls(site).store(site).await.unwrap_or_else(|error| panic!("{site}: {error}"))
    }

    /// Milan and Pisa on one side, Rome and Turin on the other.
    pub fn cut_into_halves(&self) {
        self.network.cut_halves(&["milan", MEMBERS[0], MEMBERS[1], MEMBERS[2]], &["rome", "turin"]);
    }

    /// Kills Milan's primary and has its replica take over, with a new replica of its own.
    pub async fn promote(&mut self) {
        self.primary.kill();
        sleep(Duration::from_millis(500)).await;
        until_told(self.replica.port, "REPLICAOF NO ONE", "+OK").await;
        let replica = Daemon::redis(Some(self.replica.port));
        until_told(self.replica.port, "INFO replication", "state=online").await;
        self.primary = std::mem::replace(&mut self.replica, replica);
        self.front.target.store(self.primary.port, Ordering::SeqCst);
    }

    /// Kills a member of Pisa's etcd.
    pub fn kill_member(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Starts it again, with its data.
    pub fn restart_member(&mut self, member: usize) {
        self.members[member].restart();
    }

    /// The server of Rome or Turin.
    pub fn server(&mut self, number: usize) -> &mut Server {
        &mut self.plain[number]
    }
}

/// An etcd of three members.
fn start_members() -> Vec<Daemon> {
    let ports: Vec<(u16, u16)> = MEMBERS.iter().map(|_| (free_port(), free_port())).collect();
    let peers: Vec<String> =
        MEMBERS.iter().zip(&ports).map(|(name, (_, peer))| format!("{name}=http://127.0.0.1:{peer}")).collect();
    let member = |(name, (port, peer)): (&str, &(u16, u16))| {
        let directory = TempDir::new().expect("the temporary directory is writable");
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let data = directory.path().join("data").display().to_string();
        let arguments = [
            ["--name", name],
            ["--log-level", "error"],
            ["--data-dir", &data],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &peers.join(",")],
        ];
        let arguments = arguments.into_iter().flatten().map(str::to_owned).collect();
        Daemon::start("etcd", *port, arguments, directory)
    };
    MEMBERS.into_iter().zip(&ports).map(member).collect()
}
