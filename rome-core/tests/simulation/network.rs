//! Stores behind a network that delays, loses, repeats and reorders messages, in virtual time.
//!
//! Every call of a store is a message to its site and a message back. Each takes a random time; each may be lost; a commit may arrive a second
//! time, much later. A caller repeats a commit with the same ticket as real engines do, and gives up when its time is over. What is cut off
//! hears nothing. A client that has crashed sends and hears nothing any more, while what it has sent still arrives.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rome_core::catalog::keys::whole_space;
use rome_core::database::Options;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, Key, MemoryStore, Read, ReadLimits, ReadOutcome, ReadRequest, Store,
    StoreError, Version, WatchStream,
};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// One way between sites, at most.
    pub delay: Duration,
    /// Of a message.
    pub loss: f64,
    /// Of a commit, to arrive a second time.
    pub repetition: f64,
    /// Of a message to be late by many times the usual delay.
    pub lateness: f64,
}

impl Weather {
    pub const FAIR: Self = Self { delay: Duration::from_millis(25), loss: 0.0, repetition: 0.0, lateness: 0.0 };
    pub const FOUL: Self = Self { delay: Duration::from_millis(25), loss: 0.05, repetition: 0.05, lateness: 0.03 };
}

const CALL_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(200);

/// The name of the home in each site's store.
pub fn home() -> HomeId {
    HomeId::new(&Options::default().home)
}

/// Sites with a store each, and what connects them.
pub struct Network {
    stores: Vec<Arc<MemoryStore>>,
    state: Mutex<State>,
}

struct State {
    random: StdRng,
    weather: Weather,
    /// From site, to site.
    cut: Vec<Vec<bool>>,
    begun: Instant,
    /// Everything that happened, to compare two runs.
    log: String,
}

impl Network {
    pub fn new(sites: usize, seed: u64) -> Arc<Self> {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            weather: Weather::FAIR,
            cut: vec![vec![false; sites]; sites],
            begun: Instant::now(),
            log: String::new(),
        };
        Arc::new(Self { stores: (0..sites).map(|_| Arc::new(MemoryStore::new())).collect(), state: Mutex::new(state) })
    }

    /// A site's store as somebody at another site reaches it; nothing gets through once `crashed`.
    pub fn reach(self: &Arc<Self>, from: usize, to: usize, crashed: Arc<AtomicBool>) -> Arc<dyn Store> {
        Arc::new(Remote { network: Arc::clone(self), from, to, crashed })
    }

    /// A site's store itself.
    pub fn store(&self, site: usize) -> &Arc<MemoryStore> {
        &self.stores[site]
    }

    /// All that a site's store holds in some spaces at one moment, read without any network.
    pub async fn entries(&self, site: usize, spaces: &[u32]) -> Vec<(Key, Bytes)> {
        let read = |space: &u32| Read::Range { range: whole_space(*space), limit: None, reverse: false };
        let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
        let request = ReadRequest { reads: spaces.iter().map(read).collect(), limits, ..ReadRequest::default() };
        match self.store(site).read(&home(), request).await.expect("memory") {
            ReadOutcome::Answer(answer) => {
                let entries = answer.results.into_iter().flat_map(|result| result.entries);
                entries.map(|entry| (entry.key, entry.value)).collect()
            }
            ReadOutcome::Conflict { .. } => unreachable!("no guards"),
        }
    }

    pub fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.state.lock().random)
    }

    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        let mut state = self.state.lock();
        let elapsed = state.begun.elapsed().as_micros();
        let _ = writeln!(state.log, "{elapsed:>10} {what}");
    }

    pub fn log(&self) -> String {
        self.state.lock().log.clone()
    }

    /// Cuts a direction, or mends it.
    pub fn cut(&self, from: usize, to: usize, cut: bool) {
        self.state.lock().cut[from][to] = cut;
        self.note(format_args!("{} {from} -> {to}", if cut { "cut" } else { "mend" }));
    }

    pub fn change(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// The sun comes out: everything arrives.
    pub fn calm(&self) {
        let mut state = self.state.lock();
        state.weather = Weather { delay: state.weather.delay, ..Weather::FAIR };
        state.cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    /// How long a message takes now; `None` where it is lost.
    fn travel(&self, from: usize, to: usize) -> Option<Duration> {
        let mut state = self.state.lock();
        let Weather { delay, loss, lateness, .. } = state.weather;
        if state.cut[from][to] || state.random.random_bool(loss) {
            return None;
        }
        let longest = if from == to { Duration::from_micros(200) } else { delay };
        let share = state.random.random_range(0.5..1.0);
        let late = if state.random.random_bool(lateness) { 40.0 } else { 1.0 };
        Some(longest.mul_f64(share * late))
    }

    fn is_repeated(&self) -> bool {
        let mut state = self.state.lock();
        let repetition = state.weather.repetition;
        state.random.random_bool(repetition)
    }
}

struct Remote {
    network: Arc<Network>,
    from: usize,
    to: usize,
    crashed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "site {} from site {}", self.to, self.from)
    }
}

