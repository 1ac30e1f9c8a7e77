//! Watching change streams.
//!
//! All watches of a store share one connection, which waits by `XREAD BLOCK` for the next event of any followed stream: the [`Hub`]. It
//! hands events to the [`Watcher`]s over a bounded channel for each stream. A watcher looks for itself (`scripts/watch.lua`)
//! when it begins, when it fell behind the channel, and when the hub's connection was lost or replaced. It gives up where the server stays away for
//! [`AWAY_LIMIT`].
//!
//! **No gap goes unnoticed**, whichever way an event came: each entry names the version of the event before it in its stream. The
//! next event above a cursor is the true next one if and only if its predecessor is not above the cursor; otherwise events between
//! were trimmed, and the watch ends with `Compacted`. So does one whose home begins another epoch, or whose cursor is above the home's
//! version: the server lost data.
//!
//! The hub is interrupted by `CLIENT UNBLOCK` when a watch begins on a stream that it does not follow yet.

use crate::epoch::History;
use crate::failure::Failure;
use crate::keys::{HomeKeys, RedisKey};
use crate::link::{Effect, Link};
use crate::read::{decode_state, unexpected_reply};
use crate::scripts;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use rome_core::store::{Epoch, StoreError, Version, WatchEvent};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Events of a stream that wait for slow watchers before those must look for themselves.
const CHANNEL_LEN: usize = 256;
/// Events that one command fetches.
const PAGE_LEN: usize = 256;
/// How long the hub waits in one command.
const BLOCK: Duration = Duration::from_secs(5);
/// How long over that until the connection is taken for lost.
const BLOCK_GRACE: Duration = Duration::from_secs(3);
/// A command that has not begun to wait yet can't be interrupted: how soon to try again, and how often.
const UNBLOCK_PAUSE: Duration = Duration::from_millis(5);
const UNBLOCK_ATTEMPTS: usize = 100;
/// How long the hub waits after a failed connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How long a watcher tries to get its server back.
const AWAY_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Event {
    version: Version,
    /// The version of the event before it in its stream, 0 for none.
    previous: Version,
    payload: Bytes,
}

#[derive(Clone, Debug)]
enum Signal {
    Event(Event),
    /// The watcher must look for itself.
    Look,
}

/// The hubs of a store: one for each group of homes whose streams one command can wait for.
pub(crate) struct Hubs {
    link: Arc<Link>,
    hubs: Mutex<HashMap<Option<u16>, Arc<Hub>>>,
}

impl Hubs {
    /// Hubs that follow nothing.
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, hubs: Mutex::default() }
    }

    /// The hub for streams of a home.
    pub fn of(&self, home: &HomeKeys) -> Arc<Hub> {
        let hub = || {
            Arc::new(Hub {
                link: self.link.clone(),
                home: home.clone(),
                followed: Arc::default(),
                task: Mutex::default(),
            })
        };
        self.hubs.lock().entry(self.link.group(home)).or_insert_with(hub).clone()
    }
}

/// Follows streams for all watchers of a group of homes.
pub(crate) struct Hub {
    link: Arc<Link>,
    /// Any home of the group.
    home: HomeKeys,
    followed: Arc<Followed>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Followed {
    streams: Mutex<HashMap<RedisKey, Stream>>,
    /// A stream was added.
    added: Notify,
}

struct Stream {
    /// The version of the last event handed out.
    position: Version,
    watchers: broadcast::Sender<Signal>,
}

impl Hub {
    /// Begins to follow a stream behind `position`, unless it is followed already.
    fn follow(&self, stream: &RedisKey, position: Version) -> broadcast::Receiver<Signal> {
        let receiver = self.followed.add(stream, position);
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(run(self.link.clone(), self.home.clone(), self.followed.clone())));
        }
        receiver
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl Followed {
    fn add(&self, key: &RedisKey, position: Version) -> broadcast::Receiver<Signal> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(key) {
            return stream.watchers.subscribe();
        }
        let (watchers, receiver) = broadcast::channel(CHANNEL_LEN);
        streams.insert(key.clone(), Stream { position, watchers });
        self.added.notify_one();
        receiver
    }

    /// The streams that have watchers, with their positions; the others are forgotten.
    fn wanted(&self) -> Vec<(RedisKey, Version)> {
        let mut streams = self.streams.lock();
        streams.retain(|_, stream| stream.watchers.receiver_count() > 0);
        streams.iter().map(|(key, stream)| (key.clone(), stream.position)).collect()
    }

    /// Has all watchers look for themselves.
    fn signal_all(&self) {
        for stream in self.streams.lock().values() {
            // Without watchers there is nobody to tell.
            let _ = stream.watchers.send(Signal::Look);
        }
    }

