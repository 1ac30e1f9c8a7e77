//! One connection for all calls, with bounded time and resends.
//!
//! Calls go to one member, over one HTTP/2 connection, until a call fails there; then all go to the next one that the
//! URL names. A member that hangs, or is cut off from the others, thus costs one attempt's time and not a share of all
//! calls. Connections come back by themselves.
//!
//! [`Connection::call`] gives a call its time limit: an attempt that never reached a server is repeated until the time
//! is up; one whose reply was lost only where the caller says that a repetition is harmless.

use crate::errors::{Failure, classify, no_space};
use crate::tls::{EtcdTls, Silence, diagnose};
use crate::url::EtcdConfig;
use etcd_client::{
    Client, ConnectOptions, GetOptions, GetResponse, KvClient, MaintenanceClient, Txn, TxnResponse, WatchClient,
};
use rand::Rng;
use rome_core::store::StoreError;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout, timeout_at};

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

/// The clients of one member, which share a connection.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) kv: KvClient,
    pub(crate) watch: WatchClient,
    maintenance: MaintenanceClient,
}

/// One member. Its connection is made when it is first used, and by itself whenever it was lost.
struct Member {
    endpoint: String,
    clients: OnceCell<Clients>,
}

/// The connection to one etcd cluster.
pub(crate) struct Connection {
    members: Vec<Member>,
    /// The index of the member that is asked: the same one until it fails.
    current: AtomicUsize,
    options: ConnectOptions,
    address: String,
    call_timeout: Duration,
}

impl Connection {
    /// Connects, checks credentials and the server's version.
    pub(crate) async fn open(config: &EtcdConfig) -> Result<Self, StoreError> {
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
        let member = |endpoint: &String| Member { endpoint: endpoint.clone(), clients: OnceCell::new() };
        let connection = Self {
            members: config.endpoints.iter().map(member).collect(),
            // Anywhere, so that many clients spread over the members.
            current: AtomicUsize::new(rand::rng().random_range(0..config.endpoints.len().max(1))),
            options,
            address: config.address(),
            call_timeout: config.call_timeout,
        };
        let deadline = Instant::now() + config.call_timeout;
        let checked = async {
            connection.check_version(deadline).await?;
            connection.check_access(deadline, &config.namespace).await
        };
        match checked.await {
            Ok(()) => Ok(connection),
            Err(StoreError::Unavailable { address, reason }) => {
                Err(connection.why_unavailable(config.tls.as_ref(), address, reason).await)
            }
            Err(error) => Err(error),
        }
    }

    async fn why_unavailable(&self, tls: Option<&EtcdTls>, address: String, mut reason: String) -> StoreError {
        for Member { endpoint, .. } in &self.members {
            match timeout(CONNECT_TIMEOUT, diagnose(tls, endpoint)).await {
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

    async fn check_version(&self, deadline: Instant) -> Result<(), StoreError> {
        let status = |mut clients: Clients| async move { clients.maintenance.status().await };
        let status = self
            .attempt_until(deadline, Resend::Safe, status)
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
        let get =
            |mut clients: Clients| async move { clients.kv.get([namespace.as_bytes(), &[0]].concat(), None).await };
        let found = self.attempt_until(deadline, Resend::Safe, get).await;
        found.map(drop).map_err(|failure| failure.into_read_error(&self.address))
    }

    /// The endpoints, without credentials.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Runs an RPC within the time limit of a call.
    pub(crate) async fn call<T, F, Fut>(&self, resend: Resend, attempt: F) -> Result<T, Failure>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempt_until(Instant::now() + self.call_timeout, resend, attempt).await
    }

    /// One transaction.
    pub(crate) async fn txn(&self, txn: Txn, resend: Resend) -> Result<TxnResponse, Failure> {
        self.call(resend, |mut clients| {
            let txn = txn.clone();
            async move { clients.kv.txn(txn).await }
        })
        .await
    }

    /// One range read.
    pub(crate) async fn get(&self, key: Vec<u8>, options: GetOptions) -> Result<GetResponse, Failure> {
        self.call(Resend::Safe, |mut clients| {
            let (key, options) = (key.clone(), options.clone());
            async move { clients.kv.get(key, Some(options)).await }
        })
        .await
    }

    /// Repeats `attempt` until it succeeds, is refused, or the deadline passes; each time at another member. If any
    /// attempt may have been carried out the failure says so.
    async fn attempt_until<T, F, Fut>(&self, deadline: Instant, resend: Resend, attempt: F) -> Result<T, Failure>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut lost = false;
        let mut distrusted = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = match resend {
                Resend::Safe => left.min(ATTEMPT_TIMEOUT),
                Resend::Never => left,
            };
            let index = self.current.load(Ordering::Relaxed);
            let failure = match self.attempt_at(index, limit, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let reason = match failure {
                Failure::NotSent(reason) | Failure::Busy(reason) => reason,
                Failure::Lost(reason) => {
                    lost = true;
                    reason
                }
                Failure::Distrusted(error) if distrusted + 1 < self.members.len() => {
                    distrusted += 1;
                    error.to_string()
                }
                // A refused repetition says nothing about the attempt before it.
                Failure::Refused(error) | Failure::Distrusted(error) if lost => {
                    return Err(Failure::Lost(error.to_string()));
                }
                Failure::NoSpace if lost => return Err(Failure::Lost(no_space().to_string())),
                definite => return Err(definite),
            };
            // Another call that failed at this member may have moved on already.
            let next = (index + 1) % self.members.len().max(1);
            let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            if (lost && resend == Resend::Never) || Instant::now() + pause >= deadline {
                return Err(if lost { Failure::Lost(reason) } else { Failure::NotSent(reason) });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt_at<T, F, Fut>(&self, index: usize, limit: Duration, attempt: &F) -> Result<T, Failure>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let until = Instant::now() + limit;
        let silent = || format!("no answer within {} ms", limit.as_millis());
        let clients = match timeout_at(until, self.clients(index)).await {
            Ok(Ok(clients)) => clients,
            // Only the password was sent.
            Ok(Err(Failure::Lost(reason))) => return Err(Failure::NotSent(reason)),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Err(Failure::NotSent(silent())),
        };
        match timeout_at(until, attempt(clients)).await {
            Ok(result) => result.map_err(classify),
            Err(_) => Err(Failure::Lost(silent())),
        }
    }

    async fn clients(&self, index: usize) -> Result<Clients, Failure> {
        let Some(member) = self.members.get(index) else {
            return Err(Failure::Refused(StoreError::Invalid("no member of etcd is named".to_owned())));
        };
        let connect = || async {
            let client = Client::connect([&member.endpoint], Some(self.options.clone())).await.map_err(classify)?;
            Ok(Clients {
                kv: client.kv_client().max_decoding_message_size(LARGEST_ANSWER_BYTES),
                watch: client.watch_client().max_decoding_message_size(LARGEST_EVENT_BYTES),
                maintenance: client.maintenance_client(),
            })
        };
        member.clients.get_or_try_init(connect).await.cloned()
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
