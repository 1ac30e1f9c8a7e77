//! The way to the servers: connections for all calls, replaced when they fail, and the rule for sending a command again.
//!
//! Where a call goes is the topology's to say: to the one server, to the one that Sentinels name, or to the node of a cluster that serves
//! the home's slot. Calls share connections and wait for their own replies; dropping a call's future leaves the connection in order. A call
//! tries until [`RedisOptions::call_timeout`](crate::RedisOptions::call_timeout) is over. What may be sent twice is decided by [`Effect`]:
//!
//! | what happened | nothing written ([`Effect::None`]) | a commit with a ticket | a commit without |
//! |---|---|---|---|
//! | no connection, or the server was not ready, or no longer the right one | try again | try again | try again |
//! | the reply was lost | try again | try again | `Undetermined` |
//! | time is over | `Unavailable` | `Undetermined` if a reply was lost, else `Unavailable` | `Unavailable` |
//! | an error reply after a lost one | that error | `Undetermined`: the first copy may still arrive | |

use crate::address::{Host, Topology};
use crate::cluster::Cluster;
use crate::dial::{Dialer, Open};
use crate::failure::{Failure, unavailable};
use crate::keys::HomeKeys;
use crate::seat::Seat;
use crate::sentinel::Sentinels;
use crate::tier::Tier;
use redis::{Cmd, Value};
use rome_core::store::{Durability, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often an attempt follows a redirection, from where it is no longer believed.
const REDIRECTS_MAX: usize = 5;

/// What running a command twice would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It writes nothing.
    None,
    /// It writes once, however often it arrives.
    Once,
    /// It writes each time.
    EachTime,
}

/// The answer to a call.
pub(crate) struct Reply {
    pub value: Value,
    /// A reply was lost before this one.
    pub repeated: bool,
}

/// The way to a store's servers.
pub(crate) struct Link {
    address: String,
    dialer: Dialer,
    route: Route,
}

/// Where calls go.
enum Route {
    Single(Host, Arc<Seat>),
    Sentinel(Sentinels, Arc<Seat>),
    Cluster(Cluster),
}

impl Link {
    /// A link that opens its connections with the first call.
    pub fn new(topology: Topology, dialer: Dialer) -> Self {
        let list = |hosts: &[Host]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let (address, route) = match topology {
            Topology::Single(host) => (host.to_string(), Route::Single(host, Arc::default())),
            Topology::Sentinel { sentinels, master, access } => (
                format!("{master}@{}", list(&sentinels)),
                Route::Sentinel(Sentinels::new(sentinels, master, access), Arc::default()),
            ),
            Topology::Cluster(seeds) => (list(&seeds), Route::Cluster(Cluster::new(seeds))),
        };
        Self { address, dialer, route }
    }

    /// The servers' address without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens connections, trying as long as a call would, and says what commits survive.
    pub async fn establish(&self) -> Result<Durability, StoreError> {
        let mut patience = self.patience(Effect::None);
        let found = loop {
            match self.open_all(patience.deadline).await {
                Ok(found) => break found,
                Err(failure) => patience.bear(failure).await?,
            }
        };
        let promised = self.dialer.tier().map_or(found, Tier::durability);
        if promised == Durability::Fsync && found != Durability::Fsync {
            return Err(StoreError::Unsuitable(format!(
                "the Redis server at {} can't be seen to run with appendonly yes and appendfsync always, which durability=fsync \
                 needs; set them and allow the user to run CONFIG GET, or choose durability=async",
                self.address
            )));
        }
        self.dialer.promise(promised);
        Ok(promised)
    }

    /// Opens connections to every server that is known, and says what all of them do for commits by themselves.
    async fn open_all(&self, deadline: Instant) -> Result<Durability, Failure> {
        match &self.route {
            Route::Single(_, seat) | Route::Sentinel(_, seat) => Ok(self.open_seat(seat, deadline).await?.durability),
            Route::Cluster(cluster) => {
                let mut all = Durability::Fsync;
                for seat in self.in_time(deadline, cluster.seats(&self.dialer)).await? {
                    let open = self.open_seat(&seat, deadline).await.inspect_err(|_| cluster.doubt())?;
                    if open.durability != Durability::Fsync {
                        all = open.durability;
                    }
                }
                Ok(all)
            }
        }
    }

    /// Sends a command about a home until it is answered or the time for calls is over.
    pub async fn call(&self, home: &HomeKeys, cmd: &Cmd, effect: Effect) -> Result<Reply, StoreError> {
        let mut patience = self.patience(effect);
        loop {
            match self.attempt(home, cmd, effect, patience.deadline).await {
                Ok(value) => return Ok(Reply { value, repeated: patience.lost.is_some() }),
                Err(failure) => patience.bear(failure).await?,
            }
        }
    }

