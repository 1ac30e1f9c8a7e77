//! Servers that the tests of a process share, each in a namespace, schema or database of its own.
//!
//! One that `scripts/servers` started goes with the process, however that ends: the script's command waits for the end of a pipe. A container
//! goes when no test uses it any more, since nothing else would remove it; the next test starts another.

use super::answer::answers;
use super::container::Container;
use super::source::{Kind, Probes, Source, has_program};
use super::{Program, START, arguments, free_ports};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A shared server, which stays at least as long as the value.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where it is.
    pub url: String,
    container: Option<Arc<Container>>,
}

/// What this process has started.
enum Started {
    /// The script, whose input is its life.
    Script {
        _script: Child,
    },
    Container(Weak<Container>),
}

impl Shared {
    /// The shared server of a kind. Blocks until there is one.
    ///
    /// # Panics
    /// Where there is none, with what to do.
    pub fn new(kind: Kind) -> Self {
        static STARTED: Mutex<Vec<(Kind, String, Started)>> = Mutex::new(vec![]);
        let in_environment = || std::env::var(kind.variable()).ok().filter(|url| !url.is_empty());
        if let Some(url) = in_environment() {
            return Self { url, container: None };
        }
        let mut all = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = all.iter().filter(|(of, ..)| *of == kind).find_map(|(_, url, started)| of(url, started)) {
            return shared;
        }
        let probes = Probes { url: Some(&in_environment), program: &|| has_program(kind), engine: &Container::engine };
        let (shared, started) = match probes.source(kind).unwrap_or_else(|error| panic!("{error}")) {
            Source::Url(url) => return Self { url, container: None },
            Source::Program => by_script(kind),
            Source::Container => {
                let shared = Self::in_container(kind);
                let container = shared.container.as_ref().map(Arc::downgrade).unwrap_or_default();
                (shared, Started::Container(container))
            }
        };
        println!("{kind:?} for the tests of this process: {}", shared.url);
        all.push((kind, shared.url.clone(), started));
        shared
    }

    /// Starts one in a container, whatever else there is. Blocks until it answers.
    ///
    /// # Panics
    /// Where no engine answers, or no image is to be had.
    pub fn in_container(kind: Kind) -> Self {
        let (port, peer_port) = free_ports();
        let text = |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (arguments, inside) = match kind {
            Kind::Redis => {
                let mut arguments = arguments(Program::Redis, "0.0.0.0", "/data", port, peer_port);
                // Many tests fill it. What is said last holds.
                arguments.extend(["--maxmemory".to_owned(), "0".to_owned()]);
                (arguments, port)
            }
            Kind::Etcd => (arguments(Program::Etcd, "0.0.0.0", "/data", port, peer_port), port),
            Kind::MariaDb => (
                text(&[
                    "--max-connections=400",
                    "--innodb-flush-log-at-trx-commit=1",
                    "--character-set-server=utf8mb4",
                    "--collation-server=utf8mb4_nopad_bin",
                ]),
                3306,
            ),
            Kind::Postgres => (text(&["-c", "max_connections=400"]), 5432),
        };
        let container = Container::start(kind, arguments, inside, port).unwrap_or_else(|error| panic!("{error}"));
        let address = format!("{}:{port}", container.host());
        let begun = Instant::now();
        while !answers(kind, &address) {
            if let Some(end) = container.end() {
                panic!("{end}");
            }
            assert!(begun.elapsed() < START, "{kind:?} did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        let url = match kind {
            Kind::Redis => format!("redis://{address}"),
            Kind::Etcd => format!("etcd://{address}"),
            Kind::MariaDb => format!("mysql://root@{address}/rome"),
            Kind::Postgres => format!("postgres://rome@{address}/rome"),
        };
        Self { url, container: Some(Arc::new(container)) }
    }
}

/// The same server again, where it still is.
fn of(url: &str, started: &Started) -> Option<Shared> {
    let container = match started {
        Started::Script { .. } => None,
        Started::Container(container) => Some(container.upgrade()?),
    };
    Some(Shared { url: url.to_owned(), container })
}

fn by_script(kind: Kind) -> (Shared, Started) {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/servers"));
    command.args(["run", kind.name(), "--", "sh", "-c", "printenv \"$0\" && exec cat", kind.variable()]);
    let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("scripts/servers is there");
    let mut url = String::new();
    let output = script.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut url).expect("scripts/servers prints text");
    assert!(!url.is_empty(), "scripts/servers did not start {kind:?}");
    (Shared { url: url.trim().to_owned(), container: None }, Started::Script { _script: script })
}
