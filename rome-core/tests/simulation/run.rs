//! One run of a scenario: its plan, its network, the clients that work at its sites, and what goes wrong meanwhile, in virtual time.

use crate::counts::Counts;
use crate::network::{Network, Weather, home};
use crate::scenario::{Scenario, work};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rome_core::Result;
use rome_core::database::{FixedSites, Options, RomeDatabase};
use rome_core::topology::HomeNo;
use rome_core::txn::{Client, Patience, Place};
use serde_json::Value as Json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub sites: usize,
    pub clients: usize,
    /// Of each client.
    pub transactions: usize,
    pub weather: Weather,
    /// Cut connections and crash clients now and then.
    pub faults: bool,
}

impl Plan {
    /// A plan of two to four sites; one in four with fair weather, half of them with faults.
    pub fn of(seed: u64, transactions: usize) -> Self {
        let sites = 2 + (seed % 3) as usize;
        let weather = if seed.is_multiple_of(4) { Weather::FAIR } else { Weather::FOUL };
        Self { seed, sites, clients: sites * 2, transactions, weather, faults: seed % 4 > 1 }
    }
}

/// What a run came to.
pub struct Outcome {
    pub counts: Counts,
    pub history: Vec<Json>,
    /// Everything that happened, to compare two runs.
    pub log: String,
}

/// A run that is under way.
pub struct Run {
    pub plan: Plan,
    pub network: Arc<Network>,
    counts: Mutex<Counts>,
    /// The number of the next client, from which it draws what is its own.
    clients: AtomicU64,
}

impl Run {
    pub fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        self.network.random(draw)
    }

    /// Whether a fault happens that happens in this share of all cases.
    pub fn fault(&self, share: f64) -> bool {
        self.plan.faults && self.random(|random| random.random_bool(share))
    }

    /// A time of less than so many milliseconds.
    pub fn moment(&self, longest_ms: u64) -> Duration {
        Duration::from_millis(self.random(|random| random.random_range(0..longest_ms)))
    }

    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
    }

    /// All sites, as a client at one of them reaches them.
    pub fn sites(&self, from: usize, crashed: &Arc<AtomicBool>) -> Arc<FixedSites> {
        let reach = |to: usize| (site(to), self.network.reach(from, to, Arc::clone(crashed)));
        Arc::new(FixedSites::new((0..self.plan.sites).map(reach)))
    }

    /// A client of all homes, without a database.
    pub fn client(&self, at: usize, crashed: &Arc<AtomicBool>, incarnation: u128, patience: Patience) -> Arc<Client> {
        let place = |to: usize| Place {
            no: HomeNo(to as u16),
            site: site(to).into(),
            store: self.network.reach(at, to, Arc::clone(crashed)),
            home: home(),
        };
        let others = (0..self.plan.sites).filter(|to| *to != at).map(place).collect();
        Client::of_homes(place(at), others, None, incarnation, patience)
    }

    /// Opens the database at a site.
    pub async fn open(&self, at: usize, crashed: &Arc<AtomicBool>, patience: Patience) -> Result<RomeDatabase> {
        // A database makes several clients.
        let seed = Some(self.clients.fetch_add(100, Ordering::Relaxed));
        let options = Options { patience, seed, max_attempts: 8, ..Options::default() };
        RomeDatabase::open_sites(&site(at), self.sites(at, crashed), options).await
    }
}

/// A site's name.
pub fn site(number: usize) -> String {
    format!("site{number}")
}

/// What clients wait for here: crashed ones are met often, so not for long.
pub fn patience() -> Patience {
    Patience { recovery_after: Duration::from_millis(300), replicate_every: None, ..Patience::default() }
}

/// What goes on beside the clients.
pub struct Tasks {
    run: Arc<Run>,
    faults: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Tasks {
    fn new(run: Arc<Run>) -> Self {
        Self { run, faults: vec![], others: vec![], stop: Arc::default() }
    }

    /// Goes on until it sees that it is to stop, once the run has concluded.
    pub fn until_stopped<F: Future<Output = ()> + Send + 'static>(&mut self, task: impl FnOnce(Arc<AtomicBool>) -> F) {
        self.others.push(tokio::spawn(task(Arc::clone(&self.stop))));
    }

    /// Goes wrong until all clients are done, in plans with faults.
    pub fn fault(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        if self.run.plan.faults {
            self.faults.push(tokio::spawn(task));
        }
    }

    /// Cuts sites off now and then.
    pub fn cut_sites(&mut self) {
        self.fault(cut_sites(Arc::clone(&self.run)));
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.others {
            task.await.expect("a task's checks hold");
        }
    }
}

/// Cuts off one site, two halves, or one direction, and mends it again.
async fn cut_sites(run: Arc<Run>) {
    let (network, sites) = (&run.network, run.plan.sites);
    loop {
        let (pause, shape) = run.random(|random| (random.random_range(100..1_500), random.random_range(0..3)));
        sleep(Duration::from_millis(pause)).await;
        let chosen = run.random(|random| random.random_range(0..sites));
        let pairs: Vec<(usize, usize)> = (0..sites)
            .flat_map(|from| (0..sites).map(move |to| (from, to)))
            .filter(|(from, to)| match shape {
                0 => from != to && (*from == chosen || *to == chosen),
                1 => (*from < sites / 2) != (*to < sites / 2),
                _ => *from == chosen && from != to,
            })
            .collect();
        run.count(|counts| counts.partitions += 1);
        pairs.iter().for_each(|(from, to)| network.cut(*from, *to, true));
        let lasts = run.random(|random| random.random_range(200..2_500));
        sleep(Duration::from_millis(lasts)).await;
        pairs.iter().for_each(|(from, to)| network.cut(*from, *to, false));
    }
}

/// Runs a scenario by its plan for a seed, and checks what must hold.
pub fn run<S: Scenario>(seed: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let plan = S::plan(seed);
        let run = Arc::new(Run {
            plan,
            network: Network::new(plan.sites, seed),
            counts: Mutex::default(),
            clients: AtomicU64::new(S::first_client(seed)),
        });
        let scenario = Arc::new(S::new(Arc::clone(&run)));
        scenario.found().await;
        run.network.change(plan.weather);
        let mut tasks = Tasks::new(Arc::clone(&run));
        scenario.beside(&mut tasks);
        let workers: Vec<_> =
            (0..plan.clients).map(|client| tokio::spawn(work(Arc::clone(&scenario), client % plan.sites))).collect();
        for worker in workers {
            worker.await.expect("a worker's checks hold");
        }
        tasks.faults.iter().for_each(JoinHandle::abort);
        run.network.calm();
        scenario.conclude().await;
        tasks.stop().await;
        let counts = std::mem::take(&mut *run.counts.lock());
        Outcome { counts, history: scenario.history(), log: run.network.log() }
    })
}
