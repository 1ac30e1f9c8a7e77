//! Watching a query: its rows as of a version of each home, then the stream of each home from that version on.
//!
//! The rows come from one read-only transaction, validated as any other, and the version of each home as of which they are true is where its
//! stream is taken up. An event of a stream is one commit at its home, whose changes of the table's rows are put through the query's condition and
//! columns one by one. Where that is no longer possible (events were dropped, the home has begun an epoch, the table has another description)
//! the watch says so and begins again with the rows.

use super::Engine;
use super::statement::prepare_watch;
use crate::catalog::keys::{schema_version_key, table_key};
use crate::catalog::{Table, TableId};
use crate::database::ddl::Ddl;
use crate::database::watch::{RowChange, Watch, WatchCursor, WatchItem};
use crate::database::{ColumnMeta, Row, Statement};
use crate::error::{Error, Result, SqlState};
use crate::exec::functions::CallContext;
use crate::plan::WatchPlan;
use crate::store::{Epoch, ReadLimits, StoreError, Version, WatchEvent, WatchStream};
use crate::topology::HomeNo;
use crate::txn::{HomeRead, KeyChange, Mode, decode_event};
use crate::value::Value;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Items that wait for a slow watcher.
const WAITING_ITEMS: usize = 64;
/// Rows that are told at a time.
const ROWS_AT_A_TIME: usize = 1_000;
/// After so many events that change nothing of the result, the cursor is told nevertheless.
const SILENT_EVENTS: usize = 1_000;
/// Events of each stream that are kept decoded.
const DECODED_EVENTS: usize = 64;
/// Larger ones are not.
const LARGEST_KEPT: usize = 64 << 10;
/// Pauses between attempts to hear of a home again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How far each home has been heard of.
type Positions = Vec<(HomeNo, Epoch, Version)>;

/// A watch that is going on.
struct Watching {
    engine: Arc<Engine>,
    text: Arc<str>,
    values: Vec<Value>,
    sender: mpsc::Sender<Result<WatchItem>>,
}

/// The watcher has gone.
struct Gone;

impl Engine {
    /// See [`crate::database::Database::watch`].
    pub(super) fn watch(self: Arc<Self>, statement: &Statement, from: Option<WatchCursor>) -> Watch {
        let (text, values) = statement.render(crate::database::Dialect::Postgres);
        let (sender, receiver) = mpsc::channel(WAITING_ITEMS);
        let watching = Watching { engine: self, text, values, sender };
        tokio::spawn(watching.run(from));
        futures::stream::unfold(receiver, |mut receiver| async move {
            let item = receiver.recv().await?;
            Some((item, receiver))
        })
        .boxed()
    }

    /// The plan of a watch, by a description of its table that tells of changes.
    async fn plan_watch(&self, text: &Arc<str>, values: &[Value]) -> Result<WatchPlan> {
        let mut attempts = self.retry.start();
        let mut refreshed = false;
        loop {
            let plan = match prepare_watch(text, values, &self.catalog()) {
                Err(error) if super::autocommit::is_undefined(&error) && !refreshed => {
                    refreshed = true;
                    self.refresh_catalog().await?;
                    continue;
                }
                plan => plan?,
            };
            if plan.table.stream().is_some() {
                return Ok(plan);
            }
            if let Err(error) = self.tell_changes(plan.table.id).await {
                self.again(error, &mut attempts).await?;
            }
        }
    }

    /// Lets a table tell of its changes from now on.
    async fn tell_changes(&self, table: TableId) -> Result<()> {
        let mut catalog = self.catalog();
        let mut txn = self.client.begin(Mode::Interactive);
        let mut ddl = Ddl::new(self, &mut txn, &mut catalog, true);
        ddl.set_changes(table, true).await?;
        txn.commit().await?;
        self.refresh_catalog().await.map(|_| ())
    }