    fn patience(&self, effect: Effect) -> Patience<'_> {
        let deadline = Instant::now() + self.dialer.options().call_timeout;
        Patience { address: &self.address, effect, deadline, pause: PAUSE_MIN, lost: None }
    }

    async fn attempt(&self, home: &HomeKeys, cmd: &Cmd, effect: Effect, deadline: Instant) -> Result<Value, Failure> {
        let mut seat = self.in_time(deadline, self.seat(home)).await?;
        let mut asking = false;
        for _ in 0..REDIRECTS_MAX {
            let result = self.attempt_at(&seat, cmd, effect, asking, deadline).await;
            match (&self.route, result) {
                (Route::Cluster(cluster), Err(Failure::Moved(host))) => {
                    (seat, asking) = (cluster.moved(home.slot(), &host), false);
                }
                (Route::Cluster(cluster), Err(Failure::Ask(host))) => (seat, asking) = (cluster.seat_at(&host), true),
                (Route::Cluster(cluster), result) => {
                    // Except where the server has decided, it may be that another should have been asked.
                    if !matches!(result, Ok(_) | Err(Failure::Refused(_))) {
                        cluster.doubt();
                    }
                    return result;
                }
                (_, result) => return result,
            }
        }
        Err(Failure::NotRun("the cluster's nodes send calls from one to another".to_owned()))
    }

    async fn attempt_at(
        &self,
        seat: &Seat,
        cmd: &Cmd,
        effect: Effect,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let open = self.open_seat(seat, deadline).await?;
        let until = deadline.min(Instant::now() + self.dialer.options().attempt_timeout);
        let mut result = send(&open, cmd, effect, asking, until).await;
        if let Err(Failure::NoScript) = result {
            open.load_scripts(until).await?;
            result = send(&open, cmd, effect, asking, until).await;
        }
        if let Err(Failure::Replaced(_) | Failure::Moved(_)) = result {
            open.give_up();
        }
        result
    }

    async fn seat(&self, home: &HomeKeys) -> Result<Arc<Seat>, Failure> {
        match &self.route {
            Route::Single(_, seat) | Route::Sentinel(_, seat) => Ok(seat.clone()),
            Route::Cluster(cluster) => cluster.seat(home.slot(), &self.dialer).await,
        }
    }

    async fn open_seat(&self, seat: &Seat, deadline: Instant) -> Result<Arc<Open>, Failure> {
        if let Some(open) = seat.current() {
            return Ok(open);
        }
        let opening = async { self.dialer.open_for_calls(&self.locate(seat).await?).await };
        self.in_time(deadline, seat.open(opening)).await
    }

    async fn in_time<T>(
        &self,
        deadline: Instant,
        doing: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match timeout_at(deadline, doing).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NotRun("no connection could be opened in time".to_owned())),
        }
    }

    /// Where the server of a seat is now.
    async fn locate(&self, seat: &Seat) -> Result<Host, Failure> {
        match (&self.route, seat.host()) {
            (Route::Sentinel(sentinels, _), _) => sentinels.locate().await,
            (Route::Single(host, _), _) | (Route::Cluster(_), Some(host)) => Ok(host.clone()),
            (Route::Cluster(_), None) => Err(Failure::NotRun("a node without address".to_owned())),
        }
    }

    /// Opens a connection to the server of a home, apart from the one for calls.
    pub async fn open(&self, home: &HomeKeys) -> Result<Open, Failure> {
        let host = self.locate(&*self.seat(home).await?).await?;
        let opened = self.dialer.open(&host).await;
        if let (Route::Cluster(cluster), Err(_)) = (&self.route, &opened) {
            cluster.doubt();
        }
        opened
    }

    /// Whether calls about a home go to another server than that of this connection, as far as is known.
    pub fn is_elsewhere(&self, home: &HomeKeys, open: &Open) -> bool {
        let seat = match &self.route {
            Route::Single(_, seat) | Route::Sentinel(_, seat) => Some(seat.clone()),
            Route::Cluster(cluster) => cluster.known(home.slot()),
        };
        seat.and_then(|seat| seat.current()).is_some_and(|current| current.address != open.address)
    }

    /// Homes of one group can be waited for by one command.
    pub fn group(&self, home: &HomeKeys) -> Option<u16> {
        matches!(self.route, Route::Cluster(_)).then(|| home.slot())
    }
}

async fn send(open: &Open, cmd: &Cmd, effect: Effect, asking: bool, until: Instant) -> Result<Value, Failure> {
    match effect {
        Effect::None => open.send(cmd, asking, until).await,
        Effect::Once | Effect::EachTime => open.send_commit(cmd, asking, until).await,
    }
}

/// How a call bears failed attempts: the table in the module's text.
struct Patience<'a> {
    address: &'a str,
    effect: Effect,
    deadline: Instant,
    pause: Duration,
    /// Why a reply was lost, if one was.
    lost: Option<String>,
}

impl Patience<'_> {
    /// Returns when it is time for another attempt, or the error that ends the call.
    async fn bear(&mut self, failure: Failure) -> Result<(), StoreError> {
        let reason = match failure {
            Failure::Refused(error) => {
                return Err(match &self.lost {
                    Some(reason) if self.effect == Effect::Once => self.undetermined(format!("{reason}; then {error}")),
                    _ => error,
                });
            }
            Failure::Lost(reason) if self.effect == Effect::EachTime => return Err(self.undetermined(reason)),
            Failure::Lost(reason) => self.lost.insert(reason).clone(),
            failure => failure.reason(),
        };
        tracing::debug!(address = self.address, reason, "a call to redis is tried again");
        let next = Instant::now() + self.pause;
        if next >= self.deadline {
            return Err(match &self.lost {
                Some(reason) if self.effect == Effect::Once => self.undetermined(reason.clone()),
                _ => unavailable(self.address, reason),
            });
        }
        sleep_until(next).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    fn undetermined(&self, reason: String) -> StoreError {
        StoreError::Undetermined { address: self.address.to_owned(), reason }
    }
}
