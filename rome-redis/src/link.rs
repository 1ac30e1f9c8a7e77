//! The connection to the server: one for all calls, replaced when it fails, and the rule for sending a command again.
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

use crate::failure::{Failure, unavailable};
use crate::{RedisOptions, scripts, server};
use parking_lot::RwLock;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, PushInfo, PushKind, RedisError, Value,
};
use rome_core::store::{Durability, StoreError};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Commands waiting to be written to the connection before callers are held back.
const QUEUE_LEN: usize = 1024;
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

/// A connection that is open.
pub(crate) struct Open {
    pub connection: MultiplexedConnection,
    lost: Arc<AtomicBool>,
}

/// The connection to a server.
pub(crate) struct Link {
    client: Client,
    address: String,
    options: RedisOptions,
    durability: OnceLock<Durability>,
    current: RwLock<Option<Arc<Open>>>,
    /// Held while a connection is being opened, so that calls do not open one each.
    opening: tokio::sync::Mutex<()>,
}

impl Link {
    /// A link that opens its connection with the first call.
    pub fn new(connection: ConnectionInfo, address: String, options: RedisOptions) -> Result<Self, StoreError> {
        let client = Client::open(connection).map_err(|error| unavailable(&address, error.to_string()))?;
        Ok(Self {
            client,
            address,
            options,
            durability: OnceLock::new(),
            current: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
        })
    }

    /// The server's address without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens the connection, trying as long as a call would, and says how durable the server is.
    pub async fn establish(&self) -> Result<Durability, StoreError> {
        self.call(&redis::cmd("PING"), Effect::None).await?;
        Ok(self.durability.get().copied().unwrap_or(Durability::Async))
    }

    /// Sends a command until it is answered or the time for calls is over.
    pub async fn call(&self, cmd: &Cmd, effect: Effect) -> Result<Reply, StoreError> {
        let deadline = Instant::now() + self.options.call_timeout;
        let mut pause = PAUSE_MIN;
        let mut lost = None;
        loop {
            let reason = match self.attempt(cmd, deadline).await {
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

    async fn attempt(&self, cmd: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let open = self.open_connection(deadline).await?;
        let until = deadline.min(Instant::now() + self.options.attempt_timeout);
        match self.send(&open, cmd, until).await {
            Err(Failure::NoScript) => {
                self.load_scripts(&open, until).await?;
                self.send(&open, cmd, until).await
            }
            result => result,
        }
    }

    async fn send(&self, open: &Open, cmd: &Cmd, until: Instant) -> Result<Value, Failure> {
        let mut connection = open.connection.clone();
        let result = match timeout_at(until, connection.send_packed_command(cmd)).await {
            Ok(Ok(Value::ServerError(error))) => Err(Failure::of(&RedisError::from(error), &self.address)),
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Err(Failure::of(&error, &self.address)),
            Err(_) => Err(Failure::Lost("it did not answer in time".to_owned())),
        };
        if let Err(Failure::Lost(_)) = &result {
            open.lost.store(true, Ordering::Release);
        }
        result
    }

    async fn load_scripts(&self, open: &Open, until: Instant) -> Result<(), Failure> {
        let mut pipeline = redis::pipe();
        let count = scripts::load(&mut pipeline);
        let mut connection = open.connection.clone();
        match timeout_at(until, connection.send_packed_commands(&pipeline, 0, count)).await {
            Ok(Ok(replies)) => replies.into_iter().try_for_each(|reply| self.checked(reply).map(drop)),
            Ok(Err(error)) => Err(self.not_run(&error)),
            Err(_) => Err(Failure::NotRun("it did not load the scripts in time".to_owned())),
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
            let open = Arc::new(self.open().await?);
            *self.current.write() = Some(open.clone());
            Ok(open)
        };
        match timeout_at(deadline, opening).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NotRun("no connection could be opened in time".to_owned())),
        }
    }

    fn current(&self) -> Option<Arc<Open>> {
        self.current.read().as_ref().filter(|open| !open.lost.load(Ordering::Acquire)).cloned()
    }

    /// Opens a connection of its own, checks the server and loads the scripts.
    pub async fn open(&self) -> Result<Open, Failure> {
        let lost = Arc::new(AtomicBool::new(false));
        let mark = lost.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.attempt_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE_LEN)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    mark.store(true, Ordering::Release);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.not_run(&error))?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").cmd("CONFIG").arg("GET").arg("appendfsync");
        let count = 2 + scripts::load(&mut pipeline);
        let replies =
            tokio::time::timeout(self.options.attempt_timeout, connection.send_packed_commands(&pipeline, 0, count))
                .await
                .map_err(|_| Failure::NotRun("it did not answer in time".to_owned()))?
                .map_err(|error| self.not_run(&error))?;
        let mut replies = replies.into_iter();
        let info = self.checked(replies.next().unwrap_or_default())?;
        let info = String::from_redis_value(info).map_err(|error| Failure::NotRun(error.to_string()))?;
        if server::is_loading(&info) {
            return Err(Failure::NotRun("it is loading its data".to_owned()));
        }
        server::check(&info, &self.address).map_err(Failure::Refused)?;
        // Managed servers refuse CONFIG; the tier is then the lower one.
        let appendfsync = replies.next().and_then(|reply| <(String, String)>::from_redis_value(reply).ok());
        self.check_durability(server::durability(&info, appendfsync.as_ref().map(|(_, value)| &value[..])))?;
        replies.try_for_each(|reply| self.checked(reply).map(drop))?;
        Ok(Open { connection, lost })
    }

    /// What was promised when the store was opened must hold for each later connection.
    fn check_durability(&self, found: Durability) -> Result<(), Failure> {
        let promised = *self.durability.get_or_init(|| found);
        if promised == Durability::Fsync && found != Durability::Fsync {
            return Err(Failure::Refused(StoreError::Unsuitable(format!(
                "the Redis server at {} no longer runs with appendfsync always; set it again or reopen the store",
                self.address
            ))));
        }
        Ok(())
    }

    fn checked(&self, reply: Value) -> Result<Value, Failure> {
        reply.extract_error().map_err(|error| self.not_run(&error))
    }

    /// The failure of something that wrote nothing.
    fn not_run(&self, error: &RedisError) -> Failure {
        match Failure::of(error, &self.address) {
            Failure::Lost(reason) => Failure::NotRun(reason),
            failure => failure,
        }
    }
}
