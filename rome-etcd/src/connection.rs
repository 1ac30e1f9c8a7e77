//! One client for all calls, with bounded time and resends.
//!
//! The client multiplexes every call over one HTTP/2 connection for each member and reconnects by itself.
//! [`Connection::call`] gives a call its time limit: an attempt that never reached a server is repeated until the time
//! is up; one whose reply was lost only where the caller says that a repetition is harmless. With several members each
//! attempt may go to another one.

use crate::errors::{Failure, classify, no_space};
use crate::tls::{Silence, diagnose};
use crate::url::EtcdConfig;
use etcd_client::{Client, ConnectOptions, GetOptions, GetResponse, KvClient, Txn, TxnResponse, WatchClient};
use rome_core::store::StoreError;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The oldest version whose transactions nest and compare ranges.
const OLDEST_VERSION: (u64, u64) = (3, 4);
/// How long one attempt may take where another may follow.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Pings find out that a connection with calls or watches under way is dead. etcd refuses intervals below 5 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// The pause before the second attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The largest answer to a call that is accepted, above what any commit's single value can be.
pub(crate) const LARGEST_ANSWER_BYTES: usize = 16 << 20;
/// The largest message of a watch: all changes of one revision.
const LARGEST_EVENT_BYTES: usize = 16 << 20;

/// Whether a call whose reply was lost may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resend {
    /// It writes nothing, or it carries a ticket.
    Safe,
    /// A second execution would do its work twice.
    Never,
}

/// The connection to one etcd cluster.
pub(crate) struct Connection {
    client: Client,
    kv: KvClient,
    watch: WatchClient,
    address: String,
    call_timeout: Duration,
    /// How many the URL names.
    members: usize,
}

impl Connection {
    /// Connects, checks credentials and the server's version.
    pub(crate) async fn open(config: &EtcdConfig) -> Result<Self, StoreError> {
        match Self::try_open(config).await {
            Err(StoreError::Unavailable { address, reason }) => {
                Err(Self::why_unavailable(config, address, reason).await)
            }
            result => result,
        }
    }

    async fn why_unavailable(config: &EtcdConfig, address: String, mut reason: String) -> StoreError {
        for endpoint in &config.endpoints {
            match timeout(CONNECT_TIMEOUT, diagnose(config.tls.as_ref(), endpoint)).await {
                Ok(Some(Silence::Refusal(error))) => return error,
                Ok(Some(Silence::Hint(hint))) => {
                    reason = format!("{reason} ({endpoint}: {hint})");
                    break;
                }
                Ok(None) | Err(_) => {}
            }
        }
        StoreError::Unavailable { address, reason }
    }

    async fn try_open(config: &EtcdConfig) -> Result<Self, StoreError> {
        let address = config.address();
        let deadline = Instant::now() + config.call_timeout;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((user, password)) = &config.user {
            options = options.with_user(user, password);
        }
        if let Some(tls) = &config.tls {
            options = options.with_tls(tls.load(CONNECT_TIMEOUT).await?);
        }
        let members = config.endpoints.len();
        let connect = || async { Client::connect(&config.endpoints, Some(options.clone())).await };
        let client = Attempts { deadline, resend: Resend::Safe, members }
            .run(connect)
            .await
            .map_err(|failure| failure.into_read_error(&address))?;
        let connection = Self {
            kv: client.kv_client().max_decoding_message_size(LARGEST_ANSWER_BYTES),
            watch: client.watch_client().max_decoding_message_size(LARGEST_EVENT_BYTES),
            client,
            address,
            call_timeout: config.call_timeout,
            members,
        };
        connection.check_version(deadline).await?;
        connection.check_access(deadline, &config.namespace).await?;
        Ok(connection)
    }

