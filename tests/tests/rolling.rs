//! Two builds of Rome at three sites: client processes are replaced site by site while they work, back and forth, then the database is raised to the
//! next format while all of them work, and the older build is refused.
//!
//! The second build is made here: the same program with the feature `next-format`, whose descriptions of tables the first one can't read.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use rome_core::SqlState;
use rome_core::catalog::Format;
use rome_core::catalog::keys::{format_key, topology_key, whole_space};
use rome_core::database::{Options, Queryable, RomeDatabase};
use rome_core::store::{HomeId, Read, ReadLimits, ReadOutcome, ReadRequest};
use rome_tests::server::Program;
use rome_tests::sites::roller::is_refusal;
use rome_tests::sites::{SITES, Told, World, bank, options};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Transfers that every client does between two steps.
const BETWEEN: usize = 10;
/// The longest that anything may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Which build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Build {
    Old,
    New,
}

/// The programs of both builds.
struct Programs {
    old: PathBuf,
    new: PathBuf,
    /// The tests of `rome-core` that need the new one.
    tests: PathBuf,
}

impl Programs {
    /// Builds the second one. As a test of the whole workspace, as the gate builds all others, so that only what depends on the format is compiled
    /// again.
    fn build() -> Self {
        let begun = Instant::now();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
        cargo.args(["test", "--no-run", "--workspace", "--bin", "next-roller", "--test", "upgrade"]);
        cargo.args(["--features", "rome-tests/next-format,rome-core/next-format", "--message-format=json"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        // What this test is told of its own package is no setting: build scripts that look for it would run again, with all that depends on them.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        let built = cargo.output().expect("cargo runs this test");
        assert!(built.status.success(), "the second build has failed");
        let said = String::from_utf8(built.stdout).expect("JSON is text");
        let said: Vec<serde_json::Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let program = |name: &str| {
            let mut programs = said.iter().filter(|said| said["target"]["name"] == name);
            let program = programs.find_map(|program| program["executable"].as_str().map(PathBuf::from));
            program.unwrap_or_else(|| panic!("{name} was not built"))
        };
        println!("the second build took {:.1} s", begun.elapsed().as_secs_f64());
        Self { old: env!("CARGO_BIN_EXE_roller").into(), new: program("next-roller"), tests: program("upgrade") }
    }

    fn of(&self, build: Build) -> &Path {
        match build {
            Build::Old => &self.old,
            Build::New => &self.new,
        }
    }

    /// Runs a program to its end; what it said.
    async fn run(&self, build: Build, arguments: &[&str]) -> Vec<String> {
        let mut command = tokio::process::Command::new(self.of(build));
        let output = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = timeout(LONGEST, output).await.expect("it ends").expect("the program is there");
        assert!(output.status.success() || output.status.code() == Some(3), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
    }
}

/// A client process, and what it said.
struct Worker {
    build: Build,
    child: Child,
    prefix: String,
    lines: mpsc::UnboundedReceiver<String>,
    said: Vec<String>,
}

impl Worker {
    fn start(programs: &Programs, build: Build, world: &World, site: &str, prefix: String) -> Self {
        let mut child = Command::new(programs.of(build))
            .args(["work", world.urls(site).text().as_str(), site, &prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let (sender, lines) = mpsc::unbounded_channel();
        let out = BufReader::new(child.stdout.take().expect("the output is a pipe")).lines();
        std::thread::spawn(move || out.map_while(std::io::Result::ok).try_for_each(|line| sender.send(line)));
        Self { build, child, prefix, lines, said: vec![] }
    }

    fn listen(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.said.push(line);
        }
    }

    fn count(&self, word: &str) -> usize {
        self.said.iter().filter(|line| line.split(' ').next() == Some(word)).count()
    }

    /// Waits until it has said a word so many times.
    async fn says(&mut self, word: &str, times: usize) {
        let waited = async {
            while self.count(word) < times {
                let line = self.lines.recv().await;
                self.said.push(line.unwrap_or_else(|| panic!("{} has ended: {:?}", self.prefix, self.said.last())));
            }
        };
        let result = timeout(LONGEST, waited).await;
        assert!(result.is_ok(), "{} ({:?}) does not say {word}: {:?}", self.prefix, self.build, self.said.last());
    }

    /// Asks it to begin nothing more.
    fn quiet(&mut self) {
        self.child.stdin.as_mut().expect("the input is a pipe").write_all(b"quiet\n").expect("it listens");
    }

    /// Kills it in the middle of something, or hears its last words.
    async fn end(mut self) -> (String, Vec<String>) {
        let _ = self.child.kill();
        self.child.wait().expect("it is a child of this process");
        while let Some(line) = self.lines.recv().await {
            self.said.push(line);
        }
        (std::mem::take(&mut self.prefix), std::mem::take(&mut self.said))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sites with a client at each.
struct Roll {
    programs: Programs,
    world: World,
    workers: Vec<Worker>,
    told: BTreeMap<String, Told>,
    killed: Vec<String>,
    audits: usize,
}

impl Roll {
    async fn begin() -> (Self, Arc<RomeDatabase>) {
        let programs = Programs::build();
        let world = World::start([Program::Redis; 3]).await;
        // This process is one of the old build.
        let db = world.client(SITES[0]).await;
        bank::open(db.as_ref()).await;
        let ticket = "CREATE TABLE ticket (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, holder text)";
        db.execute(ticket).await.unwrap();
        let mut roll = Self { programs, world, workers: vec![], told: BTreeMap::new(), killed: vec![], audits: 0 };
        for at in 0..SITES.len() {
            let worker = roll.start(Build::Old, at, "first");
            roll.workers.push(worker);
        }
        roll.everybody_works().await;
        (roll, db)
    }

    fn start(&self, build: Build, at: usize, name: &str) -> Worker {
        let prefix = format!("{name}-{build:?}-{}-{}", SITES[at], self.killed.len());
        Worker::start(&self.programs, build, &self.world, SITES[at], prefix)
    }

    /// Waits until each client has done some more transfers.
    async fn everybody_works(&mut self) {
        for worker in &mut self.workers {
            worker.listen();
        }
        for worker in &mut self.workers {
            let done = worker.count("done") + BETWEEN;
            worker.says("done", done).await;
        }
        let builds: Vec<Build> = self.workers.iter().map(|worker| worker.build).collect();
        println!("all work: {builds:?}");
    }

    fn bury(&mut self, (prefix, said): (String, Vec<String>)) {
        for line in &said {
            let told = match line.split_once(' ') {
                Some(("done", _)) => Told::Done,
                Some(("failed", _)) => Told::Failed,
                Some(("unknown", _)) => Told::Unknown,
                _ => continue,
            };
            let reference = line.split_once(' ').map(|(_, reference)| reference.to_owned()).unwrap();
            self.told.insert(reference, told);
        }
        self.audits += said.iter().filter(|line| *line == "audited").count();
        assert!(!said.iter().any(|line| line.starts_with("wrote")), "{said:?}");
        self.killed.push(prefix);
    }

    /// Kills the client of a site in the middle and starts one of a build.
    async fn replace(&mut self, at: usize, build: Build) {
        let new = self.start(build, at, "next");
        let old = std::mem::replace(&mut self.workers[at], new);
        let ended = old.end().await;
        self.bury(ended);
        self.everybody_works().await;
    }

    /// What each store holds of its format and its topology.
    async fn formats(&self) -> Vec<Vec<bytes::Bytes>> {
        let mut formats = vec![];
        for site in SITES {
            let reads = vec![Read::Point(format_key()), Read::Point(topology_key())];
            formats.push(self.read(site, reads).await);
        }
        formats
    }

    async fn read(&self, site: &str, reads: Vec<Read>) -> Vec<bytes::Bytes> {
        let store = self.world.store(site).await;
        let request = ReadRequest { reads, limits: ReadLimits::default(), ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = store.read(&HomeId::new(&Options::default().home), request).await.unwrap()
        else {
            unreachable!("a read without guards has no conflict")
        };
        answer.results.into_iter().flat_map(|result| result.entries).map(|entry| entry.value).collect()
    }

    async fn upgrade(&self, at: usize) -> Vec<String> {
        self.programs.run(Build::New, &["upgrade", &self.world.urls(SITES[at]).text(), SITES[at]]).await
    }

    /// Stops everything and checks it, by the new build: this process can't read what is there.
    async fn conclude(mut self) {
        // The one that is to find what it leaves dies in the middle of something.
        let dying = self.workers.remove(1).end().await;
        self.bury(dying);
        for worker in &mut self.workers {
            worker.quiet();
        }
        for worker in &mut self.workers {
            worker.says("quiet", 1).await;
        }
        let mut keeper = self.start(Build::New, 1, "keeper");
        keeper.quiet();
        keeper.says("quiet", 1).await;
        self.workers.push(keeper);
        let begun = Instant::now();
        loop {
            let mut left = 0;
            for site in SITES {
                left += self.world.left(site).await;
            }
            if left == 0 {
                break;
            }
            assert!(begun.elapsed() < LONGEST, "{left} keys of transactions over several sites are left");
            sleep(Duration::from_millis(200)).await;
        }
        for worker in std::mem::take(&mut self.workers) {
            let ended = worker.end().await;
            self.bury(ended);
        }
        let urls = self.world.urls(SITES[2]).text();
        let found = self.programs.run(Build::New, &["inspect", &urls, SITES[2]]).await;
        let found = found.iter().filter_map(|line| line.strip_prefix("found ")).map(str::to_owned).collect();
        bank::compare(&found, &self.told, &self.killed);
        println!("{} audits were right", self.audits);
        assert!(self.audits > 0, "no audit has ever committed");
    }
}

/// Those that need no server, in the build that they are about.
#[test]
fn the_second_build_passes_its_own_tests() {
    let passed = Command::new(Programs::build().tests).status().expect("it was built");
    assert!(passed.success(), "it says why above");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_builds_roll_through_three_sites() {
    let (mut roll, here) = Roll::begin().await;
    let begun = Instant::now();
    // Site by site to the new build, back at one of them, and forth again.
    for (at, build) in [(0, Build::New), (1, Build::New), (0, Build::Old), (2, Build::New), (0, Build::New)] {
        println!("{} gets {build:?}", SITES[at]);
        roll.replace(at, build).await;
    }
    let old = roll.formats().await;
    assert!(old.iter().all(|held| held[0] == Format::OLDEST.mark()), "{old:?}");
    assert!(roll.workers.iter_mut().all(|worker| worker.said[..2] == ["speaks 1 2", "format 1"]));

    // A site that can't be reached: nothing is raised.
    roll.world.network.cut(SITES[2]);
    let said = roll.upgrade(0).await;
    println!("{said:?}");
    let last = said.last().unwrap();
    assert!(last.starts_with("refused 08006") && last.contains("\"turin\""), "{said:?}");
    roll.world.network.heal();
    assert_eq!(roll.formats().await, old);
    roll.everybody_works().await;

    // Raised while all work, clients of the old build among them: this one, and a process that was forgotten.
    let mut forgotten = roll.start(Build::Old, 1, "forgotten");
    forgotten.says("done", BETWEEN).await;
    let raising = Instant::now();
    let said = roll.upgrade(0).await;
    assert_eq!(said.last().unwrap(), "raised 1 2", "{said:?}");
    println!("raised in {} ms", raising.elapsed().as_millis());
    // It is told as soon as it is decided; its marks go then.
    let told = Instant::now();
    loop {
        let raised = roll.formats().await;
        if raised.iter().all(|held| held[0] == "2" && *held == raised[0]) {
            break;
        }
        assert!(told.elapsed() < LONGEST, "{raised:?}");
        sleep(Duration::from_millis(20)).await;
    }
    let told = Instant::now();
    let status = loop {
        if let Some(status) = forgotten.child.try_wait().unwrap() {
            break status;
        }
        assert!(told.elapsed() < LONGEST, "a client of the old build goes on");
        sleep(Duration::from_millis(20)).await;
    };
    println!("a client of the old build has ended after {} ms", told.elapsed().as_millis());
    let ended = forgotten.end().await;
    let refusals: Vec<&String> = ended.1.iter().filter(|line| line.starts_with("refused")).collect();
    let words = "refused 57P03 the store holds format 2, this version of Rome speaks format 1";
    assert!(status.code() == Some(3) && refusals.len() == 8 && refusals.iter().all(|line| *line == words), "{ended:?}");
    roll.bury(ended);
    for worker in &mut roll.workers {
        worker.says("format", 2).await;
    }
    roll.everybody_works().await;

    // The old build writes nothing any more, and does not open the database.
    for statement in ["SELECT * FROM account", "INSERT INTO ticket (holder) VALUES ('x')", "DROP TABLE ledger"] {
        let error = here.execute(statement).await.unwrap_err();
        assert!(is_refusal(&error) && error.hint().unwrap().contains("speaks format 2"), "{error:?}");
    }
    for site in SITES {
        let error = RomeDatabase::open_sites(site, Arc::new(roll.world.urls(site)), options()).await.unwrap_err();
        assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
        let said = roll.programs.run(Build::Old, &["work", &roll.world.urls(site).text(), site, "late"]).await;
        assert_eq!(said, ["speaks 1 1", words]);
    }
    // Not a matter of the mark alone: what is there, it could not read.
    let tables = Read::Range { range: whole_space(1), limit: None, reverse: false };
    let catalog = roll.read(SITES[0], vec![tables]).await;
    assert_eq!(catalog.iter().filter(|value| value.starts_with(b"\x02{")).count(), 3);
    roll.everybody_works().await;
    roll.conclude().await;
    println!("all of it took {:.1} s besides the second build", begun.elapsed().as_secs_f64());
}
