//! [`RedisStore`]: the store's calls, put together from commands and the link that carries them.

use crate::address::Address;
use crate::commit::{Manner, may_leave_room};
use crate::dial::Dialer;
use crate::keys::HomeKeys;
use crate::link::{Effect, Link};
use crate::watch::{Hubs, Watcher};
use crate::{commit, read};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rome_core::store::rules::{check_commit, check_epoch, check_read};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Durability, HomeId, Read, ReadOutcome, ReadRequest, ReadResponse, Store,
    StoreError, Version, WatchStream,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Reads that one command answers. The server works on this many points for about a millisecond.
const READS_MAX: usize = 2048;

/// How often a longer request is tried in pieces, before it is sent as one command after all.
const PIECED_ATTEMPTS: usize = 3;

/// How a [`RedisStore`] treats its server.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// How long a call tries to reach the server before it fails.
    pub call_timeout: Duration,
    /// How long one attempt waits for a connection or an answer before the connection is taken for lost.
    pub attempt_timeout: Duration,
    /// How many events a change stream keeps; the server may keep some more.
    pub stream_len: usize,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { call_timeout: Duration::from_secs(5), attempt_timeout: Duration::from_secs(2), stream_len: 16_384 }
    }
}

/// A store on Redis. Clones share its connections.
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    hubs: Arc<Hubs>,
    namespace: Arc<str>,
    capabilities: Arc<Capabilities>,
    stream_len: usize,
}

impl RedisStore {
    /// Connects to a server, as in `redis://localhost:6379?namespace=shop`, or to what else the [crate's text](crate#the-url) lists.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for another URL, [`StoreError::Unavailable`] where the server can't be reached,
    /// [`StoreError::Denied`] for refused credentials and certificates, [`StoreError::Unsuitable`] for a server that is too old, may evict data, is a
    /// replica or runs in cluster mode.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), rome_core::store::StoreError> {
    /// let store = rome_redis::RedisStore::connect("redis://localhost:6379?namespace=shop").await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, RedisOptions::default()).await
    }

    /// [`connect`](Self::connect) with other options.
    pub async fn connect_with(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let Address { topology, access, namespace, tier } = Address::parse(url)?;
        let stream_len = options.stream_len.max(1);
        let dialer = Dialer::new(access, topology.place(), options, tier);
        let link = Arc::new(Link::new(topology, dialer));
        // Boxed, so that the types of futures that open stores do not grow with what is below.
        let durability = link.establish().boxed().await?;
        Ok(Self {
            hubs: Arc::new(Hubs::new(link.clone())),
            link,
            namespace: namespace.into(),
            capabilities: Arc::new(capabilities(durability)),
            stream_len,
        })
    }

    fn keys(&self, home: &HomeId) -> HomeKeys {
        HomeKeys::new(&self.namespace, home)
    }

    /// Reads points by one plain command.
    async fn read_plain(&self, keys: &HomeKeys, reads: &[Read]) -> Result<ReadResponse, StoreError> {
        let reply = self.link.call(keys, Effect::Points, |_| Ok(read::plain(keys, reads))).await?;
        read::plain_response(reads, reply.value, reply.history)
    }

    async fn read_whole(&self, keys: &HomeKeys, request: &ReadRequest) -> Result<ReadOutcome, StoreError> {
        if read::is_plain(request) {
            let response = self.read_plain(keys, &request.reads).await?;
            check_epoch(request.epoch, response.epoch)?;
            return Ok(ReadOutcome::Answer(response));
        }
        let reply = self.link.call(keys, Effect::None, |history| read::script(keys, request, history)).await?;
        read::script_outcome(&request.reads, reply.value)
    }

    /// Reads in pieces, and returns their answers if they are from one state of the home.
    async fn read_pieces(&self, keys: &HomeKeys, request: &ReadRequest) -> Result<Option<ReadOutcome>, StoreError> {
        let mut whole: Option<ReadResponse> = None;
        for piece in request.reads.chunks(READS_MAX) {
            let guards = if whole.is_none() { request.guards.clone() } else { Vec::new() };
            let piece = ReadRequest { reads: piece.to_vec(), guards, ..*request };
            let answer = match self.read_whole(keys, &piece).await? {
                ReadOutcome::Answer(answer) => answer,
                conflict => return Ok(Some(conflict)),
            };
            match &mut whole {
                None => whole = Some(answer),
                Some(whole) if (whole.snapshot, whole.epoch) == (answer.snapshot, answer.epoch) => {
                    whole.results.extend(answer.results)
                }
                Some(_) => return Ok(None),
            }
        }
        Ok(whole.map(ReadOutcome::Answer))
    }
}

fn capabilities(durability: Durability) -> Capabilities {
    Capabilities {
        engine: "redis",
        follow: true,
        snapshots: false,
        max_guards: 2048,
        cheap_unchanged: true,
        max_writes: 2048,
        max_reads: READS_MAX,
        max_commit_bytes: 4 << 20,
        durability,
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.link.address())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedisStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        check_read(&request, &self.capabilities)?;
        let keys = self.keys(home);
        if request.reads.len() > READS_MAX {
            for _ in 0..PIECED_ATTEMPTS {
                if let Some(outcome) = self.read_pieces(&keys, &request).await? {
                    return Ok(outcome);
                }
            }
            // Others write all the time: only one command sees one state, though it holds the server for longer.
        }
        self.read_whole(&keys, &request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        check_commit(&commit, &self.capabilities)?;
        let replicated = matches!(self.capabilities.durability, Durability::Replicated(_));
        let keys = self.keys(home);
        let effect = match &commit.ticket {
            Some(_) => Effect::Once,
            None if commit.writes.is_empty() && commit.changes.is_empty() => Effect::None,
            None => Effect::EachTime,
        };
        let manner = Manner { stream_len: self.stream_len, rewrite: replicated, full: false };
        let make = |history| commit::script(&keys, &commit, manner, history);
        let reply = match self.link.call(&keys, effect, make).await {
            Err(StoreError::Full(_)) if may_leave_room(&commit) => {
                let manner = Manner { full: true, ..manner };
                self.link.call(&keys, effect, |history| commit::script(&keys, &commit, manner, history)).await?
            }
            reply => reply?,
        };
        match commit::outcome(&reply.value) {
            // The lane moved on after a lost reply: that attempt may have committed before.
            Err(StoreError::LaneClosed) if reply.repeated => Err(StoreError::Undetermined {
                address: self.link.address().to_owned(),
                reason: "the reply was lost, and the lane has moved on since".to_owned(),
            }),
            outcome => outcome,
        }
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        let keys = self.keys(home);
        // Also where the cursor is given, so that an unreachable server is an error of this call.
        let now = self.read_plain(&keys, &[]).await?;
        let watcher = Watcher::new(
            self.link.clone(),
            self.hubs.of(&keys),
            keys,
            &stream,
            now.epoch,
            after.unwrap_or(now.snapshot),
        );
        Ok(futures::stream::unfold(watcher, Watcher::next).boxed())
    }
}
