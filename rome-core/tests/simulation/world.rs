//! Clients at several sites that work on the same keys, and what must hold at any time and afterwards.

use crate::network::{Network, Weather};
use bytes::Bytes;
use rand::Rng;
use rome_core::store::{Guard, HomeId, Key, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResult, Store};
use rome_core::topology::HomeNo;
use rome_core::txn::{Client, HomeRead, MARKS_SPACE, Mode, Patience, Place, RECORDS_SPACE, Sweep, Txn};
use rome_core::{Error, Result, SqlState};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
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
const HOME: &str = "main";

/// One simulated run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub sites: usize,
    pub clients: usize,
    pub transactions: usize,
    pub weather: Weather,
    /// Cut connections and crash clients now and then.
    pub faults: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub committed: usize,
    pub refused: usize,
    pub unknown: usize,
    /// The transactions on lists, in the form that checkers of histories read.
    pub history: Vec<Json>,
    pub log: String,
}

struct World {
    plan: Plan,
    network: Arc<Network>,
    shared: parking_lot::Mutex<Outcome>,
    numbers: AtomicU64,
    processes: AtomicU64,
}

fn key(space: u32, number: u64) -> Key {
    [&space.to_be_bytes()[..], &number.to_be_bytes()].concat().into()
}

fn whole(space: u32) -> KeyRange {
    KeyRange::prefix(&space.to_be_bytes())
}

fn range(home: HomeNo, range: KeyRange) -> HomeRead {
    HomeRead { home, read: Read::Range { range, limit: None, reverse: false } }
}

fn value(result: &ReadResult) -> Option<&str> {
    result.entries.first().map(|entry| std::str::from_utf8(&entry.value).expect("text"))
}

fn number(result: &ReadResult) -> i64 {
    value(result).map_or(INITIAL, |text| text.parse().expect("a number"))
}

impl World {
    fn home(&self, number: u64) -> HomeNo {
        HomeNo((number % self.plan.sites as u64) as u16)
    }

    fn client(self: &Arc<Self>, site: usize, crashed: &Arc<AtomicBool>) -> Arc<Client> {
        let place = |to: usize| Place {
            no: HomeNo(to as u16),
            site: format!("site{to}").into(),
            store: self.network.reach(site, to, Arc::clone(crashed)),
            home: HomeId::new(HOME),
        };
        let others = (0..self.plan.sites).filter(|to| *to != site).map(place).collect();
        let recovery_after = Duration::from_millis(300);
        let record_kept = Duration::from_secs(5);
        let patience = Patience { recovery_after, record_kept, ..Patience::default() };
        let incarnation = self.network.random(|random| random.random());
        Client::of_homes(place(site), others, None, incarnation, patience)
    }

    /// A key near the client, or any.
    fn pick(&self, site: usize, local: bool) -> u64 {
        let number = self.network.random(|random| random.random_range(0..KEYS));
        if local { number - number % self.plan.sites as u64 + site as u64 } else { number }
    }