    /// Hands out the events that came for a stream.
    fn deliver(&self, key: RedisKey, events: Result<Vec<Event>, StoreError>) {
        let mut streams = self.streams.lock();
        match (events, streams.get_mut(&key)) {
            (Ok(events), Some(stream)) => {
                for event in events {
                    stream.position = event.version;
                    let _ = stream.watchers.send(Signal::Event(event));
                }
            }
            // Its watchers look for themselves and find the error.
            (Err(_), _) => drop(streams.remove(&key)),
            (Ok(_), None) => {}
        }
    }
}

async fn run(link: Arc<Link>, home: HomeKeys, followed: Arc<Followed>) {
    loop {
        if followed.wanted().is_empty() {
            followed.added.notified().await;
            continue;
        }
        if let Err(reason) = serve(&link, &home, &followed).await {
            tracing::warn!(address = link.address(), reason, "watching redis is interrupted");
            // They find out by themselves whether the server is away.
            followed.signal_all();
            sleep(RECONNECT_PAUSE).await;
        }
    }
}

/// Waits for events on one connection, until it fails or nothing is to be followed.
async fn serve(link: &Link, home: &HomeKeys, followed: &Followed) -> Result<(), String> {
    let open = link.open(home).await.map_err(Failure::reason)?;
    let mut connection = open.connection.clone();
    let id: i64 =
        redis::cmd("CLIENT").arg("ID").query_async(&mut connection).await.map_err(|error| error.to_string())?;
    // The server may have been restarted without its last commits.
    followed.signal_all();
    loop {
        let wanted = followed.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let reply = wait(link, home, followed, &mut connection, id, &wanted).await?;
        if link.is_elsewhere(home, &open) {
            return Err("another server has taken over".to_owned());
        }
        for (key, events) in stream_replies(reply)? {
            followed.deliver(key, events);
        }
    }
}

/// One `XREAD` over the streams, interrupted when a stream is added.
async fn wait(
    link: &Link,
    home: &HomeKeys,
    followed: &Followed,
    connection: &mut MultiplexedConnection,
    id: i64,
    wanted: &[(RedisKey, Version)],
) -> Result<Value, String> {
    let mut cmd = Cmd::new();
    cmd.arg("XREAD").arg("COUNT").arg(PAGE_LEN).arg("BLOCK").arg(BLOCK.as_secs() * 1000).arg("STREAMS");
    for (key, _) in wanted {
        cmd.arg(&key.0);
    }
    for (_, position) in wanted {
        cmd.arg(format!("{position}-0"));
    }
    let reply = timeout(BLOCK + BLOCK_GRACE, connection.send_packed_command(&cmd));
    let mut reply = std::pin::pin!(reply);
    let mut attempts = tokio::select! {
        biased;
        reply = &mut reply => return settled(reply),
        () = followed.added.notified() => UNBLOCK_ATTEMPTS,
    };
    while attempts > 0 {
        let unblock = |_| Ok(redis::cmd("CLIENT").arg("UNBLOCK").arg(id).take());
        link.call(home, Effect::None, unblock).await.map_err(|error| error.to_string())?;
        if let Ok(reply) = timeout(UNBLOCK_PAUSE, &mut reply).await {
            return settled(reply);
        }
        attempts -= 1;
    }
    Err("it did not end a blocked command".to_owned())
}

fn settled(reply: Result<redis::RedisResult<Value>, tokio::time::error::Elapsed>) -> Result<Value, String> {
    let value = reply.map_err(|_| "it did not answer in time".to_owned())?.map_err(|error| error.to_string())?;
    value.extract_error().map_err(|error| error.to_string())
}

/// What came for one stream.
type Arrived = (RedisKey, Result<Vec<Event>, StoreError>);

/// Takes a reply of `XREAD` apart.
fn stream_replies(reply: Value) -> Result<Vec<Arrived>, String> {
    let Value::Map(streams) = reply else {
        return if reply == Value::Nil { Ok(Vec::new()) } else { Err("it sent an unexpected reply".to_owned()) };
    };
    let stream = |(key, entries)| match (key, entries) {
        (Value::BulkString(key), Value::Array(entries)) => {
            Ok((RedisKey(key), entries.into_iter().map(decode_event).collect()))
        }
        _ => Err("it sent an unexpected reply".to_owned()),
    };
    streams.into_iter().map(stream).collect()
}