    async fn check_version(&self, deadline: Instant) -> Result<(), StoreError> {
        let status = || {
            let mut client = self.client.maintenance_client();
            async move { client.status().await }
        };
        let status = Attempts { deadline, resend: Resend::Safe, members: self.members }
            .run(status)
            .await
            .map_err(|failure| failure.into_read_error(&self.address))?;
        let version = status.version();
        if parse_version(version).is_some_and(|version| version >= OLDEST_VERSION) {
            return Ok(());
        }
        let (major, minor) = OLDEST_VERSION;
        Err(StoreError::Unsuitable(format!(
            "etcd at {} is version {version:?}; Rome needs {major}.{minor} or newer (nested transactions, range compares): upgrade it",
            self.address
        )))
    }

    /// Reads a key of the namespace: that there is a majority, and that these credentials may, is better known at once.
    async fn check_access(&self, deadline: Instant, namespace: &str) -> Result<(), StoreError> {
        let get = || {
            let mut kv = self.kv.clone();
            async move { kv.get([namespace.as_bytes(), &[0]].concat(), None).await }
        };
        let found = Attempts { deadline, resend: Resend::Safe, members: self.members }.run(get).await;
        found.map(drop).map_err(|failure| failure.into_read_error(&self.address))
    }

    /// The endpoints, without credentials.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A client for watches.
    pub(crate) fn watch_client(&self) -> WatchClient {
        self.watch.clone()
    }

    /// Runs an RPC within the time limit of a call.
    pub(crate) async fn call<T, F, Fut>(&self, resend: Resend, attempt: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        Attempts { deadline: Instant::now() + self.call_timeout, resend, members: self.members }.run(attempt).await
    }

    /// One transaction.
    pub(crate) async fn txn(&self, txn: Txn, resend: Resend) -> Result<TxnResponse, Failure> {
        self.call(resend, || {
            let (mut kv, txn) = (self.kv.clone(), txn.clone());
            async move { kv.txn(txn).await }
        })
        .await
    }

    /// One range read.
    pub(crate) async fn get(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, Failure> {
        self.call(Resend::Safe, || {
            let (mut kv, key, options) = (self.kv.clone(), key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await
    }
}

/// How long and for whom to try.
struct Attempts {
    deadline: Instant,
    resend: Resend,
    members: usize,
}

impl Attempts {
    /// Repeats `attempt` until it succeeds, is refused, or the deadline passes. If any attempt may have been carried out
    /// the failure says so.
    async fn run<T, F, Fut>(self, attempt: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut lost = false;
        let mut distrusted = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let limit = match self.resend {
                Resend::Safe => left.min(ATTEMPT_TIMEOUT),
                Resend::Never => left,
            };
            let failure = match timeout(limit, attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => classify(error),
                Err(_) => Failure::Lost(format!("no answer within {} ms", limit.as_millis())),
            };
            let reason = match failure {
                Failure::NotSent(reason) | Failure::Busy(reason) => reason,
                Failure::Lost(reason) => {
                    lost = true;
                    reason
                }
                // The next attempt may choose another member.
                Failure::Distrusted(error) if self.members > 1 => {
                    let reason = error.to_string();
                    distrusted = Some(error);
                    reason
                }
                // A refused repetition says nothing about the attempt before it.
                Failure::Refused(error) | Failure::Distrusted(error) if lost => {
                    return Err(Failure::Lost(error.to_string()));
                }
                Failure::NoSpace if lost => return Err(Failure::Lost(no_space().to_string())),
                definite => return Err(definite),
            };
            if (lost && self.resend == Resend::Never) || Instant::now() + pause >= self.deadline {
                return Err(match distrusted {
                    _ if lost => Failure::Lost(reason),
                    Some(error) => Failure::Distrusted(error),
                    None => Failure::NotSent(reason),
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn parse_version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("3.10.1") > Some(OLDEST_VERSION));
        assert!(parse_version("3.4.0") == Some(OLDEST_VERSION));
        assert!(parse_version("3.3.27") < Some(OLDEST_VERSION));
        assert!(parse_version("not etcd").is_none());
    }
}
