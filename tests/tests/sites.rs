//! Databases at three sites on real servers, with 10 ms between any two, under load while sites are cut off, servers are killed and clients
//! are killed; once it is over everything adds up, and nothing is left of any transaction.
//!
//! `ROME_TEST_MINUTES=n` goes on with faults for so many minutes instead of once through all of them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../histories/checker.rs"]
mod checker;

use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use rome_core::catalog::Catalog;
use rome_core::database::{Database, DatabaseExt, Options, Queryable, RomeDatabase, Transaction};
use rome_core::store::{HomeId, ReadOutcome, ReadRequest};
use rome_core::txn::MARKS_SPACE;
use rome_core::{Result, SqlState};
use rome_tests::audit::audit_site;
use rome_tests::figures;
use rome_tests::server::Program;
use rome_tests::sites::machines::Known;
use rome_tests::sites::probe::Counts;
use rome_tests::sites::{CALL_TIMEOUT, SITES, Stop, Told, World, bank, keys, lists, machines, probe};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The longest that what is left may take to go once everything is calm.
const TIDYING: Duration = Duration::from_secs(60);
/// How the value of a row begins that a transaction over several sites means to write.
const WRITE_MARK: [u8; 2] = [0xff, b'm'];
/// Acknowledgements that a client process has to give before it is killed in the middle.
const HEARD: usize = 20;
/// The longest until a transaction has given up on a site: twice the time-out of a store's call, and a second that a busy machine may add.
const GIVES_UP: Duration = Duration::from_millis(2 * CALL_TIMEOUT.as_millis() as u64 + 1_000);
/// Changes of its own rows that a site makes at least while it is cut off.
const FEWEST: u64 = 5;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A site and the others don't hear each other.
    CutOff(usize),
    /// Nothing that a site says is heard by another.
    OneWay(usize, usize),
    /// The server of a site is killed and starts again.
    Server(usize),
    /// The same, while another site is cut off.
    ServerInCut(usize, usize),
    /// A client at a site is killed in the middle.
    Client(usize),
}

/// Each of them once.
const ALL: [Fault; 6] =
    [Fault::CutOff(0), Fault::Client(1), Fault::OneWay(2, 1), Fault::Server(0), Fault::CutOff(1), Fault::Server(1)];

fn any_fault() -> Fault {
    let site = rand::random_range(0..SITES.len());
    let other = (site + rand::random_range(1..SITES.len())) % SITES.len();
    match rand::random_range(0..7) {
        0..2 => Fault::CutOff(site),
        2 => Fault::OneWay(site, other),
        3 => Fault::Server(site),
        4 => Fault::ServerInCut(site, other),
        _ => Fault::Client(site),
    }
}

/// The load: tasks at all sites, and what they were told.
struct Load {
    stop: Stop,
    /// Those that find out by themselves whether all is well.
    tasks: Vec<JoinHandle<()>>,
    machines: Vec<JoinHandle<Known>>,
    outcomes: mpsc::UnboundedReceiver<(String, Told)>,
    history: Arc<lists::History>,
    audits: Arc<AtomicU64>,
    probes: Vec<Arc<Counts>>,
}

impl Load {
    fn start(clients: &[Arc<RomeDatabase>]) -> Self {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let probes: Vec<Arc<Counts>> = SITES.iter().map(|_| Arc::default()).collect();
        let mut load = Self {
            stop: Stop::default(),
            tasks: vec![],
            machines: vec![],
            outcomes,
            history: Arc::default(),
            audits: Arc::default(),
            probes,
        };
        for (at, site) in SITES.into_iter().enumerate() {
            let db = || Arc::clone(&clients[at]) as Arc<dyn Database>;
            let stop = || load.stop.clone();
            for task in 0..2 {
                let prefix = format!("{site}-{task}");
                load.tasks.push(tokio::spawn(bank::transfer(db(), site, prefix, stop(), sender.clone())));
            }
            load.tasks.push(tokio::spawn(bank::audit(db(), Arc::clone(&load.audits), stop())));
            for _ in 0..3 {
                load.tasks.push(tokio::spawn(lists::work(db(), site, Arc::clone(&load.history), stop())));
            }
            for task in 0..2 {
                let first = (at as i64 * 2 + task) * 1_000_000;
                load.machines.push(tokio::spawn(machines::work(db(), site, first, stop())));
            }
            for row in 0..probe::ROWS {
                let counts = Arc::clone(&load.probes[at]);
                load.tasks.push(tokio::spawn(probe::work(db(), site, row, counts, stop())));
            }
        }
        load
    }