    /// Runs clients one after the other at a site until this one's share of transactions is done.
    async fn work(self: Arc<Self>, site: usize) {
        let mut crashed = Arc::new(AtomicBool::new(false));
        let mut client = self.client(site, &crashed);
        let mut process = self.processes.fetch_add(1, Ordering::Relaxed);
        for _ in 0..self.plan.transactions {
            let pause = self.network.random(|random| random.random_range(0..30));
            sleep(Duration::from_millis(pause)).await;
            let crash = self.plan.faults && self.network.random(|random| random.random_bool(0.03));
            let outcome = if crash {
                let after = self.network.random(|random| random.random_range(0..200));
                let flag = Arc::clone(&crashed);
                let doomed = self.transaction(&client, site, process);
                tokio::pin!(doomed);
                tokio::select! {
                    biased;
                    outcome = &mut doomed => Some(outcome),
                    () = sleep(Duration::from_millis(after)) => {
                        flag.store(true, Ordering::Relaxed);
                        self.network.note(format_args!("a client at {site} crashes"));
                        None
                    }
                }
            } else {
                Some(self.transaction(&client, site, process).await)
            };
            let unknown = match outcome {
                None => {
                    // Somebody else sits down at this site.
                    crashed = Arc::new(AtomicBool::new(false));
                    client = self.client(site, &crashed);
                    true
                }
                Some(unknown) => unknown,
            };
            if unknown {
                process = self.processes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// One random transaction; whether its outcome is unknown.
    async fn transaction(&self, client: &Arc<Client>, site: usize, process: u64) -> bool {
        let local = self.network.random(|random| random.random_bool(0.4));
        let kind = self.network.random(|random| random.random_range(0..10));
        let mut invoked = None;
        let result = match kind {
            0..4 => self.append(client, site, local, process, &mut invoked).await,
            4..6 => self.transfer(client, site, local).await,
            6 => self.audit(client).await,
            7 => self.claim(client).await,
            8 => self.family(client, site, true).await,
            _ => self.family(client, site, false).await,
        };
        let mut shared = self.shared.lock();
        let unknown = match &result {
            Ok(_) => {
                shared.committed += 1;
                false
            }
            Err(error) if error.is_undetermined() => {
                shared.unknown += 1;
                true
            }
            Err(error) => {
                let usual = [SqlState::SERIALIZATION_FAILURE, SqlState::CONNECTION_FAILURE, SqlState::UNIQUE_VIOLATION];
                assert!(usual.contains(&error.state()) || error.state() == SqlState::FOREIGN_KEY_VIOLATION, "{error}");
                shared.refused += 1;
                false
            }
        };
        let type_of = match &result {
            Ok(_) => "ok",
            Err(error) if error.is_undetermined() => "info",
            Err(_) => "fail",
        };
        self.network.note(format_args!("{process} at {site}: {kind} {type_of}"));
        if let Some(at) = invoked {
            let value = match result {
                Ok(operations) => operations,
                Err(_) => shared.history[at]["value"].clone(),
            };
            shared.history.push(json!({"type": type_of, "process": process, "value": value}));
        }
        unknown
    }

    /// Reads some lists and appends to some.
    async fn append(
        &self,
        client: &Arc<Client>,
        site: usize,
        local: bool,
        process: u64,
        invoked: &mut Option<usize>,
    ) -> Result<Json> {
        let count = self.network.random(|random| random.random_range(1..4));
        let mut operations: Vec<(u64, Option<u64>)> = vec![];
        for _ in 0..count {
            let appends = self.network.random(|random| random.random_bool(0.5));
            let appended = appends.then(|| self.numbers.fetch_add(1, Ordering::Relaxed));
            operations.push((self.pick(site, local), appended));
        }
        let asked: Vec<Json> = operations
            .iter()
            .map(|(list, appended)| match appended {
                Some(number) => json!(["append", list, number]),
                None => json!(["r", list, null]),
            })
            .collect();
        {
            let mut shared = self.shared.lock();
            *invoked = Some(shared.history.len());
            shared.history.push(json!({"type": "invoke", "process": process, "value": asked}));
        }
        let mut txn = client.begin(Mode::Interactive);
        let mut done = vec![];
        for (list, appended) in operations {
            let (home, at) = (self.home(list), key(LISTS, list));
            let found = txn.read(vec![HomeRead::point(home, at.clone())], ReadLimits::default()).await?;
            let text = value(&found[0]).unwrap_or_default().to_owned();
            match appended {
                Some(number) => {
                    let longer = if text.is_empty() { number.to_string() } else { format!("{text},{number}") };
                    txn.put(home, at, longer.into())?;
                    done.push(json!(["append", list, number]));
                }
                None => {
                    let read: Vec<u64> = text
                        .split(',')
                        .filter(|part| !part.is_empty())
                        .map(|part| part.parse().expect("numbers"))
                        .collect();
                    done.push(json!(["r", list, read]));
                }
            }
        }
        txn.commit().await?;
        Ok(Json::Array(done))
    }

    async fn transfer(&self, client: &Arc<Client>, site: usize, local: bool) -> Result<Json> {
        let (from, to) = (self.pick(site, local), self.pick(site, local));
        if from == to {
            return Ok(Json::Null);
        }
        let amount = self.network.random(|random| random.random_range(1..20));
        let mut txn = client.begin(Mode::Interactive);
        let reads = [from, to].map(|account| HomeRead::point(self.home(account), key(ACCOUNTS, account)));
        let found = txn.read(reads.to_vec(), ReadLimits::default()).await?;
        let (left, right) = (number(&found[0]), number(&found[1]));
        txn.put(self.home(from), key(ACCOUNTS, from), (left - amount).to_string().into())?;
        txn.put(self.home(to), key(ACCOUNTS, to), (right + amount).to_string().into())?;
        txn.commit().await?;
        Ok(Json::Null)
    }

    /// What every reader must see at any time.
    async fn audit(&self, client: &Arc<Client>) -> Result<Json> {
        let mut txn = client.begin(Mode::ReadOnly);
        let mut reads: Vec<HomeRead> =
            (0..KEYS).map(|account| HomeRead::point(self.home(account), key(ACCOUNTS, account))).collect();
        for site in 0..self.plan.sites {
            let home = HomeNo(site as u16);
            reads.extend([CLAIMS, PARENTS, CHILDREN].map(|space| range(home, whole(space))));
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
        Ok(Json::Null)
    }

    /// Takes the only claim where nobody has it, by looking for it everywhere; gives it back where somebody has.
    async fn claim(&self, client: &Arc<Client>) -> Result<Json> {
        let mut txn = client.begin(Mode::Interactive);
        let reads = (0..self.plan.sites).map(|site| range(HomeNo(site as u16), whole(CLAIMS))).collect();
        let found = txn.read(reads, ReadLimits::default()).await?;
        let taken =
            found.iter().enumerate().find_map(|(site, result)| Some((site, result.entries.first()?.key.clone())));
        match taken {
            Some((site, key)) => txn.delete(HomeNo(site as u16), key)?,
            None => {
                let claim = self.numbers.fetch_add(1, Ordering::Relaxed);
                let site = self.network.random(|random| random.random_range(0..self.plan.sites));
                txn.put(HomeNo(site as u16), key(CLAIMS, claim), Bytes::new())?;
            }
        }
        txn.commit().await?;
        Ok(Json::Null)
    }

    /// Adds a parent or a child, or removes one, without reading the other: expectations guard what a foreign key and a primary key do.
    async fn family(&self, client: &Arc<Client>, site: usize, adds: bool) -> Result<Json> {
        let id = self.pick(site, false);
        let (parent_home, child_home) = (self.home(id), self.home(id + 1));
        let child_too = self.network.random(|random| random.random_bool(0.5));
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
        txn.commit().await?;
        Ok(Json::Null)
    }

    async fn remove(&self, txn: &mut Txn, home: HomeNo, key: Key) -> Result<()> {
        txn.read(vec![HomeRead::point(home, key.clone())], ReadLimits::default()).await?;
        txn.delete(home, key)
    }

    /// Ends, at each site, what crashed clients have left.
    async fn tidy(self: Arc<Self>, site: usize, stop: Arc<AtomicBool>) {
        let client = self.client(site, &Arc::new(AtomicBool::new(false)));
        let mut seen = Sweep::default();
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(500)).await;
            let _ = client.sweep(HomeNo(site as u16), &mut seen).await;
        }
    }

    /// Once everything has arrived: nothing is marked any more, and all of it adds up.
    async fn conclude(self: &Arc<Self>) {
        let client = self.client(0, &Arc::new(AtomicBool::new(false)));
        // The latest message has arrived.
        sleep(Duration::from_secs(10)).await;
        let mut left = vec![];
        for _ in 0..200 {
            left.clear();
            for site in 0..self.plan.sites {
                left.extend(self.keys(site, MARKS_SPACE).await);
                left.extend(self.keys(site, RECORDS_SPACE).await);
            }
            if left.is_empty() {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        assert!(left.is_empty(), "marks and records are left: {left:?}");
        self.audit(&client).await.expect("a calm network");
        // A last reader for the history.
        let mut txn: Txn = client.begin(Mode::ReadOnly);
        let reads = (0..KEYS).map(|list| HomeRead::point(self.home(list), key(LISTS, list))).collect();
        let found = txn.read(reads, ReadLimits::default()).await.expect("a calm network");
        txn.commit().await.expect("a calm network");
        let read = found.iter().enumerate().map(|(list, result)| {
            let text = value(result).unwrap_or_default();
            let numbers: Vec<u64> =
                text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().expect("numbers")).collect();
            json!(["r", list, numbers])
        });
        let read = Json::Array(read.collect());
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let mut shared = self.shared.lock();
        shared.history.push(json!({"type": "invoke", "process": process, "value": read}));
        shared.history.push(json!({"type": "ok", "process": process, "value": read}));
    }

    async fn keys(&self, site: usize, space: u32) -> Vec<(usize, Key)> {
        let read = Read::Range { range: whole(space), limit: None, reverse: false };
        let request = ReadRequest { reads: vec![read], ..ReadRequest::default() };
        match self.network.store(site).read(&HomeId::new(HOME), request).await.expect("memory") {
            ReadOutcome::Answer(answer) => {
                answer.results.into_iter().flat_map(|result| result.entries).map(|entry| (site, entry.key)).collect()
            }
            ReadOutcome::Conflict { .. } => unreachable!("no guards"),
        }
    }
}

/// Cuts off one site, two halves, or one direction, and mends it again.
pub async fn trouble(network: Arc<Network>, sites: usize, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let (pause, shape) = network.random(|random| (random.random_range(100..1_500), random.random_range(0..3)));
        sleep(Duration::from_millis(pause)).await;
        let chosen = network.random(|random| random.random_range(0..sites));
        let pairs: Vec<(usize, usize)> = (0..sites)
            .flat_map(|from| (0..sites).map(move |to| (from, to)))
            .filter(|(from, to)| match shape {
                0 => from != to && (*from == chosen || *to == chosen),
                1 => (*from < sites / 2) != (*to < sites / 2),
                _ => *from == chosen && from != to,
            })
            .collect();
        pairs.iter().for_each(|(from, to)| network.cut(*from, *to, true));
        let lasts = network.random(|random| random.random_range(200..2_500));
        sleep(Duration::from_millis(lasts)).await;
        pairs.iter().for_each(|(from, to)| network.cut(*from, *to, false));
    }
}

/// Runs a plan to its end and checks what must hold.
pub fn run(plan: Plan) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(World {
            plan,
            network: Network::new(plan.sites, plan.seed, plan.weather),
            shared: parking_lot::Mutex::default(),
            numbers: AtomicU64::new(1),
            processes: AtomicU64::new(0),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let tidy: Vec<_> =
            (0..plan.sites).map(|site| tokio::spawn(Arc::clone(&world).tidy(site, Arc::clone(&stop)))).collect();
        let trouble =
            plan.faults.then(|| tokio::spawn(trouble(Arc::clone(&world.network), plan.sites, Arc::clone(&stop))));
        let workers: Vec<_> =
            (0..plan.clients).map(|client| tokio::spawn(Arc::clone(&world).work(client % plan.sites))).collect();
        for worker in workers {
            worker.await.expect("a worker's checks hold");
        }
        if let Some(trouble) = trouble {
            trouble.abort();
        }
        world.network.calm();
        world.conclude().await;
        stop.store(true, Ordering::Relaxed);
        for task in tidy {
            task.await.expect("tidying does not panic");
        }
        let mut outcome = std::mem::take(&mut *world.shared.lock());
        outcome.log = world.network.log();
        outcome
    })
}