/// Takes an entry `[id, [field, entry]]` of a stream apart.
fn decode_event(entry: Value) -> Result<Event, StoreError> {
    let corrupt = || StoreError::Corrupt("an entry of a change stream".to_owned());
    let (id, fields) = pair(entry).ok_or_else(corrupt)?;
    let Value::BulkString(id) = id else { return Err(corrupt()) };
    let version = std::str::from_utf8(&id)
        .ok()
        .and_then(|id| id.strip_suffix("-0"))
        .and_then(|version| version.parse().ok())
        .ok_or_else(corrupt)?;
    let Some((_, Value::BulkString(entry))) = pair(fields) else { return Err(corrupt()) };
    let mut payload = Bytes::from(entry);
    let previous = payload.try_get_u64().map_err(|_| corrupt())?;
    Ok(Event { version, previous, payload })
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(items) = value else { return None };
    <[Value; 2]>::try_from(items).ok().map(|[first, second]| (first, second))
}

/// One watch of one stream.
pub(crate) struct Watcher {
    link: Arc<Link>,
    hub: Arc<Hub>,
    home: HomeKeys,
    /// The home's data and meta data and the stream, as `scripts/watch.lua` takes them.
    keys: [RedisKey; 3],
    /// The home's epoch, to which the cursor belongs.
    epoch: Epoch,
    /// The version of the last event taken.
    cursor: Version,
    fetched: VecDeque<WatchEvent>,
    channel: Option<broadcast::Receiver<Signal>>,
    /// All events up to where the channel goes on were fetched.
    caught_up: bool,
    /// Since when the server has not answered.
    away_since: Option<Instant>,
    ended: bool,
}

impl Watcher {
    /// A watch of the events of a stream above `cursor`.
    pub fn new(link: Arc<Link>, hub: Arc<Hub>, home: HomeKeys, stream: &[u8], epoch: Epoch, cursor: Version) -> Self {
        Self {
            link,
            hub,
            keys: [home.data(), home.meta(), home.stream(stream)],
            home,
            epoch,
            cursor,
            fetched: VecDeque::new(),
            channel: None,
            caught_up: false,
            away_since: None,
            ended: false,
        }
    }

    /// The next event, as [`futures::stream::unfold`] asks for it. Waits while the server is away, up to [`AWAY_LIMIT`].
    pub async fn next(mut self) -> Option<(Result<WatchEvent, StoreError>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(event) = self.fetched.pop_front() {
                return Some((Ok(event), self));
            }
            match self.advance().await {
                Ok(()) => {}
                Err(error @ StoreError::Unavailable { .. }) if !self.is_long_away() => {
                    tracing::debug!(%error, "a watch waits for redis");
                }
                Err(error) => {
                    self.ended = true;
                    return Some((Err(error), self));
                }
            }
        }
    }

    /// Notes that the server is away; whether it has been for too long.
    fn is_long_away(&mut self) -> bool {
        self.away_since.get_or_insert_with(Instant::now).elapsed() >= AWAY_LIMIT
    }

    async fn advance(&mut self) -> Result<(), StoreError> {
        if !self.caught_up {
            return self.catch_up().await;
        }
        let Some(channel) = &mut self.channel else {
            self.caught_up = false;
            return Ok(());
        };
        match channel.recv().await {
            Ok(Signal::Event(event)) if event.version <= self.cursor => {}
            Ok(Signal::Event(event)) if event.previous <= self.cursor => self.take(event),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.caught_up = false,
            Err(broadcast::error::RecvError::Closed) => {
                self.channel = None;
                self.caught_up = false;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        self.cursor = event.version;
        self.fetched.push_back(WatchEvent { version: event.version, payload: event.payload });
    }

    /// Fetches events behind the cursor. Once there are none, joins the channel and looks again, since events may have come between.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let events = self.fetch().await?;
        self.away_since = None;
        if events.is_empty() {
            let [_, _, stream] = &self.keys;
            self.caught_up = self.channel.is_some();
            self.channel.get_or_insert_with(|| self.hub.follow(stream, self.cursor));
        }
        for event in events {
            if event.previous > self.cursor {
                return Err(StoreError::Compacted);
            }
            self.take(event);
        }
        Ok(())
    }

    async fn fetch(&self) -> Result<Vec<Event>, StoreError> {
        let make = |history: History| {
            let mut cmd = scripts::WATCH.call(&self.keys, 3, 48);
            cmd.arg(self.cursor).arg(PAGE_LEN).arg(history.argument());
            Ok(cmd)
        };
        let reply = self.link.call(&self.home, Effect::None, make).await?;
        let Some((Value::BulkString(state), Value::Array(entries))) = pair(reply.value) else {
            return Err(unexpected_reply());
        };
        let (version, epoch) = decode_state(&state)?;
        if version < self.cursor || epoch != self.epoch {
            return Err(StoreError::Compacted);
        }
        entries.into_iter().map(decode_event).collect()
    }
}
