//! Redis servers for tests: the one that `ROME_TEST_REDIS_URL` names, or one of a test's own.

pub mod cluster;
pub mod hosted;
pub mod load;
pub mod proxy;
pub mod sentinel;

use redis::aio::MultiplexedConnection;
use rome_redis::{RedisOptions, RedisStore};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Options with which a store gives up soon, but not before servers have changed places.
pub fn hasty() -> RedisOptions {
    RedisOptions {
        call_timeout: Duration::from_millis(1500),
        attempt_timeout: Duration::from_millis(500),
        ..RedisOptions::default()
    }
}

/// Kills all other connections of a server, twenty times.
pub async fn kill_connections(server: &Server, pause: Duration) {
    let mut raw = raw(&server.url()).await;
    for _ in 0..20 {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
        let _: u64 = kill.query_async(&mut raw).await.unwrap();
        tokio::time::sleep(pause).await;
    }
}

/// A server that belongs to a test. Killed and removed when dropped.
pub struct Server {
    child: Child,
    directory: PathBuf,
    port: u16,
    arguments: Vec<String>,
}

impl Server {
    /// Starts `redis-server` on a free port in a new directory.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_in(new_directory(), free_port(), arguments).await
    }

    /// Starts `redis-server` with its files in a directory that becomes its own.
    pub async fn start_in(directory: PathBuf, port: u16, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = spawn(port, &directory, &arguments);
        let server = Self { child, directory, port, arguments };
        server.wait().await;
        server
    }

    /// Starts a Sentinel that watches `master` under the name `shop` and decides together with one other.
    pub async fn start_sentinel(master: &Server, arguments: &[&str]) -> Self {
        let directory = new_directory();
        let file = directory.join("sentinel.conf");
        let text = format!(
            "sentinel monitor shop 127.0.0.1 {} 2\nsentinel down-after-milliseconds shop 500\n\
             sentinel failover-timeout shop 3000\nsentinel parallel-syncs shop 2\n",
            master.port
        );
        std::fs::write(&file, text).unwrap();
        let port = free_port();
        let child = Command::new("redis-server")
            .arg(&file)
            .args(["--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(&directory)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, directory, port, arguments: Vec::new() };
        server.wait().await;
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts a replica of this server and waits until it follows.
    pub async fn start_replica(&self, arguments: &[&str]) -> Self {
        let master = self.port.to_string();
        let mut all = vec!["--replicaof", "127.0.0.1", &master];
        all.extend(arguments);
        let replica = Self::start(&all).await;
        self.until(&format!("ip=127.0.0.1,port={},state=online", replica.port)).await;
        // It begins to follow with its first acknowledgement, which comes later.
        self.until_replicated().await;
        replica
    }

    /// Waits until all replicas have what the server has.
    pub async fn until_replicated(&self) {
        let mut connection = raw(&self.url()).await;
        let info: String = redis::cmd("INFO").arg("replication").query_async(&mut connection).await.unwrap();
        let replicas: u32 =
            info.lines().find_map(|line| line.strip_prefix("connected_slaves:")).unwrap().trim().parse().unwrap();
        for _ in 0..300 {
            let mut written = redis::pipe();
            written.cmd("SET").arg("warm-up").arg(1).ignore().cmd("WAIT").arg(replicas).arg(100);
            let (confirmed,): (u32,) = written.query_async(&mut connection).await.unwrap();
            if confirmed >= replicas {
                return;
            }
        }
        panic!("the replicas do not follow");
    }

    /// Waits until the server's `INFO` has this text.
    pub async fn until(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            // A connection of its own each time: a server that changes its role closes them.
            let info = async {
                let client = redis::Client::open(self.url())?;
                let mut connection = client.get_multiplexed_async_connection().await?;
                redis::cmd("INFO").query_async::<String>(&mut connection).await
            };
            let info = info.await;
            if info.as_ref().is_ok_and(|info| info.contains(text)) {
                return;
            }
            assert!(Instant::now() < deadline, "no {text} in {info:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the server's process from running, or lets it go on: it keeps its connections and answers nothing.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Where the server keeps its files.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the server again after [`kill`](Self::kill), with the same files.
    pub async fn restart(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.arguments);
        self.wait().await;
    }

    /// Other arguments for the next [`restart`](Self::restart).
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    }

    async fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A new directory for the files of a server.
pub fn new_directory() -> PathBuf {
    let name = format!("rome-redis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, directory: &PathBuf, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
            "--dir",
        ])
        .arg(directory)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be in PATH, or ROME_TEST_REDIS_URL name a server")
}

/// A server for one test and a namespace of its own there.
pub struct Place {
    /// Keeps the test's own server alive.
    _server: Option<Server>,
    base: String,
    namespace: String,
}

impl Place {
    pub async fn new() -> Self {
        let namespace = format!("test-{:x}", rand::random::<u64>());
        match std::env::var("ROME_TEST_REDIS_URL") {
            Ok(base) => Self { _server: None, base, namespace },
            Err(_) => {
                let server = Server::start(&[]).await;
                Self { base: server.url(), _server: Some(server), namespace }
            }
        }
    }

    pub fn url(&self) -> String {
        format!("{}?namespace={}", self.base, self.namespace)
    }

    /// The name of one of a home's keys, as the crate's documentation gives it.
    pub fn key(&self, home: &str, rest: &str) -> String {
        format!("{{{}/{home}}}:{rest}", self.namespace)
    }

    pub async fn store(&self) -> RedisStore {
        RedisStore::connect(&self.url()).await.unwrap()
    }

    pub async fn raw(&self) -> MultiplexedConnection {
        raw(&self.base).await
    }
}

/// A plain connection to a server.
pub async fn raw(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}