    /// The rows of a watched query, and the versions of the table's homes as of which they are true.
    async fn watched_rows(&self, plan: &WatchPlan, values: &[Value]) -> Result<(Vec<Vec<Value>>, Positions)> {
        let catalog = self.catalog();
        let mut txn = self.client.begin(Mode::ReadOnly);
        let table = &plan.table;
        txn.use_table(table)?;
        // Each home has a part in it, also one whose rows the query need not look at.
        let homes = table.homes.all();
        let reads = homes.iter().map(|home| HomeRead::point(*home, schema_version_key(table.id))).collect();
        txn.read(reads, ReadLimits::default()).await?;
        let rows = crate::exec::run(&plan.node, &mut self.context(&mut txn, &catalog, values)).await;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return Err(txn.explained(error).await),
        };
        let positions = homes.iter().map(|home| {
            let (epoch, version) = txn.as_of(*home).ok_or_else(|| Error::internal("a watched home was not read"))?;
            Ok((*home, epoch, version))
        });
        let positions = positions.collect::<Result<_>>()?;
        txn.commit().await?;
        Ok((rows, positions))
    }
}

impl Watching {
    async fn run(self, from: Option<WatchCursor>) {
        if let Err(error) = self.follow(from).await {
            let _ = self.sender.send(Err(error)).await;
        }
    }

    async fn say(&self, item: WatchItem) -> Result<(), Gone> {
        self.sender.send(Ok(item)).await.map_err(|_| Gone)
    }

    /// Tells until the watcher goes.
    async fn follow(&self, mut from: Option<WatchCursor>) -> Result<()> {
        loop {
            let mut attempts = self.engine.retry.start();
            let (plan, positions) = loop {
                let begun = match from.take() {
                    Some(cursor) => self.taken_up(&cursor).await,
                    None => self.begun().await,
                };
                match begun {
                    Ok(begun) => break begun,
                    Err(Begin::Gone) => return Ok(()),
                    Err(Begin::Failed(error)) => self.engine.again(error, &mut attempts).await?,
                }
            };
            let Some(positions) = positions else {
                // The cursor speaks of other homes than the table has now, or it has moved.
                if self.say(WatchItem::Reset).await.is_err() {
                    return Ok(());
                }
                continue;
            };
            match self.tell(&plan, positions).await? {
                Ok(()) => {}
                Err(Gone) => return Ok(()),
            }
            if self.say(WatchItem::Reset).await.is_err() {
                return Ok(());
            }
            self.engine.refresh_catalog().await?;
        }
    }

