//! Change streams: each stream is one key, and each commit that changes it puts its payload there.
//!
//! etcd keeps every put in its history and plays it back from any revision that is not compacted, in order and without
//! gaps; an event's revision is the commit's version. A watcher that loses its connection goes on behind the last event
//! it saw. It gives up where the server stays away for [`AWAY_LIMIT`].
//!
//! How long history is kept is the operator's choice (`--auto-compaction-retention`); this crate never compacts.

use crate::connection::{Clients, Connection, Resend};
use crate::errors::{Failure, classify};
use crate::guard::revision;
use crate::keyspace::Keyspace;
use crate::read::newest_revision;
use bytes::Bytes;
use etcd_client::{Event, EventType, GetOptions, WatchOptions, WatchResponse};
use futures::stream;
use rome_core::store::{StoreError, Version, WatchEvent, WatchStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a watcher tries to get its server back.
const AWAY_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

struct Watcher {
    connection: Arc<Connection>,
    key: Vec<u8>,
    /// The first revision not seen.
    next: i64,
    live: Option<etcd_client::WatchStream>,
    /// Events that have arrived and are not taken yet.
    arrived: VecDeque<WatchEvent>,
    /// Since when no watch is established.
    away_since: Option<Instant>,
    ended: bool,
}

/// Watches `stream` behind version `after`, or from now on.
pub(crate) async fn watch(
    connection: Arc<Connection>,
    keys: &Keyspace,
    stream: &[u8],
    after: Option<Version>,
) -> Result<WatchStream, StoreError> {
    let after = match after {
        Some(after) => revision(after),
        None => {
            newest_revision(&connection, keys).await.map_err(|failure| failure.into_read_error(connection.address()))?
        }
    };
    let mut watcher = Watcher {
        connection,
        key: keys.stream(stream),
        // Revision 0 would mean "from now on" to etcd.
        next: after.saturating_add(1).max(1),
        live: None,
        arrived: VecDeque::new(),
        away_since: None,
        ended: false,
    };
    watcher.establish().await.map_err(|failure| watcher.error(failure))?;
    Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next_event().await?;
        Some((event, watcher))
    })))
}

impl Watcher {
    async fn establish(&mut self) -> Result<(), Failure> {
        let watch = |mut clients: Clients| {
            let key = self.key.clone();
            let options = WatchOptions::new().with_start_revision(self.next).with_fragment();
            async move { clients.watch.watch(key, Some(options)).await }
        };
        self.live = Some(self.connection.call(Resend::Safe, watch).await?);
        Ok(())
    }

    async fn next_event(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        while !self.ended {
            if let Some(event) = self.arrived.pop_front() {
                return Some(Ok(event));
            }
            if let Err(error) = self.receive().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
        None
    }

    /// Waits for one message, or for the connection to come back.
    async fn receive(&mut self) -> Result<(), StoreError> {
        let failure = match &mut self.live {
            None => match self.establish().await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            },
            Some(live) => match live.message().await {
                Ok(Some(message)) => match self.take(&message) {
                    Ok(()) => {
                        self.away_since = None;
                        return Ok(());
                    }
                    Err(failure) => failure,
                },
                Ok(None) => Failure::Lost("the server ended the watch".to_owned()),
                Err(error) => classify(error),
            },
        };
        self.live = None;
        let failure = match failure {
            Failure::Refused(StoreError::Denied(reason)) => self.denied(reason).await,
            other => other,
        };
        let away_since = *self.away_since.get_or_insert_with(Instant::now);
        let transient = matches!(failure, Failure::NotSent(_) | Failure::Busy(_) | Failure::Lost(_));
        if !transient || away_since.elapsed() >= AWAY_LIMIT {
            return Err(self.error(failure));
        }
        sleep(PAUSE).await;
        Ok(())
    }

    /// What a denied watch means. An expired token is denied in the middle of the stream, where the client library does not
    /// look; a read of the key renews it, or says that the key may not be read.
    async fn denied(&self, reason: String) -> Failure {
        match self.connection.get(self.key.clone(), GetOptions::new()).await {
            Ok(_) => Failure::Busy(reason),
            Err(failure) => failure,
        }
    }

    fn take(&mut self, message: &WatchResponse) -> Result<(), Failure> {
        if message.compact_revision() > 0 {
            return Err(Failure::Compacted);
        }
        if message.canceled() {
            let reason = message.cancel_reason().to_owned();
            return Err(match ["permission denied", "invalid auth token"].iter().any(|known| reason.contains(known)) {
                true => Failure::Refused(StoreError::Denied(reason)),
                false => Failure::Lost(reason),
            });
        }
        for event in message.events() {
            self.take_event(event);
        }
        Ok(())
    }

    fn take_event(&mut self, event: &Event) {
        let Some(kv) = event.kv().filter(|_| event.event_type() == EventType::Put) else {
            return;
        };
        let revision = kv.mod_revision();
        // A message in fragments may be repeated by a resumed watch.
        if revision >= self.next {
            self.next = revision + 1;
            let payload = Bytes::copy_from_slice(kv.value());
            self.arrived.push_back(WatchEvent { version: u64::try_from(revision).unwrap_or_default(), payload });
        }
    }

    fn error(&self, failure: Failure) -> StoreError {
        failure.into_read_error(self.connection.address())
    }
}
