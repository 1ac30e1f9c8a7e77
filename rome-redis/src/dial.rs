//! Connections: opening them, and judging the server at the other end before anything is sent.

use crate::address::{Access, Host};
use crate::epoch::History;
use crate::failure::{Failure, connecting};
use crate::replicate::{Promise, Replicator};
use crate::server::Place;
use crate::tier::Tier;
use crate::{RedisOptions, scripts, server};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, PushInfo, PushKind, RedisError, Value};
use rome_core::store::{Durability, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::time::{Instant, timeout, timeout_at};

/// Commands waiting to be written to a connection before callers are held back.
const QUEUE_LEN: usize = 1024;

/// The part of an attempt's time that replicas have to confirm.
const REPLICAS_SHARE: f32 = 0.75;

/// Opens connections for one store.
pub(crate) struct Dialer {
    access: Access,
    place: Place,
    options: RedisOptions,
    tier: Option<Tier>,
    /// What the store promises; set once it is open.
    promised: OnceLock<Durability>,
}

/// A connection to a server that passed its checks.
pub(crate) struct Open {
    /// The server's address without credentials.
    pub address: String,
    /// For everything that does not block.
    pub connection: MultiplexedConnection,
    /// What the server does for commits by itself.
    pub durability: Durability,
    /// The history of the server.
    pub history: History,
    /// The server's replication id.
    replication_id: String,
    /// How many replicas followed the server when the connection was opened.
    replicas: u32,
    /// For commits, where they must reach replicas.
    replicator: Option<Replicator>,
    lost: Arc<AtomicBool>,
}

impl Open {
    /// Sends a command and waits for its reply until then. Where `asking`, it may be about a home that is on its way to the server.
    pub async fn send(&self, cmd: &Cmd, asking: bool, until: Instant) -> Result<Value, Failure> {
        let mut connection = self.connection.clone();
        let sent = async {
            if !asking {
                return connection.send_packed_command(cmd).await;
            }
            let mut pipeline = redis::pipe();
            pipeline.cmd("ASKING").add_command(cmd.clone());
            let reply = connection.send_packed_commands(&pipeline, 1, 1).await?;
            Ok(reply.into_iter().next().unwrap_or_default())
        };
        let result = match timeout_at(until, sent).await {
            Ok(Ok(Value::ServerError(error))) => Err(Failure::of(&RedisError::from(error), &self.address)),
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Err(Failure::of(&error, &self.address)),
            Err(_) => Err(Failure::Lost("it did not answer in time".to_owned())),
        };
        if let Err(Failure::Lost(_)) = &result {
            self.give_up();
        }
        result
    }

    /// Sends a commit and waits, until then, for its reply and for what the tier asks.
    pub async fn send_commit(&self, cmd: &Cmd, asking: bool, until: Instant) -> Result<Value, Failure> {
        let Some(replicator) = &self.replicator else { return self.send(cmd, asking, until).await };
        if self.replicas < replicator.replicas() {
            // The next connection looks again.
            self.give_up();
            return Err(Failure::NotRun(format!(
                "{} of {} replicas follow it; durability=replicated({1}) needs them all",
                self.replicas,
                replicator.replicas()
            )));
        }
        match timeout_at(until, replicator.commit(cmd.clone(), asking)).await {
            Ok(result) => result,
            Err(_) => {
                self.give_up();
                Err(Failure::Lost("it and its replicas did not answer in time".to_owned()))
            }
        }
    }

    /// Gives the connection up: the next call opens another.
    pub fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether the connection failed or was given up.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Loads the scripts, which the server lost.
    pub async fn load_scripts(&self, until: Instant) -> Result<(), Failure> {
        let mut pipeline = redis::pipe();
        let count = scripts::load(&mut pipeline);
        let mut connection = self.connection.clone();
        match timeout_at(until, connection.send_packed_commands(&pipeline, 0, count)).await {
            Ok(Ok(replies)) => replies.into_iter().try_for_each(|reply| checked(reply, &self.address).map(drop)),
            Ok(Err(error)) => Err(not_run(&error, &self.address)),
            Err(_) => Err(Failure::NotRun("it did not load the scripts in time".to_owned())),
        }
    }
}

impl Dialer {
    /// A dialer of the servers of one store.
    pub fn new(access: Access, place: Place, options: RedisOptions, tier: Option<Tier>) -> Self {
        Self { access, place, options, tier, promised: OnceLock::new() }
    }

    /// What was asked of commits.
    pub fn tier(&self) -> Option<Tier> {
        self.tier
    }

    /// How the store treats its servers.
    pub fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// Makes what the store promises a condition of each later connection.
    pub fn promise(&self, durability: Durability) {
        // A store promises once.
        let _ = self.promised.set(durability);
    }

    /// Opens connections for calls, checks the server and loads the scripts.
    pub async fn open_for_calls(&self, host: &Host) -> Result<Open, Failure> {
        let mut open = self.open(host).await?;
        if let Some(Tier::Replicated(replicas)) = self.tier {
            let mark = open.lost.clone();
            let until = Instant::now() + self.options.attempt_timeout;
            let connection = match timeout_at(until, self.connect(host, mark.clone())).await {
                Ok(result) => result?,
                Err(_) => return Err(Failure::NotRun("it did not answer in time".to_owned())),
            };
            open.replicator = Some(Replicator::start(
                connection,
                Promise {
                    replicas,
                    // The caller gives up after `attempt_timeout`, and learns more from the server if that gives up first.
                    wait: self.options.attempt_timeout.mul_f32(REPLICAS_SHARE),
                    limit: self.options.attempt_timeout,
                    history: open.replication_id.clone(),
                    address: open.address.clone(),
                    lost: mark,
                },
            ));
        }
        Ok(open)
    }

    /// Opens a connection, checks the server and loads the scripts.
    pub async fn open(&self, host: &Host) -> Result<Open, Failure> {
        let address = host.to_string();
        let until = Instant::now() + self.options.attempt_timeout;
        match timeout_at(until, self.open_and_check(host, address)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NotRun("it did not answer in time".to_owned())),
        }
    }

    /// Sends one command on a connection of its own, to any server that lets the user in.
    pub async fn ask(&self, host: &Host, cmd: &Cmd) -> Result<Value, Failure> {
        let asked = async {
            let mut connection = self.connect(host, Arc::default()).await?;
            let reply =
                connection.send_packed_command(cmd).await.map_err(|error| connecting(&error, &host.to_string()))?;
            checked(reply, &host.to_string())
        };
        // Others may be asked as well.
        match timeout(self.options.attempt_timeout / 4, asked).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NotRun(format!("{host} did not answer in time"))),
        }
    }

    /// Opens a connection that sets `mark` when it is lost.
    async fn connect(&self, host: &Host, mark: Arc<AtomicBool>) -> Result<MultiplexedConnection, Failure> {
        let client = self.access.client(host).map_err(Failure::Refused)?;
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
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        opened.map_err(|error| connecting(&error, &host.to_string()))
    }

    async fn open_and_check(&self, host: &Host, address: String) -> Result<Open, Failure> {
        let lost = Arc::new(AtomicBool::new(false));
        let mut connection = self.connect(host, lost.clone()).await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").cmd("CONFIG").arg("GET").arg("appendfsync");
        let count = 2 + scripts::load(&mut pipeline);
        let replies =
            connection.send_packed_commands(&pipeline, 0, count).await.map_err(|error| connecting(&error, &address))?;
        let mut replies = replies.into_iter();
        let info = checked(replies.next().unwrap_or_default(), &address)?;
        let info = String::from_redis_value(info).map_err(|error| Failure::NotRun(error.to_string()))?;
        if server::is_loading(&info) {
            return Err(Failure::NotRun("it is loading its data".to_owned()));
        }
        server::check(&info, &address, self.place)?;
        // Managed servers refuse CONFIG; the tier is then the lower one.
        let appendfsync = replies.next().and_then(|reply| <(String, String)>::from_redis_value(reply).ok());
        let durability = server::durability(&info, appendfsync.as_ref().map(|(_, value)| &value[..]));
        self.check_durability(durability, &address)?;
        replies.try_for_each(|reply| checked(reply, &address).map(drop))?;
        let replicas = server::replicas(&info);
        let history = History::of(server::history(&info));
        let replication_id = server::history(&info).unwrap_or_default().to_owned();
        Ok(Open { address, connection, durability, history, replication_id, replicas, replicator: None, lost })
    }

    /// What was promised when the store was opened must hold for each later connection.
    fn check_durability(&self, found: Durability, address: &str) -> Result<(), Failure> {
        if self.promised.get() == Some(&Durability::Fsync) && found != Durability::Fsync {
            return Err(Failure::Refused(StoreError::Unsuitable(format!(
                "the Redis server at {address} no longer runs with appendfsync always; set it again or reopen the store"
            ))));
        }
        Ok(())
    }
}

fn checked(reply: Value, address: &str) -> Result<Value, Failure> {
    reply.extract_error().map_err(|error| not_run(&error, address))
}

/// The failure of something that wrote nothing.
fn not_run(error: &RedisError, address: &str) -> Failure {
    match Failure::of(error, address) {
        Failure::Lost(reason) => Failure::NotRun(reason),
        failure => failure,
    }
}
