//! Clients at several sites that work on the same keys, and what must hold at any time and afterwards.

use crate::checker;
use crate::counts::Ended;
use crate::regressions::{HISTORIES, Regression};
use crate::run::{Plan, Run, Tasks, patience};
use crate::scenario::Scenario;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use rome_core::catalog::keys::whole_space;
use rome_core::store::{Guard, Key, KeyRange, Read, ReadLimits, ReadResult};
use rome_core::topology::HomeNo;
use rome_core::txn::{Client, HomeRead, MARKS_SPACE, Mode, Patience, RECORDS_SPACE, Sweep, Txn};
use rome_core::{Error, Result, SqlState};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// Lists of numbers, to which transactions append.
const LISTS: u32 = 2000;
/// Accounts, between which they transfer.
const ACCOUNTS: u32 = 2001;
/// Claims, of which there may be one at a time over all homes.
const CLAIMS: u32 = 2002;
/// Parents, each at a home...
const PARENTS: u32 = 2003;
/// ... and their children at the next one.
const CHILDREN: u32 = 2004;

/// Of each kind; the same number at each home of two, three or four.
const KEYS: u64 = 12;
const INITIAL: i64 = 100;

/// A client, and the process that it is in the history: another one after each transaction whose outcome is unknown.
pub struct Process {
    client: Arc<Client>,
    number: AtomicU64,
}

impl Process {
    fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

/// A transaction of a kind, near its client or anywhere.
#[derive(Clone, Copy)]
pub struct Step {
    local: bool,
    kind: u32,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

pub struct World {
    run: Arc<Run>,
    /// The transactions on lists, in the form that checkers of histories read.
    history: Mutex<Vec<Json>>,
    numbers: AtomicU64,
    processes: AtomicU64,
}

fn key(space: u32, number: u64) -> Key {
    [&space.to_be_bytes()[..], &number.to_be_bytes()].concat().into()
}

fn range(home: HomeNo, range: KeyRange) -> HomeRead {
    HomeRead { home, read: Read::Range { range, limit: None, reverse: false } }
}

fn value(result: &ReadResult) -> Option<&str> {
    result.entries.first().map(|entry| std::str::from_utf8(&entry.value).expect("text"))
}

/// The numbers of a list.
fn numbers(list: &ReadResult) -> Vec<u64> {
    let parts = value(list).unwrap_or_default().split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.parse().expect("numbers")).collect()
}

fn number(result: &ReadResult) -> i64 {
    value(result).map_or(INITIAL, |text| text.parse().expect("a number"))
}

impl World {
    fn home(&self, number: u64) -> HomeNo {
        HomeNo((number % self.run.plan.sites as u64) as u16)
    }

    fn client(&self, site: usize, crashed: &Arc<AtomicBool>) -> Arc<Client> {
        let patience = Patience { record_kept: Duration::from_secs(5), ..patience() };
        self.run.client(site, crashed, self.run.random(|random| random.random()), patience)
    }

    /// A key near the client, or any.
    fn pick(&self, site: usize, local: bool) -> u64 {
        let number = self.run.random(|random| random.random_range(0..KEYS));
        if local { number - number % self.run.plan.sites as u64 + site as u64 } else { number }
    }

    fn next_process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Reads some lists and appends to some, and writes history.
    async fn append(&self, process: &Process, site: usize, local: bool) -> Result<()> {
        let count = self.run.random(|random| random.random_range(1..4));
        let mut operations: Vec<(u64, Option<u64>)> = vec![];
        for _ in 0..count {
            let appends = self.run.random(|random| random.random_bool(0.5));
            let appended = appends.then(|| self.numbers.fetch_add(1, Ordering::Relaxed));
            operations.push((self.pick(site, local), appended));
        }
        let asked = operations.iter().map(|(list, appended)| match appended {
            Some(number) => json!(["append", list, number]),
            None => json!(["r", list, null]),
        });
        let asked = Json::Array(asked.collect());
        let number = process.number();
        self.tell("invoke", number, asked.clone());
        let result = self.read_and_append(&process.client, operations).await;
        match &result {
            Ok(done) => self.tell("ok", number, Json::Array(done.clone())),
            Err(error) if error.is_undetermined() => self.tell("info", number, asked),
            Err(_) => self.tell("fail", number, asked),
        }
        result.map(drop)
    }

    fn tell(&self, what: &str, process: u64, value: Json) {
        self.history.lock().push(json!({"type": what, "process": process, "value": value}));
    }

    async fn read_and_append(&self, client: &Arc<Client>, operations: Vec<(u64, Option<u64>)>) -> Result<Vec<Json>> {
        let mut txn = client.begin(Mode::Interactive);
        let mut done = vec![];
        for (list, appended) in operations {
            let (home, at) = (self.home(list), key(LISTS, list));
            let found = txn.read(vec![HomeRead::point(home, at.clone())], ReadLimits::default()).await?;
            match appended {
                Some(number) => {
                    let longer = match value(&found[0]) {
                        Some(text) => format!("{text},{number}"),
                        None => number.to_string(),
                    };
                    txn.put(home, at, longer.into())?;
                    done.push(json!(["append", list, number]));
                }
                None => done.push(json!(["r", list, numbers(&found[0])])),
            }
        }
        txn.commit().await?;
        Ok(done)
    }

