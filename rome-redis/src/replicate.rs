//! Commits that count when replicas have them: the tier `replicated(n)`.
//!
//! `WAIT` blocks the connection that it runs on, and vouches only for what was written on that connection. So commits have a
//! connection of their own. Those that come while it is busy wait together and go out as one pipeline, with a single `WAIT` behind them:
//!
//! ```text
//! EVALSHA commit 1 | EVALSHA commit 2 | ... | WAIT n | INFO replication
//! ```
//!
//! An idle connection thus acknowledges a commit after one round trip, and a busy one makes as many commits in that time as have come.
//!
//! **An acknowledged commit is on n replicas of the history that it was made in.** Where too few replicas answered in time, or the
//! server is no longer what it was (`INFO` names another replication id: it was a replica in between, and may have lost what it had), each commit
//! of the batch is unresolved: the link sends it again, its lane tells what became of it, and the next `WAIT` vouches for it. While
//! fewer than n replicas follow the server at all, commits are not even sent. A script that
//! finds its outcome in the lane writes the lane once more, since `WAIT` vouches for nothing on a connection that wrote nothing (servers of some versions wait all the same).

use crate::failure::Failure;
use crate::server;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Commits in one pipeline, which bounds how long the first of them waits for the last.
const BATCH_LEN: usize = 256;

struct Request {
    cmd: Cmd,
    asking: bool,
    answer: oneshot::Sender<Result<Value, Failure>>,
}

/// Makes commits on a connection of its own. The connection ends with it.
pub(crate) struct Replicator {
    queue: mpsc::Sender<Request>,
    replicas: u32,
}

/// What a replicator must know of its server.
pub(crate) struct Promise {
    /// How many replicas must have a commit.
    pub replicas: u32,
    /// How long to wait for them.
    pub wait: Duration,
    /// How long to wait for the server.
    pub limit: Duration,
    /// The server's replication id when the connection was opened.
    pub history: String,
    /// The server's address.
    pub address: String,
    /// Set when the connection is of no more use.
    pub lost: Arc<AtomicBool>,
}

impl Replicator {
    /// A replicator on a connection.
    pub fn start(connection: MultiplexedConnection, promise: Promise) -> Self {
        let (queue, requests) = mpsc::channel(BATCH_LEN);
        let replicas = promise.replicas;
        tokio::spawn(run(connection, promise, requests));
        Self { queue, replicas }
    }

    /// How many replicas must have a commit.
    pub fn replicas(&self) -> u32 {
        self.replicas
    }

    /// Makes a commit and waits for the replicas.
    pub async fn commit(&self, cmd: Cmd, asking: bool) -> Result<Value, Failure> {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Request { cmd, asking, answer }).await.is_err() {
            return Err(Failure::NotRun("its connection for commits is gone".to_owned()));
        }
        answered.await.unwrap_or_else(|_| Err(Failure::Lost("its connection for commits is gone".to_owned())))
    }
}

async fn run(mut connection: MultiplexedConnection, promise: Promise, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, BATCH_LEN).await > 0 {
        // Whoever went away before its commit was sent has not made it.
        batch.retain(|request: &Request| !request.answer.is_closed());
        if !batch.is_empty() {
            serve(&mut connection, &promise, &mut batch).await;
        }
    }
}

async fn serve(connection: &mut MultiplexedConnection, promise: &Promise, batch: &mut Vec<Request>) {
    let mut pipeline = Pipeline::with_capacity(batch.len() + 2);
    for request in batch.iter() {
        if request.asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(request.cmd.clone());
    }
    let commits = pipeline.len();
    pipeline.cmd("WAIT").arg(promise.replicas).arg(promise.wait.as_millis().max(1).to_string());
    pipeline.cmd("INFO").arg("replication");
    let sent = timeout(promise.limit, connection.send_packed_commands(&pipeline, 0, commits + 2)).await;
    let (mut replies, unconfirmed) = match sent {
        Ok(Ok(replies)) => judge(replies, promise, commits),
        Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
        Err(_) => (Vec::new(), Some("it did not answer in time".to_owned())),
    };
    if unconfirmed.is_some() {
        promise.lost.store(true, Ordering::Release);
    }
    replies.reverse();
    for request in batch.drain(..) {
        if request.asking {
            replies.pop();
        }
        let result = match (replies.pop(), &unconfirmed) {
            // An error wrote nothing, so that there is nothing to wait for.
            (Some(Value::ServerError(error)), _) => Err(Failure::of(&RedisError::from(error), &promise.address)),
            (Some(value), None) => Ok(value),
            (_, Some(reason)) => Err(Failure::Lost(reason.clone())),
            (None, None) => Err(Failure::Lost("it left out a reply".to_owned())),
        };
        // Its caller may have gone away.
        let _ = request.answer.send(result);
    }
}

/// The replies to the commits, and why they can't be relied on, if so.
fn judge(mut replies: Vec<Value>, promise: &Promise, commits: usize) -> (Vec<Value>, Option<String>) {
    let mut behind = replies.split_off(commits.min(replies.len())).into_iter();
    let waited = behind.next().unwrap_or_default().extract_error().and_then(decode::<u32>);
    let info = behind.next().unwrap_or_default().extract_error().and_then(decode::<String>);
    let unconfirmed = match (waited, info) {
        (Ok(answered), _) if answered < promise.replicas => {
            Some(format!("{answered} of {} replicas confirmed in time", promise.replicas))
        }
        (Ok(_), Ok(info)) if server::history(&info) == Some(&promise.history) => None,
        (Ok(_), Ok(_)) => Some("its history is another than before".to_owned()),
        (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
    };
    (replies, unconfirmed)
}

fn decode<T: FromRedisValue>(value: Value) -> Result<T, RedisError> {
    T::from_redis_value(value).map_err(RedisError::from)
}