    /// Goes on from a cursor, where that fits the table.
    async fn taken_up(&self, cursor: &WatchCursor) -> Result<(WatchPlan, Option<Positions>), Begin> {
        let plan = self.engine.plan_watch(&self.text, &self.values).await?;
        if cursor.table != plan.table.id.0 {
            let message = format!("the cursor is not one of a watch of \"{}\"", plan.table.name);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).into());
        }
        let mut homes = plan.table.homes.all();
        homes.sort_unstable();
        let same = cursor.rows == plan.table.row_space() && homes.iter().eq(cursor.homes.iter().map(|(home, ..)| home));
        Ok((plan, same.then(|| cursor.homes.clone())))
    }

    /// Tells the rows.
    async fn begun(&self) -> Result<(WatchPlan, Option<Positions>), Begin> {
        let plan = self.engine.plan_watch(&self.text, &self.values).await?;
        let (rows, mut positions) = self.engine.watched_rows(&plan, &self.values).await?;
        positions.sort_unstable();
        let columns = columns(&plan);
        let mut rows = rows.into_iter().map(|row| Row::new(Arc::clone(&columns), row)).peekable();
        while rows.peek().is_some() {
            self.say(WatchItem::Rows(rows.by_ref().take(ROWS_AT_A_TIME).collect())).await?;
        }
        self.say(WatchItem::Current(cursor(&plan.table, &positions))).await?;
        Ok((plan, Some(positions)))
    }

    /// Tells changes until they can't be told any more.
    async fn tell(&self, plan: &WatchPlan, mut positions: Positions) -> Result<Result<(), Gone>> {
        let Some(stream) = plan.table.stream() else { return Ok(Ok(())) };
        let calls = CallContext { home: self.engine.client.local(), ..CallContext::at(chrono::Utc::now()) };
        let reader = Reader { plan, columns: columns(plan), params: &self.values, calls };
        let homes = positions.iter().map(|(home, epoch, version)| {
            Heard { engine: Arc::clone(&self.engine), home: *home, stream: stream.clone(), epoch: *epoch }
                .from(*version)
        });
        let mut heard: SelectAll<_> = homes.collect();
        let mut silent = 0;
        loop {
            let next = tokio::select! {
                biased;
                next = heard.next() => next,
                () = self.sender.closed() => return Ok(Err(Gone)),
            };
            let item = match next {
                Some((home, News::Event(version, changes))) => {
                    for position in positions.iter_mut().filter(|position| position.0 == home) {
                        position.2 = version;
                    }
                    let described = [schema_version_key(plan.table.id), table_key(plan.table.id)];
                    if changes.iter().any(|change| described.contains(&change.key)) {
                        return Ok(Ok(()));
                    }
                    let changes = reader.changes(&changes)?;
                    silent = if changes.is_empty() { silent + 1 } else { 0 };
                    match changes.is_empty() {
                        false => WatchItem::Changes { changes, cursor: cursor(&plan.table, &positions) },
                        true if silent == SILENT_EVENTS => {
                            silent = 0;
                            WatchItem::Current(cursor(&plan.table, &positions))
                        }
                        true => continue,
                    }
                }
                Some((home, News::Lost(error))) => WatchItem::Lost { site: self.site(home), error },
                Some((home, News::Regained)) => WatchItem::Regained { site: self.site(home) },
                Some((_, News::Over)) | None => return Ok(Ok(())),
                Some((_, News::Failed(error))) => return Err(error),
            };
            if self.say(item).await.is_err() {
                return Ok(Err(Gone));
            }
        }
    }

    fn site(&self, home: HomeNo) -> String {
        self.engine.catalog().topology().site_of(home).unwrap_or_default().to_owned()
    }
}

/// Why a watch could not begin.
enum Begin {
    Gone,
    Failed(Error),
}

impl From<Error> for Begin {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Gone> for Begin {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

fn columns(plan: &WatchPlan) -> Arc<[ColumnMeta]> {
    let column = |column: &crate::exec::node::OutputColumn| ColumnMeta {
        name: column.name.as_str().into(),
        data_type: column.data_type.clone(),
    };
    plan.columns.iter().map(column).collect()
}

fn cursor(table: &Table, positions: &Positions) -> WatchCursor {
    WatchCursor { table: table.id.0, rows: table.row_space(), homes: positions.clone() }
}

/// Makes changes of the result of changes of keys.
struct Reader<'p> {
    plan: &'p WatchPlan,
    columns: Arc<[ColumnMeta]>,
    params: &'p [Value],
    calls: CallContext,
}

impl Reader<'_> {
    fn changes(&self, changes: &[KeyChange]) -> Result<Vec<RowChange>> {
        let rows = self.plan.table.row_space().to_be_bytes();
        let of_rows = changes.iter().filter(|change| change.key.starts_with(&rows));
        let changes = of_rows.map(|change| {
            let (old, new) = (self.row(change.old.as_ref())?, self.row(change.new.as_ref())?);
            Ok(match (old, new) {
                (None, None) => None,
                (None, Some(new)) => Some(RowChange::Inserted(new)),
                (Some(old), None) => Some(RowChange::Deleted(old)),
                (Some(old), Some(new)) if old.values() == new.values() => None,
                (Some(old), Some(new)) => Some(RowChange::Updated { old, new }),
            })
        });
        changes.filter_map(Result::transpose).collect()
    }

    fn row(&self, stored: Option<&Bytes>) -> Result<Option<Row>> {
        let Some(stored) = stored else { return Ok(None) };
        let row = self.plan.matching.of(&self.plan.table, stored, self.params, &self.calls)?;
        Ok(row.map(|row| Row::new(Arc::clone(&self.columns), row)))
    }
}

/// The events that were decoded last. Many watchers of a table hear the same ones at about the same time: one of them decodes each.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<HashMap<(HomeNo, Epoch, Bytes), Decoded>>);