    /// Whoever has found a mistake ends at once, and so does the test.
    fn check(&self) {
        let ended = self.tasks.iter().any(JoinHandle::is_finished) || self.machines.iter().any(JoinHandle::is_finished);
        assert!(!ended, "a task has ended early: it says why above");
    }
}

/// A client process, and what it has acknowledged.
struct Branch {
    child: Child,
    prefix: String,
    heard: mpsc::UnboundedReceiver<String>,
}

impl Branch {
    fn start(world: &World, site: &str, prefix: String) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_branch"))
            .args([world.urls(site).text().as_str(), site, &prefix])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built with the tests");
        let (sender, heard) = mpsc::unbounded_channel();
        let lines = BufReader::new(child.stdout.take().expect("the output is a pipe")).lines();
        std::thread::spawn(move || lines.map_while(std::io::Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, prefix, heard }
    }

    /// Kills it once it has acknowledged enough to be in the middle of something; returns all that it acknowledged.
    async fn kill(mut self, enough: usize) -> (String, Vec<String>) {
        let mut all = vec![];
        while all.len() < enough {
            all.push(self.heard.recv().await.expect("the client does not end by itself"));
        }
        // Just after it has acknowledged one, which it has not ended everywhere yet.
        while let Ok(reference) = self.heard.try_recv() {
            all.push(reference);
        }
        all.push(self.heard.recv().await.expect("the client does not end by itself"));
        self.child.kill().expect("it is a child of this process");
        self.child.wait().expect("it is a child of this process");
        // What it had printed before it died is acknowledged, too.
        while let Some(reference) = self.heard.recv().await {
            all.push(reference);
        }
        (self.prefix.clone(), all)
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows of a site's store that carry another transaction's mark now, and marks besides.
async fn marked(world: &World, site: &str) -> (usize, usize) {
    let store = world.store(site).await;
    let request = ReadRequest { reads: Catalog::reads(), ..ReadRequest::default() };
    let home = HomeId::new(&Options::default().home);
    let ReadOutcome::Answer(answer) = store.read(&home, request).await.unwrap() else {
        unreachable!("a read without guards has no conflict")
    };
    let catalog = Catalog::from_answers(&answer.results, answer.epoch, site).unwrap();
    let mut rows = 0;
    for table in catalog.tables() {
        let values = keys(store.as_ref(), table.row_space()).await;
        rows += values.iter().filter(|(_, value)| value.starts_with(&WRITE_MARK)).count();
    }
    (rows, keys(store.as_ref(), MARKS_SPACE).await.len())
}

/// A change at all sites, of rows that no other such change at the same time touches.
fn at_all_sites(here: usize, number: usize) -> String {
    let row = probe::SHARED + (here * 2 + number) as i64;
    assert!(here * 2 + number < probe::SHARED_ROWS);
    // By keys: a scan would rely on the rows of the probes, too.
    format!("UPDATE probe SET n = n + 1 WHERE site IN ('{}') AND id = {row}", SITES.join("', '"))
}

/// Tries transactions over a cut from a site: one that begins now, and one that had read everything before. Both must fail in time, with the
/// name of a site that does not answer. Returns how long each took.
async fn strong(db: Arc<RomeDatabase>, here: usize, unheard: Vec<usize>, begun: Box<dyn Transaction>) -> [Duration; 2] {
    let all = at_all_sites(here, 0);
    let timed = async |commit: BoxFuture<'_, Result<()>>| {
        let begun = Instant::now();
        let error = commit.await.expect_err("nothing commits over a cut");
        (error, begun.elapsed())
    };
    let fresh = timed(db.execute(all.as_str()).map_ok(|_| ()).boxed());
    let late = timed(begun.commit().boxed());
    let (fresh, late) = tokio::join!(fresh, late);
    let took = [fresh.1, late.1];
    for (what, (error, took)) in [("begins after", fresh), ("read before", late)] {
        let (site, state) = (SITES[here], error.state());
        println!("  {site}: a transaction that {what} the cut: {state} after {} ms", took.as_millis());
        assert!(took <= GIVES_UP, "{site}: a transaction that {what} the cut took {took:?} to fail: {error}");
        let expected = [SqlState::CONNECTION_FAILURE, SqlState::TRANSACTION_RESOLUTION_UNKNOWN];
        assert!(expected.contains(&error.state()), "{error}");
        let named = unheard.iter().any(|site| error.to_string().contains(&format!("\"{}\"", SITES[*site])));
        assert!(named, "{error} names none of the sites {unheard:?}");
    }
    took
}

/// A transaction that has everything left to do but to commit.
async fn begin_at_all_sites(db: &RomeDatabase, here: usize) -> Box<dyn Transaction> {
    // What an earlier fault has left may stand in the way for a while.
    for _ in 0..100 {
        let transaction = db.begin().await.unwrap();
        if transaction.execute(at_all_sites(here, 1).as_str()).await.is_ok() {
            return transaction;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("rows that are changed now and then can't be");
}

struct Run {
    world: World,
    clients: Vec<Arc<RomeDatabase>>,
    load: Load,
    told: BTreeMap<String, Told>,
    branches: Vec<Option<Branch>>,
    killed: Vec<String>,
}

impl Run {
    async fn start(programs: [Program; 3]) -> Self {
        let world = World::start(programs).await;
        let mut clients = vec![];
        for site in SITES {
            clients.push(world.client(site).await);
        }
        let first = clients[0].as_ref();
        bank::open(first).await;
        lists::open(first).await;
        machines::open(first).await;
        probe::open(first).await;
        let load = Load::start(&clients);
        let branches =
            SITES.into_iter().map(|site| Some(Branch::start(&world, site, format!("branch0-{site}")))).collect();
        Self { world, clients, load, told: BTreeMap::new(), branches, killed: vec![] }
    }

    async fn suffer(&mut self, fault: Fault) {
        println!("{fault:?}");
        match fault {
            Fault::CutOff(site) => self.cut_off(site).await,
            Fault::OneWay(from, to) => {
                self.world.network.cut_one_way(SITES[from], SITES[to]);
                sleep(Duration::from_secs(3)).await;
                self.world.network.heal();
            }
            Fault::Server(site) => {
                self.world.server(site).kill();
                sleep(Duration::from_millis(rand::random_range(0..1_000))).await;
                self.world.server(site).restart().await;
            }
            Fault::ServerInCut(site, cut) => {
                self.world.network.cut(SITES[cut]);
                sleep(Duration::from_secs(1)).await;
                self.world.server(site).kill();
                sleep(Duration::from_millis(rand::random_range(0..1_000))).await;
                self.world.server(site).restart().await;
                sleep(Duration::from_secs(1)).await;
                self.world.network.heal();
            }
            Fault::Client(site) => self.replace_client(site, HEARD).await,
        }
        sleep(Duration::from_secs(2)).await;
        self.load.check();
    }

    async fn cut_off(&mut self, site: usize) {
        let others: Vec<usize> = (0..SITES.len()).filter(|other| *other != site).collect();
        let mut tries = vec![];
        for here in 0..SITES.len() {
            let unheard = if here == site { others.clone() } else { vec![site] };
            let begun = begin_at_all_sites(self.clients[here].as_ref(), here).await;
            tries.push((Arc::clone(&self.clients[here]), here, unheard, begun));
        }
        self.world.network.cut(SITES[site]);
        let (rows, marks) = marked(&self.world, SITES[site]).await;
        let before = self.load.probes[site].now();
        let tries = tries.into_iter().map(|(db, here, unheard, begun)| strong(db, here, unheard, begun));
        let (took, ()) = tokio::join!(futures::future::join_all(tries), sleep(Duration::from_secs(3)));
        let slowest = took.into_iter().flatten().max().unwrap_or_default();
        // Somebody dies there, and somebody else comes who has never seen the other sites.
        self.replace_client(site, 0).await;
        sleep(Duration::from_secs(1)).await;
        let after = self.load.probes[site].now();
        self.world.network.heal();
        let (done, failed, slow) = (after.done - before.done, after.failed - before.failed, after.slow - before.slow);
        figures::note(&format!(
            "sites, {} cut off: {done} of {} changes of its own rows done; at the cut {rows} rows were marked, and {marks} other marks \
             held; strong transactions over the cut failed within {} ms (a call may take {} ms)",
            SITES[site],
            done + failed + slow,
            slowest.as_millis(),
            CALL_TIMEOUT.as_millis()
        ));
        // No transaction over several sites ever touches these rows, so that none of them was marked: all of the changes are done.
        assert_eq!(failed, 0, "a site that is cut off does not go on: the reasons are above");
        // The disk of a busy machine may take longer than a call, once in a while.
        assert!(slow * 100 <= done, "the site's own store did not answer {slow} times");
        assert!(done >= FEWEST, "a site that is cut off goes on, but slowly: {done} changes");
    }

    /// Kills the client process of a site, once it has done so many transfers, and starts another.
    async fn replace_client(&mut self, site: usize, enough: usize) {
        let branch = self.branches[site].take().expect("each site has one");
        self.bury(branch, enough).await;
        let prefix = format!("branch{}-{}", self.killed.len(), SITES[site]);
        self.branches[site] = Some(Branch::start(&self.world, SITES[site], prefix));
    }

    async fn bury(&mut self, branch: Branch, enough: usize) {
        let (prefix, heard) = branch.kill(enough).await;
        println!("  a client was killed after {} transfers", heard.len());
        self.told.extend(heard.into_iter().map(|reference| (reference, Told::Done)));
        self.killed.push(prefix);
    }

    /// Stops everything and checks it.
    async fn conclude(mut self) {
        for branch in std::mem::take(&mut self.branches).into_iter().flatten() {
            self.bury(branch, HEARD).await;
        }
        let Load { stop, tasks, machines, mut outcomes, history, audits, probes } = self.load;
        let begun = Instant::now();
        stop.now();
        for task in tasks {
            task.await.expect("a task's checks hold");
        }
        let mut known = vec![];
        for task in machines {
            known.push(task.await.expect("a task's checks hold"));
        }
        while let Some((reference, outcome)) = outcomes.recv().await {
            self.told.insert(reference, outcome);
        }
        println!("the last task has stopped after {} ms", begun.elapsed().as_millis());
        let begun = Instant::now();
        loop {
            let mut left = vec![];
            for site in SITES {
                left.push(self.world.left(site).await);
            }
            if left.iter().all(|left| *left == 0) {
                break;
            }
            assert!(begun.elapsed() < TIDYING, "of transactions over several sites is left: {left:?}");
            sleep(Duration::from_millis(500)).await;
        }
        let audits = audits.load(Ordering::Relaxed);
        figures::note(&format!("sites: {audits} audits; after {} ms nothing was left", begun.elapsed().as_millis()));
        assert!(audits > 0, "no audit has ever committed");
        // To a client that was there, and to one that comes new.
        for db in [Arc::clone(&self.clients[0]), self.world.client(SITES[2]).await] {
            let found = bank::inspect(db.as_ref()).await;
            bank::compare(&found, &self.told, &self.killed);
            probe::inspect(db.as_ref(), &probes).await;
        }
        machines::inspect(self.clients[1].as_ref(), known).await;
        for site in SITES {
            audit_site(self.world.store(site).await.as_ref(), site).await;
        }
        history.conclude(self.clients[0].as_ref()).await;
        let problems = checker::problems(vec![("lists".to_owned(), history.events())]);
        assert!(problems.is_empty(), "{problems}");
    }
}

async fn everything_adds_up(programs: [Program; 3]) {
    let minutes: Option<u64> = std::env::var("ROME_TEST_MINUTES").ok().and_then(|text| text.parse().ok());
    let mut run = Run::start(programs).await;
    sleep(Duration::from_secs(2)).await;
    for fault in ALL {
        run.suffer(fault).await;
    }
    let until = Instant::now() + Duration::from_secs(minutes.unwrap_or(0) * 60);
    while Instant::now() < until {
        run.suffer(any_fault()).await;
    }
    run.conclude().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_everywhere() {
    everything_adds_up([Program::Redis; 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_and_etcd() {
    everything_adds_up([Program::Redis, Program::Etcd, Program::Redis]).await;
}
