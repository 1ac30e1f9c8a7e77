//! Connections: opening them, and judging the server at the other end before anything is sent.

use crate::address::{Access, Host};
use crate::failure::{Failure, connecting};
use crate::{RedisOptions, scripts, server};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, PushInfo, PushKind, RedisError, Value};
use rome_core::store::{Durability, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::time::{Instant, timeout_at};

/// Commands waiting to be written to a connection before callers are held back.
const QUEUE_LEN: usize = 1024;

/// Opens connections for one store.
pub(crate) struct Dialer {
    access: Access,
    options: RedisOptions,
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
    lost: Arc<AtomicBool>,
}

impl Open {
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
    pub fn new(access: Access, options: RedisOptions) -> Self {
        Self { access, options, promised: OnceLock::new() }
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

    /// Opens a connection, checks the server and loads the scripts.
    pub async fn open(&self, host: &Host) -> Result<Open, Failure> {
        let address = host.to_string();
        let client = self.access.client(host).map_err(Failure::Refused)?;
        let until = Instant::now() + self.options.attempt_timeout;
        match timeout_at(until, self.open_by(client, address)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::NotRun("it did not answer in time".to_owned())),
        }
    }

    async fn open_by(&self, client: Client, address: String) -> Result<Open, Failure> {
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
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| connecting(&error, &address))?;
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
        server::check(&info, &address).map_err(Failure::Refused)?;
        // Managed servers refuse CONFIG; the tier is then the lower one.
        let appendfsync = replies.next().and_then(|reply| <(String, String)>::from_redis_value(reply).ok());
        let durability = server::durability(&info, appendfsync.as_ref().map(|(_, value)| &value[..]));
        self.check_durability(durability, &address)?;
        replies.try_for_each(|reply| checked(reply, &address).map(drop))?;
        Ok(Open { address, connection, durability, lost })
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