impl Remote {
    fn address(&self) -> String {
        format!("site{}", self.to)
    }

    /// One message there and one back; `None` where one of them is lost or the caller is gone.
    async fn exchange<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Option<T> {
        if self.crashed.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let (answer, answered) = oneshot::channel();
        let there = self.network.travel(self.from, self.to);
        let (network, from, to) = (Arc::clone(&self.network), self.from, self.to);
        if let Some(there) = there {
            // Under way whatever becomes of the sender.
            tokio::spawn(async move {
                sleep(there).await;
                let result = call.await;
                if let Some(back) = network.travel(to, from) {
                    sleep(back).await;
                    let _ = answer.send(result);
                }
            });
        }
        let answered = timeout(ATTEMPT_TIMEOUT, answered).await.ok().and_then(Result::ok);
        if self.crashed.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if answered.is_none() && there.is_none() {
            // A lost message shows after the attempt's time only.
            sleep(ATTEMPT_TIMEOUT).await;
        }
        answered
    }
}

#[async_trait]
impl Store for Remote {
    fn capabilities(&self) -> &Capabilities {
        self.network.stores[self.to].capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        while Instant::now() < deadline {
            let (store, home, request) = (Arc::clone(self.network.store(self.to)), home.clone(), request.clone());
            if let Some(result) = self.exchange(async move { store.read(&home, request).await }).await {
                return result;
            }
        }
        Err(StoreError::Unavailable { address: self.address(), reason: "no answer".into() })
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            let (store, at, what) = (Arc::clone(self.network.store(self.to)), home.clone(), commit.clone());
            if commit.ticket.is_some() && self.network.is_repeated() {
                let (store, at, what) = (Arc::clone(&store), at.clone(), what.clone());
                let late = self.network.random(|random| random.random_range(1..3_000));
                tokio::spawn(async move {
                    sleep(Duration::from_millis(late)).await;
                    store.commit(&at, what).await
                });
            }
            if let Some(result) = self.exchange(async move { store.commit(&at, what).await }).await {
                return result;
            }
            if commit.ticket.is_none() || Instant::now() >= deadline {
                let reason = "no answer".into();
                return Err(StoreError::Undetermined { address: self.address(), reason });
            }
        }
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        let (store, home) = (Arc::clone(self.network.store(self.to)), home.clone());
        let attached = self.exchange(async move { store.watch(&home, stream, after).await }).await;
        let lost = |address: String| StoreError::Unavailable { address, reason: "the stream broke off".into() };
        let events = attached.unwrap_or_else(|| Err(lost(self.address())))?;
        // Each event is a message, one after the other; where one is lost the stream breaks off.
        let (network, from, to) = (Arc::clone(&self.network), self.from, self.to);
        let (crashed, address) = (Arc::clone(&self.crashed), self.address());
        let arriving = events.then(move |event| {
            let travel = network.travel(to, from);
            let (gone, lost) = (crashed.load(Ordering::Relaxed), lost(address.clone()));
            async move {
                match travel {
                    _ if gone => std::future::pending().await,
                    None => Err(lost),
                    Some(travel) => {
                        sleep(travel).await;
                        event
                    }
                }
            }
        });
        let mut broken = false;
        Ok(arriving.take_while(move |event| future::ready(!std::mem::replace(&mut broken, event.is_err()))).boxed())
    }
}
