//! etcd processes of a test's own, on free ports in temporary directories.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A number that no other call of this process gets.
pub fn number() -> u32 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// An etcd process. Killed when dropped.
pub struct Server {
    process: Mutex<Option<Child>>,
    directory: PathBuf,
    name: String,
    scheme: &'static str,
    client_port: u16,
    peer_port: u16,
    /// All members and their peer URLs.
    cluster: String,
    options: Vec<String>,
}

impl Server {
    /// Starts an etcd of one member.
    pub fn start(options: &[&str]) -> Self {
        Self::alone("http", options)
    }

    /// Starts an etcd of one member that speaks TLS to its clients.
    pub fn start_tls(options: &[&str]) -> Self {
        Self::alone("https", options)
    }

    /// Starts an etcd of three members.
    pub fn start_three(options: &[&str]) -> [Self; 3] {
        let mut members = [(); 3].map(|()| Self::planned("http", options));
        let cluster: Vec<_> = members.iter().map(Self::itself).collect();
        for member in &mut members {
            member.cluster = cluster.join(",");
            member.restart();
        }
        members
    }

    /// The etcd that the tests of this process share.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn alone(scheme: &'static str, options: &[&str]) -> Self {
        let mut server = Self::planned(scheme, options);
        server.cluster = server.itself();
        server.restart();
        server
    }

    fn planned(scheme: &'static str, options: &[&str]) -> Self {
        let name = format!("member-{}", number());
        Self {
            process: Mutex::new(None),
            directory: std::env::temp_dir().join(format!("rome-etcd-{}-{name}", std::process::id())),
            name,
            scheme,
            client_port: free_port(),
            peer_port: free_port(),
            cluster: String::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    /// This member as `--initial-cluster` names it.
    fn itself(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Kills the process as a crash would (SIGKILL).
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends a signal: `STOP` leaves the process where it stands, with its connections open, until `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.process.lock().unwrap().as_ref().unwrap().id();
        let done = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Starts the process, on the same ports and data.
    pub fn restart(&self) {
        let (client, peer) = (format!("{}://{}", self.scheme, self.endpoint()), self.peer_url());
        let process = Command::new("etcd")
            .args(["--name", &self.name, "--log-level", "error"])
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .arg("--data-dir")
            .arg(&self.directory)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed and in PATH");
        *self.process.lock().unwrap() = Some(process);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
