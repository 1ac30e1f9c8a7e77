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
use crate::epoch::{EPOCH_FIELD, History};
use crate::failure::{Failure, unavailable};
use crate::keys::HomeKeys;
use crate::seat::Seat;
use crate::sentinel::Sentinels;
use crate::tier::Tier;
use crate::{read, scripts, server};
use redis::{Cmd, FromRedisValue, Value};
use rome_core::store::{Durability, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often an attempt loads lost scripts or takes a home over before it ends.
const REPAIRS_MAX: usize = 3;

/// How often an attempt follows a redirection, from where it is no longer believed.
const REDIRECTS_MAX: usize = 5;

/// What running a command twice would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It writes nothing.
    None,
    /// It reads points without a script: nobody has compared the home's epoch with the connection's yet.
    Points,
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
    /// The history of the server that answered.
    pub history: History,
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

    /// Sends a command about a home until it is answered or the time for calls is over. It is made for the history of each server that it
    /// is sent to.
    pub async fn call(
        &self,
        home: &HomeKeys,
        effect: Effect,
        make: impl Fn(History) -> Result<Cmd, StoreError> + Sync,
    ) -> Result<Reply, StoreError> {
        let mut patience = self.patience(effect);
        loop {
            match self.attempt(home, &make, effect, patience.deadline).await {
                Ok((value, history)) => return Ok(Reply { value, repeated: patience.lost.is_some(), history }),
                Err(failure) => patience.bear(failure).await?,
            }
        }
    }

    fn patience(&self, effect: Effect) -> Patience<'_> {
        let deadline = Instant::now() + self.dialer.options().call_timeout;
        Patience { address: &self.address, effect, deadline, pause: PAUSE_MIN, lost: None }
    }

    async fn attempt(
        &self,
        home: &HomeKeys,
        make: &(impl Fn(History) -> Result<Cmd, StoreError> + Sync),
        effect: Effect,
        deadline: Instant,
    ) -> Result<(Value, History), Failure> {
        let mut seat = self.in_time(deadline, self.seat(home)).await?;
        let mut asking = false;
        for _ in 0..REDIRECTS_MAX {
            let result = self.attempt_at(&seat, home, make, effect, asking, deadline).await;
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
        home: &HomeKeys,
        make: &(impl Fn(History) -> Result<Cmd, StoreError> + Sync),
        effect: Effect,
        asking: bool,
        deadline: Instant,
    ) -> Result<(Value, History), Failure> {
        let open = self.open_seat(seat, deadline).await?;
        let cmd = make(open.history).map_err(Failure::Refused)?;
        let until = deadline.min(Instant::now() + self.dialer.options().attempt_timeout);
        let mut result = send(&open, &cmd, effect, asking, until).await;
        for _ in 0..REPAIRS_MAX {
            match result {
                Err(Failure::NoScript) => open.load_scripts(until).await?,
                Err(Failure::TakenOver) => adopt(&open, home, asking, until).await?,
                _ => break,
            }
            result = send(&open, &cmd, effect, asking, until).await;
        }
        if let Err(Failure::Replaced(_) | Failure::Moved(_)) = result {
            open.give_up();
        }
        result.map(|value| (value, open.history))
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
        seat.and_then(|seat| seat.current())
            .is_some_and(|current| (&current.address, current.history) != (&open.address, open.history))
    }

    /// Homes of one group can be waited for by one command.
    pub fn group(&self, home: &HomeKeys) -> Option<u16> {
        matches!(self.route, Route::Cluster(_)).then(|| home.slot())
    }
}

async fn send(open: &Open, cmd: &Cmd, effect: Effect, asking: bool, until: Instant) -> Result<Value, Failure> {
    match effect {
        Effect::None => open.send(cmd, asking, until).await,
        Effect::Points => {
            let value = open.send(cmd, asking, until).await?;
            let known = open.history.epoch_of(read::plain_epoch(&value)).map_err(Failure::Refused)?;
            known.map(|_| value).ok_or(Failure::TakenOver)
        }
        Effect::Once | Effect::EachTime => open.send_commit(cmd, asking, until).await,
    }
}

/// Takes a home over into the history of a connection, if the server is still in it.
async fn adopt(open: &Open, home: &HomeKeys, asking: bool, until: Instant) -> Result<(), Failure> {
    let mut ask = Cmd::new();
    ask.arg("HGET").arg(&home.data().0).arg(EPOCH_FIELD);
    let Value::BulkString(field) = open.send(&ask, asking, until).await? else { return Ok(()) };
    // Asked after the field was seen: whoever wrote it had asked before.
    let mut ask = Cmd::new();
    ask.arg("INFO").arg("replication");
    let info = String::from_redis_value(open.send(&ask, false, until).await?);
    let info = info.map_err(|error| Failure::NotRun(error.to_string()))?;
    if History::of(server::history(&info)) != open.history {
        open.give_up();
        return Err(Failure::Replaced("its history has changed".to_owned()));
    }
    if let Some(next) = open.history.adopt(&field).map_err(Failure::Refused)? {
        let mut adopt = scripts::ADOPT.call(&[home.data()], 2, 64);
        adopt.arg(&field).arg(&next[..]);
        open.send(&adopt, asking, until).await?;
        tracing::info!(address = open.address, "a home begins another epoch");
    }
    Ok(())
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
            // No copy of what relies on an epoch that is over takes effect any more, and the lane was asked.
            Failure::Refused(error @ StoreError::EpochChanged) => return Err(error),
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