    async fn transfer(&self, client: &Arc<Client>, site: usize, local: bool) -> Result<()> {
        let (from, to) = (self.pick(site, local), self.pick(site, local));
        if from == to {
            return Ok(());
        }
        let amount = self.run.random(|random| random.random_range(1..20));
        let mut txn = client.begin(Mode::Interactive);
        let reads = [from, to].map(|account| HomeRead::point(self.home(account), key(ACCOUNTS, account)));
        let found = txn.read(reads.to_vec(), ReadLimits::default()).await?;
        let (left, right) = (number(&found[0]), number(&found[1]));
        txn.put(self.home(from), key(ACCOUNTS, from), (left - amount).to_string().into())?;
        txn.put(self.home(to), key(ACCOUNTS, to), (right + amount).to_string().into())?;
        txn.commit().await.map(drop)
    }

    /// What every reader must see at any time.
    async fn audit(&self, client: &Arc<Client>) -> Result<()> {
        let mut txn = client.begin(Mode::ReadOnly);
        let mut reads: Vec<HomeRead> =
            (0..KEYS).map(|account| HomeRead::point(self.home(account), key(ACCOUNTS, account))).collect();
        for site in 0..self.run.plan.sites {
            let home = HomeNo(site as u16);
            reads.extend([CLAIMS, PARENTS, CHILDREN].map(|space| range(home, whole_space(space))));
        }
        let found = txn.read(reads, ReadLimits::default()).await?;
        txn.commit().await?;
        let (accounts, ranges) = found.split_at(KEYS as usize);
        let total: i64 = accounts.iter().map(number).sum();
        assert_eq!(total, INITIAL * KEYS as i64, "money");
        let claims: usize = ranges.iter().step_by(3).map(|claims| claims.entries.len()).sum();
        assert!(claims <= 1, "{claims} claims");
        let ids = |skip: usize| -> BTreeSet<Bytes> {
            let results = ranges.iter().skip(skip).step_by(3);
            results.flat_map(|result| &result.entries).map(|entry| entry.key.slice(4..)).collect()
        };
        let (parents, children) = (ids(1), ids(2));
        assert!(children.is_subset(&parents), "orphans: {children:?} of {parents:?}");
        Ok(())
    }

    /// Takes the only claim where nobody has it, by looking for it everywhere; gives it back where somebody has.
    async fn claim(&self, client: &Arc<Client>) -> Result<()> {
        let mut txn = client.begin(Mode::Interactive);
        let reads = (0..self.run.plan.sites).map(|site| range(HomeNo(site as u16), whole_space(CLAIMS))).collect();
        let found = txn.read(reads, ReadLimits::default()).await?;
        let taken =
            found.iter().enumerate().find_map(|(site, result)| Some((site, result.entries.first()?.key.clone())));
        match taken {
            Some((site, key)) => txn.delete(HomeNo(site as u16), key)?,
            None => {
                let claim = self.numbers.fetch_add(1, Ordering::Relaxed);
                let site = self.run.random(|random| random.random_range(0..self.run.plan.sites));
                txn.put(HomeNo(site as u16), key(CLAIMS, claim), Bytes::new())?;
            }
        }
        txn.commit().await.map(drop)
    }

    /// Adds a parent or a child, or removes one, without reading the other: expectations guard what a foreign key and a primary key do.
    async fn family(&self, client: &Arc<Client>, site: usize, adds: bool) -> Result<()> {
        let id = self.pick(site, false);
        let (parent_home, child_home) = (self.home(id), self.home(id + 1));
        let child_too = self.run.random(|random| random.random_bool(0.5));
        let mut txn = client.begin(Mode::SingleStatement);
        let error = |state: SqlState| Error::new(state, "expected otherwise");
        match (adds, child_too) {
            (true, false) => {
                let at = key(PARENTS, id);
                txn.expect(parent_home, Guard::Absent(at.clone()), error(SqlState::UNIQUE_VIOLATION))?;
                txn.put(parent_home, at, Bytes::from_static(b"p"))?;
                // With something at another home, over which the parent may be taken back.
                let account = (id + 1) % KEYS;
                let found =
                    txn.read(vec![HomeRead::point(child_home, key(ACCOUNTS, account))], ReadLimits::default()).await?;
                txn.put(child_home, key(ACCOUNTS, account), number(&found[0]).to_string().into())?;
            }
            (true, true) => {
                let at = key(CHILDREN, id);
                let failure = error(SqlState::FOREIGN_KEY_VIOLATION);
                txn.expect(parent_home, Guard::Present(key(PARENTS, id)), failure)?;
                txn.expect(child_home, Guard::Absent(at.clone()), error(SqlState::UNIQUE_VIOLATION))?;
                txn.put(child_home, at, Bytes::from_static(b"c"))?;
            }
            (false, false) => {
                let children = KeyRange::prefix(&key(CHILDREN, id));
                let guard = Guard::Range { range: children, since: 0, count: 0 };
                txn.expect(child_home, guard, error(SqlState::FOREIGN_KEY_VIOLATION))?;
                self.remove(&mut txn, parent_home, key(PARENTS, id)).await?;
            }
            (false, true) => self.remove(&mut txn, child_home, key(CHILDREN, id)).await?,
        }
        txn.commit().await.map(drop)
    }

