//! Servers for tests: [`Server`] is one that belongs to a test, so that it may kill it, [`shared`] has those that tests share; where they
//! come from, [`source`] says. A test's own server lies in a temporary directory, listens on a free port of the loopback interface, and goes
//! with the value; in a container it has the container's own files instead, and the port is published on this machine.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

pub mod answer;
pub mod container;
pub mod shared;
pub mod source;

use answer::answers;
use container::Container;
use source::{Kind, Probes, Source, has_program};
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

impl Program {
    /// What it is a program of.
    pub fn kind(self) -> Kind {
        match self {
            Self::Redis | Self::EvictingRedis => Kind::Redis,
            Self::Etcd | Self::SmallEtcd => Kind::Etcd,
        }
    }
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
    running: Running,
}

#[derive(Debug)]
enum Running {
    Process(Child),
    Container(Container),
}

impl Server {
    /// Starts a server with an empty data directory.
    pub async fn start(program: Program) -> Self {
        let kind = program.kind();
        // None of a URL: what runs already is no test's to kill.
        let probes = Probes { url: None, program: &|| has_program(kind), engine: &Container::engine };
        let source = probes.source(kind).unwrap_or_else(|error| panic!("{error}"));
        Self::start_from(program, &source).await
    }

    /// Starts one in a container, or by the program on PATH.
    pub async fn start_from(program: Program, source: &Source) -> Self {
        let kind = program.kind();
        let directory = TempDir::new().expect("the temporary directory is writable");
        let (port, peer_port) = free_ports();
        let running = if *source == Source::Container {
            let arguments = arguments(program, "0.0.0.0", "/data", port, peer_port);
            Running::Container(Container::start(kind, arguments, port, port).unwrap_or_else(|error| panic!("{error}")))
        } else {
            Running::Process(spawn(program, &directory, port, peer_port))
        };
        let mut server = Self { program, directory, port, peer_port, running };
        server.wait().await;
        server
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let is_etcd = matches!(self.program, Program::Etcd | Program::SmallEtcd);
        format!("{}://{}", if is_etcd { "etcd" } else { "redis" }, self.address())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        match &self.running {
            Running::Process(_) => format!("127.0.0.1:{}", self.port),
            Running::Container(container) => format!("{}:{}", container.host(), self.port),
        }
    }

    /// Copies what the server has on disk now, while it runs or not: a backup. Not from a container.
    pub fn back_up(&self) -> TempDir {
        assert!(matches!(self.running, Running::Process(_)), "a container keeps its files to itself");
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
        match &mut self.running {
            Running::Process(child) => {
                child.kill().expect("the server runs");
                child.wait().expect("the server is a child of this process");
            }
            Running::Container(container) => container.kill().expect("the server runs"),
        }
    }

    /// How it ended, where it has.
    pub fn end(&mut self) -> Option<String> {
        match &mut self.running {
            Running::Process(child) => {
                let status = child.try_wait().expect("the server is a child of this process");
                status.map(|status| format!("{:?} ended with {status}", self.program))
            }
            Running::Container(container) => container.end(),
        }
    }

    /// Starts it again with the same data on the same port.
    pub async fn restart(&mut self) {
        match &mut self.running {
            Running::Process(child) => *child = spawn(self.program, &self.directory, self.port, self.peer_port),
            Running::Container(container) => container.restart().expect("the engine answers"),
        }
        self.wait().await;
    }

    /// Until it answers.
    async fn wait(&mut self) {
        let begun = Instant::now();
        while !answers(self.program.kind(), &self.address()) {
            if let Some(end) = self.end() {
                panic!("{end}");
            }
            assert!(begun.elapsed() < START, "{:?} did not start", self.program);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A container goes by itself.
        if let Running::Process(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
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
    let data = directory.path().to_str().expect("temporary directories have readable names");
    let mut command = Command::new(program.kind().program());
    command.args(arguments(program, "127.0.0.1", data, port, peer_port));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program:?} does not start (scripts/servers install): {error}"))
}

/// What the program is told: to be as durable as in production.
fn arguments(program: Program, listen: &str, directory: &str, port: u16, peer_port: u16) -> Vec<String> {
    let port = port.to_string();
    match program {
        Program::Redis | Program::EvictingRedis => {
            let policy = if program == Program::Redis { "noeviction" } else { "allkeys-lru" };
            [
                ["--bind", listen],
                ["--protected-mode", "no"],
                ["--port", &port],
                ["--save", ""],
                ["--daemonize", "no"],
                ["--appendonly", "yes"],
                ["--appendfsync", "always"],
                ["--dir", directory],
                ["--maxmemory", "100mb"],
                ["--maxmemory-policy", policy],
            ]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
        }
        Program::Etcd | Program::SmallEtcd => {
            let peer = format!("http://127.0.0.1:{peer_port}");
            let quota = if program == Program::SmallEtcd { SMALL_QUOTA } else { 0 };
            [
                ["--name", "test"],
                ["--log-level", "error"],
                ["--data-dir", &format!("{directory}/data")],
                ["--listen-client-urls", &format!("http://{listen}:{port}")],
                ["--advertise-client-urls", &format!("http://127.0.0.1:{port}")],
                ["--listen-peer-urls", &peer],
                ["--initial-advertise-peer-urls", &peer],
                ["--initial-cluster", &format!("test={peer}")],
                // 0: what etcd allows.
                ["--quota-backend-bytes", &quota.to_string()],
            ]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
        }
    }
}
