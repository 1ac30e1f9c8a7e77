//! Servers that belong to one test, so that it may kill them. They lie in a temporary directory, listen on a free port of the loopback
//! interface, and go with the value.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that a server may take to start; only a broken installation does.
const START: Duration = Duration::from_secs(60);

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// redis-server that syncs its log before each answer
    Redis,
    /// redis-server that evicts keys when its memory is full
    EvictingRedis,
    /// etcd, one member
    Etcd,
    /// etcd with little room: [`SMALL_QUOTA`]
    SmallEtcd,
}

/// Bytes that a small etcd may keep.
pub const SMALL_QUOTA: u64 = 16 << 20;

/// A running server.
#[derive(Debug)]
pub struct Server {
    program: Program,
    directory: TempDir,
    port: u16,
    peer_port: u16,
    child: Child,
}

impl Server {
    /// Starts a server with an empty data directory.
    pub async fn start(program: Program) -> Self {
        let directory = TempDir::new().expect("the temporary directory is writable");
        let (port, peer_port) = free_ports();
        let child = spawn(program, &directory, port, peer_port);
        let mut server = Self { program, directory, port, peer_port, child };
        server.wait().await;
        server
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let is_etcd = matches!(self.program, Program::Etcd | Program::SmallEtcd);
        format!("{}://127.0.0.1:{}", if is_etcd { "etcd" } else { "redis" }, self.port)
    }

    /// Where it is, as host:port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Copies what the server has on disk now, while it runs or not: a backup.
    pub fn back_up(&self) -> TempDir {
        let copy = TempDir::new().expect("the temporary directory is writable");
        copy_directory(self.directory.path(), copy.path());
        copy
    }

    /// Puts a backup in the place of what a server that does not run has on disk.
    pub fn put_back(&mut self, backup: &TempDir) {
        let place = TempDir::new().expect("the temporary directory is writable");
        copy_directory(backup.path(), place.path());
        self.directory = place;
    }

    /// Kills it as a crash would: SIGKILL, to this process only.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server is a child of this process");
    }

    /// Starts it again with the same data on the same port.
    pub async fn restart(&mut self) {
        self.child = spawn(self.program, &self.directory, self.port, self.peer_port);
        self.wait().await;
    }

    /// Until it accepts connections.
    async fn wait(&mut self) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if let Some(status) = self.child.try_wait().expect("the server is a child of this process") {
                panic!("{:?} ended with {status}", self.program);
            }
            assert!(begun.elapsed() < START, "{:?} did not start", self.program);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies files and directories.
fn copy_directory(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the directory is there") {
        let entry = entry.expect("the directory is readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("the directory is readable").is_dir() {
            std::fs::create_dir(&target).expect("the temporary directory is writable");
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("the temporary directory is writable");
        }
    }
}

/// Two ports that nobody listens on.
fn free_ports() -> (u16, u16) {
    let port = |listener: &TcpListener| listener.local_addr().expect("a bound socket has an address").port();
    let first = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has free ports");
    let second = TcpListener::bind("127.0.0.1:0").expect("the loopback interface has free ports");
    (port(&first), port(&second))
}

fn spawn(program: Program, directory: &TempDir, port: u16, peer_port: u16) -> Child {
    let mut command = match program {
        Program::Redis | Program::EvictingRedis => {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--daemonize", "no"]);
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(directory.path());
            let policy = if program == Program::Redis { "noeviction" } else { "allkeys-lru" };
            command.args(["--maxmemory", "100mb", "--maxmemory-policy", policy]);
            command
        }
        Program::Etcd | Program::SmallEtcd => {
            let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
            let mut command = Command::new("etcd");
            command.args(["--name", "test", "--log-level", "error", "--data-dir"]).arg(directory.path().join("data"));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &format!("test={peer}")]);
            if program == Program::SmallEtcd {
                command.args(["--quota-backend-bytes", &SMALL_QUOTA.to_string()]);
            }
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program:?} is not installed (scripts/servers install): {error}"))
}