    async fn remove(&self, txn: &mut Txn, home: HomeNo, key: Key) -> Result<()> {
        txn.read(vec![HomeRead::point(home, key.clone())], ReadLimits::default()).await?;
        txn.delete(home, key)
    }

    /// Ends, at each site, what crashed clients have left.
    async fn tidy(self: Arc<Self>, site: usize, stop: Arc<AtomicBool>) {
        let client = self.client(site, &Arc::default());
        let mut seen = Sweep::default();
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(500)).await;
            let _ = client.sweep(HomeNo(site as u16), &mut seen).await;
        }
    }

    /// Waits until nothing is marked any more.
    async fn wait_until_tidy(&self) {
        // The latest message has arrived.
        sleep(Duration::from_secs(10)).await;
        let mut left = vec![];
        for _ in 0..200 {
            left.clear();
            for site in 0..self.run.plan.sites {
                let entries = self.run.network.entries(site, &[MARKS_SPACE, RECORDS_SPACE]).await;
                left.extend(entries.into_iter().map(|(key, _)| (site, key)));
            }
            if left.is_empty() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!("marks and records are left: {left:?}");
    }
}

#[async_trait]
impl Scenario for World {
    const NAME: &'static str = "histories";
    const PAUSE: u64 = 30;
    const USUAL: &'static [SqlState] = &[SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION];
    const HAPPENS: &'static [&'static str] = &[];
    const REGRESSIONS: &'static [Regression] = HISTORIES;

    type Client = Process;
    type Step = Step;

    fn plan(seed: u64) -> Plan {
        Plan::of(seed, 12)
    }

    fn new(run: Arc<Run>) -> Self {
        Self { run, history: Mutex::default(), numbers: AtomicU64::new(1), processes: AtomicU64::new(0) }
    }

    fn run(&self) -> &Run {
        &self.run
    }

    async fn found(&self) {}

    fn beside(self: &Arc<Self>, tasks: &mut Tasks) {
        for site in 0..self.run.plan.sites {
            tasks.until_stopped(|stop| Arc::clone(self).tidy(site, stop));
        }
        tasks.cut_sites();
    }

    /// Opening one asks nobody.
    fn ready(&self, at: usize, crashed: &Arc<AtomicBool>) -> Option<Process> {
        Some(Process { client: self.client(at, crashed), number: AtomicU64::new(self.next_process()) })
    }

    async fn open(&self, _at: usize, _crashed: &Arc<AtomicBool>) -> Result<Process> {
        unreachable!("there is always one ready")
    }

    fn draw(&self) -> (Step, Option<Duration>) {
        let dies = self.run.fault(0.03).then(|| self.run.moment(200));
        let local = self.run.random(|random| random.random_bool(0.4));
        (Step { local, kind: self.run.random(|random| random.random_range(0..10)) }, dies)
    }

    async fn step(&self, process: &Process, site: usize, Step { local, kind }: Step) -> Result<()> {
        let client = &process.client;
        match kind {
            0..4 => self.append(process, site, local).await,
            4..6 => self.transfer(client, site, local).await,
            6 => self.audit(client).await,
            7 => self.claim(client).await,
            8 => self.family(client, site, true).await,
            _ => self.family(client, site, false).await,
        }
    }

    fn name(&self, process: &Process, at: usize) -> String {
        format!("{} at {at}", process.number())
    }

    fn ended(&self, process: &Process, ended: Option<Ended>) {
        if ended == Some(Ended::Unknown) {
            process.number.store(self.next_process(), Ordering::Relaxed);
        }
    }

    /// Once everything has arrived: nothing is marked any more, and all of it adds up.
    async fn conclude(&self) {
        let client = self.client(0, &Arc::default());
        self.wait_until_tidy().await;
        self.audit(&client).await.expect("a calm network");
        // A last reader for the history.
        let mut txn: Txn = client.begin(Mode::ReadOnly);
        let reads = (0..KEYS).map(|list| HomeRead::point(self.home(list), key(LISTS, list))).collect();
        let found = txn.read(reads, ReadLimits::default()).await.expect("a calm network");
        txn.commit().await.expect("a calm network");
        let read = found.iter().enumerate().map(|(list, result)| json!(["r", list, numbers(result)]));
        let read = Json::Array(read.collect());
        let process = self.next_process();
        self.tell("invoke", process, read.clone());
        self.tell("ok", process, read);
    }

    fn history(&self) -> Vec<Json> {
        std::mem::take(&mut *self.history.lock())
    }

    fn judge(histories: Vec<(String, Vec<Json>)>) {
        let problems = checker::problems(histories);
        assert!(problems.is_empty(), "{problems}");
    }
}
