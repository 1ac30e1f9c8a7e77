//! The way to the server: one connection for all calls, replaced when it fails, and the rule for sending a command again.
//!
//! Calls share a connection and wait for their own replies; dropping a call's future leaves the connection in order. A call tries
//! until [`RedisOptions::call_timeout`](crate::RedisOptions::call_timeout) is over. What may be sent twice is decided by [`Effect`]:
//!
//! | what happened | nothing written ([`Effect::None`]) | a commit with a ticket | a commit without |
//! |---|---|---|---|
//! | no connection, or the server was not ready | try again | try again | try again |
//! | the reply was lost | try again | try again | `Undetermined` |
//! | time is over | `Unavailable` | `Undetermined` if a reply was lost, else `Unavailable` | `Unavailable` |
//! | an error reply after a lost one | that error | `Undetermined`: the first copy may still arrive | |

use crate::address::Host;
use crate::dial::{Dialer, Open};
use crate::failure::{Failure, unavailable};
use crate::tier::Tier;
use parking_lot::RwLock;
use redis::{Cmd, Value};
use rome_core::store::{Durability, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

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

/// The connection to a server.
pub(crate) struct Link {
    host: Host,
    address: String,
    dialer: Dialer,
    current: RwLock<Option<Arc<Open>>>,
    /// Held while a connection is being opened, so that calls do not open one each.
    opening: tokio::sync::Mutex<()>,
}

impl Link {
    /// A link that opens its connection with the first call.
    pub fn new(host: Host, dialer: Dialer) -> Self {
        let address = host.to_string();
        Self { host, address, dialer, current: RwLock::default(), opening: tokio::sync::Mutex::default() }
    }

    /// The server's address without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens the connection, trying as long as a call would, and says what commits survive.
    pub async fn establish(&self) -> Result<Durability, StoreError> {
        self.call(&redis::cmd("PING"), Effect::None).await?;
        let found = self.current().map_or(Durability::Async, |open| open.durability);
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

    /// Sends a command until it is answered or the time for calls is over.
    pub async fn call(&self, cmd: &Cmd, effect: Effect) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + self.dialer.options().call_timeout;
        let mut pause = PAUSE_MIN;
        let mut lost = None;
        loop {
            let reason = match self.attempt(cmd, effect, deadline).await {
                Ok(value) => return Ok(Reply { value, repeated: lost.is_some() }),
                Err(Failure::Refused(error)) => {
                    return Err(match lost {
                        Some(reason) if effect == Effect::Once => self.undetermined(format!("{reason}; then {error}")),
                        _ => error,
                    });
                }
                Err(Failure::Lost(reason)) if effect == Effect::EachTime => return Err(self.undetermined(reason)),
                Err(Failure::Lost(reason)) => lost.insert(reason).clone(),
                Err(Failure::NotRun(reason)) => reason,
                Err(Failure::NoScript) => "its scripts are gone again and again".to_owned(),
            };
            tracing::debug!(address = self.address, reason, "a call to redis is tried again");
            let next = Instant::now() + pause;
            if next >= deadline {
                return Err(match lost {
                    Some(reason) if effect == Effect::Once => self.undetermined(reason),
                    _ => unavailable(&self.address, reason),
                });
            }
            sleep_until(next).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn undetermined(&self, reason: String) -> StoreError {
        StoreError::Undetermined { address: self.address.clone(), reason }
    }

    async fn attempt(&self, cmd: &Cmd, effect: Effect, deadline: Instant) -> Result<Value, Failure> {
        let open = self.open_connection(deadline).await?;
        let until = deadline.min(Instant::now() + self.dialer.options().attempt_timeout);
        let send = async || match effect {
            Effect::None => open.send(cmd, until).await,
            Effect::Once | Effect::EachTime => open.send_commit(cmd, until).await,
        };
        match send().await {
            Err(Failure::NoScript) => {
                open.load_scripts(until).await?;
                send().await
            }
            result => result,
        }
    }

    async fn open_connection(&self, deadline: Instant) -> Result<Arc<Open>, Failure> {
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let opening = async {
            let _opening = self.opening.lock().await;
            if let Some(open) = self.current() {
                return Ok(open);
            }
            let open = Arc::new(self.dialer.open_for_calls(&self.host).await?);
            *self.current.write() = Some(open.clone());
            Ok(open)
        };
        match timeout_at(deadline, opening).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NotRun("no connection could be opened in time".to_owned())),
        }
    }

    fn current(&self) -> Option<Arc<Open>> {
        self.current.read().as_ref().filter(|open| !open.is_lost()).cloned()
    }

    /// Opens a connection apart from the one for calls.
    pub async fn open(&self) -> Result<Open, Failure> {
        self.dialer.open(&self.host).await
    }
}