/// By version, the newest last.
type Decoded = VecDeque<(Version, Arc<[KeyChange]>)>;

impl Events {
    fn decoded(&self, of: &Heard, event: &WatchEvent) -> Result<Arc<[KeyChange]>> {
        let key = (of.home, of.epoch, of.stream.clone());
        let known = |decoded: &Decoded| decoded.iter().rev().find(|(version, _)| *version == event.version).cloned();
        if let Some((_, changes)) = self.0.lock().get(&key).and_then(known) {
            return Ok(changes);
        }
        let changes: Arc<[KeyChange]> = decode_event(&event.payload)?.into();
        if event.payload.len() > LARGEST_KEPT {
            return Ok(changes);
        }
        let mut events = self.0.lock();
        let decoded = events.entry(key).or_default();
        decoded.push_back((event.version, Arc::clone(&changes)));
        if decoded.len() > DECODED_EVENTS {
            decoded.pop_front();
        }
        Ok(changes)
    }
}

/// What is heard of a home.
enum News {
    Event(Version, Arc<[KeyChange]>),
    Lost(Error),
    Regained,
    /// Events were missed.
    Over,
    Failed(Error),
}

/// The stream of a home, taken up again where it breaks off.
struct Heard {
    engine: Arc<Engine>,
    home: HomeNo,
    stream: Bytes,
    epoch: Epoch,
}

/// Where hearing stands.
struct Hearing {
    heard: Heard,
    after: Version,
    events: Option<WatchStream>,
    lost: bool,
    over: bool,
    pause: Duration,
}

impl Heard {
    fn from(self, after: Version) -> BoxStream<'static, (HomeNo, News)> {
        let hearing = Hearing { heard: self, after, events: None, lost: false, over: false, pause: FIRST_PAUSE };
        futures::stream::unfold(hearing, |mut hearing| async move {
            let news = hearing.next().await?;
            Some(((hearing.heard.home, news), hearing))
        })
        .boxed()
    }
}

impl Hearing {
    async fn next(&mut self) -> Option<News> {
        if self.over {
            return None;
        }
        loop {
            let failure = match &mut self.events {
                None => match self.attach().await {
                    Ok(()) if std::mem::take(&mut self.lost) => return Some(News::Regained),
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                Some(events) => match events.next().await {
                    Some(Ok(event)) => {
                        self.after = event.version;
                        self.pause = FIRST_PAUSE;
                        return Some(match self.heard.engine.events.decoded(&self.heard, &event) {
                            Ok(changes) => News::Event(event.version, changes),
                            Err(error) => self.ended(News::Failed(error)),
                        });
                    }
                    Some(Err(failure)) => failure,
                    None => StoreError::Unavailable { address: String::new(), reason: "the stream ended".to_owned() },
                },
            };
            self.events = None;
            match failure {
                StoreError::Compacted | StoreError::EpochChanged => return Some(self.ended(News::Over)),
                StoreError::Unavailable { .. } | StoreError::Undetermined { .. } => {
                    if !std::mem::replace(&mut self.lost, true) {
                        return Some(News::Lost(Error::from(failure)));
                    }
                    sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    // A client that only watches runs no statement that would look for a site which it has never reached.
                    if self.heard.engine.misses_sites() {
                        self.heard.engine.sites_changed().await;
                    }
                    // Its site may be gone for good: the table then has other homes, or is no more.
                    match self.heard.engine.refresh_catalog().await {
                        Ok(catalog) if catalog.topology().site_of(self.heard.home).is_none() => {
                            return Some(self.ended(News::Over));
                        }
                        Err(error) if error.state() == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
                            return Some(self.ended(News::Failed(error)));
                        }
                        _ => {}
                    }
                }
                failure => return Some(self.ended(News::Failed(Error::from(failure)))),
            }
        }
    }

    fn ended(&mut self, news: News) -> News {
        self.over = true;
        news
    }

    async fn attach(&mut self) -> Result<(), StoreError> {
        let Heard { engine, home, stream, epoch } = &self.heard;
        self.events = Some(engine.client.watch(*home, stream.clone(), *epoch, self.after).await?);
        Ok(())
    }
}
